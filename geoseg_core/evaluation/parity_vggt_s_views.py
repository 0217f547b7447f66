"""Parity of what surrounds the union head of VGGT-S: views and points of both passes, anchors, positions, tracks."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.config import EgoExoConfig
from geoseg_core.cross_view.union_head.ego_exo import (
    CONTEXTS,
    ExoTarget,
    exo_square,
    exo_target,
    source_window,
    whole,
    window_side,
)
from geoseg_core.cross_view.union_head.model import sample_points
from geoseg_core.cross_view.union_head.windows import Letterbox, Window
from geoseg_core.evaluation.parity import Fixture, Row, compare
from geoseg_core.evaluation.parity_vggt_s import HeadSet, absolute_row
from geoseg_core.geometry.vggt.config import TrackHeadConfig
from geoseg_core.geometry.vggt.track_head import TrackHead
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.positions import index_sines
from geoseg_core.weights.loading import load_strict

# Versions whose resampling by area is that of the stored images.
EXACT_OPENCV = ("4.12.", "5.0.")
CENTRE_LIMIT, LOGIT_LIMIT, POINT_LIMIT, CODE_LIMIT, SHARE_LIMIT = 1e-2, 1e-4, 1e-4, 1e-5, 1e-6
ROUNDINGS, LOOSEST = 4, 1e-2
TABLE_STEP, IMAGE_STEP, CANVAS_STEP = 43, 2, 3
TRACKS = {
    "corr_radius": "radius", "corr_levels": "levels", "depth": "depth", "stride": "stride", "hidden": "hidden",
    "iters": "iterations", "latent": "", "dim_in": "", "image": "",
}  # fmt: skip


def run_views(fixture: Fixture) -> list[Row]:
    """Both passes' views, masks and points in both directions, and the way back to the frames."""
    tensors = HeadSet(fixture.path).tensors
    config = EgoExoConfig(points=len(tensors["e2x.tar_points"]))
    computed, facts = view_tensors({name: each.numpy() for name, each in tensors.items()}, config)
    rows = [
        view_row(name, computed.get(name), each.numpy())
        for name, each in fixture.all_tensors.items()
        if not name.startswith("in.")
    ]
    beside = fixture.path.with_suffix(".json")
    stored = flat(json.loads(beside.read_text())) if beside.exists() else {}
    return rows + [fact_row(name, facts.get(name), value) for name, value in stored.items()]


