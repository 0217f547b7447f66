"""The track head of VGGT: points of frame 0 followed into every frame.

Karaev et al., "CoTracker" (2023), as changed by VGGT. A point's coordinates and feature are refined a few times from
the correlations of its feature with the frame around its present place, on a pyramid of feature maps.

Departures from the release, without a change of results:

* Correlations are formed only at the whole pixels around a point and interpolated there, instead of over the whole
  map: both are linear, and the cost no longer grows with the image.
* The positional row is interpolated from one table for each axis.
* The tracker runs in the type of its own weights with autocast off, best float32: its linear flow bands (up to
  about 970 rad a pixel) do not survive bfloat16.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.vggt.config import TrackHeadConfig
from geoseg_core.geometry.vggt.update_transformer import UpdateTransformer
from geoseg_core.layers.attention import Mlp
from geoseg_core.layers.dpt import Dpt
from geoseg_core.layers.positions import index_sines

FLOW_FREQUENCY = 1000.0


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points followed through a sequence.

    Attributes:
        points_px: (B, S, N, 2) x, y in pixels of the network's input, after each refinement.
        visibility: (B, S, N) in [0, 1].
        confidence: (B, S, N) in [0, 1].
    """

    points_px: tuple[Tensor, ...]
    visibility: Tensor
    confidence: Tensor


class Tracker(nn.Module):
    """Feature maps (B, S, C, h, w) and queries in pixels of frame 0 (B, N, 2) to tracks."""

    def __init__(self, config: TrackHeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.features.features
        inputs = 3 * width + 4
        self.query_ref_token = nn.Parameter(torch.randn(1, 2, inputs))
        self.corr_mlp = Mlp(config.levels * (2 * config.radius + 1) ** 2, config.hidden, width)
        self.updateformer = UpdateTransformer(config, inputs, width + 2)
        self.fmap_norm = nn.LayerNorm(width)
        self.ffeat_norm = nn.GroupNorm(1, width)
        self.ffeat_updater = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(width, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(width, 1))

    def forward(self, maps: Tensor, queries_px: Tensor) -> Tracks:
        frames = maps.shape[1]
        # Channels last: a neighbourhood is gathered as whole feature vectors.
        normal = self.fmap_norm(maps.movedim(2, -1))  # (B, S, h, w, C)
        pyramid = self.pyramid(normal)
        start = queries_px / self.config.stride  # (B, N, 2)
        query_feature = sample_features(normal[:, 0], start)
        extra = self.query_rows(start, maps.shape[-2:], frames)
        features = query_feature[:, None].expand(-1, frames, -1, -1)  # (B, S, N, C)
        coords = start[:, None].expand(-1, frames, -1, -1)  # (B, S, N, 2)
        refined = []
        for _ in range(self.config.iterations):
            tokens = self.tokens(pyramid, features, coords) + extra
            update = self.updateformer(tokens.transpose(1, 2)).transpose(1, 2)  # (B, S, N, 2 + C)
            step, change = update[..., :2], update[..., 2:]
            normed = self.ffeat_norm(change.flatten(0, 2)).unflatten(0, change.shape[:3])
            features = features + self.ffeat_updater(normed)
            coords = torch.cat((start[:, None], (coords + step)[:, 1:]), dim=1)
            refined.append(coords * self.config.stride)
        visibility = self.vis_predictor(features).squeeze(-1).sigmoid()
        confidence = self.conf_predictor(features).squeeze(-1).sigmoid()
        return Tracks(tuple(refined), visibility, confidence)

    def pyramid(self, maps: Tensor) -> list[Tensor]:
        """Normalised maps (B, S, h, w, C), each level half the size of the one before."""
        levels = [maps]
        for _ in range(self.config.levels - 1):
            flat = levels[-1].flatten(0, 1).movedim(-1, 1)
            half = F.avg_pool2d(flat, 2, stride=2).movedim(1, -1)
            levels.append(half.unflatten(0, maps.shape[:2]))
        return levels

    def tokens(self, pyramid: list[Tensor], features: Tensor, coords: Tensor) -> Tensor:
        """What is known of each point in each frame, (B, S, N, 3C + 4)."""
        found = [
            correlations(maps, features, coords / 2**level, self.config.radius) for level, maps in enumerate(pyramid)
        ]
        flow = coords - coords[:, :1]
        scaled = flow / self.config.max_scale
        width = features.shape[-1]
        parts = (flow_sines(flow, width), scaled, scaled, self.corr_mlp(torch.cat(found, dim=-1)), features)
        return torch.cat(parts, dim=-1)

    def query_rows(self, start: Tensor, size: torch.Size, frames: int) -> Tensor:
        """Positional row of each query plus the token of the reference frame or of the others, (B, S, N, 3C + 4)."""
        half = self.query_ref_token.shape[-1] // 2
        of_x, of_y = (
            sample_table(index_sines(length, half, start.device).to(start.dtype), start[..., axis])
            for axis, length in ((0, size[1]), (1, size[0]))
        )
        slots = torch.cat((self.query_ref_token[:, :1], self.query_ref_token[:, 1:].expand(-1, frames - 1, -1)), dim=1)
        return torch.cat((of_x, of_y), dim=-1)[:, None] + slots[:, :, None]


class TrackHead(nn.Module):
    """Token layers to feature maps, feature maps and queries to tracks."""

    def __init__(self, config: TrackHeadConfig, width: int, patch: int = 14) -> None:
        super().__init__()
        self.feature_extractor = Dpt(config.features, width, 0, patch=patch, down_ratio=config.down_ratio)
        self.tracker = Tracker(config)

    def track(self, maps: Tensor, queries_px: Tensor) -> Tracks:
        """Follow queries (B, N, 2) or (N, 2), x and y in pixels of frame 0, through maps (B, S, C, h, w)."""
        dtype = self.tracker.query_ref_token.dtype
        with torch.autocast(maps.device.type, enabled=False):
            queries = queries_px.to(maps.device, dtype).expand(maps.shape[0], -1, -1)
            return self.tracker(maps.to(dtype), queries)


def correlations(maps: Tensor, features: Tensor, coords: Tensor, radius: int) -> Tensor:
    """Dot products of point features (B, S, N, C) with the maps (B, S, h, w, C) around coords, over sqrt(C).

    Offsets reach from -radius to radius; x varies slowest. What lies outside the map counts as 0.

    Returns:
        (B, S, N, (2 * radius + 1)^2)
    """
    height, width, channels = maps.shape[-3:]
    # Beyond this everything is outside anyway, and whole numbers stay small.
    limit = 2.0 * max(height, width) + 2 * radius
    coords = coords.nan_to_num(limit).clamp(-limit, limit)
    corner = coords.floor()
    part_x, part_y = (coords - corner)[..., None, None].unbind(-3)  # (B, S, N, 1, 1)
    steps = torch.arange(-radius, radius + 2, device=maps.device)
    columns = corner[..., 0].long()[..., None, None] + steps[:, None]
    rows = corner[..., 1].long()[..., None, None] + steps
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)  # (B, S, N, D+1, D+1), x first
    index = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(0, 1)
    flat = maps.flatten(2, 3).flatten(0, 1)  # (B*S, h*w, C)
    frame = torch.arange(flat.shape[0], device=maps.device)[:, None]
    near = flat[frame, index.flatten(1)].unflatten(1, (index.shape[1], -1))  # (B*S, N, (D+1)^2, C)
    products = (near @ features.flatten(0, 1)[..., None]).squeeze(-1).unflatten(0, coords.shape[:2])
    whole = products.unflatten(-1, inside.shape[-2:]) * inside / channels**0.5
    along_x = whole[..., :-1, :] * (1 - part_x) + whole[..., 1:, :] * part_x
    both = along_x[..., :-1] * (1 - part_y) + along_x[..., 1:] * part_y
    return both.flatten(-2)


