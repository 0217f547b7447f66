"""VGGT behind the contract of every encoder: images to cameras, depth, points and tracks.

The world is the frame of the first view's camera, or that camera's known pose where there is one. Lengths are in the
unit of the network, which is no metre: the scale is UNKNOWN until something aligns it.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.geometry.acceleration import graphed, prepared
from geoseg_core.geometry.encoder import EncodedScene, PointTracks, ViewGeometry
from geoseg_core.geometry.inference import VggtEncoderConfig
from geoseg_core.geometry.memory_budget import Cost, check_views
from geoseg_core.geometry.network_input import Placement, common_canvas, network_images, vggt_placement
from geoseg_core.geometry.predicted import view_geometries
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.geometry.vggt.model import Vggt, VggtOutput
from geoseg_core.geometry.vggt.pose_encoding import decode_pose
from geoseg_core.geometry.vggt.track_head import Tracks
from geoseg_core.results import ScaleState
from geoseg_core.shapes import check_shape
from geoseg_core.views import FrameSet

# A rectified field of view may be 0, whose focal length is infinite.
LEAST_FIELD_RAD = 0.02
VISIBLE = 0.5
# Maps of full size, and token tensors beside the kept layers, that exist at the worst moment.
LIVE_MAPS = 3
LIVE_TOKENS = 20


@dataclass(eq=False)
class VggtScene:
    """A frame set that VGGT has seen. Keeps the contract of `EncodedScene`; tracks are made when asked for."""

    encoder: "VggtEncoder"
    frames: FrameSet
    views: tuple[ViewGeometry, ...]
    scale: ScaleState
    placements: list[Placement]
    patches: Tensor
    tokens: TokenLayers
    _maps: dict[int, Tensor] = field(default_factory=dict)

    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Follow points_px (N, 2) of view `source` into the views `targets`.

        The network follows points of its first view only, so another source costs one more pass of the trunk, once.

        Raises:
            BadInput: points_px has another shape.
        """
        check_shape(points_px, "N 2", "points_px")
        order = source_first(len(self.views), source)
        queries = self.placements[source].to_network(points_px)
        tracks = self.encoder.follow(self._track_maps(source), queries)
        shape = (len(targets), len(points_px))
        found = PointTracks(np.empty((*shape, 2)), np.zeros(shape, bool), np.zeros(shape, np.float32))
        asked = inside(queries, self.placements[source].canvas)
        for row, target in enumerate(targets):
            place, at = self.placements[target], order.index(target)
            points = tracks.points_px[-1][0, at].cpu().double().numpy()
            found.points_px[row] = place.to_source(points)
            seen = asked & inside(points, place.canvas) & inside(found.points_px[row], place.source)
            visibility, confidence = (each[0, at].cpu().numpy() for each in (tracks.visibility, tracks.confidence))
            found.visible[row] = seen & (visibility > VISIBLE)
            found.confidence[row] = np.where(asked, visibility * confidence, 0)
        return found

    def matching_maps(self, source: int) -> Tensor:
        """Features (V, C, h, w) of every view, in the order of the views, by which view `source` is matched."""
        order = source_first(len(self.views), source)
        maps = self._track_maps(source)[0]
        return maps if source == 0 else maps[[order.index(view) for view in range(len(order))]]

    def features(self, layers: tuple[int, ...]) -> list[Tensor]:
        """Token layers, each (V, P, 2C).

        Raises:
            BadInput: a layer that was not kept.
        """
        kept = self.tokens.layers
        missing = [number for number in layers if number not in kept]
        if missing:
            raise BadInput(f"expected token layers of {sorted(kept)}, got {missing}; name them in keep_layers")
        return [kept[number][0] for number in layers]

    def _track_maps(self, source: int) -> Tensor:
        if source not in self._maps:
            order = source_first(len(self.views), source)
            tokens = self.tokens if source == 0 else self.encoder.reordered(self.patches[order], self.tokens.grid)
            self._maps[source] = self.encoder.track_maps(tokens)
        return self._maps[source]


