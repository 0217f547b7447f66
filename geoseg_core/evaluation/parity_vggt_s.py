"""Parity of the union head of VGGT-S: its weights, and its calls in stages.

The files of one set share the start of their names ("A" of A_io and recipe_A): weights and feature maps are drawn by
the recipe of the set, inputs stand in any of its files. Errors are absolute, as the published limits are.
"""

import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.config import UnionHeadConfig, config_of
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead, sample_points
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row
from geoseg_core.evaluation.parity_config import watched
from geoseg_core.weights.loading import check_tensors, expected_shapes, load_strict

# Inputs that follow from nothing else.
GIVEN = ("in.src_mask", "in.tar_points", "in.gt")
WEIGHTS = ("prompt_encoder.", "mask_decoder.")
SETTINGS = {"seed", "img_size", "sa_tokens", "blocks", "points", "ratio", "batch", "refine_ratio", "refine_time"}
RECIPE = {"configuration", "parameters", "feat_map"}
KEYS = {"about", "counts", "tensors"}
# Modules of a block, and of the decoder, and the names of what they give.
BLOCK_STAGES = {
    "downsampling": "down", "norm0": "img_attn", "norm_ffn": "img_ffn", "norm_nf": "fused", "norm1": "tokens_self",
    "norm2": "tokens_cross", "norm3": "tokens_mlp", "norm4": "image_cross",
}  # fmt: skip
STAGES = {
    "mask_decoder.transformer.norm_final_attn": "tokens_final",
    "mask_decoder.output_upscaling.4": "upscaled",
    "mask_decoder.output_hypernetworks_mlps.0": "hyper",
}
# What ".sample" means: every so-manieth place along each axis.
SAMPLES = {
    "in.feat_map": (1, 1, 16, 37, 37), "pe.cross": (1, 1, 37, 37), "pe.self": (1, 8, 6, 6),
    "low_res_raw": (1, 1, 5, 5), "low_res_clamped": (1, 1, 5, 5), "feedback_resized": (1, 1, 5, 5),
    "img_attn": (1, 53, 1), "img_ffn": (1, 53, 1), "fused": (1, 997, 1), "image_cross": (1, 997, 1),
    "src_mask_emb": (1, 1, 12, 12), "tar_mask_emb": (1, 1, 12, 12), "upscaled": (1, 1, 20, 20),
}  # fmt: skip
EXACT, CODES, NORMED, MAPS, RAW = 0.0, 1e-5, 5e-5, 1e-4, 3e-4
LIMITS = {
    "in.feat_map": EXACT, "in.src_points": EXACT, "in.src_points_feat": CODES, "src_points_feat_after": CODES,
    "prompt_tokens": CODES, "pe.cross": CODES, "pe.self": CODES, "low_res_raw": RAW, "low_res_clamped": RAW,
    "feedback_resized": RAW, "down": MAPS, "upscaled": MAPS, "hyper": MAPS, "src_mask_emb": MAPS, "tar_mask_emb": RAW,
}  # fmt: skip
FULL_IMAGE = 518


@dataclass(frozen=True)
class Recipe:
    """How the random tensors of a set were drawn."""

    content: dict[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(each["shape"]) for name, each in self.content["parameters"].items()}

    @property
    def stated(self) -> dict[str, Any]:
        """The settings that the recipe names."""
        return self.content.get("configuration", self.content)

    def weights(self) -> dict[str, Tensor]:
        """All tensors of the head."""
        seed = self.content["seed"]
        return {
            name: drawn((zlib.crc32(name.encode()) + seed) % 2**32, **each)
            for name, each in self.content["parameters"].items()
        }

    def feature_map(self) -> Tensor:
        """(B, 2, C, h, w)"""
        return drawn(**self.content["feat_map"])


