"""Parity of Pi3 and Pi3X."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row, compare
from geoseg_core.evaluation.parity_config import (
    TRUNK,
    VIT,
    batched,
    filled,
    has_module,
    model_sizes,
    named,
    sized,
    unknown_rows,
    vit_config,
)
from geoseg_core.geometry.pi3.conditions import Conditions
from geoseg_core.geometry.pi3.config import (
    ConvHeadConfig,
    DecoderConfig,
    HeadConfig,
    MetricConfig,
    Pi3Config,
    Pi3XConfig,
)
from geoseg_core.geometry.pi3.model import Pi3, Pi3Output, Pi3Trunk
from geoseg_core.geometry.pi3.pi3x import Pi3X

HEAD = {
    "depth": "depth",
    "dec_embed_dim": "width",
    "dec_num_heads": "heads",
    "point_out_dim": "dense_out",
    "camera_out_dim": "camera_out",
}
CONVOLUTION = {
    "dim_upsample": "channels",
    "num_res_blocks": "residuals",
    "res_hidden_multiplier": "hidden_ratio",
    "last_conv_channels": "last",
}
METRIC = {"depth": "depth", "dim": "width", "num_heads": "heads"}
POSE = {"after_blocks": "pose_after"}
SECTIONS = {"encoder": VIT, "decoder": TRUNK, "heads": HEAD}
SECTIONS_X = SECTIONS | {"conv_head": CONVOLUTION, "metric": METRIC, "pose_inject": POSE}
MODULES = {"points": "point", "confidence": "conf", "camera": "camera"}
# The words of a case's name: conditions, those that say that the stored masks count, and those without meaning.
CONDITION_WORDS = {"depth": "depth", "depths": "depth", "intrinsics": "intrinsics", "rays": "rays", "ray": "rays"}
CONDITION_WORDS |= {"poses": "poses", "pose": "poses"}
MASK_WORDS = {"partial", "masked", "single", "one"}
LESS_WORDS = {"no", "without"}
FILL_WORDS = {"and", "only", "with", "conditions"}


@torch.inference_mode()
def run_pi3(fixture: Fixture) -> list[Row]:
    """Trunk, head decoders and heads of a small Pi3."""
    model = filled(Pi3(Pi3Config(**pi3_sizes(fixture.config))), fixture)
    images = batched(fixture.tensors("input")["images"])
    output = model(images, built_heads(fixture))
    computed = pi3_tensors(output) | head_decoders(model, output.features, images)
    return compare(computed, fixture.tensors("output")) + unknown_rows(fixture.config, SECTIONS)


@torch.inference_mode()
def run_pi3x(fixture: Fixture) -> list[Row]:
    """A small Pi3X under each set of conditions that the fixture has outputs of."""
    inputs, outputs = fixture.tensors("input"), fixture.tensors("output")
    model = filled(Pi3X(pi3x_config(fixture)), fixture)
    images = batched(inputs["images"])
    computed: dict[str, Tensor] = {}
    unclear: list[Row] = []
    for case in dict.fromkeys(name.split(".")[0] for name in outputs):
        try:
            conditions = conditions_of(case, inputs)
        except BadInput as error:
            unclear.append(Row("", case, None, 0.0, f"CANNOT RUN: {error}"))
            continue
        output = model(images, conditions, built_heads(fixture))
        found = pi3_tensors(output) | head_decoders(model, output.features, images)
        computed |= {f"{case}.{name}": each for name, each in found.items()}
    return compare(computed, outputs) + unclear + unknown_rows(fixture.config, SECTIONS_X)


def pi3x_config(fixture: Fixture) -> Pi3XConfig:
    """The configuration that a fixture describes; it takes conditions if it has the weights for them."""
    stored = fixture.config
    return Pi3XConfig(
        **pi3_sizes(stored),
        **named(POSE, stored.get("pose_inject", {})),
        conv_head=sized(ConvHeadConfig, CONVOLUTION, stored.get("conv_head", {})),
        metric=sized(MetricConfig, METRIC, stored.get("metric", {})),
        conditions=has_module(fixture, "depth_encoder"),
    )


def pi3_sizes(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes that Pi3 and Pi3X share."""
    return model_sizes(stored) | {
        "encoder": vit_config(stored.get("encoder", {})),
        "decoder": sized(DecoderConfig, TRUNK, stored.get("decoder", {})),
        "heads": sized(HeadConfig, HEAD, stored.get("heads", {})),
    }


def built_heads(fixture: Fixture) -> tuple[str, ...]:
    """The heads whose weights a fixture holds."""
    return tuple(head for head, name in MODULES.items() if has_module(fixture, f"{name}_decoder", f"{name}_head"))


def head_decoders(model: Pi3Trunk, features: Tensor, images: Tensor) -> dict[str, Tensor]:
    """The patch tokens, before any condition, and all tokens of each head decoder."""
    patch = model.config.patch
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    names = [f"{name}_decoder" for name in MODULES.values() if hasattr(model, f"{name}_decoder")]
    found = {name: model.head_tokens(getattr(model, name), features, grid) for name in names}
    return found | {"patch_tokens": model.encode(images)}


def conditions_of(case: str, inputs: Mapping[str, Tensor]) -> Conditions | None:
    """The conditions of a case, by the words of its name: `images_only`, `all_conditions`, `partial` (all, with the
    stored masks), `rays_and_poses`, `depth_only`, `poses_partial`, `no_depth`.

    A tensor may be given for one case alone, as `<case>.depths`.

    Raises:
        BadInput: a case whose name says nothing.
    """
    words = set(case.split("_")) - FILL_WORDS
    masked, less = bool(words & MASK_WORDS), bool(words & LESS_WORDS)
    names = words - MASK_WORDS - LESS_WORDS - {"all"}
    if names == {"images"}:
        return None
    if not words or names - set(CONDITION_WORDS):
        raise BadInput(f"expected a case named for its conditions ({sorted(CONDITION_WORDS)}), got {case!r}")
    given = {**inputs, **{name.removeprefix(f"{case}."): each for name, each in inputs.items()}}
    everything = {"depth", "poses", "intrinsics" if "intrinsics" in given else "rays"}
    asked = {CONDITION_WORDS[word] for word in names}
    if less:
        asked = everything - asked if asked else set()
    elif not asked:
        asked = everything
    masks = {name: given.get(f"mask_add_{name}") if masked else None for name in ("depth", "ray", "pose")}
    return Conditions(
        depth=given["depths"] if "depth" in asked else None,
        intrinsics=given["intrinsics"] if "intrinsics" in asked else None,
        rays=given["rays"] if "rays" in asked else None,
        camera_to_world=given["poses"] if "poses" in asked else None,
        **{f"{name}_mask": None if mask is None else mask.bool() for name, mask in masks.items()},
    )


def pi3_tensors(output: Pi3Output) -> dict[str, Tensor]:
    """What a Pi3 or Pi3X gave, by the names of the fixtures."""
    found = {
        "decoder_tokens": output.features,
        "local_points": output.local_points,
        "conf": None if output.confidence is None else output.confidence[..., None],
        "camera_poses": output.camera_to_world,
        "points": output.points,
        "rays": output.rays,
        "metric": output.metric_scale,
    }
    return {name: each for name, each in found.items() if each is not None}
