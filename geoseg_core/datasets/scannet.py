"""ScanNet and ScanNet200: frames exported by the published SensReader, with the 2-D instance labels.

    ROOT/scene0000_00/color/0.jpg               colour, 1296x968
                     /depth/0.png               16 bits, millimetres, 640x480
                     /pose/0.txt                camera_to_world, optical frame; -inf where tracking was lost
                     /intrinsic/intrinsic_color.txt, intrinsic_depth.txt     4x4
                     /instance-filt/0.png       8 bits: object id of the aggregation + 1, 0 = none
                     /scene0000_00_vh_clean.aggregation.json (or scene0000_00.aggregation.json)
    ROOT/scannetv2-labels.combined.tsv          raw category to class ids, optional
    of the scan that the benchmark measures on, optional, of use only together:
    ROOT/scene0000_00/scene0000_00_vh_clean_2.ply                       vertices in the world of the poses
                     /scene0000_00_vh_clean_2.0.010000.segs.json        segment of each vertex
                     /scene0000_00.aggregation.json                     segments of each object

Classes come from the aggregation's labels through the table: column "id" has those of ScanNet200, "nyu40id" those of
ScanNet. A label that the table does not have, and every label where there is no table, has class 0. Frames without a
pose, depth or labels are left out. The aggregation of `vh_clean` is about another mesh, with the same objects and other
segments. ROOT is the folder that holds the scenes (`scans` in the release).
"""

from functools import partial
from pathlib import Path

import numpy as np

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import read_bytes, read_json, read_matrix, subfolders
from geoseg_core.datasets.frames import Frame, FrameSamples, FrameScene
from geoseg_core.datasets.scan import GROUP_ERRORS, ScanFiles, object_id
from geoseg_core.errors import BadInput

TABLE = "scannetv2-labels.combined.tsv"
COLUMNS = {"scannet": "nyu40id", "scannet200": "id"}


def scannet_samples(root: Path, config: ReaderConfig, classes: str = "scannet200") -> FrameSamples:
    """Samples of all scenes of a folder.

    Args:
        classes: "scannet200" or "scannet", which class ids are used.

    Raises:
        BadInput: no scene that can be used.
    """
    table = read_table(root / TABLE, COLUMNS[classes]) if (root / TABLE).exists() else {}
    folders = subfolders(root, "folders of scenes, as scene0000_00")
    return FrameSamples([(path.name, partial(open_scene, path, table)) for path in folders], config)


def open_scene(folder: Path, table: dict[str, int]) -> FrameScene:
    """The frames of one scene that have everything.

    Raises:
        BadInput: a file is missing or damaged, or no frame has everything.
    """
    colour, depth = (read_matrix(folder / "intrinsic" / f"intrinsic_{kind}.txt")[:3, :3] for kind in ("color", "depth"))
    frames = []
    for image in sorted((folder / "color").glob("*.jpg"), key=lambda path: (len(path.stem), path.stem)):
        files = [folder / kind / f"{image.stem}.png" for kind in ("depth", "instance-filt")]
        pose_file = folder / "pose" / f"{image.stem}.txt"
        if not all(path.is_file() for path in (*files, pose_file)):
            continue
        pose = read_matrix(pose_file)
        if np.isfinite(pose).all():
            frames.append(Frame(image.stem, image, files[0], files[1], colour, depth, pose))
    if not frames:
        raise BadInput(f"{folder}: expected color/*.jpg with depth, pose and instance-filt of its number, got none")
    names = ("_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json", ".aggregation.json")
    scan = ScanFiles(*(folder / f"{folder.name}{name}" for name in names))
    return FrameScene(tuple(frames), classes_of(folder, table), scan=scan if scan.exist() else None)


def classes_of(folder: Path, table: dict[str, int]) -> dict[int, int]:
    """Class id of each instance id (object id of the aggregation + 1).

    Raises:
        BadInput: no aggregation, or not as published.
    """
    names = (f"{folder.name}_vh_clean.aggregation.json", f"{folder.name}.aggregation.json")
    path = next((folder / name for name in names if (folder / name).exists()), folder / names[0])
    groups = read_json(path).get("segGroups")
    try:
        return {object_id(group) + 1: table.get(str(group["label"]), 0) for group in groups}
    except GROUP_ERRORS as error:
        raise BadInput(f"{path}: expected segGroups with objectId and label, got {error!r}") from error


def read_table(path: Path, column: str) -> dict[str, int]:
    """Raw category to a class id.

    Raises:
        BadInput: not the published table.
    """
    rows = [line.split("\t") for line in read_bytes(path, "the table of labels").decode(errors="replace").splitlines()]
    if not rows or "raw_category" not in rows[0] or column not in rows[0]:
        raise BadInput(f"{path}: expected a table with columns raw_category and {column}, got {rows[:1]}")
    name, value = rows[0].index("raw_category"), rows[0].index(column)
    return {row[name]: int(row[value]) for row in rows[1:] if len(row) > max(name, value) and row[value].isdigit()}
