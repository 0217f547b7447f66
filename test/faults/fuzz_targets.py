"""What is fuzzed: for each decoder and reader how its inputs are made, and what takes them."""

import json
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from faults.damage import (
    FLOATS,
    NUMBERS,
    VALUES,
    damage_message,
    damaged,
    damaged_json,
    damaged_tensors,
    one_of,
    strange,
)  # fmt: skip
from geometry_msgs.msg import TransformStamped
from published import coco_text, write_nvos, write_sa1b, write_scan, write_scannet, write_text
from raw_bags import INTRINSICS, RawBag, labelled_set
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import StoragePlugin
from safetensors.torch import save_file
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from geoseg_core import results
from geoseg_core.commands.compare import table
from geoseg_core.config import build, build_from_words, settings
from geoseg_core.cross_view.calibration import Calibration, stored_calibration
from geoseg_core.cross_view.carrier import Sighting
from geoseg_core.cross_view.followed import FlatThing, Keyframe, restored_things, stored_things
from geoseg_core.cross_view.followed_mask import FollowedMask, restored_masks, stored_masks
from geoseg_core.datasets.bag_format import objects_from_json, objects_to_json
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.egoexo import open_take
from geoseg_core.datasets.nvos import nvos_samples
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.sa1b import Sa1bSamples
from geoseg_core.datasets.scannet import scannet_samples
from geoseg_core.datasets.scannetpp import read_object_ids
from geoseg_core.datasets.truth import TruthObject
from geoseg_core.errors import GeosegError
from geoseg_core.evaluation.report import compare, make_report, read_report, write_report
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.imaging import ENCODINGS, to_depth_m, to_rgb
from geoseg_core.instances import store
from geoseg_core.instances.tracks import Track
from geoseg_core.memory.bank import Memory, MemoryBank
from geoseg_core.prompts import Prompt
from geoseg_core.run_lengths import counts_from_text, decode_coco, decode_mask
from geoseg_core.synchronizer import DEPTH, IMAGE, SyncedSet
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import config_metadata, licence_of, stored_config
from geoseg_core.weights.loading import load_state
from geoseg_ros import conversions
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.diagnostics import Statistics
from geoseg_ros.frames import FrameBuilder
from geoseg_ros.parameters import NodeConfig, check_cameras
from geoseg_ros.sensor_messages import calibration_to_msg, header_to_msg, image_from_msg, image_to_msg, packed

STAMP_NS = 12_000_000_345
FRAMES = FrameSet((replace(labelled_set(0).frames.views[0], stamp_ns=STAMP_NS),))
HEIGHT, WIDTH = FRAMES.views[0].size
MASK = np.pad(np.ones((4, 5), bool), ((3, HEIGHT - 7), (2, WIDTH - 7)))


@dataclass(frozen=True)
class Target:
    """Something that reads: `make` gives an input, `take` reads it; `share` of all inputs are its."""

    make: Callable[[np.random.Generator], Any]
    take: Callable[[Any], object]
    share: int = 20


def messages(valid: Callable[[np.random.Generator], Any], take: Callable[[Any], object]) -> Target:
    """ROS messages, some of whose fields lie."""

    def make(random: np.random.Generator) -> Any:
        message = valid(random)
        for _ in range(int(random.integers(4))):
            damage_message(message, random)
        return message

    return Target(make, take)


def serialised(target: Target) -> Target:
    """The same messages as damaged bytes of the middleware. What it refuses itself never comes to a decoder."""

    def make(random: np.random.Generator) -> tuple[type, bytes]:
        message = target.make(random)
        return type(message), damaged(serialize_message(message), random)

    def take(made: tuple[type, bytes]) -> object:
        kind, data = made
        try:
            message = deserialize_message(data, kind)
        except Exception as error:
            raise GeosegError(f"expected a {kind.__name__}, the middleware refused it: {error}") from error
        return target.take(message)

    return Target(make, take, 10)


