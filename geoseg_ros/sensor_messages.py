"""Images, camera_info, tf and stamps to arrays and numbers, and back."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from geoseg_core.errors import BadInput
from geoseg_core.geometry.transforms import pose_matrix
from geoseg_core.imaging import ENCODINGS, MAX_PIXELS, decode_compressed, decode_image


def packed(values: np.ndarray, typecode: str = "B") -> array:
    """A message's array field from the memory of an array: the only quick way to fill one."""
    filled = array(typecode)
    filled.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return filled


def time_to_msg(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def time_from_msg(stamp: Time) -> int:
    """Nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def header_to_msg(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=time_to_msg(stamp_ns), frame_id=frame_id)


def image_from_msg(image: Image | CompressedImage, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels as decode_image and decode_compressed give them; shares the message's memory where possible.

    Raises:
        BadInput: the message lies about itself, or nobody here knows its encoding.
    """
    if isinstance(image, CompressedImage):
        return decode_compressed(image.data, image.format, max_pixels)
    arguments = (image.data, image.height, image.width, image.encoding, image.step, bool(image.is_bigendian))
    if image.encoding in ENCODINGS:
        return decode_image(*arguments, max_pixels)
    bridge = _cv_bridge()
    if bridge is None:
        return decode_image(*arguments, max_pixels)
    if not 0 < image.height * image.width <= max_pixels or len(image.data) != image.height * image.step:
        raise BadInput(f"image data: expected height * step, at most {max_pixels} pixels, got {len(image.data)} bytes")
    try:
        return bridge.imgmsg_to_cv2(image, "rgb8")
    except (bridge.error, ValueError, TypeError) as error:
        raise BadInput(f"image encoding {image.encoding!r:.80}: cv_bridge refused it: {error}") from error


def _cv_bridge() -> Any:
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError:
        return None
    bridge = CvBridge()
    bridge.error = CvBridgeError
    return bridge


def image_to_msg(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Image of (H, W) or (H, W, C) pixels whose type is the encoding's own (rgb8, mono8, 16UC1, 32FC1, ...).

    Raises:
        BadInput: the array does not have the encoding's type.
    """
    known = ENCODINGS.get(encoding)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if known is None or pixels.dtype != np.dtype(known.dtype) or channels != known.channels:
        raise BadInput(f"image: expected pixels of {encoding}, got {pixels.dtype} of shape {pixels.shape}")
    height, width = pixels.shape[:2]
    step = width * channels * pixels.dtype.itemsize
    return Image(header=header, height=height, width=width, encoding=encoding, step=step, data=packed(pixels))


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a CameraInfo says: intrinsics (3, 3) float64; size (height, width), (0, 0) where it does not say."""

    intrinsics: np.ndarray
    size: tuple[int, int]
    frame_id: str


def calibration_from_msg(info: CameraInfo) -> Calibration:
    """The left 3x3 of P where P[0] is not zero, else K.

    Raises:
        BadInput: numbers that are not finite, or focal lengths that are not positive.
    """
    projection, camera = np.asarray(info.p, np.float64).reshape(3, 4), np.asarray(info.k, np.float64).reshape(3, 3)
    intrinsics = projection[:, :3] if projection[0, 0] != 0 else camera
    usable = np.isfinite(intrinsics).all() and intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0 and intrinsics[2, 2] == 1
    if not usable:
        raise BadInput(f"camera_info: expected finite P or K with focal lengths above 0, got {intrinsics.tolist()}")
    return Calibration(intrinsics.copy(), (info.height, info.width), info.header.frame_id.lstrip("/"))


def calibration_to_msg(intrinsics: np.ndarray, size: tuple[int, int], header: Header) -> CameraInfo:
    info = CameraInfo(header=header, height=size[0], width=size[1], distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = np.asarray(intrinsics, np.float64).ravel()
    info.r = np.eye(3).ravel()
    info.p = np.hstack([intrinsics, np.zeros((3, 1))]).ravel()
    return info


@dataclass(frozen=True, eq=False)
class StampedPose:
    """One transform of a TFMessage: child_to_parent (4, 4)."""

    parent: str
    child: str
    stamp_ns: int
    child_to_parent: np.ndarray


def poses_from_msg(message: TFMessage) -> Iterator[StampedPose]:
    """The transforms one by one.

    Raises:
        BadInput: numbers that are not finite or a zero quaternion; those before it were given.
    """
    for each in message.transforms:
        place, turn = each.transform.translation, each.transform.rotation
        matrix = pose_matrix((place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))
        yield StampedPose(each.header.frame_id, each.child_frame_id, time_from_msg(each.header.stamp), matrix)
