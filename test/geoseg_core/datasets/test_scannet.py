"""ScanNet and ScanNet++ frames as samples, from little folders in the published layouts."""

import pickle

import numpy as np
import pytest
import torch
from published import at, camera, matrix_text, write_image, write_scannet, write_scannetpp, write_text

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.frames import Frame, overlap
from geoseg_core.datasets.scannet import scannet_samples
from geoseg_core.datasets.scannetpp import from_nerfstudio, read_object_ids, scannetpp_samples
from geoseg_core.errors import BadInput

AS_IT_IS = ReaderConfig(height=0, width=0, least_gap=1, largest_gap=1)


def test_scannet_frames_come_with_everything(tmp_path):
    write_scannet(tmp_path)
    sample = scannet_samples(tmp_path, AS_IT_IS)[0]
    assert sample.images.shape == (2, 3, 30, 40)
    assert sample.metric
    assert sample.instance_ids[0, 0].tolist() == [3] * 20 + [0] * 20
    assert sample.class_ids.unique().tolist() == [0, 5]
    torch.testing.assert_close(sample.intrinsics[0], torch.tensor(camera(40, 19.5, 14.5)).float())
    moved = sample.camera_to_world[1] @ torch.linalg.inv(sample.camera_to_world[0])
    assert moved[0, 3] == pytest.approx(0.1, abs=1e-6)
    # The depth camera sees the whole image but half a pixel at some borders; what it sees is 2 m away.
    assert set(sample.depth.unique().tolist()) <= {0.0, 2.0}
    assert (sample.depth > 0).float().mean() > 0.9


def test_depth_lies_where_the_colour_camera_sees_it(tmp_path):
    folder = write_scannet(tmp_path)
    depth = np.full((15, 20), 2000, np.uint16)
    depth[:, 12:] = 4000
    for number in range(4):
        write_image(folder / "depth" / f"{number}.png", depth)
    row = scannet_samples(tmp_path, AS_IT_IS)[0].depth[0, 15]
    # Depth column 11.5 is at (11.5 - 9.5) / 20 * 40 + 19.5 = 23.5 in the colour image.
    assert row[10:30].tolist() == [2.0] * 14 + [4.0] * 6


def test_classes_of_scannet_have_numbers_of_their_own(tmp_path):
    write_scannet(tmp_path)
    assert scannet_samples(tmp_path, AS_IT_IS, "scannet")[0].class_ids.unique().tolist() == [0, 7]


def test_smaller_samples_keep_the_calibration(tmp_path):
    write_scannet(tmp_path)
    sample = scannet_samples(tmp_path, ReaderConfig(height=15, width=15, least_gap=1, largest_gap=1))[0]
    assert sample.images.shape == (2, 3, 15, 15)
    # Half the size, then 3 columns (of 20) off the left: (19.5 + 0.5) / 2 - 0.5 - 3.
    torch.testing.assert_close(sample.intrinsics[0], torch.tensor(camera(20, 6.5, 7)).float())


def test_the_same_seed_and_index_give_the_same_views(tmp_path):
    write_scannet(tmp_path, frames=30, step=0.01)
    config = ReaderConfig(height=0, width=0, least_gap=1, largest_gap=9, samples_per_scene=6)
    first, second = scannet_samples(tmp_path, config), scannet_samples(tmp_path, config)
    chosen = [first[index].cameras for index in range(6)]
    assert chosen == [second[index].cameras for index in reversed(range(6))][::-1]
    assert len(set(chosen)) > 3
    assert all(1 <= int(late) - int(early) <= 9 for early, late in chosen)
    with pytest.raises(IndexError):
        first[6]


def test_views_overlap_as_asked(tmp_path):
    # The wall of 2 m width moves half out of sight within 10 frames.
    write_scannet(tmp_path, frames=40, step=0.1)
    config = ReaderConfig(
        height=0, width=0, least_gap=1, largest_gap=30, least_overlap=0.7, tries=200, samples_per_scene=8
    )
    samples = scannet_samples(tmp_path, config)
    for index in range(8):
        early, late = samples[index].cameras
        assert int(late) - int(early) <= 6