def files(
    write: Callable[[Path], object],
    read: Callable[[Path], object],
    share: int,
    damage: Callable[[bytes, np.random.Generator], bytes] | None = None,
) -> Target:
    """A folder, one of whose files is damaged; undamaged, it is read."""

    @cache
    def intact() -> tuple[Path, dict[Path, bytes]]:
        folder = Path(tempfile.mkdtemp())
        write(folder)
        read(folder)
        return folder, {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def make(random: np.random.Generator) -> tuple[Path, bytes]:
        path = one_of(random, list(intact()[1]))
        way = damage or (damaged_json if path.suffix == ".json" else damaged)
        return path, way(intact()[1][path], random)

    def take(made: tuple[Path, bytes]) -> object:
        path, data = made
        path.write_bytes(data)
        try:
            return read(intact()[0])
        finally:
            path.write_bytes(intact()[1][path])

    return Target(make, take, share)


# Images


def raw_image(random: np.random.Generator) -> Image:
    """Of any encoding, its rows perhaps padded."""
    encoding = one_of(random, list(ENCODINGS))
    known, height, width = ENCODINGS[encoding], *(2 * random.integers(1, 5, 2)).tolist()
    step = width * known.channels * np.dtype(known.dtype).itemsize + int(random.integers(2)) * int(random.integers(9))
    data = packed(np.frombuffer(random.bytes(step * height), np.uint8))
    is_bigendian = int(random.integers(2))
    return Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=is_bigendian, data=data)


def compressed_image(random: np.random.Generator) -> CompressedImage:
    """JPEG, PNG or compressedDepth, whole, damaged, or a PNG whose header lies with a right checksum."""
    kind = one_of(random, ("jpeg", "png", "16UC1; compressedDepth png", "32FC1; compressedDepth"))
    pixels = np.frombuffer(random.bytes(192), np.uint8).reshape(8, 8, 3)
    if kind != "jpeg" and random.random() < 0.5:
        data = lying_png(random)
    else:
        pixels = pixels if random.random() < 0.5 else np.ascontiguousarray(pixels[..., 0])
        deep = kind != "jpeg" and random.random() < 0.5
        data = cv2.imencode(".jpg" if kind == "jpeg" else ".png", pixels.astype(np.uint16) if deep else pixels)[1]
        data = data.tobytes() if random.random() < 0.5 else damaged(data.tobytes(), random)
    if "compressedDepth" in kind:
        data = struct.pack("<iff", 0, *(float(np.float32(one_of(random, FLOATS))) for _ in "AB")) + data
    return CompressedImage(format=kind, data=packed(np.frombuffer(data, np.uint8)))


def lying_png(random: np.random.Generator) -> bytes:
    """A PNG of any kind and size with right checksums; its pixels may be too few or too many."""
    width, height = (one_of(random, (1, 8, 9, 100, 4000, 8000, *NUMBERS)) % 2**32 for _ in "wh")
    header = struct.pack(">IIBBBBB", width, height, one_of(random, (1, 2, 4, 8, 16, 3)), *random.integers(0, 7, 2), 0,
                         int(random.integers(2)))  # fmt: skip
    pixels = zlib.compress(bytes(int(random.integers(4000))))
    extra = [(b"tRNS", bytes(2)), (b"PLTE", bytes(9)), (b"acTL", bytes(8)), (b"eXIf", b"MM\0*" + bytes(9))]
    chunks = [(b"IHDR", header), *[each for each in extra if random.random() < 0.3], (b"IDAT", pixels), (b"IEND", b"")]
    packed_chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed_chunks)


def take_image(image: Image | CompressedImage) -> None:
    """What is taken has a documented form; one at least of depth and colours is made of it."""
    pixels = image_from_msg(image)
    forms = {(2, "uint8"), (2, "uint16"), (2, "float32"), (3, "uint8")}
    assert (pixels.ndim, pixels.dtype.name) in forms and pixels.shape[2:] in ((), (3,)), pixels.shape
    depth_m = to_depth_m(pixels) if pixels.dtype.itemsize > 1 else None
    assert depth_m is None or (np.isfinite(depth_m) & (depth_m >= 0)).all()
    if pixels.dtype != np.float32:
        assert to_rgb(pixels).shape == (*pixels.shape[:2], 3)


# Cameras, transforms and sets of them


def rig() -> CameraRig:
    """A rig with one camera."""
    return CameraRig(("ego",), "world")


def camera_info(random: np.random.Generator) -> Any:
    return calibration_to_msg(INTRINSICS, (HEIGHT, WIDTH), header_to_msg(STAMP_NS, "ego_optical_frame"))


