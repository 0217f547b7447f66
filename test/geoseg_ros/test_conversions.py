"""Messages both ways: what went in comes out, packed as documented, and lies are refused."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

import geoseg_ros
from geoseg_core.errors import BadInput
from geoseg_core.prompts import Prompt
from geoseg_core.results import (
    Agreement,
    EventKind,
    Instance,
    InstanceResult,
    LabelledCloud,
    ObjectEvent,
    ObjectMask,
    OrientedBox,
    PromptResult,
    ScaleState,
    ScaleStatus,
    SceneResult,
    ViewMasks,
    Visibility,
)
from geoseg_core.views import FrameSet, View
from geoseg_ros import conversions, msg, sensor_messages

LOCKED = ScaleState(ScaleStatus.LOCKED, "depth_camera", 0.01)
STAMP_NS = 12_000_000_345


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def frames(height=6, width=8) -> FrameSet:
    image = np.zeros((height, width, 3), np.uint8)
    return FrameSet((View("ego", image, STAMP_NS, frame_id="ego_optical_frame"),), missing=("exo",))


CLOUD = LabelledCloud(
    np.array([[1, 2, 3], [-1, 0.5, 0]], np.float32),
    np.array([[255, 0, 7], [1, 2, 3]], np.uint8),
    np.array([5, 65535], np.uint16),
    np.array([0.25, 1.0], np.float32),
)
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
INSTANCE = Instance(
    5, np.array([1.0, 2, 3]), np.diag([1.0, 2, 3]), OrientedBox(np.array([1.0, 2, 4]), TURN, np.array([0.1, 0.2, 0.3])),
    1, 0.75, 10, STAMP_NS, ("ego",), "mug", 0.5,
)  # fmt: skip


@given(arrays(bool, (6, 8), elements=st.booleans()))
@settings(deadline=None, max_examples=50)
def test_masks_come_back_with_their_boxes(mask):
    masks = ViewMasks("ego", (ObjectMask(7, mask, 0.5, Visibility.OCCLUDED, "cup", Agreement.DISPUTED),))
    message = over_the_wire(conversions.masks_to_msg(SceneResult(frames(), (masks,), None), "world", "rgbd"))
    assert (message.method, message.cameras, message.missing_cameras) == ("rgbd", ["ego"], ["exo"])
    assert message.views[0].header.frame_id == "ego_optical_frame"
    assert sensor_messages.time_from_msg(message.views[0].header.stamp) == STAMP_NS
    found = conversions.masks_from_msg(message)["ego"][7]
    np.testing.assert_array_equal(found.mask, mask)
    assert (found.score, found.visibility, found.label) == (0.5, Visibility.OCCLUDED, "cup")
    assert found.agreement is Agreement.DISPUTED
    box = message.views[0].masks[0].box
    inside = mask[box.y_offset : box.y_offset + box.height, box.x_offset : box.x_offset + box.width]
    assert inside.sum() == mask.sum()
    if mask.any():
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_masks_that_lie_about_their_size_are_refused():
    for height, width, counts in ((100_000, 100_000, [1]), (0, 2**32 - 1, [])):
        lying = msg.ViewMasks(camera="ego", height=height, width=width, masks=[msg.ObjectMask(counts=counts)])
        with pytest.raises(BadInput, match="expected 1 to"):
            conversions.masks_from_msg(lying)


@pytest.mark.parametrize("kind", [msg.CrossViewMasks, msg.PromptMasks])
def test_many_masks_that_are_gigabytes_together_are_refused_before_any_is_unpacked(kind, monkeypatch):
    masks = [msg.ObjectMask(object_id=number, counts=[64_000_000]) for number in range(9)]
    view = msg.ViewMasks(camera="ego", height=8000, width=8000, masks=masks)
    monkeypatch.setattr(conversions, "decode_mask", pytest.fail)
    with pytest.raises(BadInput, match="at most 1073741824 pixels in all masks of a message, got 1152000000"):
        conversions.masks_from_msg(kind(views=[view, view]))


def test_numbers_that_a_newer_sender_may_know_are_refused():
    masks = {"camera": "ego", "height": 2, "width": 2}
    mask = {"counts": [4]}
    for made in (msg.ObjectMask(**mask, visibility=9), msg.ObjectMask(**mask, agreement=9)):
        with pytest.raises(BadInput, match="expected a number from 0 to 2, got 9"):
            conversions.masks_from_msg(msg.ViewMasks(**masks, masks=[made]))
    with pytest.raises(BadInput, match="ScaleStatus: expected a number from 0 to 2, got 9"):
        conversions.scale_from_msg(msg.ScaleState(state=9))
    with pytest.raises(BadInput, match="EventKind: expected a number from 0 to 3, got 9"):
        conversions.event_from_msg(msg.ObjectEvent(kind=9))


def test_a_cloud_comes_back_packed_in_24_bytes_a_point():
    message = over_the_wire(conversions.cloud_to_msg(CLOUD, Header(frame_id="world")))
    assert (message.point_step, message.width, message.height, message.is_dense) == (24, 2, 1, True)
    assert [field.name for field in message.fields] == ["x", "y", "z", "rgb", "instance_id", "confidence"]
    assert bytes(message.data[12:16]) == bytes([7, 0, 255, 0])  # blue green red, as RViz reads it
    found = conversions.cloud_from_msg(message)
    for name in ("xyz", "rgb", "instance_id", "confidence"):
        np.testing.assert_array_equal(getattr(found, name), getattr(CLOUD, name))


def test_infinite_points_become_nan_and_the_cloud_says_that_it_is_not_dense():
    cloud = replace(CLOUD, xyz=np.array([[np.inf, 0, 0], [1, -np.inf, np.nan]], np.float32))
    message = conversions.cloud_to_msg(cloud, Header())
    xyz = conversions.cloud_from_msg(message).xyz
    assert not message.is_dense and not np.isinf(xyz).any()
    assert np.isnan(xyz).tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize("change", [{"width": 3}, {"row_step": 1}, {"point_step": 20}, {"fields": []}])
def test_lying_clouds_are_refused(change):
    message = conversions.cloud_to_msg(CLOUD, Header())
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(BadInput, match="cloud: expected"):
        conversions.cloud_from_msg(message)


def test_instances_come_back():
    result = InstanceResult((np.zeros((6, 8), np.uint16),), (INSTANCE,), CLOUD, LOCKED)
    message = over_the_wire(conversions.instances_to_msg(result, frames(), "world", "rgbd"))
    assert message.header.frame_id == message.cloud.header.frame_id == "world"
    assert conversions.scale_from_msg(message.scale) == LOCKED
    found = conversions.instances_from_msg(message)[5]
    for name in ("instance_id", "point_count", "score", "first_seen_ns", "last_seen_ns", "seen_by", "class_name"):
        assert getattr(found, name) == getattr(INSTANCE, name), name
    for name in ("centroid", "centroid_covariance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(INSTANCE, name))
    for name in ("centre", "rotation", "size"):
        np.testing.assert_allclose(getattr(found.box, name), getattr(INSTANCE.box, name), atol=1e-12)
    np.testing.assert_array_equal(conversions.cloud_from_msg(message).instance_id, CLOUD.instance_id)


def test_lengths_of_unknown_scale_never_get_into_a_metric_frame():
    result = InstanceResult((), (), CLOUD, ScaleState())
    message = conversions.instances_to_msg(result, frames(), "world", "vggt")
    assert message.header.frame_id == message.cloud.header.frame_id == "world_unscaled"


@given(st.integers(0, 3), st.booleans(), st.booleans())
@settings(deadline=None)
def test_prompts_come_back(points, has_box, has_mask):
    prompt = Prompt(
        "ego",
        np.arange(2.0 * points).reshape(-1, 2),
        np.arange(points) % 2 == 0,
        np.array([1.0, 2, 3, 4]) if has_box else None,
        np.eye(6, 8, dtype=bool) if has_mask else None,
        "a mug",
    )
    message = over_the_wire(conversions.prompt_to_msg(prompt, 3, "cup", "r1"))
    assert (message.object_id, message.label, message.request_id) == (3, "cup", "r1")
    found = conversions.prompt_from_msg(message)
    assert (found.camera, found.text) == ("ego", "a mug")
    for name in ("points_px", "positive", "box_px", "mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(prompt, name))


@pytest.mark.parametrize(
    "message, words",
    [
        (msg.Prompt(points_px=[1.0, 2.0, 3.0], point_labels=[1]), "got 3 numbers for 1 labels"),
        (msg.Prompt(points_px=[0.0] * 4000, point_labels=[1] * 2000), "at most 1024"),
        (msg.Prompt(box_px=[1.0, 2.0]), "got 2 numbers"),
        (msg.Prompt(label="cup " * 1000), "label: expected at most 1000 characters, got 4000"),
        (msg.Prompt(request_id="1" * 1001), "request_id: expected at most 1000 characters, got 1001"),
        (msg.Prompt(mask=Image(height=9, width=9, step=9, encoding="mono8")), "got 0"),
        (msg.Prompt(mask=Image(height=1, width=1, step=3, encoding="rgb8", data=[1, 2, 3])), "expected mono8"),
    ],
)
def test_prompts_that_do_not_fit_together_are_refused(message, words):
    with pytest.raises(BadInput, match=words):
        conversions.prompt_from_msg(message)


@pytest.mark.parametrize("instance", [INSTANCE, None])
def test_the_answer_to_a_prompt_comes_back(instance):
    mask = ObjectMask(5, np.eye(6, 8, dtype=bool), 1.0, Visibility.VISIBLE)
    result = PromptResult(frames(), 5, (ViewMasks("ego", (mask,)),), CLOUD, instance, LOCKED)
    found = conversions.prompt_result_from_msg(
        over_the_wire(conversions.prompt_result_to_msg(result, "world", "rgbd", "r1"))
    )
    assert found.object_id == 5 and found.scale == LOCKED
    np.testing.assert_array_equal(found.masks["ego"].mask, mask.mask)
    assert (found.instance is None) == (instance is None)
    with pytest.raises(BadInput, match="no such camera"):
        conversions.prompt_result_from_msg(msg.PromptMasks(error="no such camera"))


def test_events_come_back():
    event = ObjectEvent(EventKind.MERGED, 3, STAMP_NS, "touching", (4, 5))
    assert conversions.event_from_msg(over_the_wire(conversions.event_to_msg(event, "world"))) == event


def test_planners_find_the_decoders_in_the_package():
    for name in geoseg_ros.DECODERS:
        assert getattr(geoseg_ros, name) is getattr(conversions, name)
    with pytest.raises(AttributeError, match="no_such_thing"):
        geoseg_ros.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    "encoding, pixels",
    [
        ("rgb8", np.arange(36, dtype=np.uint8).reshape(3, 4, 3)),
        ("mono8", np.arange(12, dtype=np.uint8).reshape(3, 4)),
        ("16UC1", np.arange(12, dtype=np.uint16).reshape(3, 4)),
        ("32FC1", np.arange(12, dtype=np.float32).reshape(3, 4)),
    ],
)
def test_images_come_back(encoding, pixels):
    message = over_the_wire(sensor_messages.image_to_msg(pixels, encoding, Header()))
    np.testing.assert_array_equal(sensor_messages.image_from_msg(message), pixels)
    with pytest.raises(BadInput, match="expected pixels of"):
        sensor_messages.image_to_msg(pixels.astype(np.float64), encoding, Header())


def test_unknown_encodings_and_compressions_are_refused_by_name():
    with pytest.raises(BadInput, match="expected one of .* got 'rgb565'"):
        sensor_messages.image_from_msg(Image(height=1, width=1, step=2, encoding="rgb565", data=[0, 0]))
    with pytest.raises(BadInput, match="format 'webp'"):
        sensor_messages.image_from_msg(CompressedImage(format="webp", data=[1, 2, 3]))


class CvBridgeError(TypeError):
    pass


class CvBridge:
    """The documented part of cv_bridge that is used, for machines without it: it knows one encoding more."""

    def imgmsg_to_cv2(self, image, encoding):
        if image.encoding != "rgb565":
            raise CvBridgeError(f"{image.encoding} is not known")
        return np.full((image.height, image.width, 3), 7, np.uint8)


def test_encodings_that_are_not_ours_go_through_cv_bridge_where_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=CvBridge, CvBridgeError=CvBridgeError))
    strange = Image(height=1, width=2, step=4, encoding="rgb565", data=[0] * 4)
    assert sensor_messages.image_from_msg(strange).tolist() == [[[7, 7, 7], [7, 7, 7]]]
    with pytest.raises(BadInput, match="'nv99': cv_bridge refused it"):
        sensor_messages.image_from_msg(Image(height=1, width=2, step=4, encoding="nv99", data=[0] * 4))
    with pytest.raises(BadInput, match="image data: expected height"):
        sensor_messages.image_from_msg(Image(height=2**20, width=2**20, step=4, encoding="rgb565", data=[0] * 4))


def test_calibration_is_p_where_it_is_given_and_k_else():
    k, p = np.array([[50.0, 0, 4], [0, 51, 3], [0, 0, 1]]), np.array([[60.0, 0, 5], [0, 61, 2], [0, 0, 1]])
    info = sensor_messages.calibration_to_msg(p, (6, 8), Header(frame_id="/ego"))
    info.k = k.ravel()
    found = sensor_messages.calibration_from_msg(info)
    np.testing.assert_array_equal(found.intrinsics, p)
    assert found.size == (6, 8) and found.frame_id == "ego"
    info.p = np.zeros(12)
    np.testing.assert_array_equal(sensor_messages.calibration_from_msg(info).intrinsics, k)


@pytest.mark.parametrize("entry, value", [(0, np.nan), (0, 0.0), (4, -1.0), (2, np.inf), (8, 0.0)])
def test_calibrations_that_are_none_are_refused(entry, value):
    k = [50.0, 0, 4, 0, 50, 3, 0, 0, 1]
    k[entry] = value
    with pytest.raises(BadInput, match="camera_info: expected finite P or K"):
        sensor_messages.calibration_from_msg(CameraInfo(k=k))
