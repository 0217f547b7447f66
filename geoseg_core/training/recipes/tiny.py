"""Recipe of the small geometry network: depth, focal lengths and places that match, on synthetic worlds.

Dense losses alone; the cameras follow from matches and depth without being trained.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.correspondence import correspondences
from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.cameras import solve_cameras
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.matching import WINDOW, coarse_logits, follow, sampled, window_logits
from geoseg_core.geometry.tiny.model import COARSE, FINE, PATCH, TinyGeometry, TinyOutput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.geometry_metrics import depth_figures, depth_rows, pose_figures
from geoseg_core.training.losses.places import mean_where, place_loss, shares
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import config_metadata

SCALES = (1, 2, 4, 8)


@dataclass(frozen=True)
class TinyLossConfig:
    """Shares of the losses, and their constants."""

    points: int = setting(256, "places of a view that are looked for in another, each time", low=1)
    on_things: float = setting(0.3, "part of these places that lie on things, where the data know them", "", 0.0, 1.0)
    coarse: float = setting(1.0, "share of the coarse places", low=0.0)
    fine: float = setting(0.5, "share of the fine places", low=0.0)
    depth: float = setting(2.0, "share of log depth, but for its mean over the scene", low=0.0)
    unit: float = setting(0.2, "share of the mean log depth over the scene, that is, of metres", low=0.0)
    slope: float = setting(1.0, "share of differences of log depth between neighbours", low=0.0)
    spread: float = setting(0.1, "share of the expected error of log depth", low=0.0)
    focal: float = setting(1.0, "share of the log focal length", low=0.0)
    jitter_px: float = setting(8.0, "fine places are looked for so far off, at most", "px", 0.0)
    near: float = setting(0.04, "a place is found right within this part of the image's width", low=0.0)


@dataclass(frozen=True)
class TinyRecipe(TrainingConfig):
    """Settings of the recipe."""

    model: TinyConfig = field(default_factory=TinyConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(easiest=0.0, worlds=WorldsConfig(width=192, height=144, exo_max=3))
    )
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=8e-4, weight_decay=0.02, ema_decay=0.998)
    )
    loss: TinyLossConfig = field(default_factory=TinyLossConfig)


class TinyTask(SourceTask):
    """Trains a TinyGeometry."""

    config: TinyRecipe

    def __init__(self, config: TinyRecipe) -> None:
        super().__init__(config, config.data, PATCH)

    def model(self) -> TinyGeometry:
        """A new model."""
        return TinyGeometry(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the network."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """All losses, each with its share."""
        parts = geometry_losses(model(batch.images), batch, self.config.loss)
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Cameras, depth and places of held-out samples, as the tables measure them."""
        return geometry_figures(model(batch.images), batch, self.config.loss.near)

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views, their true depth, the depth that was found."""
        return depth_rows(batch, model(batch.images).log_depth.exp())


def geometry_losses(output: TinyOutput, batch: Sample, settings: TinyLossConfig) -> dict[str, Tensor]:
    """All losses of what the network says, each with its share."""
    with torch.autocast(batch.images.device.type, enabled=False):
        parts = {**depth_losses(output, batch), "focal": focal_loss(output, batch)}
        views = range(batch.images.shape[1])
        pairs = [(first, second) for first in views for second in views if first != second]
        found = [place_losses(output, batch, pair, settings) for pair in pairs]
        for name in ("coarse", "fine") if found else ():
            parts[name] = torch.stack([each[name] for each in found]).mean()
    return {name: getattr(settings, name) * value for name, value in parts.items()}


def geometry_figures(output: TinyOutput, batch: Sample, near: float) -> dict[str, float]:
    """Cameras, depth and places, as the tables measure them."""
    with torch.autocast(batch.images.device.type, enabled=False):
        solved = [solve_cameras(of_scene(output, scene)) for scene in range(len(batch.images))]
        poses = np.stack([each.camera_to_world for each in solved])
        scales = output.log_depth.new_tensor(np.stack([each.scales for each in solved]))
        return {
            **pose_figures(poses, batch),
            **depth_figures(output.log_depth.exp() * scales[:, :, None, None], batch),
            **place_figures(output, batch, near),
        }


def depth_losses(output: TinyOutput, batch: Sample) -> dict[str, Tensor]:
    """Log depth but for the mean over the scene, that mean, slopes, and the expected error."""
    assert batch.depth is not None
    known = batch.depth > 0
    off = torch.where(known, output.log_depth - batch.depth.clamp(min=1e-3).log(), 0)
    unit = off.flatten(1).sum(dim=1) / known.flatten(1).sum(dim=1).clamp(min=1)
    left = (off - unit.detach()[:, None, None, None]).abs()
    spread = output.log_spread.clamp(-6, 3)
    return {
        "depth": mean_where(left, known),
        "unit": unit.abs().mean(),
        "slope": torch.stack([slope_loss(off, known, step) for step in SCALES]).mean(),
        "spread": mean_where(spread + left.detach() * (-spread).exp(), known),
    }


def slope_loss(off: Tensor, known: Tensor, step: int) -> Tensor:
    """How much the error of log depth (B, V, H, W) differs between pixels `step` apart."""
    across = mean_where((off[..., step:] - off[..., :-step]).abs(), known[..., step:] & known[..., :-step])
    down = mean_where((off[..., step:, :] - off[..., :-step, :]).abs(), known[..., step:, :] & known[..., :-step, :])
    return (across + down) / 2


def focal_loss(output: TinyOutput, batch: Sample) -> Tensor:
    """Error of the log focal length."""
    assert batch.intrinsics is not None
    return (output.log_focal - (batch.intrinsics[..., 0, 0] / batch.images.shape[-1]).log()).abs().mean()


def place_losses(
    output: TinyOutput, batch: Sample, pair: tuple[int, int], settings: TinyLossConfig
) -> dict[str, Tensor]:
    """Random places of one view looked for in another."""
    first, second = pair
    height, width = batch.images.shape[-2:]
    size = torch.tensor((width, height), device=batch.images.device)
    points = random_places(batch, first, settings)
    true = correspondences(batch, points, first, second)
    places = torch.where(true.visible[..., None], true.points_px, 0)
    logits = coarse_logits(sampled(output.coarse[:, first], points, COARSE), output.coarse[:, second], output.nowhere)
    grid = (height // COARSE, width // COARSE)
    cells, parts = shares((places + 0.5) / COARSE - 0.5, grid)
    cells = torch.where(true.visible[..., None], cells, grid[0] * grid[1])
    coarse = place_loss(logits, cells, parts)
    # Most places are often out of sight; both kinds count the same.
    both = (mean_where(coarse, true.visible) + mean_where(coarse, ~true.visible)) / 2
    off = (torch.rand_like(points) * 2 - 1) * settings.jitter_px
    near = ((places + off + 0.5) / FINE - 0.5).round().long().clamp(min=0)
    near = torch.minimum(near, size // FINE - 1)
    logits = window_logits(sampled(output.fine[:, first], points, FINE), output.fine[:, second], near)
    side = 2 * WINDOW + 1
    cells, parts = shares((places + 0.5) / FINE - 0.5 - near + WINDOW, (side, side))
    within = logits.gather(-1, cells).isfinite().all(dim=-1) & true.visible
    fine = place_loss(logits.clamp(min=torch.finfo(logits.dtype).min / 2), cells, parts)
    return {"coarse": both, "fine": mean_where(fine, within)}


def random_places(batch: Sample, view: int, settings: TinyLossConfig) -> Tensor:
    """Pixels (B, N, 2) of a view: some anywhere, some on things, which look like nothing else in the scene."""
    height, width = batch.images.shape[-2:]
    weights = torch.ones(len(batch.images), height * width, device=batch.images.device)
    if batch.instance_ids is not None:
        things = (batch.instance_ids[:, view] > 0).flatten(1).float()
        few = things.sum(dim=1, keepdim=True).clamp(min=1)
        weights = (1 - settings.on_things) * weights / (height * width) + settings.on_things * things / few
    chosen = torch.multinomial(weights, settings.points, replacement=True)
    return torch.stack((chosen % width, chosen // width), dim=-1).float()


@torch.no_grad()
def place_figures(output: TinyOutput, batch: Sample, near: float) -> dict[str, float]:
    """Of the first two views: share of visible places found within a part of the image's width in the other one, and of
    right answers about visibility."""
    height, width = batch.images.shape[-2:]
    if batch.images.shape[1] < 2:
        return {}
    centres = torch.cartesian_prod(torch.arange(4, width, COARSE), torch.arange(4, height, COARSE))
    points = centres.to(batch.images).expand(len(batch.images), -1, -1)
    hits, sights = [], []
    for first, second in ((0, 1), (1, 0)):
        true = correspondences(batch, points, first, second)
        coarse, fine = ((each[:, first], each[:, second]) for each in (output.coarse, output.fine))
        found, chance = follow(coarse, fine, output.nowhere, points)
        hits.append(mean_where(((found - true.points_px).norm(dim=-1) <= near * width).float(), true.visible))
        sights.append(((chance > 0.5) == true.visible).float().mean())
    return {"tracks_near": float(sum(hits) / 2), "visibility_right": float(sum(sights) / 2)}


def of_scene(output: TinyOutput, scene: int) -> TinyOutput:
    """One scene of a batch, as a batch of one."""
    names = ("log_depth", "log_spread", "log_focal", "coarse", "fine")
    return replace(output, **{name: getattr(output, name)[scene : scene + 1] for name in names})
