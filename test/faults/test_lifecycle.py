"""A node that is taken through its life over and over stays as large as it was; `make soak` does it 200 times."""

import gc
import weakref

import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from faults.lives import MOST_MB_PER_LIFE, change, growth_over
from lifecycle_msgs.msg import Transition
from live import live_node

from geoseg_ros import msg, srv
from geoseg_ros.nodes import perception

LIVES = 12


@pytest.mark.parametrize("encoder", ["rgbd", "tiny"])
def test_an_inactive_node_says_so_and_remembers_when_it_is_active_again(tmp_path, encoder):
    with live_node(tmp_path, pipeline__geometry__encoder=encoder) as live:
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        prompt = msg.Prompt(camera="ego", box_px=[10.0, 10.0, 50.0, 40.0])
        known = live.call(srv.TrackObject, "track_object", prompt=prompt).object_id
        assert known and not live.status("pipeline").message.startswith("not ready")
        change(live, Transition.TRANSITION_DEACTIVATE)
        live.spin_until(lambda: live.status("pipeline").message.startswith("not ready"))
        assert live.status("pipeline").level == DiagnosticStatus.WARN
        refused = live.call(srv.SetClasses, "set_classes", classes=["cup"])
        assert not refused.success and "expected an active node" in refused.message
        change(live, Transition.TRANSITION_ACTIVATE)
        count = len(masks)
        live.spin_until(lambda: len(masks) > count + 1)
        assert [each.object_id for each in masks[-1].views[0].masks] == [known]
        assert "Traceback" not in live.log.read_text()


def networks() -> list[torch.nn.Module]:
    """All that there are in this process."""
    gc.unfreeze()  # what is frozen is not listed
    return [each for each in gc.get_objects() if isinstance(each, torch.nn.Module)]


def test_an_inactive_node_has_no_weights(ros_environment):
    others = networks()  # of other tests
    rclpy.init(args=["--ros-args", "-p", "pipeline.geometry.encoder:=tiny"])
    try:
        node = perception.create_node()
        mine = [weakref.ref(each) for each in networks() if not any(each is other for other in others)]
        assert len(mine) > 100
        assert node.trigger_deactivate() == perception.SUCCESS
        assert not any(network() is not None for network in mine)
        node.destroy_node()
    finally:
        rclpy.shutdown()


def test_many_lives_leave_nothing_behind(tmp_path, ros_environment):
    grown = growth_over(LIVES, tmp_path)
    assert grown.memory_mb < MOST_MB_PER_LIFE * LIVES
    assert grown.open_files <= 0
