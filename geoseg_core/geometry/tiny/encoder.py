"""The small geometry network behind the contract of every encoder: images to cameras, depth and point tracks.

The world is the frame of the first view's camera, or that camera's known pose where there is one. Lengths are guesses
of metres from what things look like: the scale is UNKNOWN until something aligns it. A view that shares nothing with
the others has confidence 0 everywhere, since its pose is unknown.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.geometry.acceleration import prepared
from geoseg_core.geometry.encoder import EncodedScene, PointTracks, ViewGeometry
from geoseg_core.geometry.inference import TinyEncoderConfig
from geoseg_core.geometry.memory_budget import Cost, check_views
from geoseg_core.geometry.network_input import Placement, network_images, pi3_placements
from geoseg_core.geometry.predicted import view_geometries
from geoseg_core.geometry.tiny.cameras import SolvedCameras, follow_between, solve_cameras
from geoseg_core.geometry.tiny.matching import carried, follow, levelled
from geoseg_core.geometry.tiny.model import PATCH, TinyGeometry, TinyOutput
from geoseg_core.geometry.tiny.point_map import depth_maps
from geoseg_core.results import ScaleState
from geoseg_core.shapes import check_shape
from geoseg_core.views import FrameSet

VISIBLE = 0.5
# What a pixel of the input takes at the worst moment, measured with 20 and with 40 views: 220 bytes here, the rest in
# the instance network.
COST = Cost(in_view=700)


@dataclass(frozen=True, eq=False)
class TinyScene:
    """A frame set that the small network has seen. Keeps the contract of `EncodedScene`.

    `images`: (1, V, 3, h, w), what it saw.
    """

    encoder: "TinyEncoder"
    frames: FrameSet
    views: tuple[ViewGeometry, ...]
    scale: ScaleState
    placements: list[Placement]
    images: Tensor
    output: TinyOutput
    cameras: SolvedCameras

    @torch.inference_mode()
    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Follow points_px (N, 2) of view `source` into the views `targets`.

        Raises:
            BadInput: points_px has another shape.
        """
        check_shape(points_px, "N 2", "points_px")
        start = torch.from_numpy(self.placements[source].to_network(points_px)).to(self.output.coarse)[None]
        shape = (len(targets), len(points_px))
        found = PointTracks(np.empty((*shape, 2)), np.zeros(shape, bool), np.zeros(shape, np.float32))
        for row, target in enumerate(targets):
            points, seen = follow_between(self.output, start, source, target, self.cameras.way(source, target))
            found.points_px[row] = self.placements[target].to_source(points[0].double().cpu().numpy())
            found.confidence[row] = seen[0].cpu().numpy()
            found.visible[row] = found.confidence[row] > VISIBLE
        return found

    def matching_maps(self, source: int) -> Tensor:
        """`TinyOutput.maps` (V, C, h/4, w/4) of every view; the same whichever view is matched."""
        return self._maps

    @cached_property
    @torch.inference_mode()
    def _maps(self) -> Tensor:
        return self.output.maps[0]

    def features(self, layers: tuple[int, ...]) -> list[Tensor]:
        """Token layers, each (V, P, 2C).

        Raises:
            BadInput: a layer that was not kept.
        """
        kept = self.output.tokens.layers
        missing = [number for number in layers if number not in kept]
        if missing:
            raise BadInput(f"expected token layers of {sorted(kept)}, got {missing}; take one of those")
        return [kept[number][0] for number in layers]


class TinyEncoder:
    """Views to a TinyScene."""

    name = "tiny"
    points_apart = True
    cost = COST

    def __init__(
        self,
        model: TinyGeometry,
        config: TinyEncoderConfig = TinyEncoderConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.config = config.on(model.nowhere.device)
        self.model: TinyGeometry = prepared(model.eval(), self.config)

    @torch.inference_mode()
    def encode(self, frames: FrameSet) -> EncodedScene:
        """Cameras and depth of all views; views need no calibration.

        Raises:
            BadInput: an image too thin for the network, or more views than the memory has room for.
        """
        device = self.model.nowhere.device
        placements = pi3_placements([view.size for view in frames.views], self.config.pixels, PATCH)
        check_views(len(placements), self.cost, self.config.memory_mib, placements[0].canvas, PATCH, ("pixels",))
        images = network_images([view.image for view in frames.views], placements, "quick").to(device)
        with self.config.trunk_types(device):
            output = self.model(images[None], range(self.model.config.aggregator.depth))
        cameras = solve_cameras(output)
        depth, confidence = depth_maps(output, cameras)
        views = view_geometries(depth, confidence, cameras.intrinsics, cameras.camera_to_world, frames, placements)
        return TinyScene(self, frames, views, ScaleState(), placements, images[None], output, cameras)

    @torch.inference_mode()
    def matched_points(self, maps: Tensor, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) of the first of two views (2, C, h, w) of different sets in the second, and the chances (N,)
        that they are in sight there."""
        coarse, fine = (each.split(1) for each in self._levelled(maps))
        start = torch.from_numpy(points_px).to(maps)[None]
        points, seen = follow((coarse[0], coarse[1]), (fine[0], fine[1]), self.model.nowhere, start)
        return points[0].double().cpu().numpy(), seen[0].cpu().numpy()

    @torch.inference_mode()
    def matched_masks(self, maps: Tensor, masks: np.ndarray, same_set: bool = False) -> Tensor:
        """Logits (K, H, W) of masks (K, H, W) of the first of two views (2, C, h, w), where its descriptors are found
        in the second.

        Args:
            same_set: whether the views were encoded together.
        """
        coarse, _ = self.model.descriptors(maps) if same_set else self._levelled(maps)
        marked = torch.from_numpy(np.ascontiguousarray(masks)).to(maps.device)
        return carried((coarse[:1], coarse[1:]), self.model.nowhere, marked[None])[0]

    def _levelled(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        coarse, fine = self.model.descriptors(maps)
        return levelled(coarse), fine
