"""Recipe of the small geometry network: depth, focal lengths and places that match, on synthetic worlds.

Dense losses alone; the cameras follow from matches and depth without being trained. The number of views changes from
step to step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.cameras import solve_cameras
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.matching import WINDOW, coarse_logits, follow, sampled, window_logits
from geoseg_core.geometry.tiny.model import COARSE, FINE, TinyGeometry, TinyOutput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.losses.places import mean_where, place_loss, shares
from geoseg_core.training.task import Task

SCALES = (1, 2, 4, 8)
EDGE = 0.02


@dataclass(frozen=True)
class TinyLossConfig:
    """Shares of the losses."""

    points: int = setting(256, "places of a view that are looked for in another, each time", low=1)
    coarse: float = setting(1.0, "of the coarse places", low=0.0)
    fine: float = setting(0.5, "of the fine places", low=0.0)
    depth: float = setting(2.0, "of the log depth, but for its mean over the scene", low=0.0)
    unit: float = setting(0.2, "of the mean log depth over the scene, that is, of metres", low=0.0)
    slope: float = setting(1.0, "of differences of log depth between neighbours", low=0.0)
    spread: float = setting(0.1, "of the expected error of log depth", low=0.0)
    focal: float = setting(1.0, "of the log focal length", low=0.0)
    jitter_px: float = setting(8.0, "fine places are looked for so far off, at most", "px", 0.0)


@dataclass(frozen=True)
class TinyRecipe(TrainingConfig):
    """Settings of the training."""

    model: TinyConfig = field(default_factory=TinyConfig)
    worlds: WorldsConfig = field(default_factory=lambda: WorldsConfig(width=256, height=192))
    loss: TinyLossConfig = field(default_factory=TinyLossConfig)
    most_exo: int = setting(
        1, "exo cameras beside the ego camera, at most; their number changes by step", low=1
    )


class TinyTask(Task):
    """Trains a TinyGeometry."""

    config: TinyRecipe

    def model(self) -> TinyGeometry:
        """A new model."""
        return TinyGeometry(self.config.model)

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """Worlds, the same number of views in each."""
        exo = 1 + step % self.config.most_exo
        return Worlds(replace(self.config.worlds, exo_min=exo, exo_max=exo)).batch(seeds).to(device)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """All losses; the cameras have none of their own."""
        output: TinyOutput = model(batch.images)
        settings = self.config.loss
        parts = depth_losses(output, batch)
        parts["focal"] = focal_loss(output, batch)
        views = batch.images.shape[1]
        pairs = [(first, second) for first in range(views) for second in range(views) if first != second]
        found = [place_losses(output, batch, *pair, settings) for pair in pairs]
        for name in ("coarse", "fine"):
            parts[name] = torch.stack([each[name] for each in found]).mean()
        return {"total": sum(getattr(settings, name) * value for name, value in parts.items()), **parts}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Depth, places and cameras of held-out samples."""
        output: TinyOutput = model(batch.images)
        return {**depth_metrics(output, batch), **place_metrics(output, batch), **camera_metrics(output, batch)}

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Images, true and found depth of the first scenes."""
        output: TinyOutput = model(batch.images)
        assert batch.depth is not None
        rows = []
        for scene in range(min(4, len(batch.images))):
            true = batch.depth[scene].log()
            found = output.log_depth[scene]
            found = found + (true - found)[batch.depth[scene] > 0].median()
            low, high = (true[batch.depth[scene] > 0].quantile(part) for part in (0.02, 0.98))
            greys = [((each - low) / (high - low)).clamp(0, 1)[:, None].expand(-1, 3, -1, -1) for each in (true, found)]
            rows.append(torch.cat([batch.images[scene], *greys]).transpose(0, 1).permute(0, 2, 1, 3).flatten(2))
        return (torch.cat(rows, dim=1).permute(1, 2, 0) * 255).byte().cpu().numpy()


def depth_losses(output: TinyOutput, batch: Sample) -> dict[str, Tensor]:
    """Log depth but for the mean over the scene, that mean, slopes, and the expected error."""
    assert batch.depth is not None
    known = batch.depth > 0
    off = torch.where(known, output.log_depth - batch.depth.clamp(min=1e-3).log(), 0)
    unit = off.flatten(1).sum(dim=1) / known.flatten(1).sum(dim=1).clamp(min=1)
    left = (off - unit.detach()[:, None, None, None]).abs()
    spread = output.log_spread.clamp(-6, 3)
    expected = spread + left.detach() * (-spread).exp()
    return {
        "depth": mean_where(left, known),
        "unit": unit.abs().mean(),
        "slope": sum(slope_loss(off, known, scale) for scale in SCALES) / len(SCALES),
        "spread": mean_where(expected, known),
    }


def slope_loss(off: Tensor, known: Tensor, step: int) -> Tensor:
    """How much the error of log depth (B, S, H, W) differs between pixels `step` apart."""
    across = mean_where((off[..., step:] - off[..., :-step]).abs(), known[..., step:] & known[..., :-step])
    down = mean_where((off[..., step:, :] - off[..., :-step, :]).abs(), known[..., step:, :] & known[..., :-step, :])
    return (across + down) / 2


def focal_loss(output: TinyOutput, batch: Sample) -> Tensor:
    """Error of the log focal length."""
    assert batch.intrinsics is not None
    return (output.log_focal - (batch.intrinsics[..., 0, 0] / batch.images.shape[-1]).log()).abs().mean()


def place_losses(
    output: TinyOutput, batch: Sample, first: int, second: int, settings: TinyLossConfig
) -> dict[str, Tensor]:
    """Random places of one view looked for in another."""
    height, width = batch.images.shape[-2:]
    size = torch.tensor((width, height), device=batch.images.device)
    points = (torch.rand(len(batch.images), settings.points, 2, device=size.device) * size).floor()
    true, seen = true_places(batch, points, first, second)
    logits = coarse_logits(sampled(output.coarse[:, first], points, COARSE), output.coarse[:, second], output.nowhere)
    grid = (height // COARSE, width // COARSE)
    cells, parts = shares((true + 0.5) / COARSE - 0.5, grid)
    cells = torch.where(seen[..., None], cells, grid[0] * grid[1])
    # Most places are often out of sight; both kinds count the same.
    coarse = place_loss(logits, cells, parts)
    both = (mean_where(coarse, seen) + mean_where(coarse, ~seen & true.isfinite().all(dim=-1))) / 2
    off = (torch.rand_like(true) * 2 - 1) * settings.jitter_px
    near = ((true + off + 0.5) / FINE - 0.5).round().long().clamp(min=0)
    near = torch.minimum(near, torch.tensor((width // FINE - 1, height // FINE - 1), device=near.device))
    logits = window_logits(sampled(output.fine[:, first], points, FINE), output.fine[:, second], near)
    side = 2 * WINDOW + 1
    cells, parts = shares((true + 0.5) / FINE - 0.5 - near + WINDOW, (side, side))
    within = logits.gather(-1, cells).isfinite().all(dim=-1) & seen
    logits = logits.masked_fill(logits.isinf(), -1e4)
    return {"coarse": both, "fine": mean_where(place_loss(logits, cells, parts), within)}


def true_places(batch: Sample, points: Tensor, first: int, second: int) -> tuple[Tensor, Tensor]:
    """Where integer pixels (B, N, 2) of one view lie in another of the same moment, (B, N, 2), and whether they are in
    sight there, (B, N)."""
    depth, poses, matrices = batch.depth, batch.camera_to_world, batch.intrinsics
    assert depth is not None and poses is not None and matrices is not None
    height, width = depth.shape[-2:]
    index = torch.arange(len(points), device=points.device)[:, None]
    column, row = points.long().unbind(dim=-1)
    along = depth[index, first, row, column]
    rays = torch.cat((points, torch.ones_like(points[..., :1])), dim=-1) @ matrices[:, first].inverse().transpose(1, 2)
    to_second = poses[:, second].inverse() @ poses[:, first]
    moved = (rays * along[..., None]) @ to_second[:, :3, :3].transpose(1, 2) + to_second[:, None, :3, 3]
    ahead = moved[..., 2].clamp(min=1e-4)
    true = (moved @ matrices[:, second].transpose(1, 2))[..., :2] / ahead[..., None]
    column, row = true.round().long().unbind(dim=-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (moved[..., 2] > 1e-4) & (along > 0)
    there = depth[index, second, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return true, inside & ((there - ahead).abs() < EDGE * ahead)


def depth_metrics(output: TinyOutput, batch: Sample) -> dict[str, float]:
    """AbsRel and share within 25 %, one scale for each scene."""
    assert batch.depth is not None
    errors, good = [], []
    for found, true in zip(output.log_depth, batch.depth, strict=True):
        known = true > 0
        off = found[known] - true[known].log()
        ratio = (off - off.median()).exp()
        errors.append((ratio - 1).abs().mean())
        good.append((torch.maximum(ratio, 1 / ratio) < 1.25).float().mean())
    return {"abs_rel": float(torch.stack(errors).mean()), "delta125": float(torch.stack(good).mean())}


def place_metrics(output: TinyOutput, batch: Sample) -> dict[str, float]:
    """Share of visible places found within 4 % of the width, and how often sight is judged right."""
    height, width = batch.images.shape[-2:]
    points = torch.cartesian_prod(torch.arange(4, width, 8), torch.arange(4, height, 8)).float().to(batch.images)
    points = points.expand(len(batch.images), -1, -1)
    hits, sights = [], []
    for first, second in ((0, 1), (1, 0)):
        true, seen = true_places(batch, points, first, second)
        coarse, fine = ((each[:, first], each[:, second]) for each in (output.coarse, output.fine))
        found, chance = follow(coarse, fine, output.nowhere, points)
        hits.append(mean_where(((found - true).norm(dim=-1) < 0.04 * width).float(), seen))
        sights.append(((chance > 0.5) == seen).float().mean())
    return {"track_pck4": float(sum(hits) / 2), "sight": float(sum(sights) / 2)}


def camera_metrics(output: TinyOutput, batch: Sample) -> dict[str, float]:
    """Median rotation error and mean area under the pose curve of the pairs (first, other)."""
    assert batch.camera_to_world is not None and batch.intrinsics is not None
    errors, focals = [], []
    for scene in range(len(batch.images)):
        solved = solve_cameras(of_scene(output, scene))
        true = (batch.camera_to_world[scene, 0].inverse() @ batch.camera_to_world[scene]).double().cpu().numpy()
        for found, wanted in zip(solved.camera_to_world[1:], true[1:], strict=True):
            errors.append((angle(found[:3, :3].T @ wanted[:3, :3]), direction_error(found[:3, 3], wanted[:3, 3])))
        wanted = batch.intrinsics[scene, :, 0, 0].double().cpu().numpy()
        focals.append(np.abs(np.log(solved.intrinsics[:, 0, 0] / wanted)).mean())
    rotation, direction = np.array(errors).T
    area = np.mean(np.maximum(1 - np.maximum(rotation, direction) / 30, 0))
    return {
        "rotation_deg": float(np.median(rotation)),
        "direction_deg": float(np.median(direction)),
        "auc30": float(area),
        "focal_off": float(np.mean(focals)),
    }


def of_scene(output: TinyOutput, scene: int) -> TinyOutput:
    """One scene of a batch, as a batch of one."""
    names = ("log_depth", "log_spread", "log_focal", "coarse", "fine")
    return replace(output, **{name: getattr(output, name)[scene : scene + 1] for name in names})


def angle(rotation: np.ndarray) -> float:
    """Degrees of a rotation matrix."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def direction_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Degrees between two translations; 180 where one of them is nil."""
    lengths = np.linalg.norm(found) * np.linalg.norm(wanted)
    return float(np.degrees(np.arccos(np.clip(found @ wanted / lengths, -1, 1)))) if lengths > 0 else 180.0
