"""VGGT: images of a scene to cameras, depth, points and point tracks.

Wang et al., "VGGT: Visual Geometry Grounded Transformer" (2025); parameters are named as in the released VGGT-1B.
The frame of the first image is the world. Departures from the release, without a change of results: heads run only
where asked for, over a few frames at a time, and only the token layers that they read are kept.

Types: the aggregator follows the ambient autocast; heads run with autocast off in the type of their own weights, so
in float32 unless the model was cast by `to_reduced`, which leaves the tracker in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.geometry.vggt.aggregator import Aggregator, TokenLayers
from geoseg_core.geometry.vggt.camera_head import CameraHead
from geoseg_core.geometry.vggt.config import VggtConfig
from geoseg_core.geometry.vggt.track_head import TrackHead, Tracks
from geoseg_core.layers.dpt import Dpt
from geoseg_core.layers.images import check_images
from geoseg_core.weights.loading import load_checkpoint

MODULES = {"camera": "camera_head.", "depth": "depth_head.", "points": "point_head.", "tracks": "track_head."}
FRAME_CHUNK = 8


@dataclass(frozen=True, eq=False)
class VggtOutput:
    """What the heads that were asked for say; None for the others.

    Attributes:
        tokens: the token layers that were kept.
        pose_encodings: (B, S, 9) after each refinement; see pose_encoding.py.
        depth: (B, S, H, W) along z; depth_confidence the same, from 1 up.
        points: (B, S, H, W, 3) in the frame of the first view; points_confidence (B, S, H, W), from 1 up.
        track_features: (B, S, C, H/2, W/2).
        tracks: of the queries, where there were any.
    """

    tokens: TokenLayers
    pose_encodings: list[Tensor] = field(default_factory=list)
    depth: Tensor | None = None
    depth_confidence: Tensor | None = None
    points: Tensor | None = None
    points_confidence: Tensor | None = None
    track_features: Tensor | None = None
    tracks: Tracks | None = None


class Vggt(nn.Module):
    """Images (B, S, 3, H, W), RGB float in [0, 1], sides multiples of the patch -> VggtOutput."""

    def __init__(self, config: VggtConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VggtConfig()
        width = 2 * config.width
        self.aggregator = Aggregator(config)
        if "camera" in config.heads:
            self.camera_head = CameraHead(config.camera_head, width)
        if "points" in config.heads:
            self.point_head = Dpt(config.point_head, width, 4, patch=config.patch)
        if "depth" in config.heads:
            self.depth_head = Dpt(config.depth_head, width, 2, patch=config.patch)
        if "tracks" in config.heads:
            self.track_head = TrackHead(config.track_head, width, config.patch)

    @classmethod
    def from_checkpoint(
        cls, path: Path | str, config: VggtConfig | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """The model with the weights of a safetensors file, ready for inference.

        Heads that the configuration leaves out are not read; with `dtype` all but the tracker is cast to it.

        Raises:
            BadInput: the file does not fit the configuration.
        """
        with torch.device("meta"):
            model = cls(config)
        left_out = tuple(prefix for head, prefix in MODULES.items() if head not in model.config.heads)
        load_checkpoint(model, path, unused=left_out)
        return model.eval() if dtype is None else model.eval().to_reduced(dtype)

    def to_reduced(self, dtype: torch.dtype) -> Self:
        """Cast all weights but the tracker's."""
        for name, module in self.named_children():
            (module.feature_extractor if name == "track_head" else module).to(dtype)
        return self

    def forward(
        self,
        images: Tensor,
        heads: Sequence[str] = ("camera", "depth"),
        queries_px: Tensor | None = None,
        keep_layers: Sequence[int] = (),
        frame_chunk: int = FRAME_CHUNK,
    ) -> VggtOutput:
        """Run the trunk and the heads asked for.

        Args:
            heads: some of "camera", "depth", "points", "tracks".
            queries_px: (N, 2) or (B, N, 2) x, y of points in the first view, followed by the head "tracks".
            keep_layers: token layers to keep besides those that the heads read.
            frame_chunk: frames that a dense head sees at a time.

        Raises:
            BadInput: images of another shape, or a head that the model has not.
        """
        self._check(images, heads)
        tokens = self.aggregator(images, {*self.layers_read(heads), *keep_layers})
        return self.read(tokens, heads, queries_px, frame_chunk)

    def layers_read(self, heads: Sequence[str]) -> set[int]:
        """The token layers that these heads read."""
        config = self.config
        read = {
            "camera": (config.aggregator.depth - 1,),
            "depth": config.depth_head.layers,
            "points": config.point_head.layers,
            "tracks": config.track_head.features.layers,
        }
        return {number for head in heads for number in read[head]}

    def read(
        self,
        tokens: TokenLayers,
        heads: Sequence[str],
        queries_px: Tensor | None = None,
        frame_chunk: int = FRAME_CHUNK,
    ) -> VggtOutput:
        """Run heads on token layers."""
        found: dict = {}
        first = next(iter(tokens.layers.values()))
        with torch.autocast(first.device.type, enabled=False):
            if "camera" in heads:
                found["pose_encodings"] = self._cameras(tokens)
            if "depth" in heads:
                found["depth"], found["depth_confidence"] = self._depth(tokens, frame_chunk)
            if "points" in heads:
                found["points"], found["points_confidence"] = self._points(tokens, frame_chunk)
            if "tracks" in heads:
                maps = self._dense(self.track_head.feature_extractor, tokens, self._track_layers, frame_chunk)
                found["track_features"] = maps
                found["tracks"] = None if queries_px is None else self.track_head.track(maps, queries_px)
        return VggtOutput(tokens, **found)

    @property
    def _track_layers(self) -> Sequence[int]:
        return self.config.track_head.features.layers

    def _cameras(self, tokens: TokenLayers) -> list[Tensor]:
        last = tokens.layers[self.config.aggregator.depth - 1]
        return self.camera_head(last[:, :, 0].to(self.camera_head.empty_pose_tokens.dtype))

    def _depth(self, tokens: TokenLayers, frame_chunk: int) -> tuple[Tensor, Tensor]:
        layers = self.config.depth_head.layers
        raw = self._dense(self.depth_head, tokens, layers, frame_chunk, activate_depth)
        return raw[:, :, 0], raw[:, :, 1]

    def _points(self, tokens: TokenLayers, frame_chunk: int) -> tuple[Tensor, Tensor]:
        layers = self.config.point_head.layers
        raw = self._dense(self.point_head, tokens, layers, frame_chunk, activate_points)
        return raw[:, :, :3].movedim(2, -1), raw[:, :, 3]

    def _dense(
        self,
        head: Dpt,
        tokens: TokenLayers,
        layers: Sequence[int],
        frame_chunk: int,
        activate: Callable[[Tensor], Tensor] = lambda raw: raw,
    ) -> Tensor:
        """A DPT head over all frames, `frame_chunk` at a time: (B, S, outputs, H, W)."""
        read = tokens.patches(layers)
        dtype = head.norm.weight.dtype
        chunks = [
            activate(head([each[start : start + frame_chunk].to(dtype) for each in read], tokens.grid))
            for start in range(0, read[0].shape[0], frame_chunk)
        ]
        batch = tokens.layers[layers[0]].shape[0]
        return torch.cat(chunks).unflatten(0, (batch, -1))

    def _check(self, images: Tensor, heads: Sequence[str]) -> None:
        missing = [head for head in heads if head not in self.config.heads]
        if missing:
            raise BadInput(f"expected heads of {list(self.config.heads)}, got {missing}; build the model with them")
        check_images(images, self.config.patch)


def activate_depth(raw: Tensor) -> Tensor:
    """(N, 2, H, W): exp of the depth, 1 + exp of the confidence."""
    return torch.cat((raw[:, :1].exp(), 1 + raw[:, 1:].exp()), dim=1)


def activate_points(raw: Tensor) -> Tensor:
    """(N, 4, H, W): sign(x) * (exp|x| - 1) of the coordinates, 1 + exp of the confidence."""
    xyz = raw[:, :3]
    return torch.cat((xyz.sign() * xyz.abs().expm1(), 1 + raw[:, 3:].exp()), dim=1)
