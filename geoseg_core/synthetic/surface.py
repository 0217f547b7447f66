"""What the ray caster hit: normals and texture coordinates in the frame of each primitive."""

import torch
from torch import Tensor

from geoseg_core.synthetic.shapes import BOX, LATHE, LINK, ROOM, ROUNDED


def surface_at(kind: Tensor, params: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """Normals (N, 3), of either sign, and texture coordinates (N, 2) metres.

    Args:
        kind: (N,) int64.
        params: (N, 9) float32.
        point: (N, 3) float32 on the surface, in the primitive's frame.
    """
    normal = torch.zeros_like(point)
    texture = torch.zeros_like(point[:, :2])
    for each, function in ((ROOM, _flat), (BOX, _flat), (LATHE, _lathe), (ROUNDED, _rounded), (LINK, _link)):
        rows = (kind == each).nonzero().squeeze(1)
        found, coordinates = function(params[rows], point[rows])
        normal[rows] = found
        texture[rows] = coordinates
    return normal, texture


def face_of(normal: Tensor) -> Tensor:
    """(N,) axis of the largest component."""
    return normal.abs().argmax(dim=1)


def _unwrap(normal: Tensor, point: Tensor) -> Tensor:
    """Texture coordinates of the side of a box that a normal belongs to."""
    axis = face_of(normal)
    u = torch.where(axis == 0, point[:, 1], point[:, 0])
    v = torch.where(axis == 2, point[:, 1], point[:, 2])
    return torch.stack([u, v], dim=1)


def _flat(params: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    axis = (point.abs() - params[:, :3]).argmax(dim=1)
    normal = torch.nn.functional.one_hot(axis, 3).to(point) * point.sign()
    return normal, _unwrap(normal, point)


def _lathe(params: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    const, linear, square, z0, z1, hole0, hole1, scale_x, scale_y = params.unbind(1)
    x, y, z = point[:, 0] / scale_x, point[:, 1] / scale_y, point[:, 2]
    radius = x * x + y * y
    normal = torch.stack([x / scale_x, y / scale_y, -(0.5 * linear + square * z)], dim=1)
    length = normal.norm(dim=1).clamp(min=1e-9)
    wall = (radius - const - (linear + square * z) * z).abs() / (2 * length)
    infinity = torch.full_like(wall, float("inf"))
    caps = [torch.where(radius >= hole, (z - cap).abs(), infinity) for cap, hole in ((z0, hole0), (z1, hole1))]
    on_cap = torch.minimum(caps[0], caps[1]) < wall
    upright = torch.zeros_like(normal)
    upright[:, 2] = 1
    normal = torch.where(on_cap[:, None], upright, normal / length[:, None])
    middle = 0.5 * (z0 + z1)
    around = scale_x * torch.maximum(const, const + (linear + square * middle) * middle).clamp(min=1e-9).sqrt()
    side = torch.stack([torch.atan2(y, x) * around, z], dim=1)
    return normal, torch.where(on_cap[:, None], point[:, :2], side)


def _rounded(params: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    inner = (params[:, :3] - params[:, 3:4]).clamp(min=0)
    outside = (point.abs() - inner).clamp(min=1e-7) * point.sign()
    normal = outside / outside.norm(dim=1, keepdim=True)
    return normal, _unwrap(normal, point)


def _link(params: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    ring, _, length, clip = params[:, :4].unbind(1)
    x, y, z = point.unbind(1)
    folded = x - torch.minimum(torch.maximum(x, -length), length)
    around = (folded * folded + y * y).sqrt().clamp(min=1e-9)
    share = (around - ring) / around
    normal = torch.stack([folded * share, y * share, z], dim=1)
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-9)
    cut = torch.zeros_like(normal)
    cut[:, 0] = 1
    normal = torch.where(((x - clip).abs() < 1e-5)[:, None], cut, normal)
    return normal, _unwrap(normal, point)
