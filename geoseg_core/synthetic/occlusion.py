"""What stands between points and the light: shadows of one light, and what is near enough to dim all others."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.intersections import IN_ONE_STEP, INFINITY, MEET, Meet
from geoseg_core.synthetic.shapes import LATHE, PARAMETERS
from geoseg_core.synthetic.tracer import LANES, TILE, Geometry, corners_in, pairs, rigid_inverse, tile_rows, untile

REACH_M = 0.045
DIMMING = 0.7


def carried(local: Tensor, at: Tensor) -> list[Tensor]:
    """Points (pairs, 3, 64) by transforms (pairs, 4, 4), as three (pairs, 64)."""
    return [
        local[:, i, 0, None] * at[:, 0] + local[:, i, 1, None] * at[:, 1] + local[:, i, 2, None] * at[:, 2]
        + local[:, i, 3, None]
        for i in range(3)
    ]  # fmt: skip


def make_blocks(meet: Meet) -> Callable[..., Tensor]:
    """What a kind of primitive does to light on its way to the points of tiles."""

    def blocks(at: Tensor, local: Tensor, turn: Tensor, jitter: Tensor, spread: Tensor, params: Tensor) -> Tensor:
        """(pairs, 64) int32, 1 = stands between the point and its part of the light."""
        first, second = jitter[0] * spread[:, None], jitter[1] * spread[:, None]
        direction = [
            turn[:, i, 2, None] + turn[:, i, 0, None] * first + turn[:, i, 1, None] * second for i in range(3)
        ]
        t = meet(carried(local, at), direction, [params[:, i, None] for i in range(PARAMETERS)])
        return (t < INFINITY).int()

    return blocks


BLOCKS = {kind: fused(make_blocks(meet)) if kind in IN_ONE_STEP else make_blocks(meet) for kind, meet in MEET.items()}


@fused
def closeness(at: Tensor, local: Tensor, low: Tensor, high: Tensor, other: Tensor, lathe: Tensor) -> Tensor:
    """(pairs, 64): 1 where a point touches the box, or the cylinder in it for a lathe, 0 from REACH_M away.

    Args:
        at: (pairs, 3, 64) world points.
        local: (pairs, 4, 4) world_to_primitive.
        low, high: (pairs, 3) bounds.
        other: (pairs, 64) whether the primitive is of another body than the point's.
        lathe: () bool, whether the primitives are round.
    """
    place = carried(local, at)
    half = [0.5 * (high[:, i, None] - low[:, i, None]) for i in range(3)]
    offset = [place[i] - 0.5 * (low[:, i, None] + high[:, i, None]) for i in range(3)]
    x, y, z = ((offset[i].abs() - half[i]).clamp(min=0) for i in range(3))
    radial = ((offset[0] ** 2 + offset[1] ** 2).sqrt() - half[0]).clamp(min=0)
    beside = torch.where(lathe, radial * radial, x * x + y * y)
    return (1 - (beside + z * z).sqrt() / REACH_M).clamp(min=0) * other


def shadows(geometry: Geometry, points: Tensor, light: Tensor, softness: Tensor) -> Tensor:
    """Share of a far light that reaches points, one jittered ray each.

    Args:
        geometry: the primitives.
        points: (S, 3, H, W) float32 world points, already lifted a little off their surfaces.
        light: (S, 3) float64 unit vectors towards the light.
        softness: (S,) float32 radius of the light's disc, as seen from a distance of 1.

    Returns:
        (S, H, W) float32, 0 in shadow and 1 in light; neighbours look at different parts of the disc.
    """
    tiles = geometry.tiles
    rows = padded_rows(points, tiles)
    frame = light_frame(light)
    touched = shadowed_tiles(geometry, rows, frame, softness)
    to_local = rigid_inverse(geometry.to_world)
    turns = (to_local[..., :3, :3] @ frame[:, None]).float().flatten(0, 1)  # columns: across, across, to the light
    to_local = to_local.float().flatten(0, 1)
    jitter = disc_pattern(points.device)
    params = geometry.params.flatten(0, 1)
    count = tiles[0] * tiles[1]
    blocked = torch.zeros(len(rows), LANES, dtype=torch.int32, device=points.device)
    for kind, row, primitive in pairs(touched, geometry.kind):
        spread = softness.index_select(0, torch.div(row, count, rounding_mode="floor"))
        found = BLOCKS[kind](
            rows.index_select(0, row), to_local.index_select(0, primitive), turns.index_select(0, primitive),
            jitter, spread, params.index_select(0, primitive),
        )  # fmt: skip
        blocked.scatter_reduce_(0, row[:, None].expand(-1, LANES), found, "amax")
    return 1 - untile(blocked, tiles, geometry.size).float()


def light_frame(light: Tensor) -> Tensor:
    """(S, 3, 3) float64 rotation whose third column points to the light."""
    helper = torch.zeros_like(light)
    helper[:, 0] = 1
    first = torch.linalg.cross(helper, light)
    first = first / first.norm(dim=1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(light, first), light], dim=2)


def shadowed_tiles(geometry: Geometry, rows: Tensor, frame: Tensor, softness: Tensor) -> Tensor:
    """Mask (S, P, tiles): whether a primitive may stand between the points of a tile and the light."""
    count = len(frame)
    to_light = torch.eye(4, dtype=torch.float64, device=frame.device).repeat(count, 1, 1)
    to_light[:, :3, :3] = frame.transpose(1, 2)
    corners = corners_in(geometry, to_light)
    low, high = corners.amin(dim=2), corners.amax(dim=2)
    points = rows.reshape(count, -1, 3, LANES)
    seen = (frame.float().transpose(1, 2)[:, None, :, :, None] * points[:, :, None]).sum(dim=3)
    lowest, highest = seen.amin(dim=3), seen.amax(dim=3)
    above = high[:, :, None, 2] - lowest[:, None, :, 2]
    margin = above * softness[:, None, None]
    touched = above > 0
    for axis in (0, 1):
        touched &= high[:, :, None, axis] + margin >= lowest[:, None, :, axis]
        touched &= low[:, :, None, axis] - margin <= highest[:, None, :, axis]
    return touched


def disc_pattern(device: torch.device) -> Tensor:
    """(2, 64) points of the unit disc, one for each pixel of a tile; any 4 x 4 neighbours cover it evenly together."""
    index = torch.arange(LANES, device=device)
    column, row = index % TILE, index // TILE
    order = (column % 4) * 4 + (row % 4)
    order = order * 7 % 16
    radius, angle = ((order + 0.5) / 16).sqrt(), order * 2.399963
    return torch.stack([radius * angle.cos(), radius * angle.sin()])


def padded_rows(images: Tensor, tiles: tuple[int, int]) -> Tensor:
    """(S, C, H, W) as (S * tiles, C, 64), the last pixels repeated where tiles hang over."""
    height, width = images.shape[-2:]
    return tile_rows(functional.pad(images, (0, tiles[1] * TILE - width, 0, tiles[0] * TILE - height), "replicate"))


def nearness(geometry: Geometry, points: Tensor, primitive: Tensor) -> Tensor:
    """How much other things close in on points: (S, H, W) float32, 0 in the open, DIMMING in a corner.

    A thing dims a surface where it is nearer to a point REACH_M above the surface than the surface is.

    Args:
        geometry: the primitives; boxes and cylinders about them stand for them.
        points: (S, 3, H, W) float32, REACH_M above the surfaces.
        primitive: (S, H, W) int64, what the surfaces belong to; nothing dims the body that it is part of.
    """
    tiles = geometry.tiles
    count = tiles[0] * tiles[1]
    rows = padded_rows(points, tiles)
    body = geometry.body.gather(1, primitive.flatten(1)).reshape(primitive.shape)
    body = torch.where(primitive == 0, -1, body)
    owner = padded_rows(body[:, None].float(), tiles)[:, 0]
    to_local = rigid_inverse(geometry.to_world).float().flatten(0, 1)
    bounds, bodies = geometry.bounds.float().flatten(0, 1), geometry.body.flatten()
    round_kind = {kind: torch.tensor(kind == LATHE, device=points.device) for kind in MEET}
    most = torch.zeros(len(rows), LANES, device=points.device)
    for kind, row, index in pairs(near_tiles(geometry, rows, count), geometry.kind):
        low, high = bounds.index_select(0, index).unbind(1)
        other = owner.index_select(0, row) != bodies.index_select(0, index)[:, None]
        at, local = rows.index_select(0, row), to_local.index_select(0, index)
        close = closeness(at, local, low, high, other, round_kind[kind])
        most.scatter_reduce_(0, row[:, None].expand(-1, LANES), close, "amax")
    return DIMMING * untile(most, tiles, geometry.size)


def near_tiles(geometry: Geometry, rows: Tensor, count: int) -> Tensor:
    """Mask (S, P, tiles): whether a primitive's box comes within REACH_M of a tile's box."""
    corners = corners_in(geometry, torch.eye(4, dtype=torch.float64, device=rows.device)[None]).float()
    low, high = corners.amin(dim=2) - REACH_M, corners.amax(dim=2) + REACH_M
    points = rows.reshape(-1, count, 3, LANES)
    lowest, highest = points.amin(dim=3), points.amax(dim=3)
    touched = (high[:, :, None] >= lowest[:, None]) & (low[:, :, None] <= highest[:, None])
    return touched.all(dim=3)