@dataclass(frozen=True)
class HeadSet:
    """The files of one set."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem.partition("_")[0]

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe of the set; None where there is none, and weights and maps are stored."""
        for path in (self.path.with_name(f"recipe_{self.name}.json"), self.path.with_suffix(".json")):
            if path.exists():
                return Recipe(json.loads(path.read_text()))
        return None

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that the files of the set hold, but the stages of calls."""
        found: dict[str, Tensor] = {}
        for path in sorted(self.path.parent.glob(f"{self.name}_*.safetensors")):
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if not re.match(r"it\d+\.", name)]  # noqa: SIM118
                found |= {name: file.get_tensor(name) for name in names}
        return found

    @cached_property
    def feature_map(self) -> Tensor:
        """(B, 2, C, h, w)"""
        return self.recipe.feature_map() if self.recipe else self.tensors["in.feat_map"]

    @cached_property
    def pairs(self) -> HeadInput:
        """The samples of the set."""
        given, maps = self.tensors, self.feature_map
        masks = given["in.src_mask"].bool()
        return HeadInput(
            maps[:, 0], maps[:, 1], masks, given["in.src_points"], given["in.tar_points"], given["in.src_points_feat"]
        )

    def head(self) -> UnionHead:
        """The head of the set.

        Raises:
            BadInput: its tensors are not those of a head.
        """
        weights = self.recipe.weights() if self.recipe else {
            name: each for name, each in self.tensors.items() if name.startswith(WEIGHTS)
        }  # fmt: skip
        with torch.device("meta"):
            head = UnionHead(config_of({name: tuple(each.shape) for name, each in weights.items()}))
        load_strict(head, weights)
        return head.eval()


def misfits(stated: Mapping[str, Any], config: UnionHeadConfig, maps: Sequence[int], seed: int | None) -> list[Row]:
    """A miss for each setting that is not known, or not that of the weights and of the maps (B, 2, C, h, w)."""
    truth = {
        "seed": seed,
        "img_size": maps[-1] * config.map_stride,
        "blocks": config.blocks,
        "ratio": config.fusion_stride,
        "sa_tokens": maps[-1] // config.fusion_stride,
        "batch": maps[0],
    }
    wrong = [name for name, value in truth.items() if value is not None and int(stated.get(name, value)) != value]
    unknown = [name for name in stated if name not in SETTINGS]
    rows = [Row("", f"config {name}", None, 0.0, "UNKNOWN KEY") for name in unknown]
    return rows + [Row("", f"config {name}", None, 0.0, f"EXPECTED {truth[name]}") for name in wrong]


def set_misfits(files: HeadSet, stated: Mapping[str, Any]) -> list[Row]:
    """The same for what a file of a set, and its recipe, say of themselves."""
    config, maps = files.head().config, files.feature_map.shape
    if files.recipe is None:
        return misfits(stated, config, maps, None)
    seed = files.recipe.content["seed"]
    return misfits(stated, config, maps, seed) + misfits(without(files.recipe.stated, RECIPE), config, maps, seed)


def without(content: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The entries of other names."""
    return {name: each for name, each in content.items() if name not in names}


def drawn(seed: int, amplitude: float, shape: list[int], offset: float = 0.0) -> Tensor:
    """Uniform numbers of the published recipe: (2u - 1) * amplitude + offset, formed in float64."""
    uniform = np.random.RandomState(seed).random_sample(shape)
    return torch.from_numpy(((2 * uniform - 1) * amplitude + offset).astype(np.float32))


def run_recipe(fixture: Fixture) -> list[Row]:
    """A recipe describes exactly the tensors of a head."""
    recipe = Recipe(fixture.config)
    config, maps = config_of(recipe.shapes), recipe.content["feat_map"]["shape"]
    rows = misfits(without(recipe.content, RECIPE), config, maps, recipe.content["seed"])
    return [*rows, fitting_row(recipe.shapes, config, fixture.path.name)]


