"""Figures and pictures of predicted geometry of a batch, in the words of the evaluation's tables."""

import math

import numpy as np
import torch
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.geometry import (
    area_under_curve,
    depth_errors,
    direction_error_deg,
    relative_pose,
    rotation_error_deg,
)
from geoseg_core.geometry.vggt.pose_encoding import decode_pose
from geoseg_core.geometry.vggt.track_head import Tracks
from geoseg_core.training.losses.track_truth import TrueTracks
from geoseg_core.training.pictures import depth_colours

# White lines between scenes.
GAP_PX = 4


def camera_figures(encodings: Tensor, batch: Sample) -> dict[str, float]:
    """Errors of the cameras (B, V, 9), see pose_figures, and of their fields of view."""
    assert batch.intrinsics is not None
    height, width = batch.images.shape[-2:]
    world_to_camera, _ = decode_pose(encodings.float(), (height, width))
    last = world_to_camera.new_tensor([0, 0, 0, 1]).expand(*world_to_camera.shape[:2], 1, 4)
    found = torch.cat((world_to_camera, last), dim=-2).double().inverse().cpu().numpy()
    # As angles: a field of view of 0 has no focal length.
    wanted = 2 * torch.atan(width / 2 / batch.intrinsics[..., 0, 0])
    off = (encodings[..., 8].float() - wanted).abs().mean()
    return {"field_of_view_deg": math.degrees(float(off)), **pose_figures(found, batch)}


def pose_figures(camera_to_world: np.ndarray, batch: Sample) -> dict[str, float]:
    """Errors of poses (B, V, 4, 4) against the first one: medians, and the area under the curve up to 30 degrees."""
    assert batch.camera_to_world is not None
    true = batch.camera_to_world.double().cpu().numpy()
    rotations, directions = [], []
    for scene, truth in zip(camera_to_world, true, strict=True):
        for view in range(1, len(scene)):
            pair = relative_pose(scene[0], scene[view]), relative_pose(truth[0], truth[view])
            rotations.append(rotation_error_deg(*pair))
            directions.append(direction_error_deg(*pair))
    if not rotations:
        return {}
    return {
        "rotation_deg": float(np.median(rotations)),
        "direction_deg": float(np.median(directions)),
        "auc30": area_under_curve(np.maximum(rotations, directions).tolist()),
    }


def depth_figures(depth: Tensor, batch: Sample) -> dict[str, float]:
    """AbsRel and delta < 1.25, after one scale for each scene."""
    assert batch.depth is not None
    pairs = zip(depth.float().cpu().numpy(), batch.depth.cpu().numpy(), strict=True)
    errors = [depth_errors(list(found), list(true)) for found, true in pairs if (true > 0).any()]
    if not errors:
        return {}
    abs_rel, within = np.mean(errors, axis=0)
    return {"abs_rel": float(abs_rel), "delta125": float(within)}


def track_figures(tracks: Tracks, truth: TrueTracks, batch: Sample, near: float) -> dict[str, float]:
    """Share of visible points found within a part of the image's width, and of right answers about visibility; in all
    views but the first."""
    visible, known = truth.visible[:, 1:], truth.known[:, 1:]
    figures: dict[str, float] = {}
    if bool(visible.any()):
        away = (tracks.points_px[-1] - truth.points_px)[:, 1:].norm(dim=-1)
        figures["tracks_near"] = float((away <= near * batch.images.shape[-1])[visible].float().mean())
    if bool(known.any()):
        figures["visibility_right"] = float(((tracks.visibility[:, 1:] > 0.5) == visible)[known].float().mean())
    return figures


def depth_rows(batch: Sample, depth: Tensor | None) -> np.ndarray:
    """(H', W', 3) uint8: for each scene a row of its views, then of their true depth, then of the depth found, brought
    to the true scale."""
    assert batch.depth is not None
    rows = []
    for number, (images, true) in enumerate(zip(batch.images.cpu(), batch.depth.cpu().numpy(), strict=True)):
        row = [(images.permute(0, 2, 3, 1).clamp(0, 1) * 255).byte().numpy()]
        near, far = np.quantile(true[true > 0], (0.02, 0.98)) if (true > 0).any() else (1.0, 2.0)
        row.append(depth_colours(true, near, far))
        if depth is not None:
            found = depth[number].float().cpu().numpy()
            both = (true > 0) & (found > 0)
            scale = np.median(true[both] / found[both]) if both.any() else 1.0
            row.append(depth_colours(found * scale, near, far))
        rows += [np.concatenate(list(part), axis=1) for part in row]
        rows.append(np.full((GAP_PX, *rows[0].shape[1:]), 255, np.uint8))
    return np.concatenate(rows[:-1])
