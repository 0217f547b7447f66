"""Recipe of a VGGT of any size, from posed views with depth: cameras, depth, points and tracks (VGGT section 3.4).

The default model is a small one for a small computer. `loop.weights` starts from a checkpoint, `optimiser.frozen`
leaves parts of it as they are (aggregator. to train heads alone), `teacher.weights` lets a bigger VGGT give depth and
cameras in place of the data.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.vggt.config import AggregatorConfig, CameraHeadConfig, TrackHeadConfig, VggtConfig
from geoseg_core.geometry.vggt.model import MODULES, Vggt, VggtOutput
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.vit import VitConfig
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.geometry_metrics import camera_figures, depth_figures, depth_rows, track_figures
from geoseg_core.training.losses.camera import camera_loss
from geoseg_core.training.losses.dense import confident_loss, gradient_loss
from geoseg_core.training.losses.teacher import taught
from geoseg_core.training.losses.track_truth import TrueTracks, random_queries, true_tracks
from geoseg_core.training.losses.tracks import confidence_loss, track_loss, visibility_loss
from geoseg_core.training.losses.truth import GeometryTruth, geometry_truth
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import config_metadata
from geoseg_core.weights.loading import plain_names

LAYERS = (1, 3, 4, 5)


def small_vggt() -> VggtConfig:
    """A VGGT of a few million parameters, for images of about 224 pixels."""
    dense = DptConfig(features=32, channels=(24, 48, 96, 96), layers=LAYERS)
    maps = DptConfig(features=32, channels=(24, 48, 96, 96), layers=LAYERS)
    return VggtConfig(
        image_size=224,
        width=192,
        patch_embed=VitConfig(depth=4, heads=6),
        aggregator=AggregatorConfig(depth=6, heads=6),
        camera_head=CameraHeadConfig(depth=1, heads=6),
        depth_head=dense,
        point_head=dense,
        track_head=TrackHeadConfig(maps, levels=5, radius=3, hidden=96, depth=2, heads=4, virtual_tracks=16),
    )


@dataclass(frozen=True)
class VggtLossConfig:
    """Shares of the losses, and their constants; a share of 0 leaves a loss and its head out."""

    camera: float = setting(5.0, "share of the pose encodings", low=0.0)
    depth: float = setting(1.0, "share of depth", low=0.0)
    points: float = setting(1.0, "share of the points", low=0.0)
    tracks: float = setting(0.05, "share of the tracks, whose errors are pixels", low=0.0)
    gradients: float = setting(1.0, "of depth and points: share of the differences of neighbours", low=0.0)
    visibility: float = setting(1.0, "of the tracks: share of visibility and confidence, over that of tracks", low=0.0)
    huber: float = setting(1.0, "errors of pose encodings count linearly beyond", low=1e-6)
    alpha: float = setting(0.2, "what confidence costs", low=0.0)
    queries: int = setting(64, "points of the first view that are followed", low=1)
    near: float = setting(0.04, "a track is right within this part of the image's width", low=0.0)


@dataclass(frozen=True)
class TeacherConfig:
    """A frozen VGGT that gives depth and cameras in place of the data's."""

    weights: str = setting("", "its safetensors file; empty = the data's own truth")
    least_confidence: float = setting(1.5, "its depth of less confidence is not learned from", low=1.0)
    model: VggtConfig = field(default_factory=lambda: VggtConfig(heads=("camera", "depth")))


@dataclass(frozen=True)
class VggtRecipe(TrainingConfig):
    """Settings of the recipe."""

    model: VggtConfig = field(default_factory=small_vggt)
    data: DataConfig = field(default_factory=DataConfig)
    loss: VggtLossConfig = field(default_factory=VggtLossConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)


@dataclass(frozen=True)
class Vggt1bRecipe(VggtRecipe):
    """The same at the size of the released VGGT-1B, whose trunk stays as it is: heads for one's own cameras."""

    model: VggtConfig = field(default_factory=VggtConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(
            worlds=WorldsConfig(width=518, height=392), reader=ReaderConfig(width=518, height=392)
        )
    )
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=1e-4, frozen=("aggregator.",))
    )


