"""Faults that need a node started in their own way: a clock that is set back, wrong parameters, no tasks."""

import signal
from contextlib import ExitStack

import numpy as np
import pytest
from live import live_node, perception, stamp_of
from rosgraph_msgs.msg import Clock

from geoseg_ros import msg
from geoseg_ros.sensor_messages import time_to_msg

MS = 1_000_000


def test_a_reset_of_the_simulation_is_said_once(tmp_path):
    with live_node(tmp_path, use_sim_time=True) as live:
        clock = live.bench.node.create_publisher(Clock, "/clock", 10)
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        now_ms = iter(np.arange(50_000, 10**6, 100).tolist())

        def tick():
            stamp_ns = next(now_ms) * MS
            clock.publish(Clock(clock=time_to_msg(stamp_ns)))
            live.cameras.publish(stamp_ns)

        live.bench.until(lambda: len(masks) > 3, tick)
        assert "the memory is reset" not in live.log.read_text()
        now_ms = iter(np.arange(1_000, 10**6, 100).tolist())
        live.bench.until(lambda: stamp_of(masks[-1]) < 40_000 * MS, tick)
        count = len(masks)
        live.bench.until(lambda: len(masks) > count + 5, tick)
        assert live.log.read_text().count("the memory is reset") == 1
        live.bench.until(lambda: live.value("pipeline", "memory_resets") == "1", tick)


def test_without_tasks_sets_are_counted_only(tmp_path):
    with live_node(tmp_path, pipeline__tasks=[]) as other:
        other.spin_until(lambda: int(other.value("pipeline", "sets_processed") or 0) > 3)
        assert float(other.value("camera ego", "ego image arrival_ms_p50")) >= 0
        assert other.value("pipeline", "decode_ms_p50") == "" and other.value("pipeline", "objects") == "0"


def test_wrong_parameters_at_start_end_the_node_with_the_reason(ros_environment, tmp_path):
    cases = [
        ({"cameras": ["a-b"]}, "cameras: expected"),
        ({"cameras": []}, "cameras: expected"),
        ({"sync__slop_s": 7.0}, "sync.slop_s"),
        ({"world_frame": 3}, "world_frame"),
    ]
    with ExitStack() as stack:
        logs = [tmp_path / f"{number}.log" for number in range(len(cases))]
        nodes = [
            stack.enter_context(perception(ros_environment, log, **case[0]))
            for log, case in zip(logs, cases, strict=True)
        ]
        assert all(node.wait(60) != 0 for node in nodes)
    for log, (_, words) in zip(logs, cases, strict=True):
        assert words in log.read_text() and "Traceback" not in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_images_come_in_ends_the_node_quietly(tmp_path, number):
    with live_node(tmp_path) as live:
        live.spin_until(lambda: int(live.value("pipeline", "sets_processed") or 0) > 3)
        live.process.send_signal(number)
        live.spin_until(lambda: live.process.poll() is not None)
        assert live.process.returncode == 0
        assert "Traceback" not in live.log.read_text() and "ERROR" not in live.log.read_text()
