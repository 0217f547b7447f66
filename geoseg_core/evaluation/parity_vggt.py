"""Parity of VGGT, of IGGT, which is VGGT with a part head, and of their pose encoding."""

from collections.abc import Collection, Mapping
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
    watched,
)
from geoseg_core.geometry.vggt.config import AggregatorConfig, CameraHeadConfig, TrackHeadConfig, VggtConfig
from geoseg_core.geometry.vggt.model import Vggt, VggtOutput
from geoseg_core.geometry.vggt.pose_encoding import decode_pose, encode_pose, unproject
from geoseg_core.instances.field.config import AdaptorConfig, IggtConfig, PartHeadConfig
from geoseg_core.instances.field.model import Iggt
from geoseg_core.layers.dpt import DptConfig

MODULES = {"camera": "camera_head", "depth": "depth_head", "points": "point_head", "tracks": "track_head"}
CAMERA = {"trunk_depth": "depth", "num_heads": "heads", "num_iterations": "iterations"}
ADAPTOR = {"out_channels": "channels", "intermediate_layer_idx": "layers"}
DPT = ADAPTOR | {"features": "features"}
TRACK = {
    "down_ratio": "down_ratio",
    "stride": "stride",
    "iters": "iterations",
    "corr_levels": "levels",
    "corr_radius": "radius",
    "hidden_size": "hidden",
    "updateformer_depth": "depth",
    "updateformer_heads": "heads",
    "num_virtual_tracks": "virtual_tracks",
    "max_scale": "max_scale",
}
PART = {
    "output_dim": "outputs",
    "cross_attention_heads": "cross_heads",
    "window_heads": "window_heads",
    "window_size": "window",
}
SECTIONS = {
    "patch_embed": VIT,
    "aggregator": TRUNK,
    "camera_head": CAMERA,
    "dpt": DPT,
    "depth_head": DPT,
    "point_head": DPT,
    "track_head": TRACK | DPT,
}
PART_SECTIONS = SECTIONS | {"part_adaptor": ADAPTOR, "part_head": PART | DPT}
# Modules of IGGT and the names of what they give.
STAGES = {
    "point_head.scratch.refinenet2": "point_feat.0",
    "point_head.scratch.refinenet3": "point_feat.1",
    "point_head.scratch.refinenet4": "point_feat.2",
    "part_head.cross_attention_2": "part_head.cross_attention_2",
    "part_head.window_cross_attention": "part_head.window_cross_attention",
    "part_head.window_cross_attention.atten_block": "part_head.window_cross_attention.block",
    "part_head.window_self_atten": "part_head.window_self_attention",
    "part_head.window_self_atten.atten_block": "part_head.window_self_attention.block",
    **{f"part_adaptor.resize_layers.{index}": f"part_adaptor.res{index + 1}" for index in range(4)},
    **{f"part_head.scratch.refinenet{scale}": f"part_head.refinenet{scale}" for scale in range(1, 5)},
}
# Below this |w| a rotation is so near to pi that its quaternion may have either sign.
HALF_TURN_W = 1e-3


@torch.inference_mode()
def run_vggt(fixture: Fixture) -> list[Row]:
    """Trunk, heads and tracks of a small VGGT."""
    model = filled(Vggt(VggtConfig(**vggt_sizes(fixture))), fixture)
    computed, _ = computed_by(model, fixture)
    return compare(computed, fixture.tensors("output")) + unknown_rows(fixture.config, SECTIONS)


@torch.inference_mode()
def run_iggt(fixture: Fixture) -> list[Row]:
    """The same, and the stages of the part head, of a small IGGT."""
    model = filled(Iggt(iggt_config(fixture)), fixture)
    computed, output = computed_by(model, fixture, model.layers_of_field())
    with watched(model, STAGES) as stages:
        features = model.field(output.tokens, frame_chunk=fixture_frames(fixture))
    computed |= stages | {"part_feat": features}
    return compare(computed, fixture.tensors("output")) + unknown_rows(fixture.config, PART_SECTIONS)


def iggt_config(fixture: Fixture) -> IggtConfig:
    """The configuration that a fixture describes.

    Raises:
        BadInput: fused maps of the part head with other channels than those of the point head, which it reads.
    """
    part = fixture.config.get("part_head", {})
    sizes = vggt_sizes(fixture)
    features = sizes["point_head"].features
    if part.get("features", features) != features:
        raise BadInput(f"expected part_head.features = {features} as of the point head, got {part['features']}")
    unused = [each.shape[0] for name, each in sorted(fixture.tensors("weights").items()) if is_unused(name)]
    adaptor = sized(AdaptorConfig, ADAPTOR, fixture.config.get("part_adaptor", {}))
    head = PartHeadConfig(**named(PART, part), unused_channels=tuple(unused))
    return IggtConfig(**sizes, adaptor=adaptor, part_head=head)


