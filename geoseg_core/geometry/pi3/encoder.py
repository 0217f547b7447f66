"""Pi3 and Pi3X behind the contract of every encoder: images to cameras, depth and points.

The world is the frame of the first view's camera, or that camera's known pose where there is one. The focal length of
each view is fitted to its predicted points. Lengths are in the unit of the network, for Pi3X a guess of metres: the
scale is UNKNOWN until something aligns it. Pi3X is told what is known: depth, intrinsics and poses of each view.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoseg_core.errors import GeosegError
from geoseg_core.geometry.acceleration import graphed, prepared
from geoseg_core.geometry.encoder import EncodedScene, PointTracks, ViewGeometry
from geoseg_core.geometry.inference import Pi3EncoderConfig
from geoseg_core.geometry.memory_budget import Cost, check_views
from geoseg_core.geometry.network_input import Placement, network_images, pi3_placements
from geoseg_core.geometry.pi3.conditions import Conditions
from geoseg_core.geometry.pi3.model import HEADS, Pi3
from geoseg_core.geometry.pi3.pi3x import Pi3X
from geoseg_core.geometry.predicted import view_geometries
from geoseg_core.geometry.rgbd import RgbdConfig, RgbdScene
from geoseg_core.results import ScaleState
from geoseg_core.views import FrameSet

# Token tensors that exist at the worst moment, float32 numbers that are kept for each pixel, and maps of full size.
LIVE_TOKENS = 20
LIVE_NUMBERS = 12
LIVE_MAPS = 3


@dataclass(frozen=True, eq=False)
class Pi3Scene:
    """A frame set that Pi3 has seen. Keeps the contract of `EncodedScene`."""

    frames: FrameSet
    views: tuple[ViewGeometry, ...]
    scale: ScaleState
    config: Pi3EncoderConfig

    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Follow points_px (N, 2) of view `source` into the views `targets` by lifting and projecting.

        Raises:
            BadInput: points_px has another shape or lies outside the source image.
        """
        tolerance = RgbdConfig(tolerance_m=0.0, tolerance_slope=self.config.seen_slope)
        return RgbdScene(self.frames, self.views, self.scale, tolerance).track(points_px, source, targets)

    def features(self, layers: tuple[int, ...]) -> list[Any]:
        """Raises GeosegError: no readout takes token features of Pi3."""
        raise GeosegError(f"features of layers {layers}: expected an encoder that keeps layers, got Pi3; take VGGT")


