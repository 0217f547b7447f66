"""Grouping by stamp: who is matched, who is dropped and why, silence, return, and jumps of time. Times in ms."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_core.errors import BadInput
from geoseg_core.synchronizer import Synchronizer, SynchronizerConfig

MS = 1_000_000
RGBD = ("image", "depth")


class Bench:
    """A synchronizer driven in milliseconds; items are (camera, kind, stamp)."""

    def __init__(self, streams=None, **config):
        self.sync = Synchronizer(streams or {"ego": ("image",), "exo": ("image",)}, SynchronizerConfig(**config))
        self.sets = []

    def add(self, camera, stamp, now=None, kind="image"):
        now = stamp if now is None else now
        self.sets += self.sync.add(camera, kind, stamp * MS, (camera, kind, stamp), now * MS)

    def poll(self, now):
        self.sets += self.sync.poll(now * MS)

    def stamps(self):
        return [{camera: kinds["image"][2] for camera, kinds in each.items.items()} for each in self.sets]

    def dropped(self):
        return {f"{camera} {kind} {why}": n for ((camera, kind), why), n in self.sync.counts.dropped.items() if n}


def test_streams_within_the_slop_make_one_set_each():
    bench = Bench(slop_s=0.05)
    for start in (1000, 1100, 1200):
        bench.add("ego", start)
        bench.add("exo", start + 30)
    assert bench.stamps() == [{"ego": t, "exo": t + 30} for t in (1000, 1100, 1200)]
    assert [each.stamp_ns for each in bench.sets] == [1030 * MS, 1130 * MS, 1230 * MS]
    assert bench.sync.counts.sets == 3 and bench.sync.counts.partial_sets == 0 and bench.dropped() == {}


def test_a_frame_without_partner_goes_and_is_counted():
    bench = Bench(slop_s=0.05)
    bench.add("ego", 1000)
    bench.add("ego", 1100)
    bench.add("exo", 1100)
    assert bench.stamps() == [{"ego": 1100, "exo": 1100}]
    assert bench.dropped() == {"ego image no_partner": 1}


def test_of_a_fast_camera_the_nearest_frame_is_taken():
    bench = Bench(slop_s=0.05)
    for stamp in (1000, 1033, 1066):
        bench.add("ego", stamp)
    bench.add("exo", 1040)
    assert bench.stamps() == [{"ego": 1033, "exo": 1040}]
    assert bench.dropped() == {"ego image superseded": 1}


def test_depth_belongs_to_its_image():
    bench = Bench({"ego": RGBD, "exo": ("image",)})
    bench.add("ego", 1000)
    bench.add("exo", 1001)
    assert bench.sets == []
    bench.add("ego", 1002, kind="depth")
    assert bench.sets[0].items == {
        "ego": {"image": ("ego", "image", 1000), "depth": ("ego", "depth", 1002)},
        "exo": {"image": ("exo", "image", 1001)},
    }


def test_a_silent_camera_is_left_out_after_the_timeout_and_rejoins_at_once():
    bench = Bench(missing_timeout_s=0.3)
    bench.add("ego", 1000)
    bench.add("exo", 1000)
    bench.add("ego", 1100)
    bench.poll(1399)
    assert len(bench.sets) == 1
    bench.poll(1401)
    assert bench.stamps()[1:] == [{"ego": 1100}]
    assert bench.sets[1].missing == ("exo",) and bench.sync.missing() == ("exo",)
    bench.add("ego", 1500)
    assert bench.stamps()[2:] == [{"ego": 1500}]  # no more waiting for it
    bench.add("exo", 1600)
    bench.add("ego", 1601)
    assert bench.stamps()[3:] == [{"ego": 1601, "exo": 1600}]
    assert bench.sets[3].missing == () and bench.sync.missing() == ()
    assert bench.sync.counts.partial_sets == 2


def test_a_camera_whose_frame_comes_just_too_late_is_waited_for_next_time():
    bench = Bench(missing_timeout_s=0.3)
    bench.add("ego", 1000)
    bench.poll(1301)
    bench.add("exo", 1000, now=1310)
    assert bench.dropped() == {"exo image late": 1}
    bench.add("ego", 1400)
    assert len(bench.sets) == 1
    bench.add("exo", 1400, now=1410)
    assert bench.stamps()[1] == {"ego": 1400, "exo": 1400}


def test_depth_that_never_comes_costs_one_timeout_only():
    bench = Bench({"ego": RGBD}, missing_timeout_s=0.3)
    bench.add("ego", 1000)
    bench.poll(1301)
    for stamp in (1400, 1500):
        bench.add("ego", stamp)
    assert bench.stamps() == [{"ego": 1000}, {"ego": 1400}, {"ego": 1500}]
    assert all(each.missing == () for each in bench.sets)


def test_depth_alone_is_no_view():
    bench = Bench({"ego": RGBD, "exo": ("image",)}, missing_timeout_s=0.3)
    bench.add("ego", 1001, kind="depth")
    bench.add("exo", 1000)
    bench.poll(1302)
    assert bench.stamps() == [{"exo": 1000}] and bench.sets[0].missing == ("ego",)
    assert bench.sets[0].stamp_ns == 1000 * MS
    assert bench.dropped() == {"ego depth no_partner": 1}


def test_zero_duplicate_and_disordered_stamps_are_named():
    bench = Bench()
    for stamp in (0, 1000, 1000, 990):
        bench.add("ego", stamp, now=1000)
    bench.add("exo", 1000)
    assert bench.stamps() == [{"ego": 1000, "exo": 1000}]
    assert bench.dropped() == {"ego image zero_stamp": 1, "ego image duplicate": 1, "ego image out_of_order": 1}


def test_a_camera_with_a_wrong_clock_is_refused_and_the_others_go_on():
    bench = Bench({name: ("image",) for name in ("ego", "exo", "odd")}, missing_timeout_s=0.25)
    for step in range(10):
        now = 1000 + 100 * step
        for name in ("ego", "exo"):
            bench.add(name, now)
        bench.add("odd", now + 3_600_000, now=now)
    assert bench.stamps() == [{"ego": t, "exo": t} for t in range(1000, 2000, 100)]
    assert bench.sync.take_jump() is None
    assert bench.dropped() == {"odd image stale": 9}  # and the newest is held, not yet judged


@pytest.mark.parametrize("to", [1000, 500_000])
def test_a_jump_of_time_empties_all_and_is_said_once(to):
    bench = Bench({name: ("image",) for name in ("ego", "left", "right")})
    for step in range(3):
        for name in ("ego", "left", "right"):
            bench.add(name, 60_000 + 100 * step)
    bench.add("ego", 60_300)
    assert bench.sync.take_jump() is None
    jumps = []
    for step in range(3):
        for name in ("ego", "left", "right"):
            bench.add(name, to + 100 * step, now=60_400 + 100 * step)
            jumps.append(bench.sync.take_jump())
    said = [jump for jump in jumps if jump]
    assert [(jump.from_ns // MS, jump.to_ns // MS) for jump in said] == [(60_300, to)]
    assert bench.stamps()[3:] == [{name: to + 100 * step for name in ("ego", "left", "right")} for step in range(3)]
    assert bench.dropped() == {"ego image time_jump": 1}
    assert bench.sync.counts.time_jumps == 1


def test_bag_loops_with_a_camera_gone_never_wedge():
    bench = Bench({name: ("image",) for name in ("ego", "left", "right")}, missing_timeout_s=0.3)
    now, per_loop = 0, []
    for loop in range(4):
        before = len(bench.sets)
        for step in range(50):
            now += 100
            for name in ("ego", "left") if loop else ("ego", "left", "right"):
                bench.add(name, 10_000 + 100 * step, now=now)
        per_loop.append(len(bench.sets) - before)
    assert per_loop == [50, 50, 50, 50]
    assert bench.sync.counts.time_jumps == 3


def test_a_pause_of_all_cameras_is_no_jump():
    bench = Bench()
    for stamp in (1000, 61_000):
        bench.add("ego", stamp)
        bench.add("exo", stamp)
    assert bench.sync.take_jump() is None
    assert bench.stamps() == [{"ego": 1000, "exo": 1000}, {"ego": 61_000, "exo": 61_000}]


def test_a_camera_slower_than_the_queue_cannot_block_the_others():
    bench = Bench(queue_size=3, missing_timeout_s=5.0)
    for step in range(30):
        bench.add("ego", 1000 + 33 * step)
    assert len(bench.sets) == 30 and bench.sets[0].missing == ("exo",)


def test_finish_gives_what_is_left():
    bench = Bench()
    bench.add("ego", 1000)
    assert [each.missing for each in bench.sync.finish()] == [("exo",)]
    assert bench.sync.finish() == []


def test_unknown_streams_are_refused():
    bench = Bench()
    with pytest.raises(BadInput, match="got \\('ego', 'depth'\\)"):
        bench.add("ego", 1000, kind="depth")
    with pytest.raises(BadInput, match="each with an image"):
        Synchronizer({"ego": ("depth",)}, SynchronizerConfig())


CAMERAS = [f"camera_{index}" for index in range(8)]


def test_eight_cameras_with_jitter_lose_nothing():
    generator = random.Random(3)
    bench = Bench({name: RGBD for name in CAMERAS})
    messages = [
        (100 * step + 1000 + generator.randint(0, 15), 100 * step + 1000 + generator.randint(20, 90), name, kind)
        for step in range(100)
        for name in CAMERAS
        for kind in RGBD
    ]
    for stamp, now, name, kind in sorted(messages, key=lambda message: message[1]):
        bench.add(name, stamp, now=now, kind=kind)
    assert len(bench.sets) == 100 and bench.dropped() == {}


frames = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(RGBD), st.integers(-50, 5000), st.integers(0, 400)
)


@given(st.lists(frames, max_size=80))
@settings(deadline=None, max_examples=300)
def test_whatever_comes_every_frame_is_accounted_for(messages):
    bench = Bench({name: RGBD for name in ("a", "b", "c")}, queue_size=4)
    now = 0
    for camera, kind, stamp, passed in messages:
        now += passed
        bench.add(camera, stamp, now=now, kind=kind)
        assert all(len(queue) < 4 for queue in bench.sync._queues.values())
    bench.sets += bench.sync.finish()
    held = Counter(bench.sync._aside.keys())
    for stream, count in bench.sync.counts.received.items():
        gone = sum(n for (each, _), n in bench.sync.counts.dropped.items() if each == stream)
        assert count == bench.sync.counts.matched[stream] + gone + held[stream]
    for each in bench.sets:
        stamps = [item[2] * MS for kinds in each.items.values() for item in kinds.values()]
        assert max(stamps) == each.stamp_ns and max(stamps) - min(stamps) <= 50 * MS
        assert set(each.items) | set(each.missing) == {"a", "b", "c"} and not set(each.items) & set(each.missing)