def run_head_keys(fixture: Fixture) -> list[Row]:
    """Names, shapes, kinds and the order in the optimiser of a checkpoint's tensors."""
    tensors, counts = fixture.config["tensors"], fixture.config.get("counts", {})
    shapes = {name: tuple(each["shape"]) for name, each in tensors.items()}
    config = config_of(shapes)
    with torch.device("meta"):
        head = UnionHead(config)
    parameters, buffers = dict(head.named_parameters()), dict(head.named_buffers())
    order = {name: number for number, name in enumerate(parameters)}
    ours = {name: ("parameter" if name in parameters else "buffer", order.get(name)) for name in head.state_dict()}
    theirs = {name: (each.get("kind"), each.get("optimizer_index")) for name, each in tensors.items()}
    wrong = sum(ours.get(name) != each for name, each in theirs.items())
    sizes = {
        "total parameters": sum(each.numel() for each in parameters.values()),
        "total buffer elements": sum(each.numel() for each in buffers.values()),
    }
    rows = [Row("", f"config {name}", None, 0.0, "UNKNOWN KEY") for name in fixture.config if name not in KEYS]
    rows += [fitting_row(shapes, config, fixture.path.name), Row("", "kinds and order", float(wrong), 0.0)]
    return rows + [
        Row("", name, float(abs(number - counts[name])), 0.0) for name, number in sizes.items() if name in counts
    ]


def fitting_row(shapes: Mapping[str, tuple[int, ...]], config: UnionHeadConfig, where: str) -> Row:
    """Whether names and shapes are exactly those of a head."""
    label = f"{len(shapes)} names and shapes"
    with torch.device("meta"):
        head = UnionHead(config)
    try:
        check_tensors(shapes, expected_shapes(head), where)
    except BadInput as error:
        return Row("", label, None, 0.0, f"MISS: {error}")
    return Row("", label, 0.0, 0.0)


def run_weights(fixture: Fixture) -> list[Row]:
    """Stored weights are those of the recipe, and fit a head."""
    files = HeadSet(fixture.path)
    if files.recipe is None:
        shapes = {name: tuple(each.shape) for name, each in fixture.all_tensors.items()}
        return [fitting_row(shapes, config_of(shapes), fixture.path.name)]
    drawn_rows = absolute_rows(files.recipe.weights(), fixture.all_tensors, lambda name: EXACT)
    return misfits(fixture.config, config_of(files.recipe.shapes), files.feature_map.shape, None) + drawn_rows


@torch.inference_mode()
def run_calls(fixture: Fixture) -> list[Row]:
    """Calls without and with feedback, in stages."""
    files = HeadSet(fixture.path)
    stored = {name: each for name, each in fixture.all_tensors.items() if name not in GIVEN}
    computed = set_up(files) | calls(files, [name for name in stored if name.startswith("it")])
    logits = RAW if files.pairs.masks.shape[1] >= FULL_IMAGE else MAPS
    return set_misfits(files, fixture.config) + absolute_rows(computed, stored, lambda name: limit_of(name, logits))


def limit_of(name: str, logits: float = MAPS) -> float:
    """The published limit of a tensor; that of the logits depends on the size of the head."""
    plain = name.removesuffix(".sample")
    if plain.endswith("pred_logits"):
        return logits
    return LIMITS.get(plain, LIMITS.get(plain.rpartition(".")[2], NORMED))


