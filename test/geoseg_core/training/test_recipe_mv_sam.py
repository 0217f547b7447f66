"""The recipe of MV-SAM on SAM 2, at a small size: that it learns, from what, and that its weights answer many views."""

import json

import cv2
import numpy as np
import pytest
import torch
from published import coco_text, write_image, write_text
from safetensors.torch import save_file
from scenes import render_set, tabletop
from small_models import small_pi3
from small_sam import SIDE, small_sam_folder

from geoseg_core.config import build
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.pi3.encoder import Pi3Encoder, Pi3EncoderConfig
from geoseg_core.prompting.mv_sam.config import sam2_decoder
from geoseg_core.prompting.mv_sam.sam2_prompter import Sam2Prompter
from geoseg_core.prompting.session import PromptSession
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.mv_sam import MvSamRecipe, MvSamTask

CPU = torch.device("cpu")
VALUES = {
    "model.image": 32,
    "model.fine": 4,
    "model.width": 32,
    "model.inner": 16,
    "model.hidden": 64,
    "model.heads": 2,
    "data.reader.width": 96,
    "data.reader.height": 72,
    "data.worlds.width": 96,
    "data.worlds.height": 72,
    "data.worlds.difficulty": 0.0,
    "data.worlds.exo_min": 1,
    "data.worlds.exo_max": 1,
    "geometry.encoder": "tiny",
    "geometry.device": "cpu",
    "geometry.tiny.pixels": 96 * 72,
    "geometry.tiny.precision": "fp32",
    "draws.masks": 0.1,
    "draws.boxes": 0.0,
    "optimiser.learning_rate": 5e-3,
}


def write_photographs(root, count):
    """Photographs of 160x120: discs and boxes of their own colours before a grey wall, each with its mask."""
    random = np.random.default_rng(0)
    for number in range(count):
        image, masks = np.full((120, 160, 3), 90, np.uint8), []
        for place in ((35, 40), (110, 35), (60, 90), (130, 90)):
            mask = np.zeros((120, 160), np.uint8)
            centre = tuple(int(each) for each in random.integers(-8, 9, 2) + place)
            cv2.circle(mask, centre, int(random.integers(14, 24)), 1, -1)
            image[mask > 0] = random.integers(0, 256, 3)
            masks.append(mask.astype(bool))
        annotations = [
            {"segmentation": {"size": [120, 160], "counts": coco_text(mask)}, "predicted_iou": 0.95} for mask in masks
        ]
        facts = {"image_id": number, "width": 160, "height": 120, "file_name": f"sa_{number}.jpg"}
        write_image(root / f"sa_{number}.jpg", image)
        write_text(root / f"sa_{number}.json", json.dumps({"image": facts, "annotations": annotations}))


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mv_sam")
    write_photographs(folder / "sa_000020", 3)
    return VALUES | {"sam": str(small_sam_folder(folder / "sam")), "data.path": str(folder)}


@pytest.fixture(scope="module")
def task(values):
    return MvSamTask(build(MvSamRecipe, values))


@pytest.fixture(scope="module")
def learned(task):
    """A model that has seen one batch of photographs many times, its losses, and its figures before and after."""
    torch.manual_seed(0)
    batch, model = task.batch(0, [10**6, 10**6 + 1], CPU), task.model()
    with torch.no_grad():
        before = task.metrics(model.eval(), batch)
    optimiser, totals = make_optimiser(model.train(), task.config.optimiser), []
    known = task.embedding(model, batch)
    with pytest.MonkeyPatch.context() as patch:
        # What stays as it is says the same of the same batch in each step.
        patch.setattr(task, "embedding", lambda *_: known)
        for step in range(240):
            parts = task.loss(model, batch, step)
            optimiser.zero_grad()
            parts["total"].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            totals.append(float(parts["total"].detach()))
    with torch.no_grad():
        after = task.metrics(model.eval(), batch)
    return model, totals, before, after


def test_it_learns_photographs_by_heart(task, learned):
    model, totals, before, after = learned
    assert np.mean(totals[-8:]) < 0.4 * np.mean(totals[:2])
    assert after["iou_points"] > before["iou_points"] + 0.4 and after["iou_click"] > before["iou_click"] + 0.3
    picture = task.picture(model, task.held_out([3], CPU))
    assert picture.shape == (2 * SIDE, SIDE, 3)


def test_what_it_learned_answers_frame_sets_of_many_views(values, task, learned, tmp_path):
    save_file(task.export(learned[0]), tmp_path / "weights.safetensors", task.stored())
    prompter = Sam2Prompter.from_weights(tmp_path / "weights.safetensors", values["sam"])
    scene = Pi3Encoder(small_pi3(), Pi3EncoderConfig(pixels=3000)).encode(render_set(tabletop(), size=(72, 96))[0])
    answer = PromptSession(prompter, scene).add(scene.frames.cameras[0], points=[(40, 40)])
    assert [mask.shape for mask in answer.masks] == [(72, 96)] * 3


def test_the_encoders_stay_as_they_are_and_points_stand_at_the_pixels_of_the_square(task):
    batch, model = task.held_out([3, 4], CPU), task.model()
    embedding = task.embedding(model, batch)
    assert embedding.points.shape == (2, 1, SIDE, SIDE, 3) and embedding.image.shape == (2, 1, 32, 4, 4)
    assert not embedding.image.requires_grad and bool(torch.isfinite(embedding.points).all())
    labels = task.labels(batch)
    assert labels.shape == (2, 1, SIDE, SIDE) and set(labels.unique().tolist()) == set(range(5))
    assert {name for name, _ in model.named_parameters()} == set(task.export(model)) - {"place_code.basis"}


def test_worlds_with_measured_depth_do_as_well(values):
    changed = values | {"data.source": "worlds", "geometry.encoder": "rgbd"}
    task = MvSamTask(build(MvSamRecipe, changed))
    batch, model = task.held_out([5, 6], CPU), task.model()
    embedding = task.embedding(model, batch)
    # A true point is seen where the other view has it: the same thing stands at the same place.
    ids = task.labels(batch)
    both = sorted(set(ids[0, 0].unique().tolist()) & set(ids[0, 1].unique().tolist()) - {0})
    centres = [[embedding.points[0, view][ids[0, view] == thing].nanmean(0) for view in range(2)] for thing in both]
    assert both and all(float((one - other).norm()) < 0.2 for one, other in centres)
    parts = task.loss(model, batch, 0)
    parts["total"].backward()
    assert float(parts["total"].detach()) > 0 and set(task.metrics(model, batch)) == {"iou_points", "iou_click"}


def test_settings_are_the_papers_and_what_does_not_fit_is_refused(values):
    recipe = MvSamRecipe()
    assert recipe.model == sam2_decoder() and recipe.geometry.encoder == "pi3" and recipe.data.source == "sa1b"
    assert (recipe.focal, recipe.dice, recipe.draws.points, recipe.draws.negatives) == (1.0, 0.05, 10, 1)
    with pytest.raises(BadConfig, match="data.path"):
        MvSamTask(build(MvSamRecipe, values | {"data.path": ""}))
    with pytest.raises(BadConfig, match="expected image, stride, fine and fine_stride"):
        MvSamTask(build(MvSamRecipe, values | {"model.fine": 8}))
