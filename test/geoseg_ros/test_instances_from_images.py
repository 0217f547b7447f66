"""The node finds instances on images alone: the small network as shipped, an instance network with random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from live import SMALL, live_node, stamp_of, values
from safetensors.torch import save_file
from scenes import render_set, tabletop
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.model import TinyInstances
from geoseg_core.results import ScaleStatus
from geoseg_core.weights.chosen import config_metadata
from geoseg_ros import cloud_from_msg, instances_from_msg, msg
from geoseg_ros.sensor_messages import image_from_msg

FRAMES, _ = render_set(tabletop(), size=SMALL, names=("ego", "exo_left"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("instances")
    path = folder / "found.safetensors"
    torch.manual_seed(0)
    sizes = TinyInstancesConfig()
    save_file(TinyInstances(sizes).state_dict(), path, config_metadata(sizes) | {"licence": "for tests only"})
    views = [replace(view, camera_to_world=None, intrinsics=None, depth_m=None) for view in FRAMES.views]
    settings = {
        "pipeline__tasks": ["instances"],
        "pipeline__geometry__encoder": "tiny",
        "pipeline__geometry__device": "cpu",
        "pipeline__instances__weights": str(path),
        "pipeline__instances__queries__least_score": 0.0,
        "pipeline__instances__found__least_confidence": 0.0,
    }
    with live_node(folder, views=views, **settings) as running:
        clouds = running.bench.listen(msg.InstanceCloud, "/geoseg/instances")
        running.spin_until(lambda: clouds, 60.0)
        yield running


def test_images_alone_give_instances_with_labels_cloud_and_boxes(live):
    clouds = live.bench.heard["/geoseg/instances"]
    boxes = live.bench.listen(MarkerArray, "/geoseg/instances/boxes")
    labels = {name: live.bench.listen(Image, f"/geoseg/{name}/labels") for name in ("ego", "exo_left")}
    live.spin_until(lambda: boxes and all(labels.values()))
    stamp_ns = live.cameras.publish()
    live.bench.until(lambda: all(stamp_of(each[-1]) == stamp_ns for each in (clouds, *labels.values())))
    live.bench.until(lambda: stamp_of(boxes[-1].markers[0]) == stamp_ns)
    found = instances_from_msg(clouds[-1])
    assert found and clouds[-1].method == "queries" and clouds[-1].cameras == ["ego", "exo_left"]
    assert clouds[-1].scale.state == ScaleStatus.UNKNOWN and clouds[-1].header.frame_id == "world_unscaled"
    shown = {int(each) for images in labels.values() for each in np.unique(image_from_msg(images[-1]))} - {0}
    assert shown and shown <= set(found) and image_from_msg(labels["ego"][-1]).shape == SMALL
    assert set(np.unique(cloud_from_msg(clouds[-1]).instance_id)) - {0} <= shown
    remove, *cubes = boxes[-1].markers
    assert remove.action == Marker.DELETEALL and {each.id for each in cubes} == set(found)
    assert all(each.header.frame_id == "world_unscaled" and each.scale.x > 0 for each in cubes)


def test_the_weights_of_the_instances_and_their_licence_are_told(live):
    assert "instances by queries, weights found (" in live.log.read_text()
    live.spin_until(lambda: live.status("pipeline"))
    told = values(live.status("pipeline"))
    assert (told["instance_weights"], told["instance_licence"]) == ("found", "for tests only")
    assert live.process.poll() is None and "Traceback" not in live.log.read_text()
