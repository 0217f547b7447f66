"""The perception node in its own process over real DDS: what it says, and what can be asked of it."""

from array import array
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Point, PointStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from live import live_node, stamp_of
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.action import ActionClient
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from geoseg_core.results import Visibility
from geoseg_ros import action, cloud_from_msg, instances_from_msg, masks_from_msg, msg, prompt_result_from_msg, srv
from geoseg_ros.sensor_messages import image_from_msg


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with live_node(tmp_path_factory.mktemp("perception"), sync__missing_timeout_s=0.3) as running:
        masks = running.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        running.bench.listen(msg.InstanceCloud, "/geoseg/instances")
        running.bench.listen(msg.PromptMasks, "/geoseg/prompt_masks")
        running.spin_until(lambda: masks)
        yield running


def solid_point(live) -> list[float]:
    """A pixel of the ego image well inside an object, from the instances' label image."""
    labels = live.bench.listen(Image, "/geoseg/ego/labels")
    live.spin_until(lambda: labels and image_from_msg(labels[-1]).any())
    picture = image_from_msg(labels[-1])
    counts = np.bincount(picture[picture > 0])
    v, u = np.argwhere(picture == counts.argmax()).mean(axis=0).round()
    return [float(u), float(v)]


def prompt(live, **others) -> msg.Prompt:
    return msg.Prompt(camera="ego", points_px=solid_point(live), point_labels=[1], **others)


def newest(live, topic: str):
    """The next message of a topic after now."""
    heard = live.bench.heard[topic]
    count = len(heard)
    live.spin_until(lambda: len(heard) > count)
    return heard[-1]


def test_outputs_of_a_set_carry_the_stamps_of_its_images(live):
    cloud = live.bench.listen(PointCloud2, "/geoseg/instances/cloud")
    boxes = live.bench.listen(MarkerArray, "/geoseg/instances/boxes")
    overlay = live.bench.listen(Image, "/geoseg/exo_left/overlay")
    live.spin_until(lambda: cloud and boxes and overlay)
    stamp_ns = live.cameras.publish()
    masks, instances = live.bench.heard["/geoseg/cross_view_masks"], live.bench.heard["/geoseg/instances"]
    live.bench.until(lambda: all(stamp_of(each[-1]) == stamp_ns for each in (masks, instances, cloud, overlay)))
    assert masks[-1].header.frame_id == instances[-1].header.frame_id == cloud[-1].header.frame_id == "world"
    assert [view.header.frame_id for view in masks[-1].views] == ["ego_optical_frame", "exo_left_optical_frame"]
    assert all(stamp_of(view) == stamp_ns for view in masks[-1].views)
    assert masks[-1].cameras == instances[-1].cameras == ["ego", "exo_left"] and not masks[-1].missing_cameras
    assert (masks[-1].method, overlay[-1].encoding) == ("rgbd", "rgb8")
    found = instances_from_msg(instances[-1])
    assert found and len(boxes[-1].markers) == 1 + len(found)
    points = cloud_from_msg(instances[-1])
    assert set(np.unique(points.instance_id)) - {0} <= set(found)
    heights_m = points.xyz[:, 2]
    assert heights_m.min() > -0.8 and heights_m.max() < 0.5  # world frame: above the floor, and no wall in sight


def test_an_object_is_followed_until_it_is_forgotten(live):
    answer = live.call(srv.TrackObject, "track_object", prompt=prompt(live, label="thing", request_id="r7"))
    assert answer.success, answer.message
    number = answer.object_id
    assert number > 0 and answer.result.request_id == "r7" and answer.result.object_id == number
    masks = masks_from_msg(newest(live, "/geoseg/cross_view_masks"))
    assert masks["ego"][number].label == "thing" and masks["ego"][number].visibility == Visibility.VISIBLE
    listed = live.call(srv.ListObjects, "list_objects")
    assert list(listed.object_ids) == [number] and listed.labels == ["thing"]
    again = live.call(srv.TrackObject, "track_object", prompt=prompt(live, object_id=number))
    assert again.object_id == number
    assert live.call(srv.ForgetObject, "forget_object", object_id=number).success
    refused = live.call(srv.ForgetObject, "forget_object", object_id=number)
    assert not refused.success and "expected the id of a live object" in refused.message
    assert number not in masks_from_msg(newest(live, "/geoseg/cross_view_masks"))["ego"]


