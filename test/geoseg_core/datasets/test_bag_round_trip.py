"""What goes into a bag comes out of it."""

import numpy as np
import pytest
from raw_bags import HEIGHT, INTRINSICS, OBJECTS, PERIOD_NS, START_NS, WIDTH, RawBag, write_bag
from rosbags.rosbag2 import StoragePlugin

from geoseg_core.datasets.bag_writer import header
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.errors import BadInput

ROW, COLUMN = np.mgrid[0:HEIGHT, 0:WIDTH]
COLOUR = np.stack([ROW * 9, COLUMN * 7, ROW + COLUMN], axis=-1).astype(np.uint8)


def test_sets_come_back_as_they_were_written(tmp_path):
    written = write_bag(tmp_path / "bag", 5)
    sequence = BagSequence(tmp_path / "bag")
    read = list(sequence)
    assert sequence.cameras == ("ego", "exo")
    assert sequence.objects == OBJECTS
    assert sequence.world_frame == "world"
    assert sequence.counts == {"sets": 5, "partial_sets": 0, "dropped_messages": 0}
    for old, new in zip(written, read, strict=True):
        assert new.frames.missing == ()
        for before, after in zip(old.frames.views, new.frames.views, strict=True):
            assert (after.camera, after.stamp_ns, after.frame_id) == (before.camera, before.stamp_ns, before.frame_id)
            assert np.array_equal(new.labels[before.camera], old.labels[before.camera])
            assert np.abs(after.depth_m - before.depth_m).max() <= 0.000501
            assert after.depth_m[0, 0] == 0
            assert np.abs(after.camera_to_world - before.camera_to_world).max() < 1e-9
            assert np.array_equal(after.intrinsics, INTRINSICS)
            assert np.abs(after.image.astype(int) - before.image).mean() < 4  # JPEG


def test_mcap_file_alone_and_a_folder_without_metadata_are_enough(tmp_path):
    write_bag(tmp_path / "bag", 3)
    assert len(list(BagSequence(tmp_path / "bag" / "bag.mcap"))) == 3
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert len(list(BagSequence(tmp_path / "bag"))) == 3


def test_sequence_can_be_walked_again_and_left_early(tmp_path):
    write_bag(tmp_path / "bag", 4)
    sequence = BagSequence(tmp_path / "bag")
    assert next(iter(sequence)).frames.stamp_ns == START_NS
    assert [each.frames.stamp_ns for each in sequence] == [START_NS + index * PERIOD_NS for index in range(4)]
    assert len(list(sequence)) == 4


def test_depth_limit_and_step_round_as_they_say(tmp_path):
    written = write_bag(tmp_path / "bag", 1, depth_limit_m=0.7, depth_step_mm=2)
    (read,) = BagSequence(tmp_path / "bag")
    before, after = written[0].frames.views[0].depth_m, read.frames.views[0].depth_m
    assert (after[before > 0.7] == 0).all()
    assert (np.round(after * 1000) % 2 == 0).all()
    assert np.abs(after - before)[(before > 0) & (before <= 0.7)].max() <= 0.001001


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_raw_images_a_chain_of_transforms_and_a_nested_camera_name(tmp_path, storage):
    """world -> base (static) -> head (moves) -> optical frame (static), looked up between two poses of the head."""
    bag = RawBag(tmp_path / "bag", storage)
    bag.put_transform("/tf_static", "map", "base", 5, (1, 0, 0), (0, 0, 0, 1))
    bag.put_transform("/tf_static", "head", "ego_optical_frame", 5, (0, 0, 1), (0, 0, 0, 1))
    bag.put_transform("/tf", "base", "head", START_NS, (0, 0, 0), (0, 0, 0, 1))
    bag.put_transform("/tf", "base", "head", START_NS + 100, (0, 1, 0), (0, 0, 0, 1))
    bag.put_info("robot/ego", START_NS, INTRINSICS, np.hstack([2 * INTRINSICS, np.ones((3, 1))]))
    bag.put_image("/robot/ego/image", "ego_optical_frame", START_NS + 25, COLOUR[..., ::-1].copy(), "bgr8")
    depth_mm = (700 + ROW).astype(np.uint16)
    bag.put_image("/robot/ego/depth", "ego_optical_frame", START_NS + 25, depth_mm, "16UC1")
    bag.close()
    sequence = BagSequence(tmp_path / "bag")
    (labelled,) = sequence
    (view,) = labelled.frames.views
    assert sequence.cameras == ("robot/ego",)
    assert sequence.world_frame == "map"  # there is no frame "world": the root
    assert np.array_equal(view.image, COLOUR)
    assert view.depth_m[3, 0] == pytest.approx(0.703)
    assert np.allclose(view.camera_to_world[:3, 3], [1, 0.25, 1])
    assert view.intrinsics[0, 0] == 80.0  # P wins over K
    assert labelled.labels == {} and sequence.objects == ()


