"""Reports: written, read, compared."""

import pytest

from geoseg_core import cli
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.report import compare, figures, make_report, read_report, sense, write_report

FIRST = {
    "cross_view": {"rgbd": {"ego_to_exo": {"iou": 0.8, "pairs": 10}}},
    "instances": {"rgbd": {"ap50": 0.9, "id_switches": 1, "t_sr": None}},
    "latency_ms": {"total": {"p50": 10.0}},
    "machine": {"cores": 2},
}
SECOND = {
    "cross_view": {"rgbd": {"ego_to_exo": {"iou": 0.7, "pairs": 12}}},
    "instances": {"rgbd": {"ap50": 0.9, "id_switches": 0, "t_sr": 0.5}},
    "latency_ms": {"total": {"p50": 20.0}},
    "machine": {"cores": 8},
}


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "deep" / "a.json", tmp_path / "b.json"]
    for path, report in zip(paths, (FIRST, SECOND), strict=True):
        write_report(path, report)
    return [str(path) for path in paths]


def test_a_report_is_read_as_it_was_written(tmp_path):
    write_report(tmp_path / "r.json", FIRST)
    assert read_report(tmp_path / "r.json") == {"format": 1, **FIRST}


def test_numbers_that_json_does_not_know_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path / "r.json", {"x": float("nan")})


@pytest.mark.parametrize(("text", "words"), [
    ("{", "expected JSON"), ("[]", "format"), ('{"format": 99}', "format"), ("[" * 100_000, "expected JSON"),
])  # fmt: skip
def test_what_is_no_report_is_refused_by_name(tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadInput, match=words):
        read_report(tmp_path / "r.json")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        read_report(tmp_path / "none.json")


def test_figures_leave_out_machine_and_what_is_not_a_number():
    assert dict(figures(FIRST)) == {
        "cross_view.rgbd.ego_to_exo.iou": 0.8,
        "cross_view.rgbd.ego_to_exo.pairs": 10.0,
        "instances.rgbd.ap50": 0.9,
        "instances.rgbd.id_switches": 1.0,
        "latency_ms.total.p50": 10.0,
    }


def test_numbers_too_large_for_a_float_and_deep_nesting_do_no_harm(tmp_path):
    deep = '{"a":' * 900 + "1" + "}" * 900
    (tmp_path / "r.json").write_text(f'{{"format": 1, "huge": 1{"0" * 400}, "iou": 1, "deep": {deep}}}')
    assert dict(figures(read_report(tmp_path / "r.json"))) == {"iou": 1.0, "deep" + ".a" * 900: 1.0}


def test_verdicts():
    verdicts = {each.key: each.verdict for each in compare(FIRST, SECOND)}
    assert verdicts == {
        "cross_view.rgbd.ego_to_exo.iou": -1,
        "cross_view.rgbd.ego_to_exo.pairs": 0,
        "instances.rgbd.ap50": 0,
        "instances.rgbd.id_switches": 1,
        "latency_ms.total.p50": -1,
        "instances.rgbd.t_sr": 0,
    }


def test_what_is_better():
    assert sense("instances.rgbd.per_object.mug.id_switches") == -1
    assert sense("instances.rgbd.per_object.mug.t_sr") == 1
    assert sense("cross_view.rgbd.ego_to_exo.false_positive_rate") == -1
    assert sense("sets.received") == 0


def test_the_command_prints_a_table_and_ends_with_0(files, capsys):
    assert cli.main(["compare", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    iou = next(line for line in lines if "ego_to_exo.iou" in line)
    assert iou.split() == ["cross_view.rgbd.ego_to_exo.iou", "0.8", "0.7", "-0.1", "worse"]
    missing = next(line for line in lines if "t_sr" in line)
    assert missing.split() == ["instances.rgbd.t_sr", "-", "0.5"]
    assert "\x1b" not in "".join(lines)


def test_colours_on_a_terminal(files, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    cli.main(["compare", *files])
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "ego_to_exo.iou" in line).startswith("\x1b[31m")
    assert next(line for line in lines if "id_switches" in line).startswith("\x1b[32m")


def test_fail_below_looks_at_quality_only(files, capsys):
    assert cli.main(["compare", *files, "--fail-below", "0.05"]) == 1
    assert "worse by more than 0.05: cross_view.rgbd.ego_to_exo.iou" in capsys.readouterr().out
    assert cli.main(["compare", *files, "--fail-below", "0.2"]) == 0


def test_a_file_that_is_no_report_ends_with_1_and_one_line(tmp_path, files, capsys):
    assert cli.main(["compare", files[0], str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err.startswith("geoseg compare: report ")


def test_geometry_keys_stay_and_say_why_they_are_empty():
    report = make_report("bag", "lockstep", "rgbd", {}, {}, {})["geometry"]
    keys = {"rotation_error_deg_median", "auc30", "abs_rel", "delta125", "track_pck4"}
    assert {key for key, value in report.items() if value is None} == keys
    assert "no independent truth" in report["reason"]