def test_a_one_shot_prompt_is_answered_in_every_view_and_not_followed(live):
    published = live.bench.heard["/geoseg/prompt_masks"]
    answer = live.call(srv.Segment, "segment", prompt=prompt(live, request_id="once"))
    assert answer.success, answer.message
    found = prompt_result_from_msg(answer.result)
    assert set(found.masks) == {"ego", "exo_left"} and found.masks["ego"].mask.any() and len(found.cloud.xyz)
    live.bench.until(lambda: any(each.request_id == "once" for each in published))
    assert not live.call(srv.ListObjects, "list_objects").object_ids


def test_prompts_of_the_topic_are_answered_or_refused_with_their_request(live):
    answers = live.bench.heard["/geoseg/prompt_masks"]
    prompts = live.bench.node.create_publisher(msg.Prompt, "/geoseg/prompt", 10)
    live.spin_until(lambda: prompts.get_subscription_count())
    good, bad = prompt(live, request_id="good"), msg.Prompt(camera="nobody", request_id="bad")
    for each in (good, bad):
        prompts.publish(each)
        live.spin_until(lambda each=each: any(answer.request_id == each.request_id for answer in answers))
    errors = {answer.request_id: answer.error for answer in answers}
    assert errors["good"] == "" and "expected a camera of ['ego', 'exo_left'], got 'nobody'" in errors["bad"]


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"points_px": [1000.0, 10.0], "point_labels": [1]}, "expected pixels inside 64x48"),
        ({"points_px": [1.0]}, "got 1 numbers for 0 labels"),
        ({}, "expected a positive point, a box, a mask or a text"),
        ({"text": "  "}, "expected a positive point, a box, a mask or a text"),
        ({"points_px": [5.0, 5.0, 5.0, 5.0], "point_labels": [1, 0]}, "got [(5, 5)] as both"),
        ({"points_px": array("f", bytes(8_000_000)), "point_labels": bytes(1_000_000)}, "at most 1024 point labels"),
    ],
)
def test_wrong_prompts_are_refused_with_the_reason_and_nothing_is_followed(live, wrong, words):
    for kind, name in ((srv.Segment, "segment"), (srv.TrackObject, "track_object")):
        answer = live.call(kind, name, prompt=msg.Prompt(camera="ego", **wrong))
        assert not answer.success and words in answer.message
    assert not live.call(srv.ListObjects, "list_objects").object_ids


@pytest.fixture
def clicks(live):
    """Publishers of clicks, with the answers to them and the answer to a prompt on the same thing."""
    answers = live.bench.heard["/geoseg/prompt_masks"]
    points = live.bench.node.create_publisher(PointStamped, "/clicked_point", 10)
    pixels = live.bench.node.create_publisher(Point, "/geoseg/ego/overlay_mouse_left", 10)
    live.spin_until(lambda: points.get_subscription_count() and pixels.get_subscription_count())
    asked = prompt(live, request_id="asked")
    thing = prompt_result_from_msg(live.call(srv.Segment, "segment", prompt=asked).result)
    live.spin_until(lambda: answers and answers[-1].request_id == "asked")

    def click(publisher, message) -> msg.PromptMasks:
        count = len(answers)
        publisher.publish(message)
        live.spin_until(lambda: len(answers) > count)
        return answers[-1]

    def in_space(place, frame_id: str) -> msg.PromptMasks:
        x, y, z = map(float, place)
        return click(points, PointStamped(header=Header(frame_id=frame_id), point=Point(x=x, y=y, z=z)))

    def on_overlay(u: float, v: float) -> msg.PromptMasks:
        return click(pixels, Point(x=u, y=v))

    yield SimpleNamespace(
        in_space=in_space, on_overlay=on_overlay, points=points, thing=thing, place=thing.cloud.xyz[0], asked=asked
    )
    live.bench.node.destroy_publisher(points)
    live.bench.node.destroy_publisher(pixels)


