"""ScanNet++: frames of the iPhone or the undistorted DSLR with rendered instance ids, as the published toolkit has it.

    ROOT/SCENE/scans/segments_anno.json                      segGroups with objectId and label
    iphone:
    ROOT/SCENE/iphone/pose_intrinsic_imu.json                "frame_000000": {"aligned_pose": 4x4, "intrinsic": 3x3}
    ROOT/SCENE/iphone/rgb/frame_000000.jpg                   1920x1440 (iphone.prepare_iphone_data)
    ROOT/SCENE/iphone/render_depth/frame_000000.png          16 bits, millimetres (common.render), used where it exists
    ROOT/SCENE/iphone/depth/frame_000000.png                 the same from the LiDAR, 256x192, used otherwise
    dslr:
    ROOT/SCENE/dslr/nerfstudio/transforms_undistorted.json   (dslr.undistort), camera model PINHOLE
    ROOT/SCENE/dslr/undistorted_images/DSC00001.JPG
    ROOT/SCENE/dslr/undistorted_depths/DSC00001.png          16 bits, millimetres: render_depth, undistorted alike
    both, from semantic.prep.semantics_2d (with undistort_dslr for the DSLR):
    LABELS/SCENE/frame_000000.jpg.pth                        integer array, object id, 0 or less = none

`aligned_pose` maps the optical frame to the world of the mesh. Its principal point counts from the image's corner, so
half a pixel less than from the first pixel's centre; the undistorted DSLR's has been through OpenCV, which counts from
the centre. Poses of transforms.json are turned back from nerfstudio's convention (camera y up, z backward; world
axes x and y exchanged and z turned over) to the world of the mesh. Frames marked `is_bad` are left out, and so are
frames without depth or labels. Classes are the lines of a file of names (such as metadata/semantic_classes.txt),
numbered from 1.
"""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import read_bytes, read_json, subfolders
from geoseg_core.datasets.frames import Frame, FrameSamples, FrameScene
from geoseg_core.datasets.scan import GROUP_ERRORS, MOST_OBJECTS, object_id
from geoseg_core.errors import BadInput

