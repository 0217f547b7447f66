"""BagWriter: labelled frame sets into a rosbag2 folder (MCAP) of the documented format, images compressed."""

import struct
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.rosbag2.enums import CompressionFormat
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from geoseg_core.datasets.bag_format import CAMERA_INFO, LATCHED, OBJECTS, TF, TF_STATIC, objects_to_json
from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.errors import BadInput
from geoseg_core.geometry.transforms import pose_parts
from geoseg_core.views import View

BAG_VERSION: Final = 9  # as ROS 2 Jazzy writes it
FOREVER = QosTime(9223372036, 854775807)
DEPTH_HEADER = struct.pack("<iff", 0, 0.0, 0.0)  # of compressed_depth_image_transport; unused for 16UC1
BEST_PNG_LEVEL = 9


@cache
def message_types() -> Typestore:
    """The message types of ROS 2 Jazzy."""
    return get_typestore(Stores.ROS2_JAZZY)


def open_bag(path: str | Path) -> Writer:
    """A new rosbag2 folder with zstd-compressed MCAP chunks, open for writing.

    Raises:
        BadInput: the path is taken, or cannot be written.
    """
    try:
        writer = Writer(Path(path), version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        writer.open()
    except (WriterError, OSError) as error:
        raise BadInput(f"bag {path}: expected a new folder that can be written, got: {error}") from error
    return writer


def add_topic(writer: Writer, topic: str, type_name: str) -> Connection:
    """Announce a topic with the QoS that a player should offer: reliable, latched where the topic is."""
    durability = QosDurability.TRANSIENT_LOCAL if topic in LATCHED else QosDurability.VOLATILE
    qos = Qos(
        QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, durability, FOREVER, FOREVER,
        QosLiveliness.AUTOMATIC, FOREVER, False,
    )  # fmt: skip
    return writer.add_connection(topic, type_name, typestore=message_types(), offered_qos_profiles=[qos])


class BagWriter:
    """Writes frame sets as three compressed images a camera with camera_info, transforms and ground truth.

    Args:
        path: the folder to make; it must not exist.
        static_cameras: cameras that do not move; their poses go to /tf_static once.
        jpeg_quality: 1 to 100.
        depth_limit_m: depth beyond this is written as 0 (not measured), as a depth camera of that range does.
        depth_step_mm: depth is rounded to multiples of this; 2 makes PNGs an eighth smaller than 1.
    """

    def __init__(
        self,
        path: str | Path,
        objects: tuple[TruthObject, ...] = (),
        static_cameras: tuple[str, ...] = (),
        world_frame: str = "world",
        jpeg_quality: int = 90,
        depth_limit_m: float = 65.0,
        depth_step_mm: int = 1,
    ) -> None:
        self._objects = objects
        self._static_cameras = static_cameras
        self._world_frame = world_frame
        self._jpeg_quality = jpeg_quality
        self._depth_limit_m = depth_limit_m
        self._depth_step_mm = depth_step_mm
        self._connections: dict[str, Connection] = {}
        self._writer = open_bag(path)

    def write(self, labelled: LabelledSet) -> None:
        """Append one set; its messages are received, as it were, at the set's stamp."""
        frames = labelled.frames
        first = not self._connections
        if first and self._objects:
            text = {"data": objects_to_json(self._objects)}
            self._put(OBJECTS, "std_msgs/msg/String", text, frames.stamp_ns)
        self._put_transforms([view for view in frames.views if view.camera not in self._static_cameras], TF)
        if first:
            self._put_transforms([view for view in frames.views if view.camera in self._static_cameras], TF_STATIC)
        for view in frames.views:
            self._put_view(view, labelled.labels.get(view.camera))

    def close(self) -> None:
        """Finish the file and write metadata.yaml."""
        self._writer.close()

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put_view(self, view: View, labels: np.ndarray | None) -> None:
        self._put_image(view, "image/compressed", "jpeg", encode_jpeg(view.image, self._jpeg_quality))
        if view.intrinsics is not None:
            self._put(f"/{view.camera}/{CAMERA_INFO}", "sensor_msgs/msg/CameraInfo", camera_info(view), view.stamp_ns)
        if view.depth_m is not None:
            depth = encode_depth(view.depth_m, self._depth_limit_m, self._depth_step_mm)
            self._put_image(view, "depth/compressedDepth", "16UC1; compressedDepth png", depth)
        if labels is not None:
            self._put_image(view, "ground_truth/labels/compressed", "png", encode_labels(labels))

    def _put_image(self, view: View, suffix: str, form: str, data: np.ndarray) -> None:
        fields = {"header": header(view.frame_id, view.stamp_ns), "format": form, "data": data}
        self._put(f"/{view.camera}/{suffix}", "sensor_msgs/msg/CompressedImage", fields, view.stamp_ns)

    def _put_transforms(self, views: list[View], topic: str) -> None:
        transforms = [self._transform(view) for view in views if view.camera_to_world is not None]
        if transforms:
            self._put(topic, "tf2_msgs/msg/TFMessage", {"transforms": transforms}, views[0].stamp_ns)

    def _transform(self, view: View) -> Any:
        assert view.camera_to_world is not None
        types = message_types().types
        (x, y, z), quaternion = pose_parts(view.camera_to_world)
        return types["geometry_msgs/msg/TransformStamped"](
            header=header(self._world_frame, view.stamp_ns),
            child_frame_id=view.frame_id,
            transform=types["geometry_msgs/msg/Transform"](
                translation=types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z),
                rotation=types["geometry_msgs/msg/Quaternion"](**dict(zip("xyzw", quaternion, strict=True))),
            ),
        )

    def _put(self, topic: str, type_name: str, fields: dict[str, Any], stamp_ns: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = add_topic(self._writer, topic, type_name)
        message = message_types().types[type_name](**fields)
        data = message_types().serialize_cdr(message, type_name)
        self._writer.write(self._connections[topic], stamp_ns, data)


def encode_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """JPEG bytes (N,) uint8 of an RGB image (H, W, 3) uint8."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1]


def encode_depth(
    depth_m: np.ndarray, limit_m: float = 65.0, step_mm: int = 1, png_level: int = BEST_PNG_LEVEL
) -> np.ndarray:
    """compressedDepth bytes (N,) uint8 of depth (H, W) in metres: header and PNG of whole millimetres."""
    usable = (depth_m > 0) & (depth_m <= min(limit_m, 65.0))
    millimetres = np.where(usable, np.round(depth_m * (1000.0 / step_mm)) * step_mm, 0).astype(np.uint16)
    # differences from row to row pack best on planes, plain values on labels
    png = _encode_png(millimetres, cv2.IMWRITE_PNG_FILTER_UP, png_level)
    return np.concatenate([np.frombuffer(DEPTH_HEADER, np.uint8), png])


def encode_labels(labels: np.ndarray, png_level: int = BEST_PNG_LEVEL) -> np.ndarray:
    """PNG bytes (N,) uint8 of label numbers (H, W), 8 bits deep where they fit."""
    numbers = labels.astype(np.uint8 if labels.max() < 256 else np.uint16)
    return _encode_png(numbers, cv2.IMWRITE_PNG_FILTER_NONE, png_level)


def _encode_png(pixels: np.ndarray, row_filter: int, level: int) -> np.ndarray:
    flags = (cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
             cv2.IMWRITE_PNG_FILTER, row_filter)  # fmt: skip
    return cv2.imencode(".png", pixels, flags)[1]


def header(frame_id: str, stamp_ns: int) -> Any:
    """std_msgs/Header."""
    types = message_types().types
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    return types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds), frame_id=frame_id
    )


def camera_info(view: View) -> dict[str, Any]:
    """Fields of sensor_msgs/CameraInfo for an undistorted view."""
    assert view.intrinsics is not None
    height, width = view.size
    region = message_types().types["sensor_msgs/msg/RegionOfInterest"]
    projection = np.hstack([view.intrinsics, np.zeros((3, 1))])
    return {
        "header": header(view.frame_id, view.stamp_ns), "height": height, "width": width,
        "distortion_model": "plumb_bob", "d": np.zeros(5), "k": view.intrinsics.ravel(), "r": np.eye(3).ravel(),
        "p": projection.ravel(), "binning_x": 0, "binning_y": 0,
        "roi": region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }  # fmt: skip