def flow_sines(flow: Tensor, width: int) -> Tensor:
    """(..., 2) -> (..., width): sines and cosines in turn, of x, then of y, in linear bands."""
    half = width // 2
    bands = torch.arange(0, half, 2, device=flow.device, dtype=flow.dtype) * (FLOW_FREQUENCY / half)
    angles = flow[..., None] * bands
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)


def sample_features(maps: Tensor, coords: Tensor) -> Tensor:
    """Bilinear samples of maps (B, h, w, C) at coords (B, N, 2); the border goes on outside. -> (B, N, C)"""
    height, width = maps.shape[1:3]
    x, y = coords[..., 0].clamp(0, width - 1), coords[..., 1].clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    part_x, part_y = (x - left)[..., None], (y - top)[..., None]
    batch = torch.arange(maps.shape[0], device=maps.device)[:, None]
    above = maps[batch, top, left] * (1 - part_x) + maps[batch, top, right] * part_x
    below = maps[batch, bottom, left] * (1 - part_x) + maps[batch, bottom, right] * part_x
    return above * (1 - part_y) + below * part_y


def sample_table(table: Tensor, places: Tensor) -> Tensor:
    """Linear interpolation of a table (L, C) at places (B, N); the ends go on outside. -> (B, N, C)"""
    places = places.clamp(0, table.shape[0] - 1)
    low = places.floor().long()
    part = (places - low)[..., None]
    return table[low] * (1 - part) + table[(low + 1).clamp(max=table.shape[0] - 1)] * part
