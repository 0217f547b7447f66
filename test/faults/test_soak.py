"""The short form of `make soak`: every fault once, none of which may stop the node; no time and no memory is judged."""

import json
import os

from faults import soak
from faults.soak_report import Delivered, Size, Watched, failures_of, report_of

MINUTES, EVERY_S = 0.55, 1.6  # as many faults as there are


def test_every_fault_once_and_the_node_goes_on(tmp_path, capsys):
    status = soak.main(["--minutes", str(MINUTES), "--every", str(EVERY_S), "--out", str(tmp_path)])
    assert status == 0, capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["faults"]) == set(soak.ALL_FAULTS)
    assert report["wedges_s"] == [] and report["stale"]["in_set"] == 0
    assert report["prompts"]["asked"] > 10 and report["prompts"]["unanswered"] == []
    assert report["sets"]["sent"] > report["sets"]["delivered"] > 50
    assert report["counts"]["pipeline: sets_failed"] > 0 and report["counts"]["pipeline: memory_resets"] > 0
    assert {"latency_ms", "node_ms", "memory", "open_files", "windows", "cores"} <= set(report)
    assert (tmp_path / "report.png").stat().st_size > 20_000


def a_quiet_hour() -> Watched:
    """As much of it as is looked at: a set and a look at the node each second, a prompt that was answered."""
    watched = Watched(begun_s=1000.0, ended_s=4600.0, prompts={"topic 1": [1001.0, 1001.1]})
    for second in range(1000, 4600):
        stamp_ns = second * 10**9
        watched.sent_s[stamp_ns] = second
        watched.sets.append(Delivered(stamp_ns, second + 0.03, 0.01, 3))
        watched.sizes.append(Size(float(second), 200.0, 80.0, 20))
    return watched


def failures(watched: Watched, minutes: float = 60.0) -> list[str]:
    return failures_of(report_of(watched, {"minutes": minutes}))


def test_a_quiet_hour_is_no_failure():
    assert failures(a_quiet_hour()) == []


def test_what_goes_wrong_is_named():
    silent = a_quiet_hour()
    del silent.sets[100:108]
    assert failures(silent) == ["no masks for 9.0 s from second 99.0 on"]
    spread = a_quiet_hour()
    spread.sets[7] = Delivered(spread.sets[7].stamp_ns, 1007.03, 0.2, 3)
    assert failures(spread) == ["1 sets with stamps more than 0.05 s apart"]
    unanswered = a_quiet_hour()
    unanswered.prompts["service 2"] = [1002.0]
    assert failures(unanswered) == ["prompts without an answer: service 2"]
    ended = a_quiet_hour()
    ended.broken = "the node ended with status -9"
    assert failures(ended) == ["the node ended with status -9"]


def test_time_and_memory_are_judged_in_long_runs_only():
    late = a_quiet_hour()
    late.sets[7] = Delivered(late.sets[7].stamp_ns, 1008.03, 0.0, 3)
    assert failures(late) == ["1 sets came more than 1 s after their images"]
    growing = a_quiet_hour()
    growing.sizes = [Size(each.at_s, 200.0 + hour * 2.0, 80.0 + hour * 1.5, 20)
                     for each in growing.sizes for hour in [(each.at_s - 1000.0) / 3600.0]]  # fmt: skip
    assert failures(growing) == ["resident memory grows by 2.00 MB/h, 1 at most (1.50 of it shared memory)"]
    slow = a_quiet_hour()
    slow.sets[::50] = [Delivered(each.stamp_ns, each.stamp_ns / 1e9 + 0.07, 0.0, 3) for each in slow.sets[::50]]
    assert failures(slow) == ["p99 of the latency without faults is 70.0 ms, 2 x p50 is 60.0 ms"]
    slow.faults = [(each.received_s - 1, each.received_s - 0.1, "lying image") for each in slow.sets[::50]]
    assert failures(slow) == []
    assert failures(late, 5.0) == failures(growing, 5.0) == []


def test_minutes_that_other_machines_took_from_are_told_apart():
    watched = a_quiet_hour()
    watched.sets = [Delivered(each.stamp_ns, each.received_s + (0.05 if each.received_s > 2800 else 0.0), 0.01, 3)
                    for each in watched.sets]  # fmt: skip
    share = 0.1 * os.cpu_count()  # of the second half
    watched.stolen_s = [(1000.0 + second, share * max(second - 1800.0, 0.0)) for second in range(3601)]
    report = report_of(watched, {"minutes": 60.0})
    assert report["stolen"] == 0.05
    assert [each["stolen"] for each in report["windows"]] == [0.0] * 30 + [0.1] * 30
    whole, own = (report["latency_ms"][name] for name in ("untouched", "untouched, not stolen"))
    assert (whole["count"], whole["p99"], own["count"], own["p99"]) == (3600, 80.0, 1800, 30.0)
