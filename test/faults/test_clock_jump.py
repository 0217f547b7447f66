"""A simulation's clock that is set back: the memory is reset once, though stamps and clock both tell of it."""

import numpy as np
from live import live_node, stamp_of
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