def view_tensors(given: Mapping[str, np.ndarray], config: EgoExoConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything that follows from the frames, their masks and the tracked points; arrays, and facts by name."""
    ego, exo = given["in.ego_image"], given["in.exo_image"]
    ego_mask, exo_mask = given["in.ego_mask_half"], given["in.exo_mask_quarter"]
    ego_view, exo_view = whole(ego.shape[:2], config.side), exo_square(exo_mask, config.side)
    letterbox = Letterbox(exo.shape[:2], config.side)
    target = exo_target(letterbox.to_frame(given["in.coarse_points_g2x_518"]), exo.shape[:2], config)
    found: dict[str, np.ndarray] = {
        "pass1_g2x.exo_image": letterbox.image(exo),
        "pass1_g2x.exo_mask": letterbox.mask(exo_mask),
        "e2x.tar_image": target.window.image(exo),
        "e2x.tar_mask": target.window.mask(exo_mask),
        "e2x.kept_points_orig": target.kept_px,
        "e2x.tar_points": target.points_px,
        "x2e.tar_points": given["in.points_x2g_518"].astype(np.float32),
    }
    facts = target_facts(target, exo_mask)
    for first, second, camera, view, image, mask in (
        ("pass1_g2x", "e2x", "ego", ego_view, ego, ego_mask),
        ("pass1_x2g", "x2e", "exo", exo_view, exo, exo_mask),
    ):
        seen, marked = view.image(image), view.mask(mask)
        window = source_window(marked, config.source_share)
        cut = window.mask(marked) if window.mask(marked).any() else marked
        found |= {f"{first}.{camera}_image": seen, f"{first}.{camera}_mask": marked}
        found |= {f"{second}.src_image": window.image(seen), f"{second}.src_mask": cut}
        facts[f"{second}.source_crop_window_xyxy"] = list(window.box)
        found |= {name: mask_anchors(marked, count).points_px for name, count in counted(given, first)}
        found |= {name: mask_anchors(cut, count).points_px for name, count in counted(given, second)}
    recovered, shares = recovered_tensors(given, target, ego_view, found["e2x.tar_points"])
    facts |= shares
    found |= recovered
    found |= {f"{name}.sample": each[::IMAGE_STEP, ::IMAGE_STEP] for name, each in found.items() if "image" in name}
    return found, facts


def counted(given: Mapping[str, np.ndarray], group: str) -> list[tuple[str, int]]:
    """Names of the source points that a group stores, and how many there are of each."""
    return [(name, len(each)) for name, each in given.items() if name.startswith(f"{group}.src_points")]


def target_facts(target: ExoTarget, mask: np.ndarray) -> dict[str, Any]:
    """What is stored of an exo target's window."""
    window = target.window
    left, top, right, bottom = window.box
    rows, columns = np.nonzero(mask)
    meta = {"x1": left, "y1": top, "x2": right, "y2": bottom, "crop_size": window.width}
    meta |= {"ori_h": window.frame[0], "ori_w": window.frame[1], "H": window.size[0], "W": window.size[1]}
    # As released, the first column and row beyond the window still count as inside.
    inside = rows.size > 0 and rows.min() >= top and rows.max() <= bottom and columns.min() >= left
    facts: dict[str, Any] = {f"e2x.meta.{name}": value for name, value in meta.items()}
    facts |= {"e2x.mask_cropped": not (inside and columns.max() <= right), "e2x.box_size": target.box_px}
    sides = {context: window_side(target.box_px, min(window.frame), context) for context in (*CONTEXTS, 1.0)}
    return facts | {f"crop_sizes_for_box.{context:g}": side for context, side in sides.items()}


def recovered_tensors(
    given: Mapping[str, np.ndarray], target: ExoTarget, ego: Window, points_px: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """A map of logits back in both frames."""
    logits = torch.from_numpy(given["recover.logits518"])[None]
    exo_logits = target.window.logits_to_frame(logits)[0].numpy()
    masks = {"exo": exo_logits > 0, "ego": ego.logits_to_frame(logits)[0].numpy() > 0}
    truths = {"exo": given["in.exo_mask_quarter"] > 0, "ego": given["in.ego_mask_half"] > 0}
    parts = {"exo": "quarter", "ego": "half"}
    shares = {
        f"iou_{name}_recovered_vs_{parts[name]}_mask": float(
            (mask & truths[name]).sum() / ((mask | truths[name]).sum() + 1e-6)
        )
        for name, mask in masks.items()
    }
    return {
        "recover.logits518": given["recover.logits518"],
        "recover.exo_logits.sample": exo_logits[::CANVAS_STEP, ::CANVAS_STEP],
        "recover.exo_mask": masks["exo"],
        "recover.ego_mask": masks["ego"],
        "recover.exo_points": target.window.to_frame(points_px),
    }, shares


def view_row(name: str, ours: np.ndarray | None, stored: np.ndarray) -> Row:
    """One row for a stored array: points on pixels as sets, images by the largest difference."""
    if ours is None or name.endswith("kept_points_orig"):
        return array_row(name, ours, stored, 0.0)
    if re.search(r"src_points\d*$", name):
        return points_row(name, ours, stored)
    if name.endswith("points"):
        return centres_row(name, ours, stored)
    if "logits" in name:
        return array_row(name, ours, stored, LOGIT_LIMIT)
    exact = "image" not in name or cv2.__version__.startswith(EXACT_OPENCV)
    return array_row(name, ours, stored, 0.0 if exact else 1.0)


def points_row(name: str, ours: np.ndarray, stored: np.ndarray) -> Row:
    """How many points two sets do not share."""
    return Row("", name, float(len(set(map(tuple, ours.tolist())) ^ set(map(tuple, stored.tolist())))), 0.0)


def array_row(name: str, ours: np.ndarray | None, stored: np.ndarray, limit: float) -> Row:
    """The largest difference."""
    return absolute_row(name, None if ours is None else torch.from_numpy(ours.copy()), torch.from_numpy(stored), limit)


def centres_row(name: str, ours: np.ndarray, stored: np.ndarray) -> Row:
    """The largest distance along an axis, when each centre is paired with its nearest."""
    if ours.shape != stored.shape:
        return Row("", name, None, CENTRE_LIMIT, f"SHAPE {ours.shape} for {stored.shape}")
    distances = np.abs(ours[:, None] - stored[None]).max(axis=2)
    return Row("", name, float(distances[linear_sum_assignment(distances)].max(initial=0)), CENTRE_LIMIT)


def flat(content: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested entries by dotted names."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= flat(value, f"{start}{name}.") if isinstance(value, dict) else {f"{start}{name}": value}
    return found


def fact_row(name: str, ours: Any, stored: Any) -> Row:
    """A number, a list of numbers, a truth, or None."""
    if ours is None and stored is not None:
        return Row("", name, None, 0.0, "NOT COMPUTED")
    if ours is None or stored is None:
        return Row("", name, float(ours is not stored), 0.0)
    error = np.abs(np.asarray(ours, np.float64) - np.asarray(stored, np.float64)).max()
    return Row("", name, float(error), SHARE_LIMIT if isinstance(stored, float) else 0.0)


def run_anchors(fixture: Fixture) -> list[Row]:
    """Anchors of masks, and the means that they stem from."""
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    for name, stored in fixture.all_tensors.items():
        shape, _, kind = name.rpartition(".")
        if kind == "mask":
            continue
        wanted = re.fullmatch(r"(points|raw_centres)(\d+)", kind)
        if wanted is None:
            rows.append(Row("", name, None, 0.0, "NOT COMPUTED"))
            continue
        mask, count = fixture.all_tensors[f"{shape}.mask"].numpy(), int(wanted[2])
        anchors = mask_anchors(mask, count)
        if wanted[1] == "points":
            rows.append(points_row(name, anchors.points_px, stored.numpy()))
            facts[f"{shape}.{count}.foreground"] = int((mask > 0).sum())
            facts[f"{shape}.{count}.distinct"] = len(set(map(tuple, anchors.points_px.tolist())))
            facts[f"{shape}.{count}.centres_corrected"] = None if anchors.centres_px is None else anchors.corrected
        elif anchors.centres_px is None:
            rows.append(Row("", name, None, CENTRE_LIMIT, "NOT COMPUTED"))
        else:
            rows.append(centres_row(name, anchors.centres_px, stored.numpy()))
    beside = fixture.path.with_suffix(".json")
    stored_facts = flat(json.loads(beside.read_text())) if beside.exists() else {}
    return rows + [fact_row(name, facts.get(name), value) for name, value in stored_facts.items()]


def run_positions(fixture: Fixture) -> list[Row]:
    """The tracker's table of sines for grids: pos_embed_<channels>_<height>_<width>, whole or every 43rd cell."""
    rows = []
    for name, stored in fixture.all_tensors.items():
        wanted = re.fullmatch(r"pos_embed_(\d+)_(\d+)_(\d+)(\.sample)?", name)
        table = None
        if wanted:
            channels, height, width = (int(each) for each in wanted.groups()[:3])
            cpu = torch.device("cpu")
            of_x, of_y = (index_sines(length, channels // 2, cpu) for length in (width, height))
            both = (of_x[None].expand(height, -1, -1), of_y[:, None].expand(-1, width, -1))
            table = torch.cat(both, dim=-1).movedim(-1, 0)[None]
            table = table[:, :, ::TABLE_STEP, ::TABLE_STEP] if wanted[4] else table
        rows.append(absolute_row(name, table, stored, CODE_LIMIT))
    return rows


@torch.inference_mode()
def run_tracks(fixture: Fixture) -> list[Row]:
    """Feature maps and tracks of a small track head, and features sampled as the union head does.

    A tracker with random weights enlarges rounding errors with each refinement (its flow bands turn by hundreds of
    radians a pixel). What the same numbers in float64 differ by is what rounding alone does, and is allowed for.
    """
    given = [name for name in fixture.all_tensors if name.startswith(("in.", "w."))]
    stored = {name: each for name, each in fixture.all_tensors.items() if name not in given}
    computed, exact = (track_tensors(fixture, dtype) for dtype in (torch.float32, torch.float64))
    rounding = {row.tensor: row.error or 0.0 for row in compare(computed, exact)}
    unknown = [Row("", f"config {name}", None, 0.0, "UNKNOWN KEY") for name in fixture.config if name not in TRACKS]
    return unknown + [
        replace(row, tolerance=max(row.tolerance, min(ROUNDINGS * rounding.get(row.tensor, 0.0), LOOSEST)))
        for row in compare(computed, stored)
    ]


def track_tensors(fixture: Fixture, dtype: torch.dtype) -> dict[str, Tensor]:
    """What the track head of a fixture gives, in numbers of that type."""
    given = {name: each.to(dtype) for name, each in fixture.all_tensors.items() if name.startswith("in.")}
    height, width = (int(side) for side in fixture.config["image"].split("x"))
    weights = {name[2:]: each for name, each in fixture.all_tensors.items() if name.startswith("w.")}
    head = track_head(fixture.config, weights).to(dtype)
    patch = head.feature_extractor.patch
    grid = (height // patch, width // patch)
    layers = [given[f"in.tokens{number}"] for number in range(4)]
    patches = [each[:, :, each.shape[2] - grid[0] * grid[1] :].flatten(0, 1) for each in layers]
    maps = head.feature_extractor(patches, grid).unflatten(0, layers[0].shape[:2])
    queries = given["in.query_points"]
    tracks = head.track(maps, queries)
    found = {f"coords.iter{number}": each for number, each in enumerate(tracks.points_px)}
    found |= {"vis": tracks.visibility, "conf": tracks.confidence, "feature_maps": maps}
    return found | {"sampled_source_features": sample_points(maps[:, 0], queries, (height, width))}


def track_head(sizes: Mapping[str, str], weights: Mapping[str, Tensor]) -> TrackHead:
    """The track head that a fixture describes, with its weights."""
    channels = tuple(weights[f"feature_extractor.projects.{number}.weight"].shape[0] for number in range(4))
    features = DptConfig(features=int(sizes["latent"]), channels=channels, layers=(0, 1, 2, 3))
    named = {ours: int(sizes[theirs]) for theirs, ours in TRACKS.items() if ours and theirs in sizes}
    virtual = weights["tracker.updateformer.virual_tracks"].shape[1]
    config = TrackHeadConfig(features, down_ratio=int(sizes["stride"]), virtual_tracks=virtual, **named)
    with torch.device("meta"):
        head = TrackHead(config, int(sizes["dim_in"]))
    load_strict(head, weights)
    return head.eval()