class VggtEncoder:
    """Views to a VggtScene. The model is taken over and cast to the configured precision."""

    name = "vggt"
    points_apart = False

    def __init__(
        self,
        model: Vggt,
        config: VggtEncoderConfig = VggtEncoderConfig(),  # noqa: B008 (frozen)
        keep_layers: tuple[int, ...] = (),
    ) -> None:
        self.model: Vggt = prepared(model, config)
        self.config, self.keep_layers = config, keep_layers
        self._network = graphed(self._run, config, self.device)

    @torch.inference_mode()
    def encode(self, frames: FrameSet) -> EncodedScene:
        """Cameras and depth of all views; views need no calibration.

        Raises:
            BadInput: an image too thin for the network, or more views than the memory has room for.
        """
        placements = self.place(frames)
        patches, output = self._network(self.images(frames, placements))
        views = predicted_views(output, frames, placements)
        return VggtScene(self, frames, views, ScaleState(), placements, patches, output.tokens)

    def _run(self, images: Tensor) -> tuple[Tensor, VggtOutput]:
        """Patch tokens of images (V, 3, h, w), and what the camera and depth heads say."""
        patch = self.model.config.patch
        grid = (images.shape[2] // patch, images.shape[3] // patch)
        with self.config.trunk_types(self.device):
            patches = self.model.aggregator.embed(images[None])
            tokens = self.model.aggregator.aggregate(patches, 1, grid, self.layers_kept)
        return patches, self.model.read(tokens, ("camera", "depth"), frame_chunk=self.config.frame_chunk)

    def place(self, frames: FrameSet) -> list[Placement]:
        """How the views stand in the network's input.

        Raises:
            BadInput: an image too thin for the network, or more views than the memory has room for.
        """
        patch = self.model.config.patch
        placements = common_canvas(
            [vggt_placement(view.size, self.config.fit, self.config.side, patch) for view in frames.views]
        )
        canvas, smaller = placements[0].canvas, ("side", "frame_chunk")
        check_views(len(frames.views), self.cost, self.config.memory_mib, canvas, patch, smaller)
        return placements

    def images(self, frames: FrameSet, placements: list[Placement]) -> Tensor:
        """(V, 3, h, w) in [0, 1] as placed, on the model's device."""
        return network_images([view.image for view in frames.views], placements, "bicubic").to(self.device)

    def grid(self, placements: list[Placement]) -> tuple[int, int]:
        """Rows and columns of patches of a view."""
        height, width = placements[0].canvas
        return height // self.model.config.patch, width // self.model.config.patch

    @property
    def layers_kept(self) -> set[int]:
        """Token layers that a scene keeps: those that the heads read, and those that were asked for."""
        heads = [head for head in ("camera", "depth", "tracks") if head in self.model.config.heads]
        return {*self.model.layers_read(heads), *self.keep_layers}

    @torch.inference_mode()
    def reordered(self, patches: Tensor, grid: tuple[int, int]) -> TokenLayers:
        """Token layers for the track head, of patch tokens whose first view is another."""
        with self.config.trunk_types(self.device):
            return self.model.aggregator.aggregate(patches, 1, grid, self.model.layers_read(("tracks",)))

    @torch.inference_mode()
    def track_maps(self, tokens: TokenLayers) -> Tensor:
        """Feature maps (1, V, C, h, w) of the track head."""
        maps = self.model.read(tokens, ("tracks",), frame_chunk=self.config.frame_chunk).track_features
        assert maps is not None
        return maps

    @torch.inference_mode()
    def follow(self, maps: Tensor, queries_px: np.ndarray) -> Tracks:
        """Tracks of queries (N, 2) in pixels of the first view's network input."""
        return self.model.track_head.track(maps, torch.from_numpy(queries_px).float())

    @torch.inference_mode()
    def matched_points(self, maps: Tensor, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) of the first of two views (2, C, h, w) of different sets in the second, and the chances (N,)
        that they are in sight there."""
        tracks = self.follow(maps[None], points_px)
        seen = tracks.visibility[0, 1] * tracks.confidence[0, 1]
        return tracks.points_px[-1][0, 1].double().cpu().numpy(), seen.cpu().numpy()

    def matched_masks(self, maps: Tensor, masks: np.ndarray, same_set: bool = False) -> None:
        """The tracker matches points alone."""

    @property
    def cost(self) -> Cost:
        """Memory that the network takes for a pixel of its input."""
        sizes = self.model.config
        item_bytes = self.model.aggregator.camera_token.element_size()
        kept = len({*self.model.layers_read(sizes.heads), *self.keep_layers})
        tokens = sizes.width * item_bytes * (2 * kept + LIVE_TOKENS) / sizes.patch**2
        return Cost(tokens, self.config.frame_chunk * (sizes.depth_head.features // 2) * item_bytes * LIVE_MAPS)

    @property
    def device(self) -> torch.device:
        return self.model.aggregator.camera_token.device


def predicted_views(
    output: VggtOutput, frames: FrameSet, placements: list[Placement], to_world: np.ndarray | None = None
) -> tuple[ViewGeometry, ...]:
    """Geometry of each view at the pixels of its image; `to_world` as for `view_geometries`."""
    assert output.depth is not None and output.depth_confidence is not None
    camera_to_world, intrinsics = predicted_cameras(output.pose_encodings[-1][0], placements[0].canvas)
    confidence = 1 - 1 / output.depth_confidence[0].float()
    return view_geometries(output.depth[0], confidence, intrinsics, camera_to_world, frames, placements, to_world)


def predicted_cameras(encodings: Tensor, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """camera_to_world (V, 4, 4) in the network's world and intrinsics (V, 3, 3) of its input, of encodings (V, 9)."""
    encodings = encodings.float().cpu().clone()
    encodings[:, 7:] = encodings[:, 7:].clamp(min=LEAST_FIELD_RAD)
    extrinsics, intrinsics = (each.double().numpy() for each in decode_pose(encodings, canvas))
    world_to_camera = np.tile(np.eye(4), (len(encodings), 1, 1))
    world_to_camera[:, :3] = extrinsics
    return np.linalg.inv(world_to_camera), intrinsics


def source_first(count: int, source: int) -> list[int]:
    """The order of views in which `source` stands first."""
    return [source, *(index for index in range(count) if index != source)]


def inside(points_px: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether points (N, 2) lie on the pixels of an image."""
    height, width = size
    u, v = points_px[:, 0], points_px[:, 1]
    return (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
