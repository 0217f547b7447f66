"""BagSequence: a bag of the documented format as labelled frame sets, grouped as the live node groups them."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg_core.datasets.bag_file import BagFile, BagMessage
from geoseg_core.datasets.bag_format import (
    CAMERA_INFO,
    OBJECTS,
    SUFFIXES,
    TF,
    TF_STATIC,
    find_cameras,
    objects_from_json,
)
from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.errors import BadInput, TransformError
from geoseg_core.geometry.transforms import TransformTree, pose_matrix
from geoseg_core.imaging import decode_compressed, decode_image, to_depth_m, to_rgb
from geoseg_core.synchronizer import SyncedSet, Synchronizer, SynchronizerConfig
from geoseg_core.views import FrameSet, View

__all__ = ["BagSequence", "LabelledSet", "TruthObject"]

COMPRESSED = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = ("sensor_msgs/msg/Image", COMPRESSED)
LABEL_LEAD_NS = 2_000_000_000  # labels may have been recorded this much before or after their image
ENDLESS_NS = 2**62


@dataclass(frozen=True, eq=False)
class Calibration:
    """What camera_info said from a stamp on."""

    stamp_ns: int
    intrinsics: np.ndarray
    frame_id: str


@dataclass(frozen=True, eq=False)
class SetReference:
    """Where the messages of one set stand: (camera, kind) to time of reception and stamp; kind is "image", "depth" or
    "labels". `missing` names the cameras that took no part."""

    stamp_ns: int
    places: dict[tuple[str, str], tuple[int, int]]
    missing: tuple[str, ...]


class BagSequence:
    """The sets of a bag in time order, read and decoded one by one while it is iterated.

    Args:
        path: an .mcap file or a rosbag2 folder (MCAP or SQLite3).
        cameras: names in the order of the sets, ego first; by default all that have camera_info and images.
        world_frame: frame of the poses; where the bag has no such frame, the root of its transforms is taken.
        config: how streams are grouped.

    Attributes:
        cameras, objects, world_frame: what is in the bag; `objects` is empty where it has no ground truth.
        counts: of the last iteration: sets, partial_sets, sets_without_pose (left out, since a calibrated camera had
            no transform at that time), dropped_messages.

    Raises:
        BadInput: the bag is missing, damaged, or lacks what the format asks for.
    """

    def __init__(
        self,
        path: str | Path,
        cameras: Sequence[str] = (),
        world_frame: str = "world",
        config: SynchronizerConfig | None = None,
    ) -> None:
        self.path = Path(path)
        self.counts: Counter[str] = Counter()
        self._config = config or SynchronizerConfig()
        with BagFile(path) as bag:
            self._streams = _find_streams(bag, tuple(cameras))
            self.cameras: tuple[str, ...] = tuple(self._streams)
            self.objects = _read_objects(bag)
            self._tree, frames = _read_transforms(bag)
            self._calibrations = {camera: _read_calibrations(bag, camera) for camera in self.cameras}
        self.world_frame = world_frame if world_frame in frames or not frames else _root(frames)

    def __iter__(self) -> Iterator[LabelledSet]:
        with _LabelReader(self.path, self._streams) as labels:
            for group, received_ns in self._groups():
                yield from self._labelled(group, labels, received_ns)

    def references(self) -> list[SetReference]:
        """Where each set stands in the bag, without decoding a pixel; `read` takes one of them. Sets at whose time a
        calibrated camera has no pose are left out.

        Raises:
            BadInput: the bag is damaged.
        """
        labels = self._label_times()
        found = []
        for group, _ in self._groups():
            places = {
                (camera, kind): (message.received_ns, _stamp_ns(image))
                for camera, items in group.items.items()
                for kind, (message, image) in items.items()
            }
            for camera in group.items:
                stamp_ns = places[camera, "image"][1]
                if (camera, stamp_ns) in labels:
                    places[camera, "labels"] = (labels[camera, stamp_ns], stamp_ns)
            try:
                for camera, items in group.items.items():
                    self._pose(self._frame_id(camera, items["image"][1]), places[camera, "image"][1])
            except TransformError:
                self.counts["sets_without_pose"] += 1
                continue
            found.append(SetReference(group.stamp_ns, places, group.missing))
        return found

    def read(self, reference: SetReference) -> LabelledSet:
        """One set, found and decoded without reading the rest of the bag.

        Raises:
            BadInput: the bag is damaged, or is not the one that the reference is of.
        """
        with BagFile(self.path) as bag:
            items: dict[str, dict[str, Any]] = {}
            for (camera, kind), (received_ns, stamp_ns) in reference.places.items():
                entry = _message_at(bag, self._streams[camera][kind], received_ns, stamp_ns)
                items.setdefault(camera, {})[kind] = entry
        views = tuple(self._view(camera, found) for camera, found in items.items())
        entries = {view: items[view.camera]["labels"] for view in views if "labels" in items[view.camera]}
        labels = {view.camera: _label_pixels(message, image, view.size) for view, (message, image) in entries.items()}
        return LabelledSet(FrameSet(views, reference.missing), labels)

    def _groups(self) -> Iterator[tuple[SyncedSet, int]]:
        """Sets of undecoded images, each with the time of reception that the walk through the bag has come to."""
        self.counts = Counter()
        kinds = {camera: tuple(kind for kind in found if kind != "labels") for camera, found in self._streams.items()}
        synchronizer = Synchronizer(kinds, self._config)
        topics = {
            topic: (camera, kind)
            for camera, found in self._streams.items()
            for kind, topic in found.items()
            if kind != "labels"
        }
        now_ns = 0
        with BagFile(self.path) as bag:
            for message in bag.messages(topics):
                image = bag.decode(message, *IMAGE_TYPES)
                camera, kind = topics[message.topic]
                stamp_ns = _stamp_ns(image)
                # waiting is measured in stamps: how slow the simulator or the recorder was shall not matter
                now_ns = max(now_ns, stamp_ns)
                for group in synchronizer.add(camera, kind, stamp_ns, (message, image), now_ns):
                    yield group, message.received_ns
            for group in synchronizer.finish():
                yield group, ENDLESS_NS
        self.counts["dropped_messages"] = sum(synchronizer.counts.dropped.values())

    def _label_times(self) -> dict[tuple[str, int], int]:
        """When the labels of each camera and stamp were received."""
        camera_of = {found["labels"]: camera for camera, found in self._streams.items() if "labels" in found}
        with BagFile(self.path) as bag:
            return {
                (camera_of[message.topic], _stamp_ns(bag.decode(message, *IMAGE_TYPES))): message.received_ns
                for message in bag.messages(camera_of)
            }

    def _labelled(self, group: SyncedSet, labels: "_LabelReader", received_ns: int) -> Iterator[LabelledSet]:
        """Decode a set; none where the pose of a calibrated camera is unknown at its time."""
        labels.advance(received_ns + LABEL_LEAD_NS)
        try:
            views = tuple(self._view(camera, items) for camera, items in group.items.items())
        except TransformError:
            self.counts["sets_without_pose"] += 1
            return
        found = ((view.camera, labels.take(view)) for view in views)
        self.counts["sets"] += 1
        self.counts["partial_sets"] += bool(group.missing)
        known = {camera: pixels for camera, pixels in found if pixels is not None}
        yield LabelledSet(FrameSet(views, group.missing), known)

    def _view(self, camera: str, items: dict[str, Any]) -> View:
        message, image = items["image"]
        stamp_ns = _stamp_ns(image)
        calibration = _calibration_at(self._calibrations[camera], stamp_ns)
        frame_id = self._frame_id(camera, image)
        depth_m = to_depth_m(_pixels(*items["depth"])) if "depth" in items else None
        pixels = to_rgb(_pixels(message, image))
        pose = self._pose(frame_id, stamp_ns)
        return View(camera, pixels, stamp_ns, calibration.intrinsics, pose, depth_m, frame_id)

    def _frame_id(self, camera: str, image: Any) -> str:
        calibration = _calibration_at(self._calibrations[camera], _stamp_ns(image))
        return str(image.header.frame_id or calibration.frame_id)

    def _pose(self, frame_id: str, stamp_ns: int) -> np.ndarray | None:
        """camera_to_world; None where no chain of transforms leads there at any time (an uncalibrated camera)."""
        try:
            self._tree.is_static(self.world_frame, frame_id)
        except TransformError:
            return None
        return self._tree.lookup(self.world_frame, frame_id, stamp_ns)


class _LabelReader:
    """Label images by camera and exact stamp: a second walk through the bag, a little ahead of the first."""

    def __init__(self, path: Path, streams: dict[str, dict[str, str]]) -> None:
        self._bag = BagFile(path)
        self._camera_of = {found["labels"]: camera for camera, found in streams.items() if "labels" in found}
        self._source = self._bag.messages(self._camera_of)
        self._waiting: dict[tuple[str, int], tuple[BagMessage, Any]] = {}
        self._read_ns = 0

    def __enter__(self) -> "_LabelReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.close()

    def advance(self, received_ns: int) -> None:
        """Read on up to a time of reception; forget what was received long before it and was not asked for."""
        for key, (message, _) in list(self._waiting.items()):
            if message.received_ns < received_ns - 2 * LABEL_LEAD_NS and received_ns < ENDLESS_NS:
                del self._waiting[key]
        while self._read_ns <= received_ns:
            labels = next(self._source, None)
            if labels is None:
                self._read_ns = ENDLESS_NS * 2
                return
            image = self._bag.decode(labels, *IMAGE_TYPES)
            self._waiting[self._camera_of[labels.topic], _stamp_ns(image)] = (labels, image)
            self._read_ns = labels.received_ns

    def take(self, view: View) -> np.ndarray | None:
        """Labels (H, W) uint16 of a view; None where the bag has none with its very stamp."""
        entry = self._waiting.pop((view.camera, view.stamp_ns), None)
        if entry is None:
            return None
        return _label_pixels(entry[0], entry[1], view.size)


def _label_pixels(message: BagMessage, image: Any, size: tuple[int, int]) -> np.ndarray:
    pixels = _pixels(message, image)
    if pixels.shape != size or pixels.dtype not in (np.uint8, np.uint16):
        raise BadInput(
            f"{message.topic}: expected labels of the image's size {size}, 8 or 16 bits, "
            f"got {pixels.dtype} of shape {pixels.shape}"
        )
    return pixels.astype(np.uint16)


def _message_at(bag: BagFile, topic: str, received_ns: int, stamp_ns: int) -> tuple[BagMessage, Any]:
    """The message of a topic that was received at one time and has one stamp, and its decoded form."""
    for message in bag.messages([topic], received_ns, received_ns + 1):
        image = bag.decode(message, *IMAGE_TYPES)
        if _stamp_ns(image) == stamp_ns:
            return message, image
    raise BadInput(f"bag {bag.path}: expected a message of {topic} received at {received_ns} ns, found none")


def _find_streams(bag: BagFile, cameras: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """For each camera, kind of stream (image, depth, labels) to topic."""
    cameras = cameras or find_cameras(bag.topics)
    streams = {}
    for camera in cameras:
        found = {
            kind: topic
            for kind, suffixes in SUFFIXES.items()
            for topic in (f"/{camera}/{suffix}" for suffix in reversed(suffixes))
            if bag.count(topic)
        }
        wrong = {topic: bag.topics[topic] for topic in found.values() if bag.topics[topic] not in IMAGE_TYPES}
        if wrong or "image" not in found or not bag.count(f"/{camera}/{CAMERA_INFO}"):
            raise BadInput(
                f"bag {bag.path}: expected /{camera}/image or /{camera}/image/compressed ({' or '.join(IMAGE_TYPES)}) "
                f"and /{camera}/{CAMERA_INFO}, got {wrong or sorted(bag.topics)}; see docs/bag_format.md"
            )
        streams[camera] = found
    if not streams:
        raise BadInput(
            f"bag {bag.path}: expected topics /<camera>/image and /<camera>/{CAMERA_INFO}, got {sorted(bag.topics)}; "
            "see docs/bag_format.md"
        )
    return streams


def _read_objects(bag: BagFile) -> tuple[TruthObject, ...]:
    """What the newest message of the objects topic says."""
    texts = [bag.decode(message, "std_msgs/msg/String").data for message in bag.messages([OBJECTS])]
    return objects_from_json(texts[-1]) if texts else ()


def _read_transforms(bag: BagFile) -> tuple[TransformTree, dict[str, str]]:
    """All transforms of the bag, and child to parent."""
    tree, frames = TransformTree(history_ns=ENDLESS_NS), {}
    for message in bag.messages([TF_STATIC, TF]):
        for each in bag.decode(message, "tf2_msgs/msg/TFMessage").transforms:
            move, turn = each.transform.translation, each.transform.rotation
            pose = pose_matrix((move.x, move.y, move.z), (turn.x, turn.y, turn.z, turn.w))
            parent, child = each.header.frame_id.lstrip("/"), each.child_frame_id.lstrip("/")
            tree.insert(parent, child, _stamp_ns(each), pose, static=message.topic == TF_STATIC)
            frames[child] = parent
    return tree, frames


def _read_calibrations(bag: BagFile, camera: str) -> list[Calibration]:
    """The intrinsics of a camera over time, one entry for each change."""
    topic = f"/{camera}/{CAMERA_INFO}"
    entries: list[Calibration] = []
    for message in bag.messages([topic]):
        info = bag.decode(message, "sensor_msgs/msg/CameraInfo")
        matrix = _intrinsics(info.k, info.p, topic)
        if not entries or not np.array_equal(matrix, entries[-1].intrinsics):
            entries.append(Calibration(_stamp_ns(info), matrix, info.header.frame_id))
    if not entries:
        raise BadInput(f"bag {bag.path}: expected the messages of {topic} that its index names, found none")
    return entries


def _intrinsics(k: np.ndarray, p: np.ndarray, topic: str) -> np.ndarray:
    """The left 3x3 of P where P[0] is not zero, else K."""
    matrix = np.reshape(p, (3, 4))[:, :3] if p[0] else np.reshape(k, (3, 3))
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise BadInput(f"{topic}: expected finite intrinsics with positive focal lengths, got {matrix.tolist()}")
    return matrix


def _calibration_at(entries: list[Calibration], stamp_ns: int) -> Calibration:
    """The newest entry that is not of a later time, or the first one."""
    return entries[max(bisect_right(entries, stamp_ns, key=lambda each: each.stamp_ns) - 1, 0)]


def _root(frames: dict[str, str]) -> str:
    """The frame that most others hang on."""
    tops = [parent for parent in frames.values() if parent not in frames]
    if not tops:
        raise BadInput(f"{TF}: expected a tree of frames, got the loop {frames}")
    return Counter(tops).most_common(1)[0][0]


def _pixels(message: BagMessage, image: Any) -> np.ndarray:
    try:
        if message.type_name == COMPRESSED:
            return decode_compressed(image.data, image.format)
        return decode_image(
            image.data, image.height, image.width, image.encoding, image.step, bool(image.is_bigendian)
        )
    except BadInput as error:
        raise BadInput(f"{message.topic} at {_stamp_ns(image)} ns: {error}") from error


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec
