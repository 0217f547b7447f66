"""One runner for each kind of parity fixture. A new model is one more entry of RUNNERS."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row, Runner, compare
from geoseg_core.geometry.network_input import pi3_size, vggt_placement
from geoseg_core.geometry.pi3.conditions import Conditions
from geoseg_core.geometry.pi3.config import (
    ConvHeadConfig,
    DecoderConfig,
    HeadConfig,
    MetricConfig,
    Pi3Config,
    Pi3XConfig,
)
from geoseg_core.geometry.pi3.model import Pi3, Pi3Output
from geoseg_core.geometry.pi3.pi3x import Pi3X
from geoseg_core.geometry.vggt.config import AggregatorConfig, CameraHeadConfig, TrackHeadConfig, VggtConfig
from geoseg_core.geometry.vggt.model import Vggt, VggtOutput
from geoseg_core.geometry.vggt.pose_encoding import decode_pose, encode_pose, unproject
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.vit import VitConfig
from geoseg_core.weights.loading import check_tensors, expected_shapes, load_strict

VGGT_MODULES = {"camera": "camera_head", "depth": "depth_head", "points": "point_head", "tracks": "track_head"}
# Below this |w| a rotation is so near to pi that its quaternion may have either sign.
HALF_TURN_W = 1e-3
CONDITION_WORDS = {"depth", "depths", "intrinsics", "rays", "poses"}
FILL_WORDS = {"and", "only"}


@torch.inference_mode()
def run_vggt(fixture: Fixture) -> list[Row]:
    """Trunk, heads and tracks of a small VGGT."""
    inputs, stored = fixture.tensors("input"), fixture.tensors("output")
    model = filled(Vggt(vggt_config(fixture.config)), fixture)
    keep = [int(name.split(".")[1]) for name in stored if name.startswith("aggregated.")]
    images = inputs["images"]
    output = model(images, model.config.heads, inputs.get("query_points"), keep)
    computed = vggt_tensors(output, (images.shape[-2], images.shape[-1]))
    computed["patch_tokens"] = model.aggregator.embed(images)
    return compare(computed, stored)


def vggt_config(stored: Mapping[str, Any]) -> VggtConfig:
    """The configuration that a fixture describes."""
    omitted = stored.get("omitted_modules", ())
    has = {"camera": "camera_head" in stored, "tracks": "track_head" in stored}
    dpt = stored.get("dpt", {})
    has |= {"depth": bool(stored.get("depth_head", dpt)), "points": bool(stored.get("point_head", dpt))}
    built = tuple(head for head, module in VGGT_MODULES.items() if has[head] and module not in omitted)
    trunk, camera = stored["aggregator"], stored.get("camera_head", {})
    return VggtConfig(
        image_size=stored["img_size"],
        patch=stored["patch_size"],
        width=stored["embed_dim"],
        patch_embed=vit_config(stored["patch_embed"]),
        aggregator=AggregatorConfig(
            trunk["depth"], trunk["num_heads"], trunk["mlp_ratio"], trunk["num_register_tokens"], trunk["rope_freq"]
        ),
        camera_head=CameraHeadConfig(camera["trunk_depth"], camera["num_heads"], camera["num_iterations"])
        if "camera" in built
        else CameraHeadConfig(),
        depth_head=dpt_config(stored.get("depth_head", dpt)) if "depth" in built else DptConfig(),
        point_head=dpt_config(stored.get("point_head", dpt)) if "points" in built else DptConfig(),
        track_head=track_config(stored["track_head"]) if "tracks" in built else TrackHeadConfig(),
        heads=built,
    )


def vit_config(stored: Mapping[str, Any]) -> VitConfig:
    """Sizes of a ViT."""
    return VitConfig(stored["depth"], stored["num_heads"], stored["mlp_ratio"], stored["num_register_tokens"])


def dpt_config(stored: Mapping[str, Any]) -> DptConfig:
    """Sizes of a DPT."""
    return DptConfig(stored["features"], tuple(stored["out_channels"]), tuple(stored["intermediate_layer_idx"]))


def track_config(stored: Mapping[str, Any]) -> TrackHeadConfig:
    """Sizes of a track head."""
    return TrackHeadConfig(
        features=dpt_config(stored),
        down_ratio=stored["down_ratio"],
        stride=stored["stride"],
        iterations=stored["iters"],
        levels=stored["corr_levels"],
        radius=stored["corr_radius"],
        hidden=stored["hidden_size"],
        depth=stored["updateformer_depth"],
        heads=stored["updateformer_heads"],
        virtual_tracks=stored["num_virtual_tracks"],
        max_scale=stored["max_scale"],
    )


def vggt_tensors(output: VggtOutput, size: tuple[int, int]) -> dict[str, Tensor]:
    """What a VGGT gave, by the names of the fixtures."""
    found = {f"aggregated.{number}": layer for number, layer in output.tokens.layers.items()}
    found |= {f"pose_enc.{number}": each for number, each in enumerate(output.pose_encodings)}
    if output.pose_encodings:
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


@torch.inference_mode()
def run_pi3(fixture: Fixture) -> list[Row]:
    """Trunk, head decoders and heads of a small Pi3."""
    model = filled(Pi3(Pi3Config(**pi3_sizes(fixture.config))), fixture)
    images = fixture.tensors("input")["images"]
    output = model(images)
    grid = (images.shape[-2] // model.config.patch, images.shape[-1] // model.config.patch)
    computed = pi3_tensors(output) | {"patch_tokens": model.encode(images)}
    for name in ("point_decoder", "conf_decoder", "camera_decoder"):
        computed[name] = model.head_tokens(model.get_submodule(name), output.features, grid)
    return compare(computed, fixture.tensors("output"))


@torch.inference_mode()
def run_pi3x(fixture: Fixture) -> list[Row]:
    """A small Pi3X under each set of conditions that the fixture has outputs of."""
    stored, inputs = fixture.config, fixture.tensors("input")
    outputs = fixture.tensors("output")
    conv, metric = stored["conv_head"], stored["metric"]
    config = Pi3XConfig(
        **pi3_sizes(stored),
        conv_head=ConvHeadConfig(
            tuple(conv["dim_upsample"]),
            conv["num_res_blocks"],
            conv["res_hidden_multiplier"],
            conv["last_conv_channels"],
        ),
        metric=MetricConfig(metric["depth"], metric["dim"], metric["num_heads"]),
        pose_after=tuple(stored.get("pose_inject", {}).get("after_blocks", ())),
        conditions="pose_inject" in stored,
    )
    model = filled(Pi3X(config), fixture)
    computed: dict[str, Tensor] = {}
    for case in dict.fromkeys(name.split(".")[0] for name in outputs):
        found = pi3_tensors(model(inputs["images"], conditions_of(case, inputs)))
        computed |= {f"{case}.{name}": each for name, each in found.items()}
    return compare(computed, outputs)


def pi3_sizes(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes that Pi3 and Pi3X share."""
    decoder, heads = stored["decoder"], stored["heads"]
    return {
        "image_size": stored["img_size"],
        "patch": stored["patch_size"],
        "width": stored["embed_dim"],
        "encoder": vit_config(stored["encoder"]),
        "decoder": DecoderConfig(
            decoder["depth"],
            decoder["num_heads"],
            decoder["mlp_ratio"],
            decoder["num_register_tokens"],
            decoder["rope_freq"],
        ),
        "heads": HeadConfig(
            heads["depth"],
            heads["dec_embed_dim"],
            heads["dec_num_heads"],
            heads["point_out_dim"],
            heads["camera_out_dim"],
        ),
    }


