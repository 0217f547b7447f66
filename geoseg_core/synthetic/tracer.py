"""The batched ray caster: which primitive every pixel sees, and how far away.

Pictures are cut into tiles of 8 x 8 pixels. A primitive is intersected only in the tiles that the picture of its box
touches, so that the work is a list of (tile, primitive) pairs, each of 64 rays.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.intersections import IN_ONE_STEP, INFINITY, MEET, Meet, slab
from geoseg_core.synthetic.shapes import PARAMETERS, ROOM

TILE = 8
LANES = TILE * TILE
NEAR_PLANE_M = 0.01
PAIRS_AT_ONCE = {"cpu": 2048, "cuda": 1 << 18}
NOWHERE = (1 << 62) - 1

EDGES = [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]


@dataclass(frozen=True, eq=False)
class Geometry:
    """All primitives as the pictures see them: S pictures, P primitives, the room first.

    Attributes:
        kind: (S, P) int64.
        params: (S, P, 9) float32.
        bounds: (S, P, 2, 3) float64.
        body: (S, P) int64, primitives of one body are one thing.
        to_world: (S, P, 4, 4) float64, primitive_to_world at the moment of each picture.
        camera_to_world: (S, 4, 4) float64.
        intrinsics: (S, 3, 3) float64.
        size: height and width of the pictures.
    """

    kind: Tensor
    params: Tensor
    bounds: Tensor
    body: Tensor
    to_world: Tensor
    camera_to_world: Tensor
    intrinsics: Tensor
    size: tuple[int, int]

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles; those at the border may hang over."""
        return -(-self.size[0] // TILE), -(-self.size[1] // TILE)


def rigid_inverse(matrix: Tensor) -> Tensor:
    """Inverse of rigid transforms (..., 4, 4)."""
    turned = matrix[..., :3, :3].transpose(-1, -2)
    moved = -(turned @ matrix[..., :3, 3:])
    return torch.cat([torch.cat([turned, moved], dim=-1), matrix[..., 3:, :]], dim=-2)


def corners_in(geometry: Geometry, world_to_frame: Tensor) -> Tensor:
    """The eight corners of every primitive's box in a frame of each picture: (S, P, 8, 3)."""
    low, high = geometry.bounds[..., 0, :], geometry.bounds[..., 1, :]
    picks = torch.tensor([[i >> 2, i >> 1 & 1, i & 1] for i in range(8)], dtype=torch.float64, device=low.device)
    corners = low[..., None, :] + picks * (high - low)[..., None, :]
    matrix = world_to_frame[:, None] @ geometry.to_world
    return corners @ matrix[..., :3, :3].transpose(-1, -2) + matrix[..., None, :3, 3]


def screen_boxes(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Lowest and highest pixel (S, P, 2) of each primitive's box; lowest > highest where it is behind the camera."""
    corners = corners_in(geometry, rigid_inverse(geometry.camera_to_world))
    first, last = corners[..., [a for a, _ in EDGES], :], corners[..., [b for _, b in EDGES], :]
    share = (NEAR_PLANE_M - first[..., 2]) / (last[..., 2] - first[..., 2])
    crossing = first + share[..., None] * (last - first)
    crossed = (share > 0) & (share < 1)
    points = torch.cat([corners, crossing], dim=-2)
    seen = torch.cat([corners[..., 2] >= NEAR_PLANE_M, crossed], dim=-1)[..., None]
    depth = points[..., 2:].clamp(min=NEAR_PLANE_M)
    focal = geometry.intrinsics[:, None, None, [0, 1], [0, 1]]
    pixels = points[..., :2] / depth * focal + geometry.intrinsics[:, None, None, :2, 2]
    low = torch.where(seen, pixels, INFINITY).amin(dim=-2)
    high = torch.where(seen, pixels, -INFINITY).amax(dim=-2)
    return low, high


def touched_tiles(geometry: Geometry) -> Tensor:
    """Mask (S, P, tiles): which tiles the picture of each primitive's box touches."""
    low, high = screen_boxes(geometry)
    inside = []
    for axis in (1, 0):
        start = torch.arange(geometry.tiles[1 - axis], device=low.device) * TILE
        inside.append((high[..., axis, None] >= start) & (low[..., axis, None] <= start + TILE - 1))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(2)


def lanes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Column and row of each of the 64 pixels in their tile, (64,) float32."""
    index = torch.arange(LANES, device=device)
    return (index % TILE).float(), (index // TILE).float()


def ray_matrix(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """What maps (u, v, 1) to ray directions of depth 1 in primitive frames (S, P, 3, 3), and the origins (S, P, 3)."""
    pose = rigid_inverse(geometry.to_world) @ geometry.camera_to_world[:, None]
    matrix = pose[..., :3, :3] @ torch.linalg.inv(geometry.intrinsics)[:, None]
    return matrix.float(), pose[..., :3, 3].float()


def ray_planes(matrix: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Directions of the rays of all pixels, three (S, H, W), by what maps (u, v, 1) to them (S, 3, 3)."""
    u = torch.arange(size[1], device=matrix.device, dtype=matrix.dtype)
    v = torch.arange(size[0], device=matrix.device, dtype=matrix.dtype)[:, None]
    across, down, ahead = (matrix[:, :, column, None, None] for column in range(3))
    return [across[:, i] * u + (down[:, i] * v + ahead[:, i]) for i in range(3)]


def tile_rows(images: Tensor) -> Tensor:
    """(S, C, H, W), H and W whole numbers of tiles, as (S * tiles, C, 64)."""
    count, channels, height, width = images.shape
    cut = images.reshape(count, channels, height // TILE, TILE, width // TILE, TILE)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, LANES)


def untile(rows: Tensor, tiles: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(S * tiles, 64) as (S, H, W), what hangs over cut off."""
    cut = rows.reshape(-1, *tiles, TILE, TILE).permute(0, 1, 3, 2, 4)
    return cut.reshape(-1, tiles[0] * TILE, tiles[1] * TILE)[:, : size[0], : size[1]]


def pairs(touched: Tensor, kind: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Of a mask (S, P, tiles): each kind with its pairs in portions, as index of the tile row and of (S, P)."""
    count, per_picture, tiles = touched.shape
    portion = PAIRS_AT_ONCE[touched.device.type]
    for each in MEET:
        found = (touched & (kind == each)[..., None]).flatten().nonzero().squeeze(1)
        for part in found.split(portion) if len(found) else ():
            if len(part) == 1:  # compiled kernels are made anew for a length of 1
                part = part.repeat(2)
            primitive, tile = part // tiles, part % tiles
            yield each, primitive // per_picture * tiles + tile, primitive


def make_hit_keys(meet: Meet) -> Callable[..., Tensor]:
    """What a kind of primitive answers to the rays of tiles."""

    def hit_keys(matrix: Tensor, corner: Tensor, across: Tensor, down: Tensor, origin: Tensor, params: Tensor,
                 primitive: Tensor) -> Tensor:  # fmt: skip
        """(pairs, 64) int64: bits of the depth in the upper half, index of the primitive in the lower."""
        base = (matrix * corner[:, None]).sum(dim=2)
        direction = [
            base[:, i, None] + matrix[:, i, 0, None] * across + matrix[:, i, 1, None] * down for i in range(3)
        ]
        start = [origin[:, i, None] for i in range(3)]
        depth = meet(start, direction, [params[:, i, None] for i in range(PARAMETERS)])
        return (depth.view(torch.int32).long() << 32) | primitive[:, None]

    return hit_keys


HIT_KEYS = {kind: fused(make_hit_keys(meet)) if kind in IN_ONE_STEP else make_hit_keys(meet)
            for kind, meet in MEET.items()}  # fmt: skip


def first_hits(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Depth along z (S, H, W) float32 and index of the primitive (S, H, W) int64 of what each pixel sees."""
    device, tiles = geometry.kind.device, geometry.tiles
    matrix, origin = (each.flatten(0, 1) for each in ray_matrix(geometry))
    per_picture = geometry.kind.shape[1]
    keys = room_keys(geometry, matrix[::per_picture], origin[::per_picture])
    params, (across, down) = geometry.params.flatten(0, 1), lanes(device)
    for kind, row, primitive in pairs(touched_tiles(geometry), geometry.kind):
        tile = row % (tiles[0] * tiles[1])
        corner = torch.stack([tile % tiles[1] * TILE, tile // tiles[1] * TILE, torch.ones_like(tile)], dim=1).float()
        found = HIT_KEYS[kind](
            matrix.index_select(0, primitive), corner, across, down, origin.index_select(0, primitive),
            params.index_select(0, primitive), primitive % per_picture,
        )  # fmt: skip
        keys.scatter_reduce_(0, row[:, None].expand(-1, LANES), found, "amin")
    keys = untile(keys, tiles, geometry.size)
    return (keys >> 32).int().view(torch.float32), keys & 0xFFFFFFFF


def room_keys(geometry: Geometry, matrix: Tensor, origin: Tensor) -> Tensor:
    """(S * tiles, 64) int64: depth bits of the room's walls in the upper half, primitive 0 in the lower."""
    assert bool((geometry.kind[:, 0] == ROOM).all())
    rows, columns = geometry.tiles
    direction = ray_planes(matrix, (rows * TILE, columns * TILE))
    half = [value[:, None, None] for value in geometry.params[:, 0, :3].unbind(1)]
    start = [value[:, None, None] for value in origin.unbind(1)]
    depth = slab(start, direction, [-value for value in half], half)[1]
    return tile_rows(depth[:, None])[:, 0].contiguous().view(torch.int32).long() << 32
