"""A node whose memory is limited says what fits, keeps to it, and refuses a limit that it can't keep."""

import re
from dataclasses import replace

import cv2
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from faulty_node import GREEDY
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from live import live_node

from geoseg_ros import msg

ROOM_MIB = 12


def least_mib(folder, encoder):
    """The least limit with which an encoder's node starts, as a node says that was given too little."""
    with live_node(folder, pipeline__geometry__encoder=encoder, memory__cpu_mib=20) as live:
        pattern = re.compile(r"not configured: memory\.cpu_mib: expected at least (\d+) MiB, got 20; raise it")
        found = live.spin_until(lambda: pattern.search(live.log.read_text()))
        state = live.call(GetState, "get_state").current_state.id
        assert state == State.PRIMARY_STATE_UNCONFIGURED
        live.spin_until(lambda: live.status("pipeline").message.startswith("not ready"))
    return int(found[1])


@pytest.mark.parametrize("encoder", ["rgbd", "tiny"])
def test_what_fits_is_said_and_larger_images_are_refused(tmp_path, encoder):
    limit_mib = least_mib(tmp_path, encoder) + ROOM_MIB
    with live_node(tmp_path, pipeline__geometry__encoder=encoder, memory__cpu_mib=limit_mib) as live:
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        live.spin_until(lambda: masks)
        (pixels,) = re.findall(r"2 cameras with images of at most (\d+) pixels fit", live.log.read_text())
        # 200 bytes a pixel in two cameras; the memory that is taken differs by some MiB from start to start.
        assert 0 < int(pixels) <= 2 * ROOM_MIB * 2**20 / 400
        small = live.cameras.views["ego"]
        side = int(int(pixels) ** 0.5) + 1
        live.cameras.views["ego"] = replace(small, image=cv2.resize(small.image, (side, side)), depth_m=None)
        live.spin_until(lambda: live.value("camera ego", "image refused: image size"))
        live.cameras.views["ego"] = small
        live.spin_until(lambda: not masks[-1].missing_cameras)


def test_a_node_that_takes_more_than_it_may_says_so_and_lives_on(tmp_path):
    with live_node(tmp_path, "faulty_node", memory__cpu_mib=least_mib(tmp_path, "rgbd") + 100) as live:
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        live.spin_until(lambda: masks)
        assert "less is remembered" not in live.log.read_text()
        live.bench.until(lambda: "less is remembered" in live.log.read_text(), lambda: live.publish_marked(GREEDY))
        live.spin_until(lambda: "memory.cpu_mib is" in live.status("pipeline").message)
        assert live.status("pipeline").level == DiagnosticStatus.WARN
        count = len(masks)
        live.spin_until(lambda: len(masks) > count + 2)
