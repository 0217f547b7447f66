"""The node follows masks on images alone: the small network and MV-SAM as shipped, a union head with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from live import SMALL, live_node, values
from rclpy.action import ActionClient
from safetensors.torch import save_file
from scenes import render_set, tabletop

from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.prompts import Prompt
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.weights.chosen import config_metadata
from geoseg_ros import action, msg, srv
from geoseg_ros.conversions import masks_from_msg, prompt_result_from_msg, prompt_to_msg

FRAMES, LABELS = render_set(tabletop(), size=SMALL, names=("ego", "exo_left"))
THING = int(np.bincount(LABELS[0][LABELS[0] < 100]).argmax())


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("masks")
    path = folder / "head.safetensors"
    torch.manual_seed(0)
    save_file(UnionHead(tiny_head()).state_dict(), path, config_metadata(tiny_head()) | {"licence": "for tests only"})
    views = [replace(view, camera_to_world=None, intrinsics=None, depth_m=None) for view in FRAMES.views]
    settings = {
        "pipeline__tasks": ["cross_view", "prompts"],
        "pipeline__geometry__encoder": "tiny",
        "pipeline__geometry__device": "cpu",
        "pipeline__cross_view__weights": str(path),
        "pipeline__cross_view__follow__least_score": 0.0,
        "pipeline__prompts__method": "mv_sam",
    }
    with live_node(folder, views=views, **settings) as running:
        masks = running.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        running.spin_until(lambda: masks, 60.0)
        yield running


def marked(object_id: int = 0, **words: object) -> msg.Prompt:
    return prompt_to_msg(Prompt("ego", mask=LABELS[0] == THING), object_id=object_id, **words)


def followed(live, number: int) -> dict:
    newest = masks_from_msg(live.bench.heard["/geoseg/cross_view_masks"][-1])
    return {camera: masks[number] for camera, masks in newest.items() if number in masks}


def test_an_object_is_followed_corrected_saved_loaded_and_forgotten(live, tmp_path: Path):
    answer = live.call(srv.TrackObject, "track_object", prompt=marked(label="thing", request_id="r1"))
    assert answer.success, answer.message
    number, result = answer.object_id, prompt_result_from_msg(answer.result)
    assert (result.masks["ego"].mask == (LABELS[0] == THING)).all() and set(result.masks) == {"ego", "exo_left"}
    assert answer.result.method == "mv_sam"
    live.spin_until(lambda: set(followed(live, number)) == {"ego", "exo_left"})
    assert live.bench.heard["/geoseg/cross_view_masks"][-1].method == "union_head"
    assert followed(live, number)["ego"].label == "thing"
    assert live.call(srv.TrackObject, "track_object", prompt=marked(number)).object_id == number
    path = str(tmp_path / "memory.safetensors")
    assert list(live.call(srv.SaveMemory, "save_memory", path=path).object_ids) == [number]
    assert live.call(srv.ResetMemory, "reset_memory").success
    assert not live.call(srv.ListObjects, "list_objects").object_ids
    assert list(live.call(srv.LoadMemory, "load_memory", path=path).object_ids) == [number]
    assert list(live.call(srv.ListObjects, "list_objects").labels) == ["thing"]
    live.spin_until(lambda: followed(live, number))
    assert live.call(srv.ForgetObject, "forget_object", object_id=number).success
    live.spin_until(lambda: not followed(live, number))


def test_all_weights_and_licences_are_told(live):
    assert "masks by union_head, weights head (" in live.log.read_text()
    assert "prompts by mv_sam, weights tiny-mv-sam (" in live.log.read_text()
    live.spin_until(lambda: live.status("pipeline"))
    told = values(live.status("pipeline"))
    assert told["prompt_weights"] == "tiny-mv-sam" and "Apache-2.0" in told["prompt_licence"]
    assert (told["weights"], told["head_weights"], told["head_licence"]) == ("tiny", "head", "for tests only")


def test_acquire_keeps_to_its_budget_and_says_so(live):
    client, feedback = ActionClient(live.bench.node, action.AcquireObject, "/geoseg/acquire_object"), []
    live.spin_until(client.server_is_ready)
    live.call(srv.Segment, "segment", prompt=marked())  # an answer that is timed
    goal = action.AcquireObject.Goal(prompt=marked(), budget_s=1e-6)
    sent = client.send_goal_async(goal, lambda message: feedback.append(message.feedback))
    live.spin_until(sent.done)
    done = sent.result().get_result_async()
    live.spin_until(done.done)
    result = done.result().result
    assert result.success and result.message.startswith(f"object {result.result.object_id} is followed, "), result
    assert "answered in 1 of 2 views in " in result.message
    assert result.message.endswith("s, over the budget of 1e-06 s: ego; not asked: exo_left")
    assert (list(result.result.cameras), list(result.result.missing_cameras)) == (["ego"], ["exo_left"])
    assert set(prompt_result_from_msg(result.result).masks) == {"ego"} and feedback[-1].cameras == ["ego"]
    live.spin_until(lambda: set(followed(live, result.result.object_id)) == {"ego", "exo_left"})
    live.call(srv.ResetMemory, "reset_memory")
    client.destroy()


def test_empty_and_whole_masks_are_refused_and_nothing_is_lost(live):
    number = live.call(srv.TrackObject, "track_object", prompt=marked()).object_id
    whole = prompt_to_msg(Prompt("ego", mask=np.ones_like(LABELS[0], bool)))
    refused = live.call(srv.Segment, "segment", prompt=whole)
    assert not refused.success and "found all of the view" in refused.message
    assert list(live.call(srv.ListObjects, "list_objects").object_ids) == [number]
    assert live.process.poll() is None and "Traceback" not in live.log.read_text()