def set_up(files: HeadSet) -> dict[str, Tensor]:
    """What stands before the first call: inputs that follow from others, and codes."""
    pairs, head = files.pairs, files.head()
    size = (pairs.source_maps.shape[2], pairs.source_maps.shape[3])
    image = (pairs.masks.shape[1], pairs.masks.shape[2])
    count = pairs.source_points_px.shape[1]
    small = (size[0] // head.config.fusion_stride, size[1] // head.config.fusion_stride)
    anchors = [in_order_of(mask_anchors(mask, count).points_px, stored.numpy())
               for mask, stored in zip(pairs.masks.numpy(), pairs.source_points_px, strict=True)]  # fmt: skip
    found = {
        "in.feat_map": torch.stack((pairs.source_maps, pairs.target_maps), dim=1),
        "in.src_points": torch.from_numpy(np.stack(anchors)),
        "in.src_points_feat": sample_points(pairs.source_maps, pairs.source_points_px, image),
        "pe.cross": head.prompt_encoder.cells(size),
        "pe.self": head.prompt_encoder.bottleneck_cells(small),
    }
    return found | {f"{name}.sample": sampled(name, each) for name, each in found.items() if name in SAMPLES}


def in_order_of(points: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """The stored points where both are the same set, else our own."""
    same = set(map(tuple, points.tolist())) == set(map(tuple, stored.tolist()))
    return stored if same else points


def calls(files: HeadSet, names: list[str]) -> dict[str, Tensor]:
    """All calls that the names ask for, and what they ask for of each."""
    head, pairs = files.head(), files.pairs
    last = max((int(name.removeprefix("it").partition(".")[0]) for name in names), default=0)
    stages = STAGES | {
        f"mask_decoder.transformer.layers.{block}.{module}": f"block{block}.{stage}"
        for block in range(head.config.blocks)
        for module, stage in BLOCK_STAGES.items()
    }
    found: dict[str, Tensor] = {}
    feedback = None
    for number in range(last + 1):
        with watched(head, stages) as seen:
            output = head.call(pairs, number, feedback)
        seen |= {"prompt_tokens": head.prompt_tokens(pairs, number), "low_res_raw": output.raw}
        seen |= {"src_mask_emb": head.prompt_encoder.source_mask(pairs.masks), "pred_logits": output.logits[:, None]}
        if feedback is not None:
            seen |= {"feedback_resized": feedback, "tar_mask_emb": head.prompt_encoder.feedback(feedback)}
        limit = head.config.feedback_limit
        seen["low_res_clamped"] = output.raw.clamp(-limit, limit)
        feedback = head.resized_feedback(output.raw)
        found |= {name: each for name, each in chosen(seen, number) if name in names}
    assert pairs.sampled is not None
    found["src_points_feat_after"] = head.prompt_encoder.point_features(pairs.sampled, last + 1)
    return found


def chosen(seen: Mapping[str, Tensor], number: int) -> Iterable[tuple[str, Tensor]]:
    """Tensors of one call by their names in a fixture, whole and as samples."""
    for stage, each in seen.items():
        yield f"it{number}.{stage}", each
        if stage.rpartition(".")[2] in SAMPLES:
            yield f"it{number}.{stage}.sample", sampled(stage.rpartition(".")[2], each).clone()


def sampled(name: str, tensor: Tensor) -> Tensor:
    """Every so-manieth place of a tensor along each axis."""
    return tensor[tuple(slice(None, None, step) for step in SAMPLES[name])]


def absolute_rows(
    computed: Mapping[str, Tensor], stored: Mapping[str, Tensor], limit: Callable[[str], float]
) -> list[Row]:
    """One row for each stored tensor."""
    return [absolute_row(name, computed.get(name), each, limit(name)) for name, each in stored.items()]


def absolute_row(name: str, ours: Tensor | None, reference: Tensor, limit: float) -> Row:
    """max|ours - reference|"""
    if ours is None:
        return Row("", name, None, limit, "NOT COMPUTED")
    if ours.shape != reference.shape:
        return Row("", name, None, limit, f"SHAPE {tuple(ours.shape)} for {tuple(reference.shape)}")
    error = max_of(ours.double() - reference.double())
    if not bool(torch.isfinite(error)):
        return Row("", name, None, limit, "NOT A NUMBER")
    return Row("", name, float(error), limit)


def max_of(values: Tensor) -> Tensor:
    """The largest absolute value; 0 of none."""
    return values.detach().abs().max() if values.numel() else values.new_zeros(())
