"""What stands between points and the light: shadows of one light, and what is near enough to dim all others."""

import torch
from torch import Tensor
from torch.nn import functional

from geoseg_core.synthetic.intersections import INFINITY, MEET
from geoseg_core.synthetic.shapes import LATHE
from geoseg_core.synthetic.tracer import LANES, TILE, Geometry, corners_in, pairs, rigid_inverse, tile_rows, untile

REACH_M = 0.045
DIMMING = 0.7


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
        at = rows.index_select(0, row)
        local = to_local.index_select(0, primitive)
        turn = turns.index_select(0, primitive)
        spread = jitter * softness.index_select(0, torch.div(row, count, rounding_mode="floor"))[:, None, None]
        start = [
            local[:, i, 0, None] * at[:, 0] + local[:, i, 1, None] * at[:, 1] + local[:, i, 2, None] * at[:, 2]
            + local[:, i, 3, None]
            for i in range(3)
        ]  # fmt: skip
        direction = [
            turn[:, i, 2, None] + turn[:, i, 0, None] * spread[:, 0] + turn[:, i, 1, None] * spread[:, 1]
            for i in range(3)
        ]
        t = MEET[kind](start, direction, params.index_select(0, primitive)[..., None].unbind(1))
        blocked.scatter_reduce_(0, row[:, None].expand(-1, LANES), (t < INFINITY).int(), "amax")
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
    most = torch.zeros(len(rows), LANES, device=points.device)
    for kind, row, index in pairs(near_tiles(geometry, rows, count), geometry.kind):
        at, local = rows.index_select(0, row), to_local.index_select(0, index)
        low, high = bounds.index_select(0, index)[..., None].unbind(1)
        beyond = []
        for axis in range(3):
            place = local[:, axis, 0, None] * at[:, 0] + local[:, axis, 1, None] * at[:, 1]
            place = place + local[:, axis, 2, None] * at[:, 2] + local[:, axis, 3, None]
            beyond.append((place - 0.5 * (low[:, axis] + high[:, axis])).abs() - 0.5 * (high[:, axis] - low[:, axis]))
        if kind == LATHE:  # round: the box's corners are empty
            radius = 0.5 * (high[:, 0] - low[:, 0])
            beyond[0] = ((beyond[0] + radius) ** 2 + (beyond[1] + 0.5 * (high[:, 1] - low[:, 1])) ** 2).sqrt() - radius
            beyond[1] = torch.zeros_like(beyond[0])
        x, y, z = (value.clamp(min=0) for value in beyond)
        close = (1 - (x * x + y * y + z * z).sqrt() / REACH_M).clamp(min=0)
        close = close * (owner.index_select(0, row) != bodies.index_select(0, index)[:, None])
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