class VggtTask(SourceTask):
    """Trains a Vggt on samples with depth, intrinsics and poses, or on images alone with a teacher.

    What extends a Vggt says how it is run, and what losses and figures it has beside those of the geometry.

    Attributes:
        new: beginnings of the names of what the model has beside a Vggt; weights to start from may lack it.
    """

    config: VggtRecipe
    new: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: VggtRecipe) -> None:
        super().__init__(config, config.data, config.model.patch)
        self.heads = tuple(head for head in config.model.heads if getattr(config.loss, head) > 0)
        if not self.heads:
            raise BadConfig(f"loss: expected a share above 0 for one of {list(config.model.heads)}, got none")
        teacher = config.teacher
        self._teacher = Vggt.from_checkpoint(teacher.weights, teacher.model) if teacher.weights else None

    def model(self) -> Vggt:
        """A new model."""
        return Vggt(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the network."""
        return config_metadata(self.config.model)

    def load(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        """Weights of this model, or those of a Vggt: what is new stays as it is, heads that are not built are left out.

        Raises:
            BadInput: they are those of neither.
        """
        unused = tuple(prefix for head, prefix in MODULES.items() if head not in self.config.model.heads)
        given = {name: tensors[stored] for name, stored in plain_names(tensors, "weights").items()}
        lacking = tuple(start for start in self.new if not any(name.startswith(start) for name in given))
        kept = {name: value for name, value in model.state_dict().items() if name.startswith(lacking)}
        super().load(model, kept | {name: value for name, value in given.items() if not name.startswith(unused)})

    def run(self, model: nn.Module, images: Tensor, queries_px: Tensor, training: bool) -> VggtOutput:
        """What the model says."""
        output: VggtOutput = model(images, heads=self.heads, queries_px=queries_px)
        return output

    def further_losses(self, model: nn.Module, output: VggtOutput, batch: Sample) -> dict[str, Tensor]:
        """Losses beside those of the geometry, each with its share; without autocast."""
        return {}

    def further_figures(self, model: nn.Module, output: VggtOutput, batch: Sample) -> dict[str, float]:
        """Figures of held-out samples beside those of the geometry."""
        return {}

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """All losses of the heads that have a share, and those that are no geometry."""
        taught_batch = self._with_truth(batch)
        truth = geometry_truth(taught_batch)
        queries = random_queries(truth.known[:, 0], self.config.loss.queries)
        output = self.run(model, batch.images, queries, training=True)
        with torch.autocast(batch.images.device.type, enabled=False):
            parts = self._geometry(output, truth)
            if "tracks" in self.heads:
                parts |= self._tracks(output, true_tracks(taught_batch, queries), batch.images.shape[-1])
            parts |= self.further_losses(model, output, batch)
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Cameras, depth and tracks of held-out samples, as the tables measure them, and what is no geometry."""
        shown = self._with_truth(batch)
        assert shown.depth is not None
        queries = random_queries(shown.depth[:, 0] > 0, self.config.loss.queries)
        output = self.run(model, shown.images, queries, training=False)
        figures: dict[str, float] = {}
        if "camera" in self.heads:
            figures |= camera_figures(output.pose_encodings[-1], shown)
        if "depth" in self.heads:
            assert output.depth is not None
            figures |= depth_figures(output.depth, shown)
        if "tracks" in self.heads:
            assert output.tracks is not None
            figures |= track_figures(output.tracks, true_tracks(shown, queries), shown, self.config.loss.near)
        return figures | self.further_figures(model, output, batch)

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views, their true depth, the depth that was found."""
        batch = self._with_truth(batch)
        if "depth" not in self.heads:
            return depth_rows(batch, None)
        return depth_rows(batch, model(batch.images, heads=("depth",)).depth)

    def _with_truth(self, batch: Sample) -> Sample:
        if self._teacher is None:
            return batch
        return taught(batch, self._teacher.to(batch.images.device), self.config.teacher.least_confidence)

    def _geometry(self, output: VggtOutput, truth: GeometryTruth) -> dict[str, Tensor]:
        settings, parts = self.config.loss, {}
        if "camera" in self.heads:
            parts["camera"] = settings.camera * camera_loss(output.pose_encodings, truth.encodings, settings.huber)
        if "depth" in self.heads:
            assert output.depth is not None and output.depth_confidence is not None
            pair = (output.depth[..., None], truth.depth[..., None])
            parts |= self._dense("depth", *pair, output.depth_confidence, truth.known)
        if "points" in self.heads:
            assert output.points is not None and output.points_confidence is not None
            parts |= self._dense("points", output.points, truth.points, output.points_confidence, truth.known)
        return parts

    def _dense(self, name: str, found: Tensor, truth: Tensor, confidence: Tensor, known: Tensor) -> dict[str, Tensor]:
        settings = self.config.loss
        share = getattr(settings, name)
        value = confident_loss(found, truth, confidence, known, settings.alpha)
        slopes = gradient_loss(found, truth, confidence, known)
        return {name: share * value, f"{name}_gradients": share * settings.gradients * slopes}

    def _tracks(self, output: VggtOutput, truth: TrueTracks, width: int) -> dict[str, Tensor]:
        settings, tracks = self.config.loss, output.tracks
        assert tracks is not None
        near = settings.near * width
        seen = visibility_loss(tracks.visibility, truth.visible, truth.known)
        sure = confidence_loss(tracks.confidence, tracks.points_px[-1], truth.points_px, truth.known, near)
        share = settings.tracks * settings.visibility
        return {
            "tracks": settings.tracks * track_loss(tracks.points_px, truth.points_px, truth.known),
            "visibility": share * (seen + sure),
        }
