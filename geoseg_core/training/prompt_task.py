"""What the recipes of MV-SAM share: prompts that are drawn from true masks, the paper's losses, and figures."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.prompting.mv_sam.model import DENSE, MvSam, Prepared, SceneEmbedding
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.drawn_prompts import DrawnPrompts, PromptDrawsConfig, draw_prompts
from geoseg_core.training.label_pictures import label_rows
from geoseg_core.training.losses.masks import dice_loss, focal_loss
from geoseg_core.training.task import Task

# Of the paper's focal loss.
ALPHA, GAMMA = 0.9, 1.5


@dataclass(frozen=True)
class PromptRecipe(TrainingConfig):
    """Settings that the recipes share."""

    draws: PromptDrawsConfig = field(default_factory=PromptDrawsConfig)
    focal: float = setting(1.0, "share of the focal loss", low=0.0)
    dice: float = setting(0.05, "share of the dice loss", low=0.0)


class PromptTask(Task):
    """Trains an MvSam, or a network with one in it, on samples with instance ids."""

    config: PromptRecipe

    @abstractmethod
    def decoder(self, model: nn.Module) -> MvSam:
        """The decoder in the network."""

    @abstractmethod
    def embedding(self, model: nn.Module, batch: Sample) -> SceneEmbedding:
        """What is known of the scenes of a batch before anybody points."""

    def labels(self, batch: Sample) -> Tensor:
        """Instance ids (B, V, H, W) at the pixels of the embedding's points."""
        assert batch.instance_ids is not None
        return batch.instance_ids

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Focal and dice loss, means over the prompts and the views where they count."""
        decoder = self.decoder(model)
        drawn = self.drawn(decoder, batch, self.config.draws)
        found: Tensor = decoder(self.embedding(model, batch), drawn.prompts)
        logits = found.float()
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
        view: in all others, or in itself where it is the only one."""
        points = replace(self.config.draws, one_view=0.0, masks=0.0, boxes=0.0)
        click = replace(points, points=1, negatives=0, one_view=1.0)
        decoder = self.decoder(model)
        prepared = decoder.prepare(self.embedding(model, batch))
        both = {"iou_points": points, "iou_click": click}
        return {name: self._iou(decoder, prepared, batch, each) for name, each in both.items()}

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views with the things that were prompted, and with the answers to points."""
        decoder = self.decoder(model)
        drawn = self.drawn(decoder, batch, replace(self.config.draws, masks=0.0, boxes=0.0))
        chances = enlarged(decoder(self.embedding(model, batch), drawn.prompts), drawn.truth)
        rows = torch.arange(1, drawn.truth.shape[1] + 1, device=drawn.truth.device)[:, None, None, None]
        wanted = drawn.counted[..., None, None]
        truth = (drawn.truth * rows).amax(dim=1)
        best = torch.where(wanted, chances, -1.0).max(dim=1)
        images = enlarged(batch.images, truth).clamp(0, 1)
        return label_rows(images, truth, torch.where(best.values > 0, 1 + best.indices, 0))

    def drawn(self, decoder: MvSam, batch: Sample, config: PromptDrawsConfig) -> DrawnPrompts:
        """Prompts to the things of a batch."""
        labels = self.labels(batch)
        height, width = (DENSE * (each // decoder.config.stride) for each in labels.shape[-2:])
        return draw_prompts(labels, batch.last_thing, config, (height, width))

    def _iou(self, decoder: MvSam, prepared: Prepared, batch: Sample, config: PromptDrawsConfig) -> float:
        drawn = self.drawn(decoder, batch, config)
        found = enlarged(decoder.decode(prepared, drawn.prompts), drawn.truth) > 0
        shown = drawn.truth.flatten(3).any(dim=-1) & drawn.counted
        if config.one_view and shown.shape[2] > 1:
            asked = drawn.prompts.views[..., :1] == torch.arange(shown.shape[2], device=shown.device)
            shown &= ~asked
        both, either = (each.flatten(3).sum(dim=-1) for each in (found & drawn.truth, found | drawn.truth))
        return float((both / either.clamp(min=1))[shown].mean()) if shown.any() else 0.0


def enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps (B, K, C, h, w) at the size of others (..., H, W)."""
    flat = F.interpolate(maps.float().flatten(0, 1), like.shape[-2:], mode="bilinear", align_corners=False)
    return flat.unflatten(0, maps.shape[:2])