def test_a_click_in_space_is_answered_in_whatever_frame_it_comes(live, clicks):
    to_world = live.cameras.views["exo_left"].camera_to_world
    in_camera = to_world[:3, :3].T @ (clicks.place - to_world[:3, 3])
    for place, frame_id in ((clicks.place, "world"), (in_camera, "exo_left_optical_frame")):
        answer = clicks.in_space(place, frame_id)
        assert (answer.request_id, answer.error) == ("clicked_point", "")
        found = prompt_result_from_msg(answer).masks
        assert all((found[name].mask == clicks.thing.masks[name].mask).all() for name in ("ego", "exo_left"))
    assert not live.call(srv.ListObjects, "list_objects").object_ids


def test_a_click_on_an_overlay_is_answered(live, clicks):
    answer = clicks.on_overlay(*map(float, clicks.asked.points_px))
    assert (answer.request_id, answer.error) == ("overlay_mouse_left", "")
    assert (prompt_result_from_msg(answer).masks["ego"].mask == clicks.thing.masks["ego"].mask).all()
    assert "expected pixels inside 64x48" in clicks.on_overlay(100.0, 10.0).error


def test_clicks_that_mean_nothing_are_refused_by_name(live, clicks):
    assert "name of a tf frame" in clicks.in_space(clicks.place, "").error
    assert "'nowhere'" in clicks.in_space(clicks.place, "nowhere").error
    assert "none of them sees" in clicks.in_space([0.0, 0.0, -50.0], "world").error
    assert "finite" in clicks.in_space([float("nan"), 0.0, 0.0], "world").error
    assert live.process.poll() is None and "Traceback" not in live.log.read_text()


def test_clicks_track_or_do_nothing_where_that_is_chosen(live, clicks):
    text = ParameterType.PARAMETER_STRING
    answers = live.bench.heard["/geoseg/prompt_masks"]
    assert set_parameter(live, "clicked_point", type=text, string_value="track") == ""
    tracked = clicks.in_space(clicks.place, "world")
    assert tracked.object_id > 0
    assert list(live.call(srv.ListObjects, "list_objects").object_ids) == [tracked.object_id]
    assert live.call(srv.ForgetObject, "forget_object", object_id=tracked.object_id).success
    assert set_parameter(live, "clicked_point", type=text, string_value="ignore") == ""
    count = len(answers)
    clicks.points.publish(PointStamped(header=Header(frame_id="world")))
    live.bench.spin(0.5)
    live.call(srv.Segment, "segment", prompt=prompt(live, request_id="after"))
    live.spin_until(lambda: answers[-1].request_id == "after")
    assert len(answers) == count + 1
    assert set_parameter(live, "clicked_point", type=text, string_value="segment") == ""


def test_without_a_vocabulary_texts_are_refused_with_what_is_missing(live):
    answers = [
        live.call(srv.SetClasses, "set_classes", classes=["mug"]),
        live.call(srv.QueryInstances, "query_instances", text="mug"),
        live.call(srv.Segment, "segment", prompt=msg.Prompt(camera="ego", text="mug")),
    ]
    for answer in answers:
        assert not answer.success
        assert "[vocabulary]" in answer.message and "instances.vocabulary.model" in answer.message
    assert list(answers[0].classes_now) == []


