"""The machine's description and the percentiles of stage times."""

from geoseg_core.evaluation.machine import describe_machine, percentiles


def test_machine_says_what_the_figures_need():
    machine = describe_machine()
    assert {"cpu", "cores", "memory_gib", "gpu", "os", "python", "torch"} == set(machine)
    assert machine["cores"] >= 1 and machine["cpu"]


def test_percentiles_interpolate_and_leave_out_empty_stages():
    assert percentiles({"total": range(101), "encode": [4.0], "idle": []}) == {
        "total": {"p50": 50.0, "p95": 95.0},
        "encode": {"p50": 4.0, "p95": 4.0},
    }
