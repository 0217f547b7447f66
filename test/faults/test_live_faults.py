"""Bad messages, silent cameras, jumps of time and broken models: named, counted, and the node lives on."""

import signal
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from faults.lives import resident_mb
from faulty_node import CONTRARY, HUNGRY, MAGIC, SLUGGISH, SLUGGISH_S, STARVED
from geometry_msgs.msg import Point, PointStamped
from live import live_node, stamp_of, transforms_to_msg, values
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Empty, Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from geoseg_ros import msg, srv
from geoseg_ros.conversions import cloud_from_msg
from geoseg_ros.sensor_messages import image_to_msg, packed


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with live_node(tmp_path_factory.mktemp("faults"), "faulty_node", sync__missing_timeout_s=0.3) as running:
        masks = running.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        running.spin_until(lambda: masks and len(masks[-1].cameras) == 2)
        yield running
        assert running.process.poll() is None


@pytest.fixture(autouse=True)
def works_again(live):
    """After each fault: a full set comes through."""
    yield
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    count = len(masks)
    live.spin_until(lambda: len(masks) > count and not masks[-1].missing_cameras)


def counted(live, camera: str, words: str) -> int:
    status = live.status(f"camera {camera}")
    return next((int(n) for key, n in values(status).items() if key == words), 0) if status else 0


def refuse(live, words: str, camera: str = "ego", topic: str = "image", **changed) -> None:
    """Publish sets in which one message was changed until it is counted; the log names it."""

    def publish():
        stamp_ns = time.time_ns()
        message = live.cameras.messages(camera, stamp_ns)[topic]
        for name, value in changed.items():
            setattr(message, name, value)
        live.cameras.publish(stamp_ns, **{f"{camera}_{topic}": message})

    before = counted(live, camera, words)
    live.bench.until(lambda: counted(live, camera, words) > before + 1, publish)
    assert words.split(": ")[-1] in live.log.read_text()


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"height": 2**31, "width": 2**31}, "image refused: image size"),
        ({"height": 4000}, "image refused: image data"),
        ({"step": 1}, "image refused: image step"),
        ({"data": []}, "image refused: image data"),
        ({"encoding": "rgb565"}, "image refused: image encoding"),
    ],
)
def test_a_lying_image_costs_its_camera_only(live, changed, words):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    refuse(live, words, **changed)
    live.bench.spin(0.2)
    assert any(each.cameras == ["exo_left"] and each.missing_cameras == ["ego"] for each in masks[-3:])
    assert live.status("camera ego").level == DiagnosticStatus.WARN


def test_a_set_of_lying_images_only_is_counted(live):
    def publish():
        stamp_ns = time.time_ns()
        lying = {f"{name}_image": live.cameras.messages(name, stamp_ns)["image"] for name in ("ego", "exo_left")}
        for message in lying.values():
            message.height = 1
        live.cameras.publish(stamp_ns, **lying)

    live.bench.until(lambda: live.value("pipeline", "sets_undecodable"), publish)


def test_a_lying_depth_image_is_refused(live):
    refuse(live, "depth refused: image data", topic="depth", height=47)


def test_depth_of_another_size_than_its_image_is_refused(live):
    other = image_to_msg(np.ones((12, 16), np.float32), "32FC1", Header())
    changed = {name: getattr(other, name) for name in ("height", "width", "step", "data")}
    refuse(live, "depth refused: depth size", topic="depth", **changed)


@pytest.mark.parametrize("k", [[np.nan] * 9, [0.0] * 9])
def test_intrinsics_that_are_none_are_refused_and_the_good_ones_stay(live, k):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    refuse(live, "camera_info refused: camera_info", topic="camera_info", k=k, p=[0.0] * 12)
    assert masks[-1].cameras == ["ego", "exo_left"]


def test_calibration_of_another_resolution_is_not_used(live):
    refuse(live, "camera_info refused: camera_info size", topic="camera_info", height=480, width=640)
    assert "its calibration changed; what was remembered of it is forgotten" in live.log.read_text()