def conditions_of(case: str, inputs: Mapping[str, Tensor]) -> Conditions | None:
    """The conditions of a case: by its name, or by the words that it consists of (`rays_and_poses`, `depth_only`).

    Raises:
        BadInput: a case whose name says nothing.
    """
    if case == "images_only":
        return None
    everything = case in ("all_conditions", "partial")
    words = CONDITION_WORDS - {"rays"} if everything else set(case.split("_")) - FILL_WORDS
    if not words or words - CONDITION_WORDS:
        raise BadInput(f"expected a case named for its conditions ({sorted(CONDITION_WORDS)}), got {case!r}")
    masked = case == "partial"
    return Conditions(
        depth=inputs["depths"] if words & {"depth", "depths"} else None,
        intrinsics=inputs["intrinsics"] if "intrinsics" in words else None,
        rays=inputs["rays"] if "rays" in words else None,
        camera_to_world=inputs["poses"] if "poses" in words else None,
        depth_mask=inputs["mask_add_depth"].bool() if masked else None,
        ray_mask=inputs["mask_add_ray"].bool() if masked else None,
        pose_mask=inputs["mask_add_pose"].bool() if masked else None,
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


def run_pose_encoding(fixture: Fixture) -> list[Row]:
    """Pose encodings there and back."""
    inputs, stored = fixture.tensors("input"), fixture.tensors("output")
    height, width = inputs["image_hw"].tolist()
    encoding = encode_pose(inputs["extrinsics"], inputs["intrinsics"], (height, width))
    extrinsics, intrinsics = decode_pose(encoding, (height, width))
    raw_extrinsics, raw_intrinsics = decode_pose(inputs["raw_pose_encoding"], (height, width))
    computed = {
        "pose_encoding": same_sign(encoding, stored["pose_encoding"]),
        "extrinsics": extrinsics,
        "intrinsics": intrinsics,
        "raw_extrinsics": raw_extrinsics,
        "raw_intrinsics": raw_intrinsics,
    }
    return compare(computed, stored)


def same_sign(encoding: Tensor, reference: Tensor) -> Tensor:
    """The encoding, with the quaternions of rotations by almost pi in the sign of the reference."""
    ours, theirs = encoding[..., 3:7], reference[..., 3:7]
    turned = (ours[..., 3:].abs() < HALF_TURN_W) & ((ours * theirs).sum(-1, keepdim=True) < 0)
    return torch.cat((encoding[..., :3], torch.where(turned, -ours, ours), encoding[..., 7:]), dim=-1)


def filled(model: Any, fixture: Fixture) -> Any:
    """The model with the weights of the fixture, in evaluation mode."""
    load_strict(model, fixture.tensors("weights"))
    return model.eval()


def run_keys(make: Callable[[], nn.Module]) -> Runner:
    """A runner that compares a full-size model, built without memory, with the tensors of its checkpoint."""

    def run(fixture: Fixture) -> list[Row]:
        stored = {name: tuple(each["shape"]) for name, each in fixture.config["tensors"].items()}
        label = f"{len(stored)} names and shapes"
        with torch.device("meta"):
            model = make()
        try:
            check_tensors(stored, expected_shapes(model), fixture.path.name)
        except BadInput as error:
            return [Row("", label, None, 0.0, f"MISS: {error}")]
        return [Row("", label, 0.0, 0.0)]

    return run


def run_sizes(fixture: Fixture) -> list[Row]:
    """Sizes and places that the published loaders give images; the error counts the rows that differ."""
    compared: dict[str, list[bool]] = {}
    for row in fixture.config["rows"]:
        for name, ours in loader_sizes(row["input_wh"][::-1]).items():
            compared.setdefault(name, []).append(ours == tuple(row[name]))
    return [Row("", name, float(same.count(False)), 0.0) for name, same in compared.items()]


def loader_sizes(source: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """What becomes of an image (height, width), by the names of the fixture."""
    height, width = source
    padded = vggt_placement((height, width), "pad")
    (top, left), (rows, columns) = padded.offset, padded.resized
    return {
        "vggt_crop_hw": vggt_placement((height, width)).canvas,
        "vggt_pad_hw": padded.canvas,
        "vggt_pad_content_y_x_range": (top, top + rows, left, left + columns),
        "pi3_hw": pi3_size((height, width)),
    }


RUNNERS: dict[str, Runner] = {
    "vggt": run_vggt,
    "pi3": run_pi3,
    "pi3x": run_pi3x,
    "pose_encoding": run_pose_encoding,
    "sizes": run_sizes,
    "keys VGGT-1B (released)": run_keys(Vggt),
    "keys Pi3": run_keys(Pi3),
    "keys Pi3X (multimodal branch enabled)": run_keys(Pi3X),
}