def transforms(random: np.random.Generator) -> TFMessage:
    """A chain from the world to the camera, before and after the stamp that is asked for."""
    links = [("world", "base"), ("base", "ego_optical_frame")]
    message = TFMessage()
    for stamp_ns in (STAMP_NS - 1, STAMP_NS + 1):
        for parent, child in links:
            each = TransformStamped(header=header_to_msg(stamp_ns, parent), child_frame_id=child)
            message.transforms.append(each)
    for each in message.transforms:
        each.transform.rotation.w = 1.0
    return message


def take_transforms(message: TFMessage) -> None:
    taking = rig()
    taking.take_info("ego", camera_info(np.random.default_rng()))
    for static in (False, True, True):
        taking.take_transforms(message, static)
        pose = taking.camera_to_world("ego_optical_frame", STAMP_NS, 0.0)
        assert pose is None or np.isfinite(pose).all()
        taking.in_world(np.ones(3), "ego_optical_frame", STAMP_NS)


def frame_set(random: np.random.Generator) -> tuple[Any, ...]:
    """Image, depth, camera_info and transforms of one camera; one or two of them lie."""
    image = compressed_image(random) if random.random() < 0.3 else raw_image(random)
    size = getattr(image, "height", 8), getattr(image, "width", 8)
    depth = image_to_msg(np.full(size, 900, np.uint16), "16UC1", Header())
    info = calibration_to_msg(INTRINSICS, size, header_to_msg(1, "ego_optical_frame"))
    parts = image, depth, info, transforms(random)
    for _ in range(int(random.integers(3))):
        damage_message(one_of(random, parts), random)
    return parts


def take_frame_set(parts: tuple[Any, ...]) -> None:
    """The builder refuses the part that is bad by itself: nothing at all comes out of it."""
    image, depth, info, tree = parts
    taking = rig()
    for take in (lambda: taking.take_info("ego", info), lambda: taking.take_transforms(tree, True)):
        with suppress(GeosegError):
            take()
    builder = FrameBuilder(taking, NodeConfig(cameras=("ego",), tf_wait_s=0.0), Statistics(str))
    builder.build(SyncedSet(STAMP_NS, {"ego": {IMAGE: image, DEPTH: depth}}, ()))


# Our own messages

TRUTH_MASKS = (results.ViewMasks("ego", (results.ObjectMask(7, MASK, 0.5, results.Visibility.OCCLUDED, "cup"),)),)
CLOUD = results.LabelledCloud(
    np.ones((4, 3), np.float32), np.ones((4, 3), np.uint8), np.ones(4, np.uint16), np.ones(4, np.float32)
)
BOX = results.OrientedBox(np.ones(3), np.eye(3), np.ones(3))
INSTANCE = results.Instance(5, np.ones(3), np.eye(3), BOX, 4, 0.5, 1, STAMP_NS, ("ego",), "mug", 0.5)
LOCKED = results.ScaleState(results.ScaleStatus.LOCKED, "tf", 0.01)
FOUND = results.InstanceResult((np.zeros((HEIGHT, WIDTH), np.uint16),), (INSTANCE,), CLOUD, LOCKED)
ANSWER = results.PromptResult(FRAMES, 7, TRUTH_MASKS, CLOUD, INSTANCE, LOCKED)
PROMPT = Prompt("ego", np.ones((2, 2)), np.array([True, True]), np.array([1.0, 2, 9, 9]), MASK)
EVENT = results.ObjectEvent(results.EventKind(1), 7, STAMP_NS, "gone", (8,))


def copies(message: Any) -> Callable[[np.random.Generator], Any]:
    """A fresh copy for each input."""
    data, kind = serialize_message(message), type(message)
    return lambda random: deserialize_message(data, kind)


def take_instances(message: Any) -> None:
    conversions.instances_from_msg(message)
    conversions.scale_from_msg(message.scale)
    conversions.cloud_from_msg(message)


def take_answer(message: Any) -> None:
    message.error = ""
    conversions.prompt_result_from_msg(message)


def take_prompt(message: Any) -> None:
    conversions.prompt_from_msg(message).check(FRAMES)


