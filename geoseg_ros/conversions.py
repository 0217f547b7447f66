"""Our own messages to what the core works with, and back; sensor messages are in sensor_messages.py.

Messages are filled from packed bytes (array.array), never from lists of numbers; see docs/messages.md.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header

from geoseg_core import results
from geoseg_core.errors import BadInput
from geoseg_core.geometry.transforms import pose_matrix, pose_parts
from geoseg_core.imaging import MAX_PIXELS
from geoseg_core.prompts import MAX_POINTS, Prompt
from geoseg_core.run_lengths import decode_mask, encode_mask
from geoseg_core.views import FrameSet, View
from geoseg_ros import msg
from geoseg_ros.sensor_messages import header_to_msg, image_from_msg, image_to_msg, packed, time_from_msg, time_to_msg

MAX_CHARACTERS = 1000  # of a prompt's label and request_id
POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "instance_id", "confidence"],
        "formats": ["<f4", "<f4", "<f4", "<u4", "<u2", "<f4"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)
POINT_FIELDS = [
    PointField(name=name, offset=POINT.fields[name][1], datatype=datatype, count=1)
    for name, datatype in [
        ("x", PointField.FLOAT32),
        ("y", PointField.FLOAT32),
        ("z", PointField.FLOAT32),
        ("rgb", PointField.FLOAT32),
        ("instance_id", PointField.UINT16),
        ("confidence", PointField.FLOAT32),
    ]
]
FIELD_DTYPES = {
    PointField.INT8: "i1", PointField.UINT8: "u1", PointField.INT16: "i2", PointField.UINT16: "u2",
    PointField.INT32: "i4", PointField.UINT32: "u4", PointField.FLOAT32: "f4", PointField.FLOAT64: "f8",
}  # fmt: skip
Member = TypeVar("Member", bound=IntEnum)


def metric_frame(world_frame: str, scale: results.ScaleState) -> str:
    """The frame for lengths of this scale: what is not known in metres never goes into a metric frame."""
    return f"{world_frame}_unscaled" if scale.status == results.ScaleStatus.UNKNOWN else world_frame


def _member(kind: type[Member], number: int) -> Member:
    try:
        return kind(number)
    except ValueError as error:
        raise BadInput(
            f"{kind.__name__}: expected a number from 0 to {len(kind) - 1}, got {number}; is the sender a newer geoseg?"
        ) from error


# Masks


def view_masks_to_msg(masks: results.ViewMasks, view: View) -> msg.ViewMasks:
    height, width = view.size
    return msg.ViewMasks(
        header=header_to_msg(view.stamp_ns, view.frame_id),
        camera=masks.camera,
        height=height,
        width=width,
        masks=[_mask_to_msg(each) for each in masks.masks],
    )


def _mask_to_msg(each: results.ObjectMask) -> msg.ObjectMask:
    return msg.ObjectMask(
        object_id=int(each.object_id),
        label=each.label,
        score=float(each.score),
        visibility=int(each.visibility),
        agreement=int(each.agreement),
        box=_box_to_msg(each.mask),
        counts=packed(encode_mask(each.mask), "I"),
    )


def _box_to_msg(mask: np.ndarray) -> RegionOfInterest:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return RegionOfInterest()
    left, top = int(columns[0]), int(rows[0])
    return RegionOfInterest(
        x_offset=left, y_offset=top, width=int(columns[-1]) + 1 - left, height=int(rows[-1]) + 1 - top
    )


MASKS_PIXELS_MAX = 2**30  # of all masks of one message, a byte each


def masks_to_msg(result: results.SceneResult, world_frame: str, method: str) -> msg.CrossViewMasks:
    frames = result.frames
    return msg.CrossViewMasks(
        header=header_to_msg(frames.stamp_ns, world_frame),
        method=method,
        cameras=list(frames.cameras),
        missing_cameras=list(frames.missing),
        views=[view_masks_to_msg(each, frames.views[frames.index(each.camera)]) for each in result.masks],
    )


def masks_from_msg(
    message: msg.CrossViewMasks | msg.PromptMasks | msg.ViewMasks,
) -> dict[str, dict[int, results.ObjectMask]]:
    """masks[camera][object_id], each with `.mask` (H, W) bool, `.score`, `.visibility`, `.label` and `.agreement`.

    Raises:
        BadInput: run lengths that do not fill the image, a visibility or agreement that nobody knows, or masks that
            are too large, one by one or together.
    """
    views = [message] if isinstance(message, msg.ViewMasks) else message.views
    _check_pixels([view for view in views if view.masks])
    return {view.camera: {each.object_id: _mask_from_msg(each, view) for each in view.masks} for view in views}


def _check_pixels(views: list[msg.ViewMasks]) -> None:
    for view in views:
        if not 0 < view.height * view.width <= MAX_PIXELS:
            raise BadInput(f"masks: expected 1 to {MAX_PIXELS} pixels, got {view.width}x{view.height}")
    pixels = sum(len(view.masks) * view.height * view.width for view in views)
    if pixels > MASKS_PIXELS_MAX:
        raise BadInput(
            f"masks: expected at most {MASKS_PIXELS_MAX} pixels in all masks of a message, got {pixels}; if they are "
            "meant, decode its views one by one"
        )


def _mask_from_msg(each: msg.ObjectMask, view: msg.ViewMasks) -> results.ObjectMask:
    mask = decode_mask(np.frombuffer(each.counts, np.uint32), view.height, view.width)
    visibility, agreement = _member(results.Visibility, each.visibility), _member(results.Agreement, each.agreement)
    return results.ObjectMask(each.object_id, mask, each.score, visibility, each.label, agreement)


# Clouds and instances


def cloud_to_msg(cloud: results.LabelledCloud, header: Header) -> PointCloud2:
    """x y z rgb instance_id confidence, one row; infinite coordinates become NaN."""
    points = np.zeros(len(cloud.xyz), POINT)
    finite = np.isfinite(cloud.xyz)
    is_dense = bool(finite.all())
    xyz = cloud.xyz if is_dense else np.where(finite, cloud.xyz, np.nan)
    for axis, name in enumerate("xyz"):
        points[name] = xyz[:, axis]
    red, green, blue = cloud.rgb.astype(np.uint32).T
    points["rgb"] = red << 16 | green << 8 | blue
    points["instance_id"] = cloud.instance_id
    points["confidence"] = cloud.confidence
    return PointCloud2(
        header=header, height=1, width=len(points), fields=POINT_FIELDS, point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(points), data=packed(points.view(np.uint8)), is_dense=is_dense,
    )  # fmt: skip


def cloud_from_msg(message: PointCloud2 | msg.InstanceCloud | msg.PromptMasks) -> results.LabelledCloud:
    """The labelled points of a cloud, of an InstanceCloud or of a PromptMasks; other fields are passed over.

    Raises:
        BadInput: a field is missing, or the sizes do not agree with the data.
    """
    cloud = message if isinstance(message, PointCloud2) else message.cloud
    order = ">" if cloud.is_bigendian else "<"
    known = {each.name: each for each in cloud.fields if each.datatype in FIELD_DTYPES}
    missing = [name for name in POINT.names if name not in known]
    if missing:
        raise BadInput(f"cloud: expected the fields {list(POINT.names)}, got none named {missing}")
    formats = [order + FIELD_DTYPES[known[name].datatype] for name in POINT.names]
    formats[POINT.names.index("rgb")] = order + "u4"
    offsets = [known[name].offset for name in POINT.names]
    ends = [offset + np.dtype(each).itemsize for offset, each in zip(offsets, formats, strict=True)]
    honest = cloud.row_step == cloud.point_step * cloud.width and len(cloud.data) == cloud.row_step * cloud.height
    if not honest or max(ends) > cloud.point_step:
        raise BadInput(f"cloud: expected {cloud.height} rows of {cloud.row_step} bytes, got {len(cloud.data)} bytes")
    layout = {"names": POINT.names, "formats": formats, "offsets": offsets, "itemsize": cloud.point_step}
    points = np.frombuffer(cloud.data, np.dtype(layout))
    rgb = points["rgb"].astype(np.uint32)
    return results.LabelledCloud(
        np.stack([points[axis] for axis in "xyz"], axis=-1).astype(np.float32),
        np.stack([rgb >> 16 & 255, rgb >> 8 & 255, rgb & 255], axis=-1).astype(np.uint8),
        points["instance_id"].astype(np.uint16),
        points["confidence"].astype(np.float32),
    )


def scale_to_msg(scale: results.ScaleState) -> msg.ScaleState:
    return msg.ScaleState(
        state=int(scale.status), source=scale.source, standard_deviation=float(scale.standard_deviation)
    )


def scale_from_msg(scale: msg.ScaleState) -> results.ScaleState:
    """How far the unit of length can be trusted.

    Raises:
        BadInput: a state that nobody knows.
    """
    return results.ScaleState(_member(results.ScaleStatus, scale.state), scale.source, scale.standard_deviation)


def instance_to_msg(each: results.Instance) -> msg.Instance:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = each.box.rotation, each.box.centre
    (x, y, z), quaternion = (part.tolist() for part in pose_parts(pose))
    qx, qy, qz, qw = quaternion
    return msg.Instance(
        id=int(each.instance_id),
        class_name=each.class_name,
        class_score=float(each.class_score),
        score=float(each.score),
        centroid=Point(**dict(zip("xyz", map(float, each.centroid), strict=True))),
        centroid_covariance=np.asarray(each.centroid_covariance, np.float64).ravel(),
        box_pose=Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw)),
        box_size=Vector3(**dict(zip("xyz", map(float, each.box.size), strict=True))),
        point_count=int(each.point_count),
        first_seen=time_to_msg(each.first_seen_ns),
        last_seen=time_to_msg(each.last_seen_ns),
        seen_by=list(each.seen_by),
    )


def instance_from_msg(each: msg.Instance) -> results.Instance:
    """The instance; lengths in metres, in the frame of the message that it came with."""
    position, turn = each.box_pose.position, each.box_pose.orientation
    pose = pose_matrix((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
    size = np.array([each.box_size.x, each.box_size.y, each.box_size.z])
    return results.Instance(
        each.id,
        np.array([each.centroid.x, each.centroid.y, each.centroid.z]),
        np.asarray(each.centroid_covariance, np.float64).reshape(3, 3),
        results.OrientedBox(pose[:3, 3], pose[:3, :3], size),
        each.point_count,
        each.score,
        time_from_msg(each.first_seen),
        time_from_msg(each.last_seen),
        tuple(each.seen_by),
        each.class_name,
        each.class_score,
    )


def instances_to_msg(
    found: results.InstanceResult, frames: FrameSet, world_frame: str, method: str
) -> msg.InstanceCloud:
    header = header_to_msg(frames.stamp_ns, metric_frame(world_frame, found.scale))
    return msg.InstanceCloud(
        header=header,
        method=method,
        cameras=list(frames.cameras),
        missing_cameras=list(frames.missing),
        scale=scale_to_msg(found.scale),
        cloud=cloud_to_msg(found.cloud, header),
        instances=[instance_to_msg(each) for each in found.instances],
    )


def instances_from_msg(message: msg.InstanceCloud) -> dict[int, results.Instance]:
    """instances[id], hidden ones included (their `seen_by` is empty)."""
    return {each.id: instance_from_msg(each) for each in message.instances}


# Prompts, their answers, and events


def prompt_to_msg(prompt: Prompt, object_id: int = 0, label: str = "", request_id: str = "") -> msg.Prompt:
    message = msg.Prompt(
        request_id=request_id, camera=prompt.camera, object_id=object_id, label=label, text=prompt.text
    )
    message.points_px = packed(np.asarray(prompt.points_px, np.float32), "f")
    message.point_labels = packed(np.asarray(prompt.positive, np.uint8))
    if prompt.box_px is not None:
        message.box_px = packed(np.asarray(prompt.box_px, np.float32), "f")
    if prompt.mask is not None:
        message.mask = image_to_msg(prompt.mask.astype(np.uint8) * 255, "mono8", Header())
    return message


def prompt_from_msg(message: msg.Prompt) -> Prompt:
    """The prompt; Prompt.check then compares it with the view.

    Raises:
        BadInput: coordinates, labels or mask that do not fit together.
    """
    coordinates, count = message.points_px, len(message.point_labels)
    if len(coordinates) != 2 * count or count > MAX_POINTS:
        raise BadInput(
            f"prompt: expected u v for each of at most {MAX_POINTS} point labels, got {len(coordinates)} numbers "
            f"for {count} labels"
        )
    for name in ("label", "request_id"):  # which go into answers and masks
        if len(getattr(message, name)) > MAX_CHARACTERS:
            got = len(getattr(message, name))
            raise BadInput(f"prompt {name}: expected at most {MAX_CHARACTERS} characters, got {got}")
    if len(message.box_px) not in (0, 4):
        raise BadInput(f"prompt box: expected u_min v_min u_max v_max or nothing, got {len(message.box_px)} numbers")
    return Prompt(
        message.camera,
        np.array(coordinates, np.float64).reshape(-1, 2),
        np.array(message.point_labels, np.uint8) > 0,
        np.array(message.box_px, np.float64) if len(message.box_px) else None,
        _prompt_mask(message.mask),
        message.text,
    )


def _prompt_mask(image: Image) -> np.ndarray | None:
    if not (image.height or image.width or len(image.data)):
        return None
    pixels = image_from_msg(image)
    if pixels.ndim != 2:
        raise BadInput(f"prompt mask: expected mono8, got {image.encoding!r:.80}")
    return pixels > 0


@dataclass(frozen=True, eq=False)
class PromptAnswer:
    """A decoded PromptMasks: masks[camera] of the object, its points, and its instance (None without 3-D)."""

    object_id: int
    masks: dict[str, results.ObjectMask]
    cloud: results.LabelledCloud
    instance: results.Instance | None
    scale: results.ScaleState


def prompt_result_to_msg(
    result: results.PromptResult, world_frame: str, method: str, request_id: str = ""
) -> msg.PromptMasks:
    frames = result.frames
    header = header_to_msg(frames.stamp_ns, metric_frame(world_frame, result.scale))
    return msg.PromptMasks(
        header=header,
        request_id=request_id,
        object_id=int(result.object_id),
        method=method,
        cameras=list(frames.cameras),
        missing_cameras=list(frames.missing),
        views=[view_masks_to_msg(each, frames.views[frames.index(each.camera)]) for each in result.views],
        scale=scale_to_msg(result.scale),
        has_instance=result.instance is not None,
        instance=msg.Instance() if result.instance is None else instance_to_msg(result.instance),
        cloud=cloud_to_msg(result.cloud, header),
    )


def prompt_result_from_msg(message: msg.PromptMasks) -> PromptAnswer:
    """What a prompt was answered with.

    Raises:
        BadInput: the prompt was refused; the message says why. Or the answer is damaged.
    """
    if message.error:
        raise BadInput(message.error)
    masks = {camera: next(iter(each.values())) for camera, each in masks_from_msg(message).items() if each}
    instance = instance_from_msg(message.instance) if message.has_instance else None
    return PromptAnswer(message.object_id, masks, cloud_from_msg(message), instance, scale_from_msg(message.scale))


def event_to_msg(event: results.ObjectEvent, world_frame: str) -> msg.ObjectEvent:
    return msg.ObjectEvent(
        header=header_to_msg(event.stamp_ns, world_frame),
        kind=int(event.kind),
        object_id=int(event.object_id),
        related_ids=[int(each) for each in event.related_ids],
        reason=event.reason,
    )


def event_from_msg(message: msg.ObjectEvent) -> results.ObjectEvent:
    """What happened to an object's identity.

    Raises:
        BadInput: a kind that nobody knows.
    """
    stamp_ns = time_from_msg(message.header.stamp)
    kind = _member(results.EventKind, message.kind)
    return results.ObjectEvent(kind, message.object_id, stamp_ns, message.reason, tuple(message.related_ids))