def test_labels_that_were_recorded_late_still_find_their_image(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", START_NS, INTRINSICS)
    marks = (ROW > 5).astype(np.uint8)
    for index in range(30):
        stamp_ns = START_NS + index * PERIOD_NS
        bag.put_image("/ego/image", "ego_optical_frame", stamp_ns, COLOUR, "rgb8")
        if index >= 10:
            late = stamp_ns - 10 * PERIOD_NS
            fields = {"height": HEIGHT, "width": WIDTH, "encoding": "mono8", "is_bigendian": 0, "step": WIDTH}
            bag.put("/ego/ground_truth/labels", "sensor_msgs/msg/Image", stamp_ns, header=header("x", late),
                    data=(marks * (index - 9)).ravel(), **fields)  # fmt: skip
    bag.close()
    sets = list(BagSequence(tmp_path / "bag"))
    assert len(sets) == 30
    assert [int(each.labels["ego"].max()) for each in sets[:20]] == list(range(1, 21))
    assert all(each.labels == {} for each in sets[20:])


def test_camera_without_transforms_has_no_pose_and_one_without_messages_is_named(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_transform("/tf_static", "world", "exo_optical_frame", 5, (1, 0, 0), (0, 0, 0, 1))
    for camera in ("ego", "exo"):
        bag.put_info(camera, START_NS, INTRINSICS)
    for index in range(20):
        bag.put_image("/ego/image", "ego_optical_frame", START_NS + index * PERIOD_NS, COLOUR, "rgb8")
        if index < 3:
            bag.put_image("/exo/image", "exo_optical_frame", START_NS + index * PERIOD_NS, COLOUR, "rgb8")
    bag.close()
    sets = list(BagSequence(tmp_path / "bag"))
    assert sets[0].frames.views[0].camera_to_world is None
    assert sets[0].frames.views[1].camera_to_world is not None
    assert [each.frames.missing for each in sets] == [()] * 3 + [("exo",)] * 17


def test_sets_before_the_first_transform_are_left_out_and_counted(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", START_NS, INTRINSICS)
    for index in range(6):
        stamp_ns = START_NS + index * PERIOD_NS
        if index >= 2:
            bag.put_transform("/tf", "world", "ego_optical_frame", stamp_ns, (index, 0, 0), (0, 0, 0, 1))
        bag.put_image("/ego/image", "ego_optical_frame", stamp_ns, COLOUR, "rgb8")
    bag.close()
    sequence = BagSequence(tmp_path / "bag")
    assert [each.frames.views[0].camera_to_world[0, 3] for each in sequence] == [2, 3, 4, 5]
    assert sequence.counts["sets_without_pose"] == 2


def test_slow_recording_does_not_tear_sets_apart(tmp_path):
    """The second camera's images were received 3 s after the first one's, as by a simulator far from real time."""
    bag = RawBag(tmp_path / "bag")
    fields = {"height": HEIGHT, "width": WIDTH, "encoding": "rgb8", "is_bigendian": 0, "step": 3 * WIDTH}
    for camera in ("ego", "exo"):
        bag.put_info(camera, START_NS, INTRINSICS)
    for index in range(4):
        for number, camera in enumerate(("ego", "exo")):
            stamp_ns, received_ns = START_NS + index * PERIOD_NS, START_NS + (2 * index + number) * 3 * 10**9
            bag.put(f"/{camera}/image", "sensor_msgs/msg/Image", received_ns, header=header("f", stamp_ns),
                    data=COLOUR.ravel(), **fields)  # fmt: skip
    bag.close()
    assert [each.frames.missing for each in BagSequence(tmp_path / "bag")] == [()] * 4


def test_raw_images_are_read_where_compressed_ones_are_there_too(tmp_path):
    bag = RawBag(tmp_path / "both")
    bag.put_info("ego", START_NS, INTRINSICS)
    bag.put("/ego/image/compressed", "sensor_msgs/msg/CompressedImage", START_NS, header=header("f", START_NS),
            format="jpeg", data=np.zeros(3, np.uint8))  # fmt: skip
    bag.put_image("/ego/image", "f", START_NS, COLOUR, "rgb8")
    bag.close()
    (labelled,) = BagSequence(tmp_path / "both")
    assert np.array_equal(labelled.frames.views[0].image, COLOUR)


def test_intrinsics_hold_from_their_stamp_on(tmp_path):
    bag = RawBag(tmp_path / "bag")
    for index, focal_px in enumerate((40.0, 40.0, 50.0)):
        stamp_ns = START_NS + index * PERIOD_NS
        bag.put_info("ego", stamp_ns, INTRINSICS * [[focal_px / 40], [1], [1]])
        bag.put_image("/ego/image", "", stamp_ns, COLOUR, "rgb8")
    bag.close()
    views = [each.frames.views[0] for each in BagSequence(tmp_path / "bag")]
    assert [view.intrinsics[0, 0] for view in views] == [40, 40, 50]
    assert views[0].frame_id == "ego_optical_frame"  # the image names none: that of camera_info


def test_cameras_can_be_chosen_and_ordered(tmp_path):
    write_bag(tmp_path / "bag", 2)
    assert BagSequence(tmp_path / "bag", ["exo", "ego"]).cameras == ("exo", "ego")
    assert [view.camera for view in next(iter(BagSequence(tmp_path / "bag", ["exo"]))).frames.views] == ["exo"]
    with pytest.raises(BadInput, match="/wrist/image"):
        BagSequence(tmp_path / "bag", ["wrist"])
