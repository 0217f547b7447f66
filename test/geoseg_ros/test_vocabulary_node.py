"""The node with a vocabulary: classes and queries by text over its services. The model is small and random."""

import numpy as np
import pytest
from live import Live, live_node
from scenes import render_set, tabletop
from small_vocabulary import small_vocabulary_folder

from geoseg_core.prompts import Prompt
from geoseg_core.results import Instance
from geoseg_ros import msg, srv
from geoseg_ros.conversions import instances_from_msg, prompt_result_from_msg, prompt_to_msg

FRAMES, _ = render_set(tabletop(), size=(120, 160), names=("ego", "exo_left"))
VOCABULARY = "pipeline__instances__vocabulary"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("vocabulary")
    settings = {"model": str(small_vocabulary_folder(folder / "clip", "clip")), "device": "cpu", "least_score": 0.0}
    settings |= {"rivals": [], "least_pixels": 1, "instances_per_set": 8, "looks": 1}
    named = {f"{VOCABULARY}__{name}": value for name, value in settings.items()}
    with live_node(folder, views=list(FRAMES.views), pipeline__geometry__device="cpu", **named) as running:
        clouds = running.bench.listen(msg.InstanceCloud, "/geoseg/instances")
        running.spin_until(lambda: clouds and len(clouds[-1].instances) >= 4, 120.0)
        yield running


def newest(live: Live) -> dict[int, Instance]:
    return instances_from_msg(live.bench.heard["/geoseg/instances"][-1])


def set_classes(live: Live, *classes: str) -> srv.SetClasses.Response:
    return live.call(srv.SetClasses, "set_classes", classes=classes)


def test_classes_are_set_while_the_node_runs(live: Live) -> None:
    assert {each.class_name for each in newest(live).values()} == {""}
    answer = set_classes(live, "mug", "red box")
    assert answer.success and list(answer.classes_now) == ["mug", "red box"], answer.message
    live.spin_until(lambda: all(each.class_name in ("mug", "red box") for each in newest(live).values()))
    assert all(0.5 <= each.class_score <= 1 for each in newest(live).values()), "the better of two probabilities"
    refused = set_classes(live, "mug", "mug")
    assert not refused.success and "twice" in refused.message and list(refused.classes_now) == ["mug", "red box"]
    assert set_classes(live).success
    live.spin_until(lambda: {each.class_name for each in newest(live).values()} == {""})


def test_the_vocabulary_is_told(live: Live) -> None:
    live.spin_until(lambda: live.value("pipeline", "vocabulary"))
    assert live.value("pipeline", "vocabulary").endswith("/clip")
    assert "/clip, classes: none" in live.log.read_text()


def test_a_text_finds_instances_and_prompts_the_best(live: Live) -> None:
    answer = live.call(srv.QueryInstances, "query_instances", text="mug")
    assert answer.success and set(answer.ids) <= set(newest(live)) and len(answer.ids) >= 4, answer.message
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    refused = live.call(srv.QueryInstances, "query_instances", text=" ")
    assert not refused.success and "1 to 300" in refused.message and not refused.ids
    tracked = live.call(srv.TrackObject, "track_object", prompt=prompt_to_msg(Prompt("ego", text="mug")))
    assert tracked.success, tracked.message
    result = prompt_result_from_msg(tracked.result)
    assert any(each.mask.any() for each in result.masks.values()) and tracked.object_id == answer.ids[0]
    both = prompt_to_msg(Prompt("ego", np.array([[80.0, 60.0]]), np.ones(1, bool), text="mug"))
    refused = live.call(srv.Segment, "segment", prompt=both)
    assert not refused.success and "the text alone" in refused.message
    assert live.process.poll() is None and "Traceback" not in live.log.read_text()