def is_unused(name: str) -> bool:
    """Whether a tensor is the weight of a projection that the part head holds without use."""
    return name.startswith("part_head.projects.") and name.endswith(".weight")


def fixture_frames(fixture: Fixture) -> int:
    """Images of all samples together."""
    return batched(fixture.tensors("input")["images"]).flatten(0, 1).shape[0]


def computed_by(model: Vggt, fixture: Fixture, keep: Collection[int] = ()) -> tuple[dict[str, Tensor], VggtOutput]:
    """What the heads that the model has give, by the names of the fixtures."""
    inputs, stored = fixture.tensors("input"), fixture.tensors("output")
    images = batched(inputs["images"])
    wanted = {int(name.split(".")[1]) for name in stored if name.startswith("aggregated.")}
    known = wanted & set(range(model.config.aggregator.depth))
    output = model(images, model.config.heads, inputs.get("query_points"), {*known, *keep})
    computed = vggt_tensors(output, (images.shape[-2], images.shape[-1]))
    computed["patch_tokens"] = model.aggregator.embed(images)
    return computed, output


def vggt_sizes(fixture: Fixture) -> dict[str, Any]:
    """The configuration that a fixture describes; the heads are those whose weights it holds."""
    stored = fixture.config
    dpt = stored.get("dpt", {})
    track = stored.get("track_head", {})
    return model_sizes(stored) | {
        "patch_embed": vit_config(stored.get("patch_embed", {})),
        "aggregator": sized(AggregatorConfig, TRUNK, stored.get("aggregator", {})),
        "camera_head": sized(CameraHeadConfig, CAMERA, stored.get("camera_head", {})),
        "depth_head": sized(DptConfig, DPT, stored.get("depth_head", dpt)),
        "point_head": sized(DptConfig, DPT, stored.get("point_head", dpt)),
        "track_head": TrackHeadConfig(track_features(track), **named(TRACK, track)),
        "heads": tuple(head for head, module in MODULES.items() if has_module(fixture, module)),
    }


def track_features(stored: Mapping[str, Any]) -> DptConfig:
    """Sizes of the DPT of a track head."""
    return DptConfig(**{"features": TrackHeadConfig().features.features} | named(DPT, stored))


def vggt_tensors(output: VggtOutput, size: tuple[int, int]) -> dict[str, Tensor]:
    """What a VGGT gave, by the names of the fixtures."""
    found = {f"aggregated.{number}": layer for number, layer in output.tokens.layers.items()}
    found |= {f"pose_enc.{number}": each for number, each in enumerate(output.pose_encodings)}
    if output.pose_encodings:
        found["pose_enc"] = output.pose_encodings[-1]
        found["extrinsic"], found["intrinsic"] = decode_pose(output.pose_encodings[-1], size)
    if output.depth is not None and output.depth_confidence is not None:
        found |= {"depth": output.depth[..., None], "depth_conf": output.depth_confidence}
        if output.pose_encodings:
            found["world_points_from_depth"] = unproject(output.depth, found["extrinsic"], found["intrinsic"])
    if output.points is not None and output.points_confidence is not None:
        found |= {"world_points": output.points, "world_points_conf": output.points_confidence}
    if output.track_features is not None:
        found["track_features"] = output.track_features
    if output.tracks is not None:
        found |= {f"track.{number}": each for number, each in enumerate(output.tracks.points_px)}
        found |= {"vis": output.tracks.visibility, "conf": output.tracks.confidence}
    return found


def run_pose_encoding(fixture: Fixture) -> list[Row]:
    """Pose encodings there and back."""
    inputs, stored = fixture.tensors("input"), fixture.tensors("output")
    height, width = (int(side) for side in inputs["image_hw"])
    computed = {}
    if "extrinsics" in inputs:
        encoding = encode_pose(inputs["extrinsics"], inputs["intrinsics"], (height, width))
        computed["pose_encoding"] = same_sign(encoding, stored.get("pose_encoding", encoding))
        computed["extrinsics"], computed["intrinsics"] = decode_pose(encoding, (height, width))
    if "raw_pose_encoding" in inputs:
        raw = decode_pose(inputs["raw_pose_encoding"], (height, width))
        computed["raw_extrinsics"], computed["raw_intrinsics"] = raw
    return compare(computed, stored)


def same_sign(encoding: Tensor, reference: Tensor) -> Tensor:
    """The encoding, with the quaternions of rotations by almost pi in the sign of the reference."""
    ours, theirs = encoding[..., 3:7], reference[..., 3:7]
    turned = (ours[..., 3:].abs() < HALF_TURN_W) & ((ours * theirs).sum(-1, keepdim=True) < 0)
    return torch.cat((encoding[..., :3], torch.where(turned, -ours, ours), encoding[..., 7:]), dim=-1)