class Pi3Encoder:
    """Views to a Pi3Scene. The model is taken over and cast to the configured precision."""

    name = "pi3"

    def __init__(
        self,
        model: Pi3 | Pi3X,
        config: Pi3EncoderConfig = Pi3EncoderConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.model: Pi3 | Pi3X = prepared(model, config)
        self.config = config
        self._trunk = graphed(self._features, config, model.register_token.device)

    @torch.inference_mode()
    def encode(self, frames: FrameSet) -> EncodedScene:
        """Cameras and depth of all views; views need no calibration.

        Raises:
            BadInput: an image too thin for the network, known depth or poses that are no finite numbers, or more views
                than the memory has room for.
        """
        patch, device = self.model.config.patch, self.model.register_token.device
        placements = pi3_placements([view.size for view in frames.views], self.config.pixels, patch)
        grid = (placements[0].canvas[0] // patch, placements[0].canvas[1] // patch)
        smaller = ("pixels", "frame_chunk")
        check_views(len(frames.views), self.cost, self.config.memory_mib, placements[0].canvas, patch, smaller)
        images = network_images([view.image for view in frames.views], placements, "lanczos").to(device)[None]
        known = self._known(frames, placements, device)
        with self.config.trunk_types(device):
            if known is not None:
                output = self.model(images, known, frame_chunk=self.config.frame_chunk)
            else:
                output = self.model.read(self._trunk(images), 1, grid, HEADS, self.config.frame_chunk)
        local, poses = output.local_points, output.camera_to_world
        assert local is not None and poses is not None and output.confidence is not None
        views = view_geometries(
            local[0, ..., 2],
            output.confidence[0].sigmoid(),
            fit_intrinsics(local[0].float()),
            poses[0].double().cpu().numpy(),
            frames,
            placements,
        )
        return Pi3Scene(frames, views, ScaleState(), self.config)

    def _features(self, images: Tensor) -> Tensor:
        """Decoder features of images (1, V, 3, h, w)."""
        patch = self.model.config.patch
        with self.config.trunk_types(images.device):
            patches = self.model.encode(images)
            return self.model.decode(patches, 1, (images.shape[3] // patch, images.shape[4] // patch))

    @property
    def cost(self) -> Cost:
        """Memory that the network takes for a pixel of its input."""
        sizes = self.model.config
        item_bytes = self.model.register_token.element_size()
        tokens = sizes.width * item_bytes * LIVE_TOKENS / sizes.patch**2
        # The convolutional heads of Pi3X end in maps of full size.
        channels = self.model.sizes.conv_head.channels[-1] if isinstance(self.model, Pi3X) else 0
        return Cost(tokens + LIVE_NUMBERS * 4, self.config.frame_chunk * channels * item_bytes * LIVE_MAPS)

    def _known(self, frames: FrameSet, placements: list[Placement], device: torch.device) -> Conditions | None:
        told = self.config.conditions and isinstance(self.model, Pi3X) and self.model.sizes.conditions
        return known_conditions(frames, placements, device) if told else None


def known_conditions(frames: FrameSet, placements: list[Placement], device: torch.device) -> Conditions:
    """Depth, intrinsics and poses of the views that have them, in pixels of the network's input."""
    height, width = placements[0].canvas
    count = len(frames.views)
    depth, intrinsics = np.zeros((count, height, width)), np.tile(np.eye(3), (count, 1, 1))
    poses = np.tile(np.eye(4), (count, 1, 1))
    for index, (view, place) in enumerate(zip(frames.views, placements, strict=True)):
        if view.depth_m is not None:
            depth[index] = place.map_to_network(np.nan_to_num(view.depth_m, posinf=0).clip(min=0))
        if view.intrinsics is not None:
            intrinsics[index] = place.network_intrinsics(view.intrinsics)
            intrinsics[index, :2, 2] += 0.5  # the network puts pixel centres at halves
        if view.camera_to_world is not None:
            poses[index] = view.camera_to_world
    names = {"depth": "depth_m", "ray": "intrinsics", "pose": "camera_to_world"}
    masks = {
        f"{name}_mask": torch.tensor([[getattr(view, source) is not None for view in frames.views]], device=device)
        for name, source in names.items()
    }
    facts = {
        name: torch.from_numpy(each[None]).float().to(device)
        for name, each in (("depth", depth), ("intrinsics", intrinsics), ("camera_to_world", poses))
    }
    return Conditions(**facts, **masks)


def fit_intrinsics(local: Tensor) -> np.ndarray:
    """Focal lengths (least squares) that send points (V, H, W, 3) to their pixels, the principal point in the centre of
    the image: (V, 3, 3), integers are pixel centres."""
    height, width = local.shape[1:3]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    pixels = (torch.stack((u, v), dim=-1) - centre).to(local)
    slopes = local[..., :2] / local[..., 2:].clamp(min=torch.finfo(torch.float32).tiny)
    focal = (pixels * slopes).sum(dim=(1, 2)) / slopes.square().sum(dim=(1, 2)).clamp(min=1e-12)
    matrices = np.tile(np.eye(3), (len(local), 1, 1))
    matrices[:, 0, 0], matrices[:, 1, 1] = focal.clamp(min=1.0).double().cpu().numpy().T
    matrices[:, :2, 2] = centre.numpy()
    return matrices