def test_a_transform_of_nan_is_refused(live):
    transforms = live.bench.node.create_publisher(TFMessage, "/tf", 10)
    live.spin_until(transforms.get_subscription_count)
    message = transforms_to_msg(live.cameras.views["ego"], 5)
    message.transforms[0].child_frame_id = "gripper"
    message.transforms[0].transform.translation.x = float("nan")
    transforms.publish(message)
    live.spin_until(lambda: "refused transform of 'tf'" in live.log.read_text())
    live.bench.node.destroy_publisher(transforms)


def test_truncated_jpeg_is_refused_and_a_whole_one_is_taken(live):
    compressed = live.bench.node.create_publisher(CompressedImage, "ego/image/compressed", 10)
    live.spin_until(compressed.get_subscription_count)
    jpeg = cv2.imencode(".jpg", live.cameras.views["ego"].image[..., ::-1])[1]

    def publish(length: int) -> None:
        stamp_ns = live.cameras.publish(names=("exo_left",))
        depth = live.cameras.messages("ego", stamp_ns)["depth"]
        live.cameras.publishers["ego/depth"].publish(depth)
        compressed.publish(CompressedImage(header=depth.header, format="jpeg", data=packed(jpeg[:length])))

    live.bench.until(lambda: counted(live, "ego", "image refused: JPEG"), lambda: publish(jpeg.size // 2))
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    live.bench.until(lambda: masks[-1].cameras == ["exo_left"], lambda: publish(jpeg.size // 2))
    live.bench.until(lambda: masks[-1].cameras == ["ego", "exo_left"], lambda: publish(jpeg.size))
    live.bench.node.destroy_publisher(compressed)


def test_zero_and_repeated_stamps_are_counted(live):
    live.bench.until(lambda: counted(live, "ego", "image dropped: zero_stamp"), lambda: live.cameras.publish(0))
    stamp_ns = time.time_ns()
    live.bench.until(lambda: counted(live, "ego", "image dropped: duplicate"), lambda: live.cameras.publish(stamp_ns))


def test_a_missing_camera_is_named_within_a_second_and_comes_back(live):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    gone_s = time.monotonic()
    live.bench.until(
        lambda: "missing: no image for" in live.status("camera exo_left").message,
        lambda: live.cameras.publish(names=("ego",)),
    )
    assert live.status("camera exo_left").level == DiagnosticStatus.WARN
    assert time.monotonic() - gone_s < 5  # one second where the machine is not loaded
    live.bench.until(
        lambda: masks[-1].cameras == ["ego"] and masks[-1].missing_cameras == ["exo_left"],
        lambda: live.cameras.publish(names=("ego",)),
    )
    live.spin_until(lambda: not masks[-1].missing_cameras)
    live.spin_until(lambda: "missing" not in live.status("camera exo_left").message)


def test_a_model_that_breaks_is_logged_and_the_next_set_is_delivered(live):
    live.bench.until(lambda: live.value("pipeline", "sets_failed"), lambda: live.publish_marked(MAGIC))
    log = live.log.read_text()
    assert "Traceback" in log and "ZeroDivisionError: the model broke" in log


def test_callbacks_that_break_are_logged_and_cost_their_message_only(live):
    breaking = live.bench.node.create_publisher(Empty, "/geoseg/break", 10)
    client = live.bench.node.create_client(Trigger, "/geoseg/break")
    live.spin_until(lambda: breaking.get_subscription_count() and client.service_is_ready())
    for number in range(1, 4):
        breaking.publish(Empty())
        client.call_async(Trigger.Request())
        live.spin_until(lambda: live.log.read_text().count("ArithmeticError: a callback broke") == 2 * number)  # noqa: B023
    live.bench.node.destroy_publisher(breaking)
    live.bench.node.destroy_client(client)


def test_where_memory_runs_out_less_is_remembered_and_the_set_is_tried_once_more(live):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    count = len(masks)
    live.bench.until(lambda: len(masks) > count + 3, lambda: live.publish_marked(HUNGRY))
    assert "memory ran out: Unable to allocate 2.00 PiB" in live.log.read_text()
    assert not live.value("pipeline", "sets_out_of_memory")


def test_where_memory_runs_out_for_good_sets_are_counted_and_the_model_is_made_anew(live):
    made_anew = "memory ran out for 3 sets in a row: the model is made anew"
    live.bench.until(lambda: live.log.read_text().count(made_anew) > 1, lambda: live.publish_marked(STARVED))
    live.spin_until(lambda: int(live.value("pipeline", "sets_out_of_memory") or 0) >= 6)
    assert live.process.poll() is None


def test_a_result_that_contradicts_itself_is_not_published(live):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    live.bench.spin(0.5)
    count = len(masks)
    live.bench.until(
        lambda: int(live.value("pipeline", "sets_inconsistent") or 0) > 2, lambda: live.publish_marked(CONTRARY)
    )
    assert len(masks) == count
    assert "expected labels in 'ego' of instances that are listed" in live.log.read_text()


def test_a_model_slower_than_its_cameras_works_on_the_newest_set(live):
    ages_s = []

    def note(masks):
        ages_s.append(time.time() - stamp_of(masks) / 1e9)

    listening = live.bench.node.create_subscription(msg.CrossViewMasks, "/geoseg/cross_view_masks", note, 10)
    superseded = int(live.value("pipeline", "sets_superseded") or 0)
    live.bench.until(lambda: len(ages_s) > 5, lambda: live.publish_marked(SLUGGISH))
    # In a queue of all sets the sixth would come 8 s late; the newest one is 1.6 s old where the machine is idle.
    assert max(ages_s) < 2 * SLUGGISH_S + 1
    live.spin_until(lambda: int(live.value("pipeline", "sets_superseded")) > superseded + 20)
    live.bench.node.destroy_subscription(listening)


def test_a_set_that_waited_too_long_is_not_used(live):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    live.bench.spin(0.5)
    stale = int(live.value("pipeline", "sets_stale") or 0)
    live.publish_marked(SLUGGISH)
    live.bench.spin(0.2)
    stamp_ns = live.cameras.publish()
    live.bench.until(lambda: int(live.value("pipeline", "sets_stale") or 0) == stale + 1)
    assert stamp_of(masks[-1]) < stamp_ns


def test_a_node_that_was_held_up_leaves_out_what_is_old_by_then(live):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    max_age_ns = 10**9  # sync.max_age_s
    live.process.send_signal(signal.SIGSTOP)
    stopped_ns = time.time_ns()
    for _ in range(8):  # its queues hold ten
        live.cameras.publish()
        live.bench.spin(0.3)
    resumed_ns = time.time_ns()
    live.process.send_signal(signal.SIGCONT)
    live.spin_until(lambda: stamp_of(masks[-1]) > resumed_ns)
    assert not any(stopped_ns < stamp_of(each) < resumed_ns - max_age_ns for each in masks)


def test_a_loop_of_the_bag_resets_the_memory_once(live):
    live.call(srv.TrackObject, "track_object", prompt=msg.Prompt(camera="ego", box_px=[10.0, 10.0, 50.0, 40.0]))
    before = live.log.read_text().count("the memory is reset")
    resets = int(live.value("pipeline", "memory_resets"))
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    sets = [int(live.value("pipeline", "sets_synchronised"))]
    for loop in range(2):
        for step in range(5):
            live.cameras.publish(1_000_000_000_000 + step * 500_000_000)
            live.bench.spin(0.1)
        live.bench.until(lambda: stamp_of(masks[-1]) == 1_002_000_000_000)
        assert live.log.read_text().count("the memory is reset") == before + 1 + loop
        live.bench.spin(0.5)
        sets.append(int(live.value("pipeline", "sets_synchronised")))
    assert sets[2] - sets[1] == 5 <= sets[1] - sets[0]
    live.bench.until(lambda: int(live.value("pipeline", "memory_resets")) == resets + 2)
    assert not live.call(srv.ListObjects, "list_objects").object_ids


def test_a_new_place_of_a_fixed_camera_and_a_new_resolution_flush_it(live):
    views = dict(live.cameras.views)
    moved = views["exo_left"].camera_to_world.copy()
    moved[0, 3] += 0.01
    live.cameras.views["exo_left"] = replace(views["exo_left"], camera_to_world=moved)
    live.cameras.publish_poses()
    live.spin_until(lambda: "camera 'exo_left': it stands in another place" in live.log.read_text())
    half = views["ego"]
    live.cameras.views["ego"] = replace(
        half,
        image=half.image[::2, ::2],
        depth_m=half.depth_m[::2, ::2],
        intrinsics=half.intrinsics * [[0.5], [0.5], [1]],
    )
    live.spin_until(lambda: "camera 'ego': its resolution changed" in live.log.read_text())
    live.cameras.views.update(views)
    live.cameras.publish_poses()


def test_peers_with_incompatible_qos_are_named(live):
    other = rclpy.create_node("picky")
    demanding = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    other.create_subscription(msg.ObjectEvent, "/geoseg/events", print, demanding)
    volatile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other.create_publisher(TFMessage, "/tf_static", volatile)
    try:
        live.spin_until(lambda: live.status("connections").message.count("'picky'") == 2)
        assert live.status("connections").level == DiagnosticStatus.WARN
        log = live.log.read_text()
        assert "/geoseg/events: node 'picky'" in log and "/tf_static: node 'picky'" in log
    finally:
        other.destroy_node()
    live.spin_until(lambda: live.status("connections").level == DiagnosticStatus.OK)


def test_a_subscriber_that_never_takes_anything_does_not_make_the_node_grow(live):
    sleepy = rclpy.create_node("sleepy")
    for kind, topic in ((msg.CrossViewMasks, "cross_view_masks"), (msg.InstanceCloud, "instances"),
                        (Image, "ego/overlay")):  # fmt: skip
        sleepy.create_subscription(kind, f"/geoseg/{topic}", print, 1)
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    try:
        count = len(masks)
        live.spin_until(lambda: len(masks) > count + 20)
        size_mb, count = resident_mb(live.process.pid), len(masks)
        live.spin_until(lambda: len(masks) > count + 60)
        # A set has some 100 kB of masks, points and pictures.
        assert resident_mb(live.process.pid) - size_mb < 3
    finally:
        sleepy.destroy_node()


def test_a_camera_with_a_wrong_clock_is_left_out_and_named(live):
    def publish():
        stamp_ns = live.cameras.publish(names=("ego",))
        live.cameras.publish(stamp_ns - 3_600_000_000_000, names=("exo_left",))

    live.bench.until(lambda: "left out" in live.status("camera exo_left").message, publish)
    live.bench.until(lambda: counted(live, "exo_left", "image dropped: stale"), publish)
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    live.bench.until(lambda: masks[-1].missing_cameras == ["exo_left"], publish)


def test_a_camera_whose_transforms_stop_is_named(live):
    transforms = live.bench.node.create_publisher(TFMessage, "/tf", 10)
    live.spin_until(transforms.get_subscription_count)
    still = live.cameras.views["ego"]
    live.cameras.views["ego"] = replace(still, frame_id="head_camera")
    stamp_ns = time.time_ns() - 1_000_000_000
    transforms.publish(transforms_to_msg(live.cameras.views["ego"], stamp_ns))
    live.spin_until(lambda: counted(live, "ego", "image refused: no transform in time"))
    live.cameras.views["ego"] = still
    live.bench.node.destroy_publisher(transforms)


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        (Image, "ego/image"), (Image, "ego/depth"), (CompressedImage, "ego/image/compressed"),
        (CompressedImage, "ego/depth/compressedDepth"), (CameraInfo, "ego/camera_info"), (TFMessage, "/tf"),
        (msg.Prompt, "/geoseg/prompt"), (PointStamped, "/clicked_point"), (Point, "/geoseg/ego/overlay_mouse_left"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_message_stop_nobody(live, kind, topic):
    publisher = live.bench.node.create_publisher(kind, topic, 10)
    live.spin_until(publisher.get_subscription_count)
    random = np.random.default_rng(0)
    whole = serialize_message(kind())
    for length in (0, 4, 5, len(whole) - 1, len(whole)):
        publisher.publish(whole[:length])
        lying = bytes(whole[:4]) + random.integers(0, 256, max(length - 4, 0), np.uint8).tobytes()
        publisher.publish(lying)
        publisher.publish(bytes(whole[:4]) + b"\xff" * max(length - 4, 0))
        live.bench.spin(0.02)
    live.bench.node.destroy_publisher(publisher)
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    count = len(masks)
    live.spin_until(lambda: len(masks) > count + 2)


@pytest.mark.parametrize("jump_s", [-60, 3600])
def test_a_jump_of_the_clock_is_said_once_and_sets_go_on(live, jump_s):
    before = live.log.read_text().count("time jumped")
    masks = live.bench.heard["/geoseg/cross_view_masks"]

    def publish() -> None:
        live.cameras.publish(time.time_ns() + jump_s * 10**9)

    live.bench.until(lambda: abs(stamp_of(masks[-1]) - time.time_ns() - jump_s * 10**9) < 5 * 10**9, publish)
    for _ in range(5):
        publish()
        live.bench.spin(0.1)
    assert live.log.read_text().count("time jumped") == before + 1
    assert not masks[-1].missing_cameras


def test_a_million_points_are_refused(live):
    answers = live.bench.listen(msg.PromptMasks, "/geoseg/prompt_masks")
    many = msg.Prompt(camera="ego", request_id="many", points_px=[5.0] * 2_000_000, point_labels=[1] * 10**6)
    prompts = live.bench.node.create_publisher(msg.Prompt, "/geoseg/prompt", 10)
    live.spin_until(prompts.get_subscription_count)
    prompts.publish(many)
    live.spin_until(lambda: any(each.request_id == "many" for each in answers))
    (answer,) = (each for each in answers if each.request_id == "many")
    assert "at most 1024 point labels, got 2000000 numbers for 1000000 labels" in answer.error
    live.bench.node.destroy_publisher(prompts)


def test_prompts_of_9_mb_leave_the_node_no_larger(live):
    answers = live.bench.listen(msg.PromptMasks, "/geoseg/prompt_masks")
    points, labels = packed(np.full(2_000_000, 5, np.float32), "f"), packed(np.ones(10**6, np.uint8))
    prompts = live.bench.node.create_publisher(msg.Prompt, "/geoseg/prompt", 10)
    live.spin_until(prompts.get_subscription_count)
    before_mb = resident_mb(live.process.pid, "RssAnon")
    for number in range(4):
        prompts.publish(msg.Prompt(camera="ego", request_id=f"large {number}", points_px=points, point_labels=labels))
    live.spin_until(lambda: sum(each.request_id.startswith("large") for each in answers) == 4)
    live.spin_until(lambda: resident_mb(live.process.pid, "RssAnon") < before_mb + 5, timeout_s=15)
    live.bench.node.destroy_publisher(prompts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_depth_that_is_none_leaves_finite_clouds(live, value):
    clouds = live.bench.listen(msg.InstanceCloud, "/geoseg/instances")

    def publish() -> None:
        stamp_ns = time.time_ns()
        depth = live.cameras.messages("ego", stamp_ns)["depth"]
        spoilt = np.frombuffer(depth.data, np.float32).copy()
        spoilt[::2] = value
        depth.data = packed(spoilt.view(np.uint8))
        live.cameras.publish(stamp_ns, ego_depth=depth)

    count = len(clouds)
    live.bench.until(lambda: len(clouds) > count + 2, publish)
    for each in clouds[-2:]:
        xyz = cloud_from_msg(each.cloud).xyz
        assert len(xyz) and np.isfinite(xyz).all()
