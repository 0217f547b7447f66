"""Scans of ScanNet, from little files in the published layout."""

from dataclasses import replace

import numpy as np
import pytest
from published import write_scan, write_scannet

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import collate
from geoseg_core.datasets.scannet import scannet_samples
from geoseg_core.errors import BadInput

AS_IT_IS = ReaderConfig(height=0, width=0, least_gap=1, largest_gap=1)
POINTS = [[0, 0, 2], [0.5, 0, 2], [1, 0, 2], [1.5, 0, 2], [2, 0, 2]]
MESH, SEGMENTS, OBJECTS = "_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json", ".aggregation.json"


@pytest.fixture
def folder(tmp_path):
    """A scene with a scan of five vertices in three segments; object 0 has one of them, object 2 another."""
    scene = write_scannet(tmp_path)
    write_scan(scene, POINTS, [40, 7, 7, 40, 9], {0: [7], 2: [40]})
    return scene


def sample_of(folder):
    return scannet_samples(folder.parent, AS_IT_IS)[0]


def test_vertices_have_the_ids_of_the_frames_and_segments_from_0(folder):
    scan = sample_of(folder).scan.read()
    np.testing.assert_array_equal(scan.points, POINTS)
    assert scan.ids.tolist() == [3, 1, 1, 3, 0]
    assert scan.segments.tolist() == [2, 0, 0, 2, 1]
    assert scan.colours == pytest.approx(np.full((5, 3), 0.2))


def test_the_later_of_two_objects_has_a_segment(folder):
    write_scan(folder, POINTS, [40, 7, 7, 40, 9], {0: [7, 40], 2: [40]})
    assert sample_of(folder).scan.read().ids.tolist() == [3, 1, 1, 3, 0]


@pytest.mark.parametrize("missing", [MESH, SEGMENTS, OBJECTS])
def test_a_scan_without_all_of_its_files_is_none(folder, missing):
    (folder / f"{folder.name}{missing}").unlink()
    assert sample_of(folder).scan is None


def test_a_batch_has_no_scan(folder):
    sample = sample_of(folder)
    assert collate([sample, sample]).scan is None and replace(sample, source="").scan == sample.scan


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (MESH, b"binary_little_endian", b"ascii", "format binary_little_endian"),
        (MESH, b"ply\n", b"", "expected a PLY"),
        (MESH, b"end_header", b"", "expected a PLY"),
        (MESH, b"property uchar red\n", b"", "x, y, z, red, green and blue first"),
        (MESH, b"element vertex 5", b"element vertex many", "plain numbers"),
        (MESH, b"float x", b"list uchar int x", "plain numbers"),
        (MESH, b"float y", b"float x", "plain numbers"),
        (MESH, b"element vertex 5", b"element vertex 50", "50 vertices of 16 bytes, got 93"),
        (MESH, b"element vertex 5", b"element vertex -1", "-1 vertices"),
        (MESH, np.float32(1.5).tobytes(), np.float32(np.nan).tobytes(), "finite vertices"),
        (SEGMENTS, b"40, ", b"", "each of the 5 vertices of scene0000_00_vh_clean_2.ply, got 3 numbers"),
        (SEGMENTS, b"40", b"null", "got 3 numbers"),
        (SEGMENTS, b"segIndices", b"indices", "got 0 numbers"),
        (SEGMENTS, b"]", b"", "expected JSON"),
        (OBJECTS, b"segments", b"parts", "segGroups with objectId and segments"),
        (OBJECTS, b"segGroups", b"groups", "segGroups with objectId and segments"),
        (OBJECTS, b"[7]", b"[[7]]", "segGroups with objectId and segments"),
    ],
)
def test_damaged_files_are_named(folder, file, old, new, message):
    scan, path = sample_of(folder).scan, folder / f"{folder.name}{file}"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(BadInput, match=message) as refusal:
        scan.read()
    assert str(refusal.value).startswith(str(path))