def test_memory_is_saved_loaded_and_reset(live, tmp_path):
    number = live.call(srv.TrackObject, "track_object", prompt=prompt(live, label="kept")).object_id
    path = str(tmp_path / "memory.safetensors")
    saved = live.call(srv.SaveMemory, "save_memory", path=path)
    assert saved.success and number in saved.object_ids
    assert live.call(srv.ResetMemory, "reset_memory").success
    assert not live.call(srv.ListObjects, "list_objects").object_ids
    assert number in live.call(srv.LoadMemory, "load_memory", path=path).object_ids
    assert live.call(srv.ListObjects, "list_objects").labels == ["kept"]
    refused = live.call(srv.LoadMemory, "load_memory", path="/nowhere/at/all")
    assert not refused.success and "/nowhere/at/all" in refused.message
    live.call(srv.ResetMemory, "reset_memory")


@pytest.fixture
def acquire(live):
    client = ActionClient(live.bench.node, action.AcquireObject, "/geoseg/acquire_object")
    live.spin_until(client.server_is_ready)
    yield client
    client.destroy()


def test_acquire_gives_feedback_and_the_object(live, acquire):
    feedback = []
    goal = action.AcquireObject.Goal(prompt=prompt(live))
    sent = acquire.send_goal_async(goal, lambda message: feedback.append(message.feedback))
    live.spin_until(sent.done)
    result = sent.result().get_result_async()
    live.spin_until(result.done)
    assert result.result().status == GoalStatus.STATUS_SUCCEEDED
    assert result.result().result.success and result.result().result.result.object_id > 0
    assert (feedback[0].stage, feedback[-1].stage) == ("segmenting", "done") and feedback[-1].progress == 1.0
    live.call(srv.ResetMemory, "reset_memory")


def test_acquire_says_where_a_budget_was_not_applied(live, acquire):
    sent = acquire.send_goal_async(action.AcquireObject.Goal(prompt=prompt(live), budget_s=60.0))
    live.spin_until(sent.done)
    result = sent.result().get_result_async()
    live.spin_until(result.done)
    assert result.result().result.message.endswith(
        "is followed, answered in 2 of 2 views within 60 s: ego, exo_left; the budget was not applied: prompts are "
        "answered by regions"
    )
    live.call(srv.ResetMemory, "reset_memory")


def only_exo(live):
    return lambda: live.cameras.publish(names=("exo_left",))


def without_ego(live) -> None:
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    live.bench.until(lambda: masks[-1].missing_cameras == ["ego"], only_exo(live))


def test_acquire_waits_for_the_camera_and_can_be_cancelled(live, acquire):
    goal, feedback = action.AcquireObject.Goal(prompt=prompt(live), timeout_s=60.0), []
    without_ego(live)
    sent = acquire.send_goal_async(goal, lambda message: feedback.append(message.feedback))
    live.bench.until(sent.done, only_exo(live))
    live.bench.until(lambda: len(feedback) > 1, only_exo(live))
    assert feedback[-1].stage == "waiting_for_images" and feedback[-1].cameras == ["exo_left"]
    result, cancelled = sent.result().get_result_async(), sent.result().cancel_goal_async()
    live.bench.until(lambda: cancelled.done() and result.done(), only_exo(live))
    assert result.result().status == GoalStatus.STATUS_CANCELED
    assert not live.call(srv.ListObjects, "list_objects").object_ids


def test_acquire_gives_up_after_its_timeout(live, acquire):
    goal = action.AcquireObject.Goal(prompt=prompt(live), timeout_s=0.5)
    without_ego(live)
    sent = acquire.send_goal_async(goal)
    live.bench.until(sent.done, only_exo(live))
    result = sent.result().get_result_async()
    live.bench.until(result.done, only_exo(live))
    assert result.result().status == GoalStatus.STATUS_ABORTED
    assert "expected a frame set with camera 'ego' within 0.5 s" in result.result().result.message


def test_images_go_on_while_a_prompt_waits(live):
    waiting = prompt(live)
    without_ego(live)
    client = live.bench.node.create_client(srv.Segment, "/geoseg/segment")
    live.bench.until(client.service_is_ready)
    future = client.call_async(srv.Segment.Request(prompt=waiting, timeout_s=30.0))
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    count = len(masks)
    live.bench.until(lambda: len(masks) > count + 5, only_exo(live))
    assert not future.done()
    live.spin_until(future.done)
    assert future.result().success


