"""A bag that is damaged, foreign or lacks something is refused by BadInput, never by anything else."""

import numpy as np
import pytest
from raw_bags import HEIGHT, INTRINSICS, OBJECTS, PERIOD_NS, START_NS, WIDTH, RawBag, labelled_set, write_bag
from rosbags.rosbag2 import StoragePlugin

from geoseg_core.datasets.bag_file import BagFile
from geoseg_core.datasets.bag_format import objects_from_json, objects_to_json
from geoseg_core.datasets.bag_writer import BagWriter, message_types
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.errors import BadInput

COLOUR = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("intact") / "bag"
    write_bag(path, 3)
    return (path / "bag.mcap").read_bytes()


def walk(path) -> str:
    """Read everything; what came of it."""
    try:
        return f"{sum(1 for _ in BagSequence(path))} sets"
    except BadInput:
        return "refused"


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bits_are_refused_or_do_no_harm(tmp_path, intact, seed):
    generator = np.random.default_rng(seed)
    path = tmp_path / "bag.mcap"
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(intact)
        for _ in range(generator.integers(1, 9)):
            damaged[generator.integers(len(damaged))] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        outcomes.add(walk(path))
    assert "refused" in outcomes


def test_overwritten_index_is_refused_or_does_no_harm(tmp_path, intact):
    """The summary at the end of the file holds lengths and offsets: numbers that lie."""
    generator = np.random.default_rng(0)
    path = tmp_path / "bag.mcap"
    outcomes = set()
    for _ in range(100):
        damaged = bytearray(intact)
        start = generator.integers(len(damaged) - 6000, len(damaged) - 4)
        damaged[start : start + 4] = generator.bytes(4)
        path.write_bytes(damaged)
        outcomes.add(walk(path))
    assert "refused" in outcomes


def test_every_truncation_is_refused(tmp_path, intact):
    path = tmp_path / "bag.mcap"
    for length in np.linspace(0, len(intact) - 1, 40).astype(int):
        path.write_bytes(intact[:length])
        assert walk(path) == "refused"


def test_damaged_sqlite_bag_is_refused_or_does_no_harm(tmp_path):
    bag = RawBag(tmp_path / "bag", StoragePlugin.SQLITE3)
    bag.put_info("ego", START_NS, INTRINSICS)
    for index in range(3):
        bag.put_image("/ego/image", "f", START_NS + index * PERIOD_NS, COLOUR, "rgb8")
    bag.close()
    (database,) = (tmp_path / "bag").glob("*.db3")
    intact = database.read_bytes()
    assert walk(tmp_path / "bag") == "3 sets"
    generator = np.random.default_rng(0)
    for kept in np.linspace(0, len(intact) - 1, 20).astype(int):
        damaged = bytearray(intact)
        damaged[kept : kept + 64] = generator.bytes(64)
        database.write_bytes(damaged)
        walk(tmp_path / "bag")
        database.write_bytes(intact[:kept])
        walk(tmp_path / "bag")
    database.write_bytes(b"")
    assert walk(tmp_path / "bag") == "refused"


@pytest.mark.parametrize("text", ["", "rosbag2_bagfile_information: 3", "{[", "a: !!python/object:x {}", "\x00"])
def test_damaged_metadata_is_refused(tmp_path, text):
    write_bag(tmp_path / "bag", 1)
    (tmp_path / "bag" / "metadata.yaml").write_text(text)
    with pytest.raises(BadInput, match="complete rosbag2 recording"):
        BagSequence(tmp_path / "bag")


def test_missing_bag_empty_folder_and_other_file_are_told_apart(tmp_path):
    with pytest.raises(BadInput, match="found nothing there"):
        BagSequence(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="metadata.yaml"):
        BagSequence(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadInput, match="Unrecognized storage format"):
        BagSequence(tmp_path / "notes.txt")