MESSAGES = {
    "image": messages(raw_image, take_image),
    "compressed image": messages(compressed_image, take_image),
    "camera_info": messages(camera_info, lambda message: rig().take_info("ego", message)),
    "transforms": messages(transforms, take_transforms),
    "prompt": messages(copies(conversions.prompt_to_msg(PROMPT)), take_prompt),
    "masks": messages(
        copies(conversions.masks_to_msg(results.SceneResult(FRAMES, TRUTH_MASKS, None), "world", "rgbd")),
        conversions.masks_from_msg,
    ),
    "cloud": messages(copies(conversions.cloud_to_msg(CLOUD, Header())), conversions.cloud_from_msg),
    "instances": messages(copies(conversions.instances_to_msg(FOUND, FRAMES, "world", "rgbd")), take_instances),
    "answer": messages(copies(conversions.prompt_result_to_msg(ANSWER, "world", "rgbd")), take_answer),
    "event": messages(copies(conversions.event_to_msg(EVENT, "world")), conversions.event_from_msg),
}

# Texts and settings

SETTINGS = {each.name: each.default for each in settings(NodeConfig)}
COCO = {"size": list(MASK.shape), "counts": coco_text(MASK)}
OBJECTS = objects_to_json([TruthObject(1, "mug", "mug")])
COCO_LIST = {"size": [4, 4], "counts": [3, 10, 3]}


def run_lengths(random: np.random.Generator) -> tuple[Any, Any]:
    """A COCO segmentation, and numbers for a mask of 4 by 4."""
    counts = [int(number) for number in random.integers(0, 9, 3)] + [one_of(random, NUMBERS) for _ in range(3)]
    segmentation = one_of(random, (COCO, COCO_LIST))
    if random.random() < 0.7:
        segmentation = strange(segmentation, random)
    return segmentation, np.array(counts[: random.integers(7)], np.uint64)


def take_run_lengths(made: tuple[Any, Any]) -> None:
    segmentation, counts = made
    with suppress(GeosegError):
        assert decode_mask(counts, 4, 4).shape == (4, 4)
    decode_coco(segmentation)


def changed_settings(random: np.random.Generator) -> dict[str, Any]:
    """Up to three settings with other values, half of them of the right type."""
    names = [one_of(random, [*SETTINGS, "x"]) for _ in range(int(random.integers(1, 4)))]
    odd = (*VALUES, ["ego"], [""], ["a", 1], [1.0], (True,), ["a", "a"])
    values = {}
    for name in names:
        alike = [each for each in odd if type(each) is type(SETTINGS.get(name))]
        values[name] = one_of(random, alike if alike and random.random() < 0.5 else odd)
    return values


def take_settings(values: dict[str, Any]) -> None:
    with suppress(GeosegError):
        build_from_words(NodeConfig, [f"{name}={value}" for name, value in values.items()])
    check_cameras(build(NodeConfig, values).cameras)


def from_bytes(
    intact: bytes, damage: Callable[[bytes, np.random.Generator], bytes], take: Callable[[bytes], object]
) -> Target:
    """Damaged bytes."""
    return Target(lambda random: damage(intact, random), take)


# Files


def write_weights(folder: Path) -> None:
    tensors = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16), "c": torch.tensor(7)}
    words = {**config_metadata(ReaderConfig()), **Calibration().metadata, "licence": "Apache-2.0"}
    save_file(tensors, folder / "weights.safetensors", words)


def read_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    licence_of(path)
    load_state(path)
    stored_config(path, ReaderConfig())
    stored_calibration(path)


def write_memory(folder: Path) -> None:
    """What each kind of follower stores."""
    points = np.ones((5, 3), np.float32)
    track = Track(3, points, points, np.ones(5, bool), 0, 1, look=np.ones(4, np.float32), label="cup")
    depth_m = np.ones((4, 5), np.float32)
    view = ViewGeometry(depth_m, depth_m, INTRINSICS, np.eye(4), np.ones((4, 5, 3), np.float32))
    flat = FlatThing(4, "note", (Keyframe("ego", view, depth_m > 0),), 0, 1)
    mask = FollowedMask(4, "mug", 0, 1, points=points)
    mask.saw({"ego": Sighting(torch.ones(2, 3, 4), depth_m > 0, 0.5, True)})
    store.save(str(folder / "flat"), [track], stored_things([flat]), 5)
    store.save(str(folder / "masks"), [track], stored_masks([mask]), 5)
    bank = MemoryBank()
    for frame in range(3):
        bank.add(1, Memory("ego", frame, frame == 0, torch.ones(6, 4), torch.ones(8), (2, 3)))
    bank.save(folder / "bank")