def set_parameter(live, name: str, **value) -> str:
    """ "" where it was taken, else the reason."""
    parameters = [Parameter(name=name, value=ParameterValue(**value))]
    result = live.call(SetParameters, "set_parameters", parameters=parameters).results[0]
    return "" if result.successful else result.reason


def test_wrong_parameters_are_refused_with_a_reason_and_nothing_changes(live):
    double, text = ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_STRING
    assert set_parameter(live, "prompt_timeout_s", type=double, double_value=3.0) == ""
    assert "range" in set_parameter(live, "prompt_timeout_s", type=double, double_value=-1.0)
    wrong = set_parameter(live, "pipeline.geometry.encoder", type=text, string_value="magic")
    assert "pipeline.geometry.encoder: expected one of ['rgbd', 'vggt'" in wrong
    assert "read-only" in set_parameter(live, "world_frame", type=text, string_value="map")
    classes, array = "pipeline.instances.vocabulary.classes", ParameterType.PARAMETER_STRING_ARRAY
    assert set_parameter(live, classes, type=text, string_value="mug") != ""
    assert set_parameter(live, classes, type=array, string_array_value=["mug", "ball"]) == ""
    assert set_parameter(live, classes, type=array, string_array_value=[]) == ""
    got = live.call(GetParameters, "get_parameters", names=["prompt_timeout_s", "world_frame"]).values
    assert (got[0].double_value, got[1].string_value) == (3.0, "world")


def test_parameters_tell_what_they_are(live):
    names = ["cameras", "sync.slop_s", "sync.queue_size", "synchronizer"]
    cameras, slop, queue, kind = live.call(DescribeParameters, "describe_parameters", names=names).descriptors
    assert cameras.read_only and cameras.type == ParameterType.PARAMETER_STRING_ARRAY
    assert slop.description.endswith("[s]") and slop.floating_point_range[0].to_value == 1.0
    assert queue.integer_range[0].from_value == 2
    assert kind.additional_constraints == "one of ['builtin', 'message_filters']"


def transition(live, number: int) -> bool:
    return live.call(ChangeState, "change_state", transition=Transition(id=number)).success


def state(live) -> int:
    return live.call(GetState, "get_state").current_state.id


def test_the_whole_life_of_the_node(live):
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    assert state(live) == State.PRIMARY_STATE_ACTIVE
    assert transition(live, Transition.TRANSITION_DEACTIVATE)
    live.bench.spin(0.3)
    count = len(masks)
    refused = live.call(srv.ResetMemory, "reset_memory")
    assert not refused.success and "inactive" in refused.message
    assert not live.call(srv.ListObjects, "list_objects").object_ids
    assert len(masks) == count
    assert transition(live, Transition.TRANSITION_CLEANUP)
    assert state(live) == State.PRIMARY_STATE_UNCONFIGURED
    assert transition(live, Transition.TRANSITION_CONFIGURE)
    assert transition(live, Transition.TRANSITION_ACTIVATE)
    live.spin_until(lambda: len(masks) > count)
    assert live.process.poll() is None and "Traceback" not in live.log.read_text()


def test_the_example_planner_picks_an_object(live):
    planner = import_module("examples.planner").Planner()
    live.bench.executor.add_node(planner)
    try:
        heard = live.bench.heard["/geoseg/instances"]
        count = len(heard)
        live.spin_until(lambda: planner.goal is not None and len(heard) > count)
        number, place = planner.goal
        np.testing.assert_allclose(place, instances_from_msg(heard[-1])[number].centroid, atol=0.02)
    finally:
        live.bench.executor.remove_node(planner)
        planner.destroy_node()


def test_shutdown_from_active_is_clean(live):
    assert transition(live, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state(live) == State.PRIMARY_STATE_FINALIZED
    assert live.process.poll() is None
