"""What the ray caster hit: normals and texture coordinates in the frame of each primitive.

Vectors are lists of three tensors (N,): numbers that are used together lie together.
"""


import torch
from torch import Tensor

from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.shapes import LATHE, LINK, ROUNDED

Planes = list[Tensor]


def surface_at(kind: Tensor, params: Tensor, row: Tensor, point: Planes) -> tuple[Planes, Planes]:
    """Normals, of either sign, and texture coordinates in metres.

    Args:
        kind: (N,) int64.
        params: (rows, 9) float32 of all primitives.
        row: (N,) int64, the primitive of each point.
        point: three (N,) float32, on the surface, in the primitive's frame.
    """
    half = [params[:, axis].contiguous().index_select(0, row) for axis in range(3)]
    normal, texture = _flat(half, point)
    for each, function in ((LATHE, _lathe), (ROUNDED, _rounded), (LINK, _link)):
        where = (kind == each).nonzero().squeeze(1)
        if len(where) == 0:
            continue
        if len(where) == 1:  # compiled kernels are made anew for a length of 1
            where = where.repeat(2)
        columns = list(params.index_select(0, row.index_select(0, where)).unbind(1))
        found = function(columns, [value.index_select(0, where) for value in point])
        for target, value in zip([*normal, *texture], [*found[0], *found[1]], strict=True):
            target.index_copy_(0, where, value)
    return normal, texture


def _unwrap(normal: Planes, point: Planes) -> Planes:
    """Texture coordinates of the side of a box that a normal belongs to."""
    x, y, z = (value.abs() for value in normal)
    on_x, on_z = (x >= y) & (x >= z), (z > x) & (z > y)
    return [torch.where(on_x, point[1], point[0]), torch.where(on_z, point[1], point[2])]


@fused
def _flat(half: Planes, point: Planes) -> tuple[Planes, Planes]:
    """The sides of a box or room: that which the point is least inside of."""
    x, y, z = (value.abs() - size for value, size in zip(point, half, strict=True))
    on_x, on_z = (x >= y) & (x >= z), (z > x) & (z > y)
    on_y = ~(on_x | on_z)
    normal = [side * value.sign() for side, value in zip((on_x, on_y, on_z), point, strict=True)]
    return normal, [torch.where(on_x, point[1], point[0]), torch.where(on_z, point[1], point[2])]


@fused
def _lathe(params: Planes, point: Planes) -> tuple[Planes, Planes]:
    const, linear, square, z0, z1, hole0, hole1, scale_x, scale_y = params
    x, y, z = point[0] / scale_x, point[1] / scale_y, point[2]
    radius = x * x + y * y
    normal = _unit([x / scale_x, y / scale_y, -(0.5 * linear + square * z)])
    slope = torch.stack([x / scale_x, y / scale_y, 0.5 * linear + square * z]).norm(dim=0).clamp(min=1e-9)
    wall = (radius - const - (linear + square * z) * z).abs() / (2 * slope)
    infinity = torch.full_like(wall, float("inf"))
    caps = [torch.where(radius >= hole, (z - cap).abs(), infinity) for cap, hole in ((z0, hole0), (z1, hole1))]
    on_cap = torch.minimum(caps[0], caps[1]) < wall
    normal = [torch.where(on_cap, float(axis == 2), value) for axis, value in enumerate(normal)]
    middle = 0.5 * (z0 + z1)
    around = scale_x * torch.maximum(const, const + (linear + square * middle) * middle).clamp(min=1e-9).sqrt()
    u = torch.where(on_cap, point[0], torch.atan2(y, x) * around)
    return normal, [u, torch.where(on_cap, point[1], z)]


@fused
def _rounded(params: Planes, point: Planes) -> tuple[Planes, Planes]:
    inner = [(size - params[3]).clamp(min=0) for size in params[:3]]
    normal = _unit([(value.abs() - size).clamp(min=1e-7) * value.sign()
                    for value, size in zip(point, inner, strict=True)])  # fmt: skip
    return normal, _unwrap(normal, point)


@fused
def _link(params: Planes, point: Planes) -> tuple[Planes, Planes]:
    ring, _, length, clip = params[:4]
    x, y, z = point
    folded = x - torch.minimum(torch.maximum(x, -length), length)
    around = (folded * folded + y * y).sqrt().clamp(min=1e-9)
    share = (around - ring) / around
    cut = (x - clip).abs() < 1e-5
    normal = _unit([torch.where(cut, 1.0, folded * share), torch.where(cut, 0.0, y * share), torch.where(cut, 0.0, z)])
    return normal, _unwrap(normal, point)


def _unit(vector: Planes) -> Planes:
    length = (vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2).sqrt().clamp(min=1e-9)
    return [value / length for value in vector]