def read_memory(folder: Path) -> None:
    store.load(str(folder / "flat"), restored_things)
    store.load(str(folder / "masks"), restored_masks)
    bank = MemoryBank.load(folder / "bank")
    bank.recall(bank.objects, "ego", 3, (2, 3))


def write_reports(folder: Path) -> None:
    tasks = {"cross_view": {"iou": 0.9, "per_object": {"mug": 0.8}}}
    for name in ("a.json", "b.json"):
        write_report(folder / name, make_report("bag", "live", "rgbd", tasks, {"received": 5}, {"all": {"p50": 1.5}}))


def read_reports(folder: Path) -> None:
    table(compare(read_report(folder / "a.json"), read_report(folder / "b.json")), True)


def write_bag(folder: Path, storage: StoragePlugin) -> None:
    """One set of one camera, with its place and its truth."""
    bag = RawBag(folder / "bag", storage)
    bag.put_info("ego", STAMP_NS, INTRINSICS)
    bag.put_transform("/tf", "world", "ego_optical_frame", STAMP_NS, (0, 0, 0), (0, 0, 0, 1))
    bag.put("/ground_truth/objects", "std_msgs/msg/String", STAMP_NS, data=OBJECTS)
    for topic in ("/ego/image", "/ego/ground_truth/labels"):
        encoding, shape = ("rgb8", (4, 6, 3)) if topic == "/ego/image" else ("mono8", (4, 6))
        bag.put_image(topic, "ego_optical_frame", STAMP_NS, np.ones(shape, np.uint8), encoding)
    bag.close()


def read_bag(folder: Path) -> None:
    bag = BagSequence(folder / "bag")
    for _ in bag:
        pass
    for reference in bag.references()[:1]:  # none where no set has a pose
        bag.read(reference)


def write_annotations(folder: Path) -> None:
    """Datasets in their published layouts, little ones."""
    write_sa1b(folder / "sa1b")
    scan = write_scannet(folder / "scannet", frames=1)
    write_scan(scan, np.ones((3, 3)), [1, 1, 2], {2: [1]})
    write_nvos(folder / "nvos")
    masks = {"bike": {name: {"30": {"size": [4, 4], "counts": [3, 10, 3]}} for name in ("aria", "cam01")}}
    write_text(folder / "take" / "annotation.json", json.dumps({"masks": masks}))
    torch.save(np.ones((3, 4), np.int32), folder / "ids.pth")


def read_annotations(folder: Path) -> None:
    config = ReaderConfig(views=1)
    Sa1bSamples(folder / "sa1b", config)[0]
    scannet = scannet_samples(folder / "scannet", config)
    scannet[0]
    scannet.scenes[0][1].scan.read()
    nvos_samples(folder / "nvos", folder / "nvos", config)[0]
    open_take(folder / "take", 2)
    read_object_ids(folder / "ids.pth")


TARGETS = {
    **MESSAGES,
    **{f"{name}, bytes": serialised(target) for name, target in MESSAGES.items()},
    "frame set": Target(frame_set, take_frame_set),
    "run lengths": Target(run_lengths, take_run_lengths),
    "run lengths, text": from_bytes(coco_text(MASK).encode(), damaged, counts_from_text),
    "settings": Target(changed_settings, take_settings, 5),
    "objects": from_bytes(
        OBJECTS.encode(), damaged_json, lambda text: objects_from_json(text.decode(errors="replace"))
    ),
    "weights": files(write_weights, read_weights, 10, damaged_tensors),
    "memory": files(write_memory, read_memory, 10, damaged_tensors),
    "reports": files(write_reports, read_reports, 10),
    "bag, MCAP": files(partial(write_bag, storage=StoragePlugin.MCAP), read_bag, 1),
    "bag, SQLite": files(partial(write_bag, storage=StoragePlugin.SQLITE3), read_bag, 1),
    "datasets": files(write_annotations, read_annotations, 1),
}
