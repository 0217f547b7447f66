"""Fixtures of other sizes, shapes and contents than the shared ones run through the same runners.

Each is written here in the layout of the shared ones, from models built and called without the runners' help.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import random_images, small_iggt, small_pi3, small_pi3x, small_vggt

from geoseg_core import cli
from geoseg_core.evaluation.parity import Row, run_one
from geoseg_core.evaluation.parity_kinds import RUNNERS
from geoseg_core.geometry.pi3.conditions import Conditions
from geoseg_core.geometry.vggt.pose_encoding import decode_pose, unproject

VIT = {"depth": 1, "num_heads": 2, "mlp_ratio": 4, "num_register_tokens": 4}
DPT = {"features": 16, "out_channels": [8, 8, 16, 16], "intermediate_layer_idx": [0, 1, 1, 2]}
VGGT_CONFIG: dict[str, Any] = {
    "model": "vggt",
    "seed": 7,
    "img_size": 42,
    "patch_size": 14,
    "embed_dim": 32,
    "patch_embed": VIT,
    "aggregator": {"depth": 3, "num_heads": 2, "mlp_ratio": 4, "num_register_tokens": 4, "rope_freq": 100},
    "camera_head": {"trunk_depth": 1, "num_heads": 2, "num_iterations": 2},
    "dpt": DPT,
    "track_head": DPT
    | {"iters": 2, "stride": 2, "down_ratio": 2, "corr_levels": 2, "corr_radius": 2, "hidden_size": 16}
    | {"updateformer_depth": 1, "updateformer_heads": 2, "num_virtual_tracks": 4, "max_scale": 518},
}
IGGT_CONFIG = {name: each for name, each in VGGT_CONFIG.items() if name != "dpt"} | {
    "model": "iggt",
    "depth_head": DPT,
    "point_head": DPT | {"features": 64},
    "part_adaptor": {"out_channels": [8, 8, 16, 16], "intermediate_layer_idx": [0, 1, 2, 2]},
    "part_head": {"features": 64, "output_dim": 8, "cross_attention_heads": 8, "window_heads": 4, "window_size": 8},
}
PI3_CONFIG: dict[str, Any] = {
    "model": "pi3",
    "img_size": 42,
    "patch_size": 14,
    "embed_dim": 32,
    "encoder": VIT,
    "decoder": {"depth": 4, "num_heads": 2, "mlp_ratio": 4, "num_register_tokens": 5, "rope_freq": 100},
    "heads": {"depth": 1, "dec_embed_dim": 32, "dec_num_heads": 2, "point_out_dim": 32, "camera_out_dim": 16},
}
PI3X_CONFIG = PI3_CONFIG | {
    "model": "pi3x",
    "conv_head": {
        "dim_upsample": [16, 16, 16],
        "res_hidden_multiplier": 2,
        "num_res_blocks": 2,
        "last_conv_channels": 32,
    },
    "metric": {"dim": 16, "num_heads": 2, "depth": 1},
    "pose_inject": {"after_blocks": [1, 2]},
}
Tensors = dict[str, torch.Tensor]
SHAPES = {"portrait": (1, 2, 84, 28), "wide": (1, 2, 28, 112), "batch 2": (2, 3, 28, 56), "five views": (1, 5, 28, 28)}
shaped = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def write(path: Path, config: dict, weights: Tensors, inputs: Tensors, outputs: Tensors) -> Path:
    groups = {"weights": weights, "input": inputs, "output": outputs}
    tensors = {
        f"{group}.{name}": each.clone(memory_format=torch.contiguous_format)
        for group, part in groups.items()
        for name, each in part.items()
    }
    save_file(tensors, path, {"config": json.dumps(config)})
    return path


def rows_of(path: Path) -> list[Row]:
    return run_one(path, path.name, RUNNERS)


def assert_all_pass(path: Path, outputs: Tensors) -> None:
    rows = rows_of(path)
    assert {row.tensor for row in rows} == set(outputs)
    assert [(row.tensor, row.verdict) for row in rows if not row.passed] == []


@torch.inference_mode()
def vggt_outputs(model: Any, images: torch.Tensor, queries: torch.Tensor | None) -> Tensors:
    heads = model.config.heads
    output = model(images, heads, queries, keep_layers=(0, 1, 2))
    found = {f"aggregated.{number}": each for number, each in output.tokens.layers.items() if number != 1}
    found |= {f"pose_enc.{number}": each for number, each in enumerate(output.pose_encodings)}
    found["extrinsic"], found["intrinsic"] = decode_pose(output.pose_encodings[-1], images.shape[-2:])
    if "depth" in heads:
        found |= {"depth": output.depth[..., None], "depth_conf": output.depth_confidence}
        found["world_points_from_depth"] = unproject(output.depth, found["extrinsic"], found["intrinsic"])
    if "points" in heads:
        found |= {"world_points": output.points, "world_points_conf": output.points_confidence}
    if queries is not None:
        found |= {f"track.{number}": each for number, each in enumerate(output.tracks.points_px)}
        found |= {"vis": output.tracks.visibility, "conf": output.tracks.confidence}
    if "tracks" in heads:
        found["track_features"] = output.track_features
    return found


@shaped
def test_vggt_of_other_shapes(shape: tuple[int, int, int, int], tmp_path: Path) -> None:
    model, images = small_vggt(), random_images(*shape)
    queries = torch.tensor([[3.0, 5.0], [20.5, 12.25]]).expand(shape[0], -1, -1)
    outputs = vggt_outputs(model, images, queries)
    inputs = {"images": images, "query_points": queries}
    assert_all_pass(write(tmp_path / "a.safetensors", VGGT_CONFIG, model.state_dict(), inputs, outputs), outputs)


def test_vggt_without_queries_batch_or_heads(tmp_path: Path) -> None:
    model, images = small_vggt(), random_images(1, 3)
    outputs = vggt_outputs(model, images, None)
    path = write(tmp_path / "a.safetensors", VGGT_CONFIG, model.state_dict(), {"images": images[0]}, outputs)
    assert_all_pass(path, outputs)

    omitted = ["track_head", "point_head", "depth_head", "aggregator.patch_embed.mask_token"]
    weights = {name: each for name, each in model.state_dict().items() if not name.startswith(tuple(omitted))}
    outputs = {name: each for name, each in outputs.items() if name.startswith(("aggregated", "pose", "extr", "intr"))}
    config = {name: each for name, each in VGGT_CONFIG.items() if name not in ("track_head", "dpt")}
    config["omitted_modules"] = omitted
    assert_all_pass(write(tmp_path / "b.safetensors", config, weights, {"images": images}, outputs), outputs)


def test_fields_of_view_below_zero_are_fed_back_as_they_are(tmp_path: Path) -> None:
    """Rectified ones come out, with focal lengths that are infinite; what they unproject is finite."""
    model, images = small_vggt(), random_images(1, 3)
    with torch.no_grad():
        model.camera_head.pose_branch.fc2.bias[7:] = -2.0
    outputs = vggt_outputs(model, images, None)
    assert (outputs["pose_enc.0"][..., 7:] == 0).all() and outputs["intrinsic"][..., 0, 0].isinf().all()
    assert outputs["world_points_from_depth"].isfinite().all()
    path = write(tmp_path / "a.safetensors", VGGT_CONFIG, model.state_dict(), {"images": images}, outputs)
    assert_all_pass(path, outputs)
    outputs["pose_enc.1"] = outputs["pose_enc.1"] + 0.01
    write(path, VGGT_CONFIG, model.state_dict(), {"images": images}, outputs)
    assert [row.tensor for row in rows_of(path) if not row.passed] == ["pose_enc.1"]


@torch.inference_mode()
def iggt_outputs(model: Any, images: torch.Tensor) -> Tensors:
    tokens = model.aggregator(images, (0, 1, 2))
    geometry = model.point_head.scratch(model.point_head.scales(tokens.patches((0, 1, 1, 2)), tokens.grid))
    maps = model.part_adaptor(tokens.patches((0, 1, 2, 2)), tokens.grid)
    part = model.part_head(maps, geometry[1:], tokens.grid)
    found = {f"point_feat.{number}": each for number, each in enumerate(geometry[1:])}
    found |= {f"part_adaptor.res{number + 1}": each for number, each in enumerate(maps)}
    return found | {"part_feat": part.unflatten(0, images.shape[:2])}


@shaped
def test_iggt_of_other_shapes(shape: tuple[int, int, int, int], tmp_path: Path) -> None:
    model, images = small_iggt(), random_images(*shape)
    outputs = vggt_outputs(model, images, None) | iggt_outputs(model, images)
    path = write(tmp_path / "a.safetensors", IGGT_CONFIG, model.state_dict(), {"images": images}, outputs)
    assert_all_pass(path, outputs)


def test_iggt_of_more_frames_than_the_release_can_take(tmp_path: Path) -> None:
    model, images = small_iggt(), random_images(1, 13, 28, 28)
    outputs = iggt_outputs(model, images)
    path = write(tmp_path / "a.safetensors", IGGT_CONFIG, model.state_dict(), {"images": images}, outputs)
    assert_all_pass(path, outputs)


@pytest.mark.parametrize(
    ("section", "sizes", "words"),
    [
        ("part_head", {"features": 32}, r"part_head.features = 64 as of the point head, got 32"),
        ("part_head", {"cross_attention_heads": 7}, r"multiple of 7 \(of part_head.cross_heads\), got 64"),
        ("part_head", {"window_heads": 3}, r"multiple of 6 \(of part_head.window_heads\), got 64"),
        ("part_head", {"window_size": 4}, r"relative_position_bias_table \(361, 4\) for \(81, 4\)"),
        ("part_adaptor", {"intermediate_layer_idx": [0, 1, 2, 7]}, r"token layers 0 to 2, got \[7\]"),
        ("part_adaptor", {"out_channels": [8, 8, 16, 8]}, r"adaptor.projects.3.weight \(16, 64, 1, 1\) for \(8, 64"),
        ("part_head", {"shift_size": 4}, r"^UNKNOWN KEY"),
    ],
)
def test_sizes_of_iggt_that_do_not_fit_are_named(section: str, sizes: dict, words: str, tmp_path: Path) -> None:
    model, images = small_iggt(), random_images(1, 2, 28, 28)
    outputs = {"part_feat": iggt_outputs(model, images)["part_feat"]}
    config = IGGT_CONFIG | {section: IGGT_CONFIG[section] | sizes}
    path = write(tmp_path / "a.safetensors", config, model.state_dict(), {"images": images}, outputs)
    (verdict,) = [row.verdict for row in rows_of(path) if not row.passed]
    assert re.search(words, verdict)


def made_labels() -> tuple[dict[str, Any], Tensors, Tensors]:
    """Two views of two things and a pixel apart: configuration, inputs and outputs worked out by hand.

    With no neighbours a feature stays its own. The things are 0.63 from each other; the pixel is 1.41 from the first
    and 1.65 from the second, so that it is noise, and then one of the first.
    """
    config = {"model": "iggt_postprocess", "knn_k": 0, "eps": 0.06, "min_samples": 3, "min_cluster_size": 10}
    labels = torch.tensor([0, 0, 0, 1, 1]).repeat(2, 4, 1)
    noisy = labels.clone()
    noisy[1, 2, 4] = -1
    kinds = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, -0.6, 0.8]])  # the last at index -1
    inputs = {"part_feat_raw": 5 * kinds[noisy], "points": torch.rand(2, 4, 5, 3)}
    labels[1, 2, 4] = 0
    outputs = {"part_feat_normalized": kinds[noisy], "knn_mean_features": kinds[noisy]}
    return config, inputs, outputs | {"labels_with_noise": noisy, "labels": labels}


def test_labels_of_other_sizes_and_numbers(tmp_path: Path) -> None:
    config, inputs, outputs = made_labels()
    assert_all_pass(write(tmp_path / "a.safetensors", config | {"seed": 1}, {}, inputs, outputs), outputs)
    outputs["labels"] = (1 - outputs["labels"]).int()
    assert_all_pass(write(tmp_path / "b.safetensors", config, {}, inputs, outputs), outputs)
    flat = {name: each.flatten(0, 2) for name, each in inputs.items()}
    of_flat = {name: each.flatten(0, 2) for name, each in outputs.items()}
    assert_all_pass(write(tmp_path / "c.safetensors", config, {}, flat, of_flat), of_flat)


def test_means_over_neighbours_are_those_of_all_views(tmp_path: Path) -> None:
    """Four pixels on a line, two in each view, each with the mean of its two nearest; no length one afterwards."""
    raw = torch.tensor([[2.0, 0], [0, 3], [4, 0], [0, 5]]).view(2, 1, 2, 2)
    points = torch.tensor([0.0, 1, 3, 7]).view(2, 1, 2, 1) * torch.tensor([1.0, 0, 0])
    means = torch.tensor([[0.5, 0.5], [1, 0], [0.5, 0.5], [0.5, 0.5]]).view(2, 1, 2, 2)
    config = {"model": "iggt_postprocess", "knn_k": 2, "min_samples": 1, "min_cluster_size": 100}
    outputs = {"knn_mean_features": means, "labels": torch.zeros(2, 1, 2, dtype=torch.int64)}
    outputs["labels_with_noise"] = outputs["labels"] - 1
    inputs = {"part_feat_raw": raw, "points": points}
    assert_all_pass(write(tmp_path / "a.safetensors", config, {}, inputs, outputs), outputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eps": None}, "epsilon: expected float, got None"),
        ({"min_samples": 0}, "min_samples: expected 1"),
        ({"allow_single_cluster": "no"}, "single: expected bool, got 'no'"),
    ],
)
def test_settings_of_the_clustering_that_do_not_fit_are_named(change: dict, words: str, tmp_path: Path) -> None:
    config, inputs, outputs = made_labels()
    (row,) = rows_of(write(tmp_path / "a.safetensors", config | change, {}, inputs, outputs))
    assert words in row.verdict


def test_what_the_clustering_cannot_follow_is_named(tmp_path: Path) -> None:
    config, inputs, outputs = made_labels()
    cut = inputs | {"points": inputs["points"][:, :, :4]}
    (row,) = rows_of(write(tmp_path / "a.safetensors", config, {}, cut, outputs))
    assert "expected points (2, 4, 5, 3) of the features' pixels, got (2, 4, 4, 3)" in row.verdict
    outputs["labels"][0, 0] = 1
    rows = rows_of(write(tmp_path / "b.safetensors", config | {"metric": "cosine"}, {}, inputs, outputs))
    missed = {row.tensor: row.verdict for row in rows if not row.passed}
    assert missed == {"labels": "MISS", "config metric": "UNKNOWN KEY"}
    assert {row.tensor: row.error for row in rows}["labels"] == pytest.approx(3 / 40)


def test_iggt_with_other_omissions_and_few_outputs(tmp_path: Path) -> None:
    model, images = small_iggt(), random_images(1, 2, 28, 56)
    omitted = ["track_head", "depth_head", "camera_head", "part_head.norm", "part_head.cross_attention_1"]
    weights = {name: each for name, each in model.state_dict().items() if not name.startswith(tuple(omitted))}
    outputs = {"part_feat": iggt_outputs(model, images)["part_feat"]}
    config = IGGT_CONFIG | {"omitted_modules": omitted}
    assert_all_pass(write(tmp_path / "a.safetensors", config, weights, {"images": images}, outputs), outputs)


def pi3_outputs(output: Any) -> Tensors:
    found = {
        "decoder_tokens": output.features,
        "local_points": output.local_points,
        "conf": output.confidence[..., None],
        "camera_poses": output.camera_to_world,
        "points": output.points,
    }
    return found if output.rays is None else found | {"rays": output.rays, "metric": output.metric_scale}


@shaped
@torch.inference_mode()
def test_pi3_of_other_shapes(shape: tuple[int, int, int, int], tmp_path: Path) -> None:
    model, images = small_pi3(), random_images(*shape)
    outputs = pi3_outputs(model(images)) | {"patch_tokens": model.encode(images)}
    path = write(tmp_path / "a.safetensors", PI3_CONFIG, model.state_dict(), {"images": images}, outputs)
    assert_all_pass(path, outputs)


def known(shape: tuple[int, int, int, int]) -> Tensors:
    batch, views, height, width = shape
    generator = torch.Generator().manual_seed(1)
    poses = torch.eye(4).repeat(batch, views, 1, 1)
    poses[..., :3, 3] = torch.randn(batch, views, 3, generator=generator)
    intrinsics = torch.tensor([[30.0, 0, width / 2], [0, 30, height / 2], [0, 0, 1]])
    rays = torch.rand(batch, views, height, width, 3, generator=generator) + torch.tensor([0.0, 0, 1])
    return {
        "images": random_images(*shape),
        "depths": torch.rand(batch, views, height, width, generator=generator),
        "poses": poses,
        "intrinsics": intrinsics.repeat(batch, views, 1, 1),
        "rays": rays,
        "mask_add_depth": torch.rand(batch, views, generator=generator) < 0.5,
        "mask_add_ray": torch.rand(batch, views, generator=generator) < 0.5,
        "mask_add_pose": torch.tensor([[True, False, True, True, False][:views]] * batch),
    }


@shaped
@pytest.mark.parametrize("mask_type", [torch.bool, torch.float32, torch.int64])
@torch.inference_mode()
def test_pi3x_of_other_shapes_and_cases(
    shape: tuple[int, int, int, int], mask_type: torch.dtype, tmp_path: Path
) -> None:
    model, facts = small_pi3x(), known(shape)
    depth, poses, intrinsics, rays = (facts[name] for name in ("depths", "poses", "intrinsics", "rays"))
    masks = {f"{name}_mask": facts[f"mask_add_{name}"] for name in ("depth", "ray", "pose")}
    cases = {
        "images_only": None,
        "all_conditions": Conditions(depth=depth, intrinsics=intrinsics, camera_to_world=poses),
        "partial": Conditions(depth=depth, intrinsics=intrinsics, camera_to_world=poses, **masks),
        "poses_only": Conditions(camera_to_world=poses),
        "rays_and_depth": Conditions(rays=rays, depth=depth),
        "poses_partial": Conditions(camera_to_world=poses, pose_mask=masks["pose_mask"]),
    }
    outputs = {
        f"{case}.{name}": each
        for case, conditions in cases.items()
        for name, each in pi3_outputs(model(facts["images"], conditions)).items()
    }
    inputs = {name: each.to(mask_type) if name.startswith("mask") else each for name, each in facts.items()}
    path = write(tmp_path / "a.safetensors", PI3X_CONFIG, model.state_dict(), inputs, outputs)
    assert_all_pass(path, outputs)


@torch.inference_mode()
def test_pi3x_without_the_weights_for_conditions(tmp_path: Path) -> None:
    model, images = small_pi3x(), random_images(1, 2)
    apart = ("depth_encoder", "depth_emb", "ray_embed", "pose_inject_blk")
    weights = {name: each for name, each in model.state_dict().items() if not name.startswith(apart)}
    outputs = {f"images_only.{name}": each for name, each in pi3_outputs(model(images)).items()}
    config = {name: each for name, each in PI3X_CONFIG.items() if name != "pose_inject"}
    assert_all_pass(write(tmp_path / "a.safetensors", config, weights, {"images": images}, outputs), outputs)


@torch.inference_mode()
def test_what_nobody_knows_is_named_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, facts = small_pi3x(), known((1, 2, 28, 28))
    outputs = {f"images_only.{name}": each for name, each in pi3_outputs(model(facts["images"])).items()}
    outputs |= {"images_only.surprise": torch.zeros(1), "upside_down.points": torch.zeros(1)}
    config = PI3X_CONFIG | {"metric": PI3X_CONFIG["metric"] | {"unit": "inch"}, "lidar_head": {"depth": 3}}
    write(tmp_path / "a.safetensors", config | {"note": "free"}, model.state_dict(), facts, outputs)
    assert cli.main(["parity", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    missed = {line.split()[1]: line for line in printed.splitlines() if line.startswith("a.") and "pass" not in line}
    assert "NOT COMPUTED" in missed["images_only.surprise"] and "NOT COMPUTED" in missed["upside_down.points"]
    assert "upside_down" in missed and "expected a case named for its conditions" in missed["upside_down"]
    assert "config metric.unit" in printed and "config lidar_head" in printed and printed.count("UNKNOWN KEY") == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"img_size": [42, 56]}, "square"),
        ({"img_size": 70}, "mis-shaped"),
        ({"aggregator": VGGT_CONFIG["aggregator"] | {"depth": 2}}, "extra"),
        ({"aggregator": VGGT_CONFIG["aggregator"] | {"num_heads": 0}}, "ZeroDivisionError"),
        ({"dpt": DPT | {"out_channels": [8, 8]}}, "ValueError"),
    ],
)
def test_a_configuration_that_does_not_fit_is_a_miss_of_that_fixture_alone(
    change: dict, words: str, tmp_path: Path
) -> None:
    model, images = small_vggt(), random_images(1, 2)
    outputs = vggt_outputs(model, images, None)
    path = write(tmp_path / "a.safetensors", VGGT_CONFIG | change, model.state_dict(), {"images": images}, outputs)
    (row,) = rows_of(path)
    assert not row.passed and words in row.verdict


def test_sizes_that_are_left_out_are_those_of_the_released_models(tmp_path: Path) -> None:
    model, images = small_vggt(), random_images(1, 2)
    outputs = vggt_outputs(model, images, None)
    trunk = {"depth": 3, "num_heads": 2}
    config = VGGT_CONFIG | {"aggregator": trunk, "patch_embed": {"depth": 1, "num_heads": 2}}
    path = write(tmp_path / "a.safetensors", config, model.state_dict(), {"images": images}, outputs)
    assert_all_pass(path, outputs)
