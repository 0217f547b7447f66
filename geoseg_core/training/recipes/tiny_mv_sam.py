"""Recipe of MV-SAM on the small geometry network: prompts in any views to masks in all views.

The geometry network stays as it is; its points are those that it finds, with their errors. The features begin as those
of the instance network.
"""

from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.point_map import PointMaps, scenes_point_maps
from geoseg_core.instances.tiny.model import InstanceInput
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam, TinyMvSamConfig
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.drawn_prompts import DrawnPrompts, PromptDrawsConfig, draw_prompts
from geoseg_core.training.label_pictures import label_rows
from geoseg_core.training.losses.masks import dice_loss, focal_loss
from geoseg_core.training.seen import ReuseConfig, SeenSample
from geoseg_core.training.seen_task import SeenTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import choose_weights, config_metadata
from geoseg_core.weights.loading import load_checkpoint

# Of the paper's focal loss.
ALPHA, GAMMA = 0.9, 1.5


@dataclass(frozen=True)
class TinyMvSamRecipe(TrainingConfig):
    """Settings of the recipe."""

    encoder: str = setting("tiny", "weights of the small network: a name of `geoseg weights list`, or a file")
    features: str = setting("tiny-instances", "weights of the instance network whose features are the first ones; "
                            "empty: random ones")  # fmt: skip
    model: TinyMvSamConfig = field(default_factory=TinyMvSamConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(easiest=0.0, worlds=WorldsConfig(width=256, height=192, exo_max=3))
    )
    reuse: ReuseConfig = field(default_factory=ReuseConfig)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(
            learning_rate=5e-4, weight_decay=0.02, ema_decay=0.998, slow=("features.",), slow_rate=0.2
        )
    )
    draws: PromptDrawsConfig = field(default_factory=PromptDrawsConfig)
    focal: float = setting(1.0, "share of the focal loss", low=0.0)
    dice: float = setting(0.05, "share of the dice loss", low=0.0)


@dataclass(frozen=True, eq=False)
class PointedSample(SeenSample):
    """A batch with what the network says of it, and the points of all views (see `PointMaps`)."""

    points: Tensor | None = None
    confidence: Tensor | None = None
    projections: Tensor | None = None

    @property
    def maps(self) -> PointMaps:
        """The points."""
        return PointMaps(*(getattr(self, name).float() for name in POINTS))

    def tensors(self) -> dict[str, Tensor]:
        """All that is known, by name."""
        return super().tensors() | {name: getattr(self, name) for name in POINTS}


POINTS = tuple(each.name for each in fields(PointMaps))


class TinyMvSamTask(SeenTask):
    """Trains TinyMvSam on samples with instance ids."""

    config: TinyMvSamRecipe

    def __init__(self, config: TinyMvSamRecipe) -> None:
        super().__init__(config, config.data, config.reuse, config.encoder)

    def model(self) -> TinyMvSam:
        """A new decoder on the features of the settings."""
        model = TinyMvSam(self.config.model)
        if self.config.features:
            path = choose_weights(self.config.features).path
            load_checkpoint(model.features, path, torch.float32, unused=("decoder.",))
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def stored(self) -> dict[str, str]:
        """The sizes of the network."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Focal and dice loss, means over the prompts and the views where they count."""
        drawn = self.drawn(batch, self.config.draws)
        logits = self.answered(model, batch, drawn).float()
        with torch.autocast(logits.device.type, enabled=False):
            size = (logits.shape[-2], logits.shape[-1])
            wanted = (F.adaptive_avg_pool2d(drawn.truth.flatten(0, 2).float(), size) >= 0.5)[drawn.counted.flatten()]
            given = logits.flatten(0, 2)[drawn.counted.flatten()]
            if not len(given):
                parts = {name: logits.sum() * 0 for name in ("focal", "dice")}
            else:
                parts = {
                    "focal": self.config.focal * focal_loss(given, wanted, ALPHA, GAMMA),
                    "dice": self.config.dice * dice_loss(given, wanted),
                }
            return parts | {"total": parts["focal"] + parts["dice"]}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Mean IoU, over prompts and the views that show the thing, of points in all views, and of one click in one
        view in all others."""
        points = replace(self.config.draws, one_view=0.0, masks=0.0, boxes=0.0)
        click = replace(points, points=1, negatives=0, one_view=1.0)
        return {f"iou_{name}": self._iou(model, batch, each) for name, each in (("points", points), ("click", click))}

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views with the things that were prompted, and with the answers to points."""
        drawn = self.drawn(batch, replace(self.config.draws, masks=0.0, boxes=0.0))
        chances = enlarged(self.answered(model, batch, drawn), drawn.truth)
        rows = torch.arange(1, drawn.truth.shape[1] + 1)[:, None, None, None]
        wanted = drawn.counted[..., None, None]
        truth = (drawn.truth * rows).amax(dim=1)
        best = torch.where(wanted, chances, -1.0).max(dim=1)
        return label_rows(batch.images.float(), truth, torch.where(best.values > 0, 1 + best.indices, 0))

    def drawn(self, batch: Sample, config: PromptDrawsConfig) -> DrawnPrompts:
        """Prompts to the things of a batch."""
        assert batch.instance_ids is not None
        stride = self.config.model.decoder.stride // 4
        size = (batch.images.shape[-2] // stride, batch.images.shape[-1] // stride)
        return draw_prompts(batch.instance_ids, batch.last_thing, config, size)

    def answered(self, model: nn.Module, batch: Sample, drawn: DrawnPrompts) -> Tensor:
        """Mask logits (B, K, V, h, w)."""
        assert isinstance(batch, PointedSample)
        found: Tensor = model(batch.given, batch.maps, drawn.prompts)
        return found

    def seen(self, batch: Sample) -> PointedSample:
        """A batch with what the network says of it."""
        output = self.looked_at(batch)
        seen = SeenSample.of(batch, InstanceInput.of(batch.images, output))
        return PointedSample(**vars(seen), **vars(scenes_point_maps(output)))

    def _iou(self, model: nn.Module, batch: Sample, config: PromptDrawsConfig) -> float:
        drawn = self.drawn(batch, config)
        found = enlarged(self.answered(model, batch, drawn), drawn.truth) > 0
        shown = drawn.truth.flatten(3).any(dim=-1) & drawn.counted
        if config.one_view:
            asked = drawn.prompts.views[..., :1] == torch.arange(shown.shape[2], device=shown.device)
            shown &= ~asked
        both, either = (each.flatten(3).sum(dim=-1) for each in (found & drawn.truth, found | drawn.truth))
        return float((both / either.clamp(min=1))[shown].mean()) if shown.any() else 0.0


def enlarged(logits: Tensor, truth: Tensor) -> Tensor:
    """Logits (B, K, V, h, w) at the size of truth (B, K, V, H, W)."""
    flat = F.interpolate(logits.float().flatten(0, 1), truth.shape[-2:], mode="bilinear", align_corners=False)
    return flat.unflatten(0, logits.shape[:2])
