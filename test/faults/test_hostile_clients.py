"""Clients that ask too much, too often or for nonsense: refused by name, while the sets and everybody else go on."""

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from faulty_node import SLOW
from live import SMALL, live_node, values
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient

from geoseg_core.prompts import Prompt
from geoseg_ros import action, msg, srv
from geoseg_ros.conversions import prompt_to_msg

RATE, WAITING, OBJECTS = 5.0, 3, 2
BOX = msg.Prompt(camera="ego", box_px=[10.0, 10.0, 50.0, 40.0])
TOO_OFTEN, TOO_MANY = "too many requests: expected at most 5 a second on ~/{}", "too many waiting requests"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    limits = {"limits__requests_per_s": RATE, "limits__waiting_requests": WAITING, "limits__objects": OBJECTS}
    with live_node(folder, "faulty_node", sync__missing_timeout_s=0.3, **limits) as running:
        masks = running.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        running.bench.listen(msg.PromptMasks, "/geoseg/prompt_masks")
        running.spin_until(lambda: masks and len(masks[-1].cameras) == 2)
        yield running
        assert running.process.poll() is None and "Traceback" not in running.log.read_text()


@pytest.fixture(autouse=True)
def rested(live):
    """Each test begins where nothing was asked for a while, and everything is open again after it."""
    live.bench.spin(1.1)
    yield
    live.bench.spin(1.1)
    assert live.call(srv.Segment, "segment", prompt=BOX).success


def share_of_sets(live, flood) -> float:
    """How many of the sets that are published at 10 Hz are processed while `flood` is called before each."""
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    before, published, begun_s = len(masks), 0, time.monotonic()
    while time.monotonic() < begun_s + 3:
        flood()
        live.cameras.publish()
        published += 1
        live.bench.spin(0.1)
    return (len(masks) - before) / published


def test_a_flood_of_prompts_is_refused_by_name_and_the_sets_go_on(live):
    answers = live.bench.heard["/geoseg/prompt_masks"]
    prompts = live.bench.node.create_publisher(msg.Prompt, "/geoseg/prompt", 100)
    live.spin_until(prompts.get_subscription_count)
    answers.clear()

    def flood():
        for number in range(100):
            prompts.publish(msg.Prompt(request_id=f"flood {number}", camera="ego", text=SLOW))

    assert share_of_sets(live, flood) > 0.5
    refused = [each for each in answers if each.error.startswith("too many")]
    assert len(refused) > 100 and 0 < len(answers) - len(refused) <= RATE * 6
    assert all(each.error.startswith((TOO_OFTEN.format("prompt"), TOO_MANY)) for each in refused)
    assert all("raise limits." in each.error for each in refused)
    assert all(each.request_id.startswith("flood") for each in refused)
    status = live.status("requests")
    assert status.level == DiagnosticStatus.WARN and status.message == "refused, too many on ~/prompt"
    counted = {why: int(number) for why, number in values(status).items()}
    assert set(counted) <= {f"~/prompt refused: {why}" for why in ("too many requests", "too many waiting requests")}
    assert sum(counted.values()) > 100
    assert 1 <= live.log.read_text().count("refused request of '~/prompt'") <= 6  # said now and then, not each time
    live.bench.node.destroy_publisher(prompts)


def test_a_flood_of_calls_is_refused_by_name_and_other_services_answer(live):
    client = live.bench.node.create_client(srv.Segment, "/geoseg/segment")
    live.spin_until(client.service_is_ready)
    futures = []

    def flood():
        futures.extend(client.call_async(srv.Segment.Request(prompt=BOX)) for _ in range(9))

    assert share_of_sets(live, flood) > 0.5
    assert live.call(srv.ResetMemory, "reset_memory").success
    answers = [each.result() for each in futures if each.done()]  # DDS itself drops calls that come too fast
    assert len(answers) > len(futures) / 2
    messages = [each.message for each in answers if not each.success]
    assert len(answers) / 2 < len(messages) < len(answers)
    assert all(each.startswith((TOO_OFTEN.format("segment"), TOO_MANY)) for each in messages)
    live.bench.node.destroy_client(client)


def test_requests_that_wait_for_images_are_counted(live):
    client = live.bench.node.create_client(srv.TrackObject, "/geoseg/track_object")
    live.spin_until(client.service_is_ready)
    masks = live.bench.heard["/geoseg/cross_view_masks"]
    live.bench.until(lambda: masks[-1].cameras == ["exo_left"], lambda: live.cameras.publish(names=("exo_left",)))
    waiting = [client.call_async(srv.TrackObject.Request(prompt=BOX, timeout_s=60.0)) for _ in range(WAITING + 1)]
    live.bench.until(waiting[-1].done)
    assert waiting[-1].result().message == (
        "too many waiting requests: expected at most 3 on ~/track_object without an answer yet; wait for some, or "
        "raise limits.waiting_requests"
    )
    assert not any(each.done() for each in waiting[:-1])
    live.spin_until(lambda: all(each.done() and each.result().success for each in waiting[:-1]))
    live.bench.node.destroy_client(client)


def test_a_goal_too_many_is_aborted_with_the_reason(live):
    client = ActionClient(live.bench.node, action.AcquireObject, "/geoseg/acquire_object")
    live.spin_until(client.server_is_ready)
    sent = [client.send_goal_async(action.AcquireObject.Goal(prompt=BOX)) for _ in range(int(RATE) + 3)]
    live.spin_until(lambda: all(each.done() for each in sent))
    results = [each.result().get_result_async() for each in sent]
    live.spin_until(lambda: all(each.done() for each in results))
    messages = [each.result().result.message for each in results]
    assert any(each.startswith("too many") and "~/acquire_object" in each for each in messages)
    assert any("is followed" in each for each in messages)
    client.destroy()


def test_an_object_too_many_is_refused_and_the_others_stay(live):
    assert live.call(srv.ResetMemory, "reset_memory").success
    numbers = []
    for corner in range(OBJECTS + 1):
        drawn = np.zeros(SMALL, bool)
        drawn[4:12, 20 * corner : 20 * corner + 8] = True
        prompt = prompt_to_msg(Prompt("ego", mask=drawn))
        answer = live.call(srv.TrackObject, "track_object", prompt=prompt)
        numbers.append(answer.object_id)
    assert not answer.success and answer.message == (
        "too many objects: expected at most 2 to be followed at once; forget one first, or raise limits.objects"
    )
    assert list(live.call(srv.ListObjects, "list_objects").object_ids) == numbers[:OBJECTS]
    corrected = live.call(srv.TrackObject, "track_object", prompt=prompt_to_msg(Prompt("ego", mask=drawn), numbers[0]))
    assert corrected.success and corrected.object_id == numbers[0]
    assert live.call(srv.ResetMemory, "reset_memory").success


@pytest.mark.parametrize("timeout_s", [float("inf"), 1e300, 601.0, -1.0, float("nan")])
def test_a_wait_without_end_is_refused(live, timeout_s):
    answer = live.call(srv.Segment, "segment", prompt=BOX, timeout_s=timeout_s)
    assert not answer.success
    assert answer.message == f"timeout_s: expected 0 (the node's default) to 600 s, got {timeout_s}"


def test_zero_is_no_way_to_have_no_limit(live):
    rate = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.0)
    count = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=0)
    wanted = [
        Parameter(name="limits.requests_per_s", value=rate),
        Parameter(name="limits.waiting_requests", value=count),
    ]
    results = live.call(SetParameters, "set_parameters", parameters=wanted).results
    assert not any(each.successful for each in results)
