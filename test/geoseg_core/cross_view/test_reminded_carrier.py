"""Objects followed with a memory, at a small size with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoseg_core.config import build
from geoseg_core.cross_view.carrier import Asked, Sighting, in_network
from geoseg_core.cross_view.choice import memory_weights
from geoseg_core.cross_view.config import CrossViewConfig
from geoseg_core.cross_view.union_head.carrier import RemindedCarrier, UnionHeadCarrier
from geoseg_core.cross_view.union_head.config import EgoExoConfig, UnionHeadConfig, UnionTransferConfig
from geoseg_core.cross_view.union_head.loading import load_carrier
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig
from geoseg_core.memory.bank import MIB, MemoryBank
from geoseg_core.memory.config import BankConfig, MemoryConfig
from geoseg_core.memory.networks import TemporalMemory
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

ENCODER = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=1, heads=2), fused=(16, 16), coarse=8, fine=8
)
HEAD = UnionHeadConfig(
    width=24, map_stride=4, fusion_stride=4, fusion_width=32, fusion_inner=16, fusion_hidden=16, token_inner=16
)
MEMORY = MemoryConfig(
    map_width=24, token_width=24, map_stride=4, stride=4, width=16, memory_width=8, mask_strides=(4, 4),
    mask_channels=(3, 5), layers=1, heads=2, hidden=20, fuser_blocks=1,
)  # fmt: skip
LOOK = UnionTransferConfig("whole", EgoExoConfig(coarse_points=5, dropped=0, prompts="projected"), "fp32")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    memory = TemporalMemory(MEMORY)
    torch.nn.init.normal_(memory.attention.up.weight, std=0.5)
    files = {}
    for name, model, config in (
        ("encoder", TinyGeometry(ENCODER), ENCODER), ("head", UnionHead(HEAD), HEAD), ("memory", memory, MEMORY)
    ):  # fmt: skip
        files[name] = str(folder / f"{name}.safetensors")
        save_file(model.state_dict(), files[name], config_metadata(config))
    return files


def frames(seed: int = 0, cameras: tuple[str, ...] = ("ego", "exo")) -> FrameSet:
    shots = np.random.default_rng(seed).integers(0, 256, (len(cameras), 90, 120, 3), np.uint8)
    return FrameSet(tuple(View(name, shot, stamp_ns=seed) for name, shot in zip(cameras, shots, strict=True)))


def marked() -> np.ndarray:
    masks = np.zeros((2, 90, 120), bool)
    masks[0, 20:50, 30:70] = True
    masks[1, 50:80, 60:110] = True
    return masks


@pytest.fixture(scope="module")
def scenes(weights):
    encoder = load_encoder(GeometryConfig("tiny", weights["encoder"], "cpu")).encoder
    return [encoder.encode(frames(seed)) for seed in range(3)]


def carriers(weights, bank: BankConfig = BankConfig()) -> tuple[UnionHeadCarrier, RemindedCarrier]:  # noqa: B008
    files = [None, Path(weights["memory"])]
    alone, reminded = (load_carrier(Path(weights["head"]), LOOK, file, bank, "cpu") for file in files)
    assert isinstance(reminded, RemindedCarrier)
    return alone, reminded


def sightings(scene, number: int) -> dict[str, Sighting]:
    maps, mask = scene.matching_maps(0).float(), marked()[number]
    return {
        camera: Sighting(maps[view], in_network(mask, scene, view)) for view, camera in enumerate(scene.frames.cameras)
    }


def asked(scene, numbers: tuple[int, ...] = (0, 1)) -> list[Asked]:
    seen = {number: list(sightings(scene, number).values()) for number in numbers}
    return [Asked(number + 1, seen[number][view], view) for number in numbers for view in range(2)]


def test_with_an_empty_bank_masks_are_exactly_those_without_memory(weights, scenes) -> None:
    alone, reminded = carriers(weights)
    plain, ours = (each.over_time(scenes[1], asked(scenes[0]), 1) for each in (alone, reminded))
    assert all((one.mask == two.mask).all() and one.score == two.score for one, two in zip(plain, ours, strict=True))
    before, after = (each.between_views(scenes[1], 0, marked(), [1, 2], 1) for each in (alone, reminded))
    assert (before.scores == after.scores).all()
    assert all((one == two).all() for one, two in zip(before.masks, after.masks, strict=True))


def test_objects_that_are_looked_for_together_are_found_as_each_is_alone(weights, scenes) -> None:
    alone, _ = carriers(weights)
    maps = list(scenes[0].matching_maps(0).float())
    given = [
        Asked(number, Sighting(maps[view], in_network(mask, scenes[0], view)), view)
        for number, mask in enumerate(marked())
        for view in range(2)
    ]
    for one, found in zip(given, alone.over_time(scenes[1], given), strict=True):
        (single,) = alone.over_time(scenes[1], [one])
        assert found.score == pytest.approx(single.score, abs=1e-4)
    both = alone.between_views(scenes[1], 0, marked())
    for row, mask in enumerate(marked()):
        single = alone.between_views(scenes[1], 0, mask[None])
        assert both.scores[1, row] == pytest.approx(single.scores[1, 0], abs=1e-4)
        assert (both.masks[1][row] != single.masks[1][0]).mean() < 1e-3


def test_what_is_remembered_changes_what_is_found(weights, scenes) -> None:
    alone, reminded = carriers(weights)
    reminded.remember(1, sightings(scenes[0], 0), 1, "ego")
    plain, ours = (each.over_time(scenes[1], asked(scenes[0]), 2) for each in (alone, reminded))
    changed = [one.score != two.score for one, two in zip(plain, ours, strict=True)]
    assert changed == [True, True, False, False]
    before, after = (each.between_views(scenes[1], 0, marked(), [1, 2], 2) for each in (alone, reminded))
    assert before.scores[1, 0] != after.scores[1, 0] and before.scores[1, 1] == pytest.approx(after.scores[1, 1])
    named = reminded.between_views(scenes[1], 0, marked())
    assert (named.scores == before.scores).all()


def test_two_objects_do_not_see_each_others_memories(weights, scenes) -> None:
    both, single = carriers(weights)[1], carriers(weights)[1]
    for number in (0, 1):
        both.remember(number + 1, sightings(scenes[0], number), 1, "ego")
    single.remember(1, sightings(scenes[0], 0), 1, "ego")
    together, by_itself = (
        both.over_time(scenes[1], asked(scenes[0]), 2),
        single.over_time(scenes[1], asked(scenes[0], (0,)), 2),
    )
    for one, two in zip(by_itself, together[:2], strict=True):
        assert one.score == pytest.approx(two.score, abs=1e-4)


def test_the_memory_stays_within_its_budget_over_many_sets(weights, scenes) -> None:
    _, reminded = carriers(weights, BankConfig(budget_mib=0.05))
    held = []
    for frame in range(50):
        for number in (0, 1):
            reminded.remember(number + 1, sightings(scenes[frame % 3], number), frame, "ego" if frame == 0 else "")
        held.append(reminded.reminder.bank.held_bytes)
    assert max(held) <= 0.05 * MIB and held[-1] == held[20] and reminded.reminder.bank.objects == [1, 2]


def test_masks_that_are_trusted_too_little_or_seen_by_other_features_are_left_out(weights, scenes) -> None:
    _, reminded = carriers(weights)
    ego, exo = sightings(scenes[0], 0).values()
    for other in (replace(exo, score=0.3), replace(exo, maps=exo.maps[:9]), replace(exo, mask=exo.mask[:16])):
        reminded.reset()
        reminded.remember(1, {"ego": ego, "exo": other}, 1)
        assert [each.view for each in reminded.reminder.bank.memories(1)] == ["ego"]
    reminded.forget(7)
    reminded.forget_camera("wrist")
    assert reminded.reminder.bank.objects == [1]


def pipeline_of(weights: dict[str, str], **values: object) -> ScenePipeline:
    settings = {
        "tasks": ["cross_view", "prompts"], "geometry.encoder": "tiny", "geometry.weights": weights["encoder"],
        "cross_view.method": "union_head", "cross_view.weights": weights["head"], "cross_view.follow.least_score": 0.0,
        "cross_view.memory": weights["memory"],
        "cross_view.bank.least_score": 0.0, "cross_view.tiny.precision": "fp32",
    }  # fmt: skip
    return ScenePipeline(build(PipelineConfig, settings | values))


def bank_of(pipeline: ScenePipeline) -> MemoryBank:
    carrier = pipeline._follower.carrier
    assert isinstance(carrier, RemindedCarrier)
    return carrier.reminder.bank


def told(bank: MemoryBank, object_id: int) -> list[tuple[str, bool]]:
    return sorted((each.view, each.prompted) for each in bank.memories(object_id))


def test_prompts_and_trusted_masks_are_remembered_and_forgotten(weights) -> None:
    pipeline = pipeline_of(weights)
    bank = bank_of(pipeline)
    pipeline.process(frames())
    pipeline.segment(Prompt("ego", mask=marked()[0]))
    assert bank.objects == []
    for camera, mask in zip(("exo", "ego"), marked(), strict=True):
        pipeline.track_object(Prompt(camera, mask=mask))
    first, second = bank.objects
    assert told(bank, first)[-1] == ("exo", True) and ("ego", True) in told(bank, second)
    for seed in (1, 2):
        pipeline.process(frames(seed))
    assert len(bank.memories(second)) > 2 and sum(said for _, said in told(bank, second)) == 1
    pipeline.flush_camera("exo")
    assert {view for each in bank.objects for view, _ in told(bank, each)} == {"ego"}
    pipeline.process(frames(3))
    pipeline.forget_object(second)
    assert second not in bank.objects
    pipeline.reset_memory()
    assert bank.objects == [] and bank.held_bytes == 0


@pytest.mark.parametrize("least_score", [0.0, 0.99])
def test_a_correction_takes_away_what_was_remembered(weights, least_score: float) -> None:
    pipeline = pipeline_of(weights, **{"cross_view.follow.least_score": least_score})
    bank = bank_of(pipeline)
    pipeline.process(frames())
    number = pipeline.track_object(Prompt("ego", mask=marked()[0])).object_id
    for seed in (1, 2):
        pipeline.process(frames(seed))
    newest = bank.newest(number)
    pipeline.track_object(Prompt("ego", mask=marked()[1]), number)
    assert bank.newest(number) >= newest and bank.memories(number)[0].frame == bank.newest(number)
    assert ("ego", True) in told(bank, number) and len(bank.memories(number)) <= 2
    pipeline.process(frames(3))
    assert sum(said for _, said in told(bank, number)) == 1


def test_what_is_followed_outlives_a_file_with_and_without_a_memory(weights, tmp_path: Path) -> None:
    pipeline = pipeline_of(weights)
    pipeline.process(frames())
    number = pipeline.track_object(Prompt("ego", mask=marked()[0])).object_id
    pipeline.process(frames(1))
    pipeline.save_memory(path := str(tmp_path / "memory.safetensors"))
    other, forgetful = pipeline_of(weights), pipeline_of(weights, **{"cross_view.memory": "none"})
    for each in (other, forgetful):
        assert each.load_memory(path) == (number,)
    assert told(bank_of(other), number) == [("ego", False), ("exo", False)]
    results = [each.process(frames(2)) for each in (pipeline, other, forgetful)]
    assert all(len(view.masks) == 1 for result in results for view in result.masks)
    forgetful.save_memory(path)
    assert other.load_memory(path) == (number,) and len(bank_of(other).memories(number)) == 2
    assert other.memory_weights is not None and forgetful.memory_weights is None


def test_a_memory_is_named_or_the_usual_one_of_the_usual_head(weights, tmp_path: Path) -> None:
    assert memory_weights(CrossViewConfig(), "vggt") is None
    assert memory_weights(CrossViewConfig(weights=weights["head"]), "tiny") is None
    assert memory_weights(CrossViewConfig(memory="none"), "tiny") is None
    found = memory_weights(CrossViewConfig(weights=weights["head"], memory=weights["memory"]), "tiny")
    assert found is not None and found.name == "memory"
    with pytest.raises(BadInput, match="nothing.safetensors"):
        pipeline_of(weights, **{"cross_view.memory": str(tmp_path / "nothing.safetensors")})
    with pytest.raises(BadInput, match="MemoryConfig"):
        pipeline_of(weights, **{"cross_view.memory": weights["head"]})
    other = replace(MEMORY, token_width=16)
    save_file(TemporalMemory(other).state_dict(), tmp_path / "other.safetensors", config_metadata(other))
    with pytest.raises(BadConfig, match=r"\(24, 24, 4\), got \(24, 16, 4\)"):
        pipeline_of(weights, **{"cross_view.memory": str(tmp_path / "other.safetensors")})
