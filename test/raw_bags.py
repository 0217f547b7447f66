"""Small bags for tests: drawn scenes through the writer, and any messages through the library."""

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from geoseg_core.datasets.bag_writer import BagWriter, header, message_types
from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.geometry.transforms import pose_matrix
from geoseg_core.views import FrameSet, View

HEIGHT, WIDTH = 24, 32
START_NS = 1_000_000_000
PERIOD_NS = 100_000_000
OBJECTS = (TruthObject(1, "mug", "mug"), TruthObject(300, "table", "table", "support"))
INTRINSICS = np.array([[40.0, 0, 15.5], [0, 40.0, 11.5], [0, 0, 1]])


def labelled_set(index: int, cameras: tuple[str, ...] = ("ego", "exo")) -> LabelledSet:
    """Set number `index`: smooth colours, tilted depth, a square label that moves."""
    views, labels = [], {}
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
    for number, camera in enumerate(cameras):
        image = np.stack([row * 8, column * 6, np.full_like(row, 40 * number + 2 * index)], axis=-1).astype(np.uint8)
        pose = pose_matrix((0.1 * number, 0.0 if number else 0.01 * index, 1.0), (0.0, 0.6, 0.0, 0.8))
        depth_m = (0.5 + 0.013 * row + 0.0071 * column).astype(np.float32)
        depth_m[0, 0] = 0
        stamp_ns = START_NS + index * PERIOD_NS
        views.append(View(camera, image, stamp_ns, INTRINSICS, pose, depth_m, f"{camera}_optical_frame"))
        labels[camera] = np.where((row > 4) & (row < 12) & (column > 4 + index) & (column < 14 + index), 1, 0)
        labels[camera][-3:] = 300
        labels[camera] = labels[camera].astype(np.uint16)
    return LabelledSet(FrameSet(tuple(views)), labels)


def write_bag(path: Path, count: int = 5, **options: object) -> list[LabelledSet]:
    """A bag of `count` sets in the folder `path`; returned is what went in."""
    sets = [labelled_set(index) for index in range(count)]
    with BagWriter(path, OBJECTS, ("exo",), **options) as writer:
        for each in sets:
            writer.write(each)
    return sets


class RawBag:
    """Any messages, given as fields, into a rosbag2 folder."""

    def __init__(self, path: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> None:
        self._writer = Writer(path, version=9, storage_plugin=storage)
        self._writer.open()
        self._connections: dict[str, object] = {}

    def put(self, topic: str, type_name: str, received_ns: int, **fields: object) -> None:
        store = message_types()
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, type_name, typestore=store)
        data = store.serialize_cdr(store.types[type_name](**fields), type_name)
        self._writer.write(self._connections[topic], received_ns, data)

    def put_image(self, topic: str, frame_id: str, stamp_ns: int, pixels: np.ndarray, encoding: str) -> None:
        height, width = pixels.shape[:2]
        self.put(
            topic, "sensor_msgs/msg/Image", stamp_ns, header=header(frame_id, stamp_ns), height=height, width=width,
            encoding=encoding, is_bigendian=0, step=pixels.strides[0], data=pixels.view(np.uint8).ravel(),
        )  # fmt: skip

    def put_info(self, camera: str, stamp_ns: int, k: np.ndarray, p: np.ndarray | None = None) -> None:
        region = message_types().types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        self.put(
            f"/{camera}/camera_info", "sensor_msgs/msg/CameraInfo", stamp_ns,
            header=header(f"{camera}_optical_frame", stamp_ns), height=HEIGHT, width=WIDTH, distortion_model="",
            d=np.zeros(0), k=np.asarray(k, float).ravel(), r=np.eye(3).ravel(),
            p=np.zeros(12) if p is None else np.asarray(p, float).ravel(), binning_x=0, binning_y=0, roi=region,
        )  # fmt: skip

    def put_transform(self, topic: str, parent: str, child: str, stamp_ns: int, xyz: tuple, xyzw: tuple) -> None:
        types = message_types().types
        transform = types["geometry_msgs/msg/TransformStamped"](
            header(parent, stamp_ns),
            child,
            types["geometry_msgs/msg/Transform"](
                types["geometry_msgs/msg/Vector3"](*xyz), types["geometry_msgs/msg/Quaternion"](*xyzw)
            ),
        )
        self.put(topic, "tf2_msgs/msg/TFMessage", stamp_ns, transforms=[transform])

    def close(self) -> None:
        self._writer.close()