# What torch.save writes of a NumPy array of integers, under its name in NumPy 1 and 2; nothing else is unpickled.
RECONSTRUCT = np.zeros(0).__reduce__()[0]
INTEGERS = [type(np.dtype(name)) for name in ("int16", "uint16", "int32", "int64")]
# What torch's reader of plain tensors lets out on damaged files.
UNPICKLER_ERRORS = (
    pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, AssertionError, MemoryError,
)  # fmt: skip
ARRAY_PARTS: list[Any] = [
    np.ndarray,
    np.dtype,
    *INTEGERS,
    (RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
]
LIDAR_SIZE = (192, 256)
PHONE_SIZE = (1440, 1920)


def scannetpp_samples(
    root: Path, labels: Path, config: ReaderConfig, device: str = "iphone", classes: Path | None = None
) -> FrameSamples:
    """Samples of all scenes of a folder.

    Args:
        root: the folder with the scenes (`data` in the release).
        labels: the folder `obj_ids` that semantics_2d wrote.
        device: "iphone" or "dslr".
        classes: file with one name of a class a line; without it classes are unknown.

    Raises:
        BadInput: no scene that can be used.
    """
    open_device = {"iphone": open_phone, "dslr": open_dslr}[device]
    numbers = None if classes is None else read_classes(classes)

    def open_scene(folder: Path) -> FrameScene:
        found = open_device(folder, labels / folder.name)
        frames = [frame for frame in found if frame.depth.is_file() and frame.labels.is_file()]
        if not frames:
            ids = labels / folder.name
            raise BadInput(f"{folder / device}: expected images with depth, and with ids in {ids}, got none")
        return FrameScene(tuple(frames), classes_of(folder, numbers), read_object_ids)

    folders = subfolders(root, "folders of scenes")
    return FrameSamples([(path.name, partial(open_scene, path)) for path in folders], config)


def open_phone(folder: Path, labels: Path) -> list[Frame]:
    """Frames of the iPhone.

    Raises:
        BadInput: no pose_intrinsic_imu.json, or not as published.
    """
    base = folder / "iphone"
    path = base / "pose_intrinsic_imu.json"
    kind = "render_depth" if (base / "render_depth").is_dir() else "depth"
    frames = []
    for name, facts in sorted(read_json(path).items()):
        pose, camera = _matrix(facts, "aligned_pose", 4, path), _matrix(facts, "intrinsic", 3, path)
        camera[:2, 2] -= 0.5
        depth_camera = _scaled(camera, LIDAR_SIZE[1] / PHONE_SIZE[1]) if kind == "depth" else camera
        image, depth = base / "rgb" / f"{name}.jpg", base / kind / f"{name}.png"
        frames.append(Frame(name, image, depth, labels / f"{name}.jpg.pth", camera, depth_camera, pose))
    return frames


def open_dslr(folder: Path, labels: Path) -> list[Frame]:
    """Undistorted frames of the DSLR.

    Raises:
        BadInput: no transforms_undistorted.json, or not as published.
    """
    base = folder / "dslr"
    path = base / "nerfstudio" / "transforms_undistorted.json"
    facts = read_json(path)
    try:
        if facts["camera_model"] != "PINHOLE":
            model = facts["camera_model"]
            raise BadInput(f"{path}: expected the camera model PINHOLE, got {model!r}; run dslr.undistort")
        camera = np.array([[facts["fl_x"], 0, facts["cx"]], [0, facts["fl_y"], facts["cy"]], [0, 0, 1]], np.float64)
        entries = [each for each in facts["frames"] + facts.get("test_frames", []) if not each.get("is_bad", False)]
        names = [Path(each["file_path"]) for each in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: expected fl_x, fl_y, cx, cy, frames, got {type(error).__name__} {error}") from error
    return [
        Frame(
            name.stem,
            base / "undistorted_images" / name.name,
            base / "undistorted_depths" / f"{name.stem}.png",
            labels / f"{name.name}.pth",
            camera,
            camera,
            from_nerfstudio(_matrix(each, "transform_matrix", 4, path)),
        )
        for name, each in sorted(zip(names, entries, strict=True), key=lambda pair: pair[0].name)
    ]


def from_nerfstudio(pose: np.ndarray) -> np.ndarray:
    """camera_to_world (4, 4) of an optical frame in the mesh's world, from a transform_matrix."""
    turned = pose.copy()
    turned[2] *= -1
    turned = turned[[1, 0, 2, 3]]
    turned[:3, 1:3] *= -1
    return turned


def read_classes(path: Path) -> dict[str, int]:
    """Name of a class to its number, from 1.

    Raises:
        BadInput: no such file.
    """
    lines = read_bytes(path, "one name of a class a line").decode(errors="replace").splitlines()
    return {name.strip(): number for number, name in enumerate(lines, 1)}


def classes_of(folder: Path, numbers: dict[str, int] | None) -> dict[int, int] | None:
    """Class of each object id; a label that has no number is 0.

    Raises:
        BadInput: no annotation, or not as published.
    """
    if numbers is None:
        return None
    path = folder / "scans" / "segments_anno.json"
    groups = read_json(path).get("segGroups")
    try:
        return {object_id(group): numbers.get(str(group["label"]), 0) for group in groups}
    except GROUP_ERRORS as error:
        raise BadInput(f"{path}: expected segGroups with objectId and label, got {error!r}") from error


def read_object_ids(path: Path) -> np.ndarray:
    """(H, W) int64 object ids, 0 = none, of an array that torch.save wrote.

    Raises:
        BadInput: missing, damaged, or something other than an array of integers.
    """
    try:
        with torch.serialization.safe_globals(ARRAY_PARTS):  # type: ignore[no-untyped-call]
            ids = np.asarray(torch.load(path, weights_only=True))
    except UNPICKLER_ERRORS as error:
        raise BadInput(f"{path}: expected an integer array of torch.save, got {str(error)[:200]}") from error
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise BadInput(f"{path}: expected (H, W) object ids, got {ids.dtype} of shape {ids.shape}")
    if ids.max(initial=0) >= MOST_OBJECTS:
        raise BadInput(f"{path}: expected object ids below {MOST_OBJECTS}, got {ids.max()}")
    return np.maximum(ids.astype(np.int64), 0)


def _matrix(facts: Any, name: str, side: int, path: Path) -> np.ndarray:
    try:
        matrix = np.array(facts[name], np.float64).reshape(side, side)
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: expected {name} of {side}x{side}, got {type(error).__name__} {error}") from error
    if not np.isfinite(matrix).all():
        raise BadInput(f"{path}: expected a finite {name}, got {matrix.tolist()}")
    return matrix


def _scaled(camera: np.ndarray, scale: float) -> np.ndarray:
    """The camera matrix of the image resized by `scale`."""
    matrix = np.diag([scale, scale, 1.0])
    matrix[:2, 2] = scale / 2 - 0.5
    return matrix @ camera