def test_overlap_is_the_share_of_the_surface_in_the_other_image(tmp_path):
    write_image(tmp_path / "depth.png", np.full((160, 160), 1000, np.uint16))
    matrix = camera(160, 79.5, 79.5)
    first, second = (
        Frame(str(x), tmp_path, tmp_path / "depth.png", tmp_path, matrix, matrix, at(x)) for x in (0.0, 0.25)
    )
    # 1 m away the image is 1 m wide; a move of 0.25 m leaves three quarters.
    assert overlap([first, second]) == pytest.approx(0.75, abs=0.05)
    assert overlap([first, first]) == 1


def test_frames_without_a_pose_are_left_out(tmp_path):
    folder = write_scannet(tmp_path)
    write_text(folder / "pose" / "1.txt", matrix_text(np.full((4, 4), -np.inf)))
    (folder / "depth" / "2.png").unlink()
    samples = scannet_samples(tmp_path, AS_IT_IS)
    assert samples[0].cameras == ("0", "3")
    assert samples.fault_report() == ""


def test_one_bad_scene_does_not_stop_the_others_and_is_named(tmp_path):
    write_scannet(tmp_path, "scene0000_00")
    (write_scannet(tmp_path, "scene0001_00") / "intrinsic" / "intrinsic_depth.txt").unlink()
    damaged = write_scannet(tmp_path, "scene0002_00")
    for number in range(4):
        (damaged / "color" / f"{number}.jpg").write_bytes(b"no image")
    samples = scannet_samples(tmp_path, AS_IT_IS)
    assert len(samples) == 2
    assert [samples[index].source.split()[0] for index in range(2)] == ["scene0000_00", "scene0000_00"]
    assert set(samples.faults) == {"scene0001_00", "scene0002_00"}
    assert "2 scenes with faults" in samples.fault_report()
    assert "intrinsic_depth.txt: expected 16 numbers" in samples.faults["scene0001_00"]
    assert ".jpg" in samples.faults["scene0002_00"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("intrinsic/intrinsic_color.txt", "1 2 3", "expected 16 numbers of a 4x4 matrix, got 3"),
        ("intrinsic/intrinsic_color.txt", "one", "expected 16 numbers"),
        ("scene0000_00_vh_clean.aggregation.json", "{}", "expected segGroups"),
        ("scene0000_00_vh_clean.aggregation.json", "{", "expected JSON"),
        ("scene0000_00_vh_clean.aggregation.json", "[]", "expected a dict"),
    ],
)
def test_broken_files_of_scannet_are_named(tmp_path, file, content, message):
    folder = write_scannet(tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(BadInput, match=message):
        scannet_samples(tmp_path, AS_IT_IS)


def test_depth_of_8_bits_and_coloured_labels_are_refused(tmp_path):
    folder = write_scannet(tmp_path, frames=2)
    write_image(folder / "depth" / "0.png", np.zeros((15, 20), np.uint8))
    with pytest.raises(BadInput, match="depth of 16 bits"):
        scannet_samples(tmp_path, AS_IT_IS)[0]
    write_image(folder / "depth" / "0.png", np.full((15, 20), 2000, np.uint16))
    write_image(folder / "instance-filt" / "1.png", np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(BadInput, match=r"1\.png: expected a grey PNG"):
        scannet_samples(tmp_path, AS_IT_IS)[0]


def test_an_empty_folder_and_another_table_are_refused(tmp_path):
    with pytest.raises(BadInput, match="folders of scenes"):
        scannet_samples(tmp_path, AS_IT_IS)
    write_scannet(tmp_path)
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("a\tb\n")
    with pytest.raises(BadInput, match="columns raw_category and id"):
        scannet_samples(tmp_path, AS_IT_IS)


def test_too_few_frames_are_refused(tmp_path):
    write_scannet(tmp_path, frames=2)
    with pytest.raises(BadInput, match="at least 3 frames, got 2"):
        scannet_samples(tmp_path, ReaderConfig(views=3))[0]
    assert len(scannet_samples(tmp_path, ReaderConfig(views=1))[0].images) == 1


def test_scannetpp_phone_frames_come_with_everything(tmp_path):
    write_scannetpp(tmp_path)
    config = ReaderConfig(height=144, width=192, least_gap=1, largest_gap=1)
    sample = scannetpp_samples(tmp_path / "data", tmp_path / "obj_ids", config, "iphone", tmp_path / "classes.txt")[0]
    assert sample.images.shape == (2, 3, 144, 192)
    # A tenth of the size; the published principal point counts from the corner.
    torch.testing.assert_close(sample.intrinsics[0], torch.tensor(camera(144, 95.5, 71.5)).float())
    assert sample.instance_ids[0, 0].tolist() == [7] * 96 + [0] * 96
    assert sample.class_ids.unique().tolist() == [0, 2]
    assert sample.depth.unique().tolist() == [2.0]
    assert sample.camera_to_world[1, 0, 3] - sample.camera_to_world[0, 0, 3] == pytest.approx(0.1)


def test_rendered_depth_is_preferred(tmp_path):
    folder = write_scannetpp(tmp_path)
    for number in range(2):
        depth = np.full((1440, 1920), 1500, np.uint16)
        write_image(folder / "iphone" / "render_depth" / f"frame_{number:06}.png", depth)
    config = ReaderConfig(least_gap=1, largest_gap=1)
    sample = scannetpp_samples(tmp_path / "data", tmp_path / "obj_ids", config)[0]
    assert sample.depth.unique().tolist() == [pytest.approx(1.5)]
    assert sample.class_ids is None


def test_scannetpp_dslr_poses_are_those_of_the_mesh(tmp_path):
    write_scannetpp(tmp_path)
    sample = scannetpp_samples(tmp_path / "data", tmp_path / "obj_ids", AS_IT_IS, "dslr")[0]
    torch.testing.assert_close(sample.camera_to_world, torch.tensor(np.stack((at(0), at(0.1)))).float())
    torch.testing.assert_close(sample.intrinsics[0], torch.tensor(camera(40, 19.5, 14.5)).float())
    assert sample.instance_ids[1, 3].tolist() == [7] * 20 + [0] * 20


def test_nerfstudio_poses_stay_rigid():
    turned = from_nerfstudio(np.eye(4))
    assert np.linalg.det(turned[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("iphone/pose_intrinsic_imu.json", '{"frame_000000": {}}', "aligned_pose of 4x4"),
        ("iphone/pose_intrinsic_imu.json", '{"frame_000000": {"aligned_pose": [1]}}', "aligned_pose of 4x4"),
        ("scans/segments_anno.json", '{"segGroups": [{}]}', "segGroups with objectId and label"),
        ("dslr/nerfstudio/transforms_undistorted.json", '{"camera_model": "OPENCV_FISHEYE"}', "PINHOLE"),
        ("dslr/nerfstudio/transforms_undistorted.json", "{}", "expected fl_x, fl_y"),
    ],
)
def test_broken_files_of_scannetpp_are_named(tmp_path, file, content, message):
    (write_scannetpp(tmp_path) / file).write_text(content)
    device = "dslr" if "dslr" in file else "iphone"
    with pytest.raises(BadInput, match=message):
        scannetpp_samples(tmp_path / "data", tmp_path / "obj_ids", AS_IT_IS, device, tmp_path / "classes.txt")


def test_scannetpp_without_rendered_ids_is_refused(tmp_path):
    write_scannetpp(tmp_path)
    with pytest.raises(BadInput, match="with ids in"):
        scannetpp_samples(tmp_path / "data", tmp_path / "elsewhere", AS_IT_IS)


def test_object_ids_never_run_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "ids.pth"
    path.write_bytes(pickle.dumps(Harmful(), 2))
    with pytest.raises(BadInput, match="integer array"):
        read_object_ids(path)
    torch.save(Harmful(), path)
    with pytest.raises(BadInput, match="integer array"):
        read_object_ids(path)
    torch.save(np.zeros(3, np.int64), path)
    with pytest.raises(BadInput, match=r"\(H, W\) object ids"):
        read_object_ids(path)