def test_bag_without_cameras_names_the_topics_that_it_has(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put("/chatter", "std_msgs/msg/String", 1, data="hello")
    bag.close()
    with pytest.raises(BadInput, match=r"/<camera>/image .*'/chatter'.*bag_format"):
        BagSequence(tmp_path / "bag")


def test_image_topic_of_another_type_is_refused(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", 1, INTRINSICS)
    bag.put("/ego/image", "std_msgs/msg/String", 1, data="hello")
    bag.close()
    with pytest.raises(BadInput, match=r"/ego/image/compressed .*std_msgs/msg/String"):
        BagSequence(tmp_path / "bag")


def test_transforms_of_another_type_are_refused(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", 1, INTRINSICS)
    bag.put_image("/ego/image", "f", START_NS, COLOUR, "rgb8")
    bag.put("/tf", "std_msgs/msg/String", 1, data="hello")
    bag.close()
    with pytest.raises(BadInput, match="/tf: expected messages of tf2_msgs/msg/TFMessage, got std_msgs/msg/String"):
        BagSequence(tmp_path / "bag")


def test_foreign_types_in_the_bag_do_not_matter(tmp_path):
    """A definition that nobody can parse stands beside the cameras."""
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", START_NS, INTRINSICS)
    bag.put_image("/ego/image", "f", START_NS, COLOUR, "rgb8")
    alien = bag._writer.add_connection("/alien", "alien_msgs/msg/Thing", msgdef="what? <is> this;;", rihs01="RIHS01_00")
    bag._writer.write(alien, START_NS, b"\x00\x01\x00\x00????")
    bag.close()
    assert walk(tmp_path / "bag") == "1 sets"
    with BagFile(tmp_path / "bag") as file:
        (message,) = file.messages(["/alien"])
        assert message.data.endswith(b"????")
        with pytest.raises(BadInput, match="decoding a message of /alien"):
            file.decode(message)


def test_bad_image_is_named_with_topic_and_stamp(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", START_NS, INTRINSICS)
    bag.put_image("/ego/image", "f", START_NS, COLOUR, "nonsense8")
    bag.close()
    with pytest.raises(BadInput, match=f"/ego/image at {START_NS} ns: .*nonsense8"):
        list(BagSequence(tmp_path / "bag"))


def test_labels_and_depth_of_another_size_are_refused(tmp_path):
    for name, topic in (("labels", "/ego/ground_truth/labels"), ("depth", "/ego/depth")):
        bag = RawBag(tmp_path / name)
        bag.put_info("ego", START_NS, INTRINSICS)
        bag.put_image("/ego/image", "f", START_NS, COLOUR, "rgb8")
        bag.put_image(topic, "f", START_NS, np.zeros((HEIGHT, WIDTH // 2), np.uint16), "16UC1")
        bag.close()
        with pytest.raises(BadInput, match="image's size"):
            list(BagSequence(tmp_path / name))


def test_intrinsics_that_are_none_are_refused(tmp_path):
    for number, matrix in enumerate((np.zeros((3, 3)), INTRINSICS * np.nan)):
        bag = RawBag(tmp_path / str(number))
        bag.put_info("ego", START_NS, matrix)
        bag.put_image("/ego/image", "f", START_NS, COLOUR, "rgb8")
        bag.close()
        with pytest.raises(BadInput, match="/ego/camera_info: expected finite intrinsics"):
            BagSequence(tmp_path / str(number))


def test_frames_in_a_loop_are_refused(tmp_path):
    bag = RawBag(tmp_path / "bag")
    bag.put_info("ego", START_NS, INTRINSICS)
    bag.put_image("/ego/image", "a", START_NS, COLOUR, "rgb8")
    bag.put_transform("/tf_static", "a", "b", 1, (0, 0, 0), (0, 0, 0, 1))
    bag.put_transform("/tf_static", "b", "a", 1, (0, 0, 0), (0, 0, 0, 1))
    bag.close()
    with pytest.raises(BadInput, match="tree of frames"):
        BagSequence(tmp_path / "bag")


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"objects": 3}', '{"objects": [{"name": "x"}]}', '{"objects": [{"id": "1", "name": "x"}]}',
     '{"objects": [{"id": 0, "name": "x"}]}', '{"objects": [{"id": 70000, "name": "x"}]}',
     '{"objects": [{"id": 1, "name": "x", "role": "hero"}]}',
     '{"objects": [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]}', "[" * 5000],
)  # fmt: skip
def test_object_lists_that_are_none_are_refused(text):
    with pytest.raises(BadInput):
        objects_from_json(text)


def test_object_list_round_trip_and_defaults():
    assert objects_from_json(objects_to_json(OBJECTS)) == OBJECTS
    (short,) = objects_from_json('{"objects": [{"id": 7, "name": "x"}]}')
    assert (short.id, short.class_name, short.role) == (7, "", "object")


def test_writer_never_touches_what_exists(tmp_path):
    write_bag(tmp_path / "bag", 1)
    before = (tmp_path / "bag" / "bag.mcap").read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        BagWriter(tmp_path / "bag")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="new folder"):
        BagWriter(tmp_path / "file" / "bag")
    assert (tmp_path / "bag" / "bag.mcap").read_bytes() == before


def test_types_of_the_bag_itself_are_used(tmp_path):
    """A String whose definition in the bag has one field more than the installed one."""
    bag = RawBag(tmp_path / "bag")
    extended = bag._writer.add_connection(
        "/words", "std_msgs/msg/String", msgdef="string data\nuint8 more\n", rihs01="RIHS01_00"
    )
    plain = message_types().serialize_cdr(message_types().types["std_msgs/msg/String"]("abc"), "std_msgs/msg/String")
    bag._writer.write(extended, 1, bytes(plain) + b"\x07")
    bag.close()
    with BagFile(tmp_path / "bag") as file:
        (message,) = file.messages(["/words"])
        assert (file.decode(message).data, file.decode(message).more) == ("abc", 7)


def test_definitions_may_be_idl(tmp_path):
    bag = RawBag(tmp_path / "bag")
    body = "module std_msgs { module msg { struct String { string data; }; }; };"
    idl = "=" * 80 + f"\nIDL: std_msgs/msg/String\n{body}\n"
    words = bag._writer.add_connection("/words", "std_msgs/msg/String", msgdef=idl, rihs01="RIHS01_00")
    bag._writer.write(words, 1, b"\x00\x01\x00\x00\x04\x00\x00\x00abc\x00")
    bag.close()
    with BagFile(tmp_path / "bag") as file:
        (message,) = file.messages(["/words"])
        assert file.decode(message).data == "abc"


def test_standard_type_without_its_fields_is_refused(tmp_path):
    bag = RawBag(tmp_path / "bag")
    other = bag._writer.add_connection("/words", "std_msgs/msg/String", msgdef="string dada\n", rihs01="RIHS01_00")
    bag._writer.write(other, 1, b"\x00\x01\x00\x00\x01\x00\x00\x00\x00")
    bag.close()
    with BagFile(tmp_path / "bag") as file:
        (message,) = file.messages(["/words"])
        with pytest.raises(BadInput, match=r"std_msgs/msg/String with the standard's fields.*\['data'\]"):
            file.decode(message)


def test_helper_scene_has_both_labels():
    """The bags above are worth something only while their labels are not empty."""
    assert {0, 1, 300} == set(np.unique(labelled_set(2).labels["ego"]))
