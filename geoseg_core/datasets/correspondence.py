"""Exact correspondences between views of a Sample that knows depth, cameras and, where things move, their poses."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput

DEPTH_TOLERANCE = 0.01
BEND = 0.3  # of a cell's spread of 1 / depth: above it the cell is the border of a surface, not a plane


@dataclass(frozen=True, eq=False)
class Matches:
    """Where points of one view are in another.

    Attributes:
        points_px: (N, 2) or (B, N, 2) float32; meaningless behind the camera.
        visible: (N,) or (B, N) bool; whether the other view sees the same spot of the same thing.
        depth: (N,) or (B, N) float32 along z of the other camera.
    """

    points_px: Tensor
    visible: Tensor
    depth: Tensor


def correspondences(sample: Sample, points_px: Tensor, source: int, target: int) -> Matches:
    """Where the surface points seen at pixels of one view are in another one, though things have moved.

    Between whole pixels the surface is taken as flat, which is exact for depth that is exact on planes.

    Args:
        sample: one scene, or a batch. Ids beyond the poses of `object_to_world` are of things whose motion is not
            known (an arm): at another moment they are not visible.
        points_px: (N, 2), or (B, N, 2) for a batch; x and y.
        source: index of the view of the points.
        target: index of the other view.

    Raises:
        BadInput: a sample without depth or cameras, or points of another shape.
    """
    single = sample.images.ndim == 4
    if points_px.ndim != (2 if single else 3) or points_px.shape[-1] != 2:
        wanted = "(N, 2)" if single else "(B, N, 2)"
        raise BadInput(f"points_px: expected {wanted}, got {tuple(points_px.shape)}")
    if single:
        tensors: dict[str, Any] = {name: value[None] for name, value in sample.tensors().items()}
        found = correspondences(replace(sample, **tensors), points_px[None], source, target)
        return Matches(found.points_px[0], found.visible[0], found.depth[0])
    here, there = _view(sample, source), _view(sample, target)
    world, known = _lift(here, points_px)
    ids = _ids_at(here, points_px)
    world, steady = _carry(sample, world, ids, source, target)
    pixels, depth = _project(there, world)
    visible = known & steady & _seen(there, pixels, depth, ids)
    return Matches(pixels.float(), visible, depth.float())


def random_points(sample: Sample, count: int, source: int, target: int, generator: torch.Generator) -> Tensor:
    """(count, 2) float32 pixels of one scene's view that another view sees too; fewer where it sees fewer.

    Drawn evenly from the whole pixels that are visible in both. The generator must be one of the CPU.
    """
    height, width = sample.images.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([u, v], dim=-1).reshape(-1, 2).float()
    visible = correspondences(sample, grid.to(sample.images.device), source, target).visible.cpu()
    candidates = visible.nonzero().squeeze(1)
    chosen = candidates[torch.randperm(len(candidates), generator=generator)[:count]]
    return grid[chosen].to(sample.images.device)


class _View(NamedTuple):
    """What is known of one view of a batch: depth and ids (B, H, W), (B, 3, 3), (B, 4, 4), all numbers float64."""

    depth: Tensor
    ids: Tensor | None
    intrinsics: Tensor
    camera_to_world: Tensor


def _view(sample: Sample, index: int) -> _View:
    if sample.depth is None or sample.intrinsics is None or sample.camera_to_world is None:
        missing = [name for name in ("depth", "intrinsics", "camera_to_world") if getattr(sample, name) is None]
        raise BadInput(f"{sample.source}: expected depth and cameras for correspondences, got no {missing}")
    numbers = (each[:, index].double() for each in (sample.depth, sample.intrinsics, sample.camera_to_world))
    depth, intrinsics, pose = numbers
    ids = None if sample.instance_ids is None else sample.instance_ids[:, index]
    return _View(depth, ids, intrinsics, pose)


def _lift(view: _View, points_px: Tensor) -> tuple[Tensor, Tensor]:
    """World points (B, N, 3) float64 and whether their depth is known (B, N)."""
    inverse, nearest = _inverse_depth(view.depth, points_px)
    depth = 1 / torch.where(inverse > 0, inverse, 1)
    rays = torch.cat([points_px.double(), torch.ones_like(points_px[..., :1]).double()], dim=-1)
    local = rays @ torch.linalg.inv(view.intrinsics).transpose(1, 2) * depth[..., None]
    pose = view.camera_to_world
    return local @ pose[:, :3, :3].transpose(1, 2) + pose[:, None, :3, 3], nearest > 0


def _inverse_depth(image: Tensor, points_px: Tensor) -> tuple[Tensor, Tensor]:
    """1 / depth (B, N) float64 at points, and the depth of the nearest pixel (B, N); 0 outside and where unknown.

    1 / depth is linear on planes. Across the border of a surface the nearest pixel alone counts.
    """
    height, width = image.shape[-2:]
    depth = image.flatten(1)
    x, y = points_px.double().unbind(-1)
    column, line = x.round(), y.round()
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    nearest = depth.gather(1, (line.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long())
    nearest = torch.where(inside, nearest, 0)
    left, upper = x.floor().clamp(0, width - 2), y.floor().clamp(0, height - 2)
    share_x, share_y = x - left, y - upper
    start = (upper * width + left).long()
    around = torch.stack([depth.gather(1, start + step) for step in (0, 1, width, width + 1)])
    inverse = 1 / around.clamp(min=1e-9)
    upper_edge = inverse[0] + share_x * (inverse[1] - inverse[0])
    lower_edge = inverse[2] + share_x * (inverse[3] - inverse[2])
    mixed = upper_edge + share_y * (lower_edge - upper_edge)
    spread = (inverse.amax(dim=0) - inverse.amin(dim=0)) * nearest
    bend = (inverse[0] + inverse[3] - inverse[1] - inverse[2]).abs() * nearest
    smooth = (around > 0).all(dim=0) & (bend < BEND * spread.clamp(min=1e-6))
    plain = torch.where(nearest > 0, 1 / nearest.clamp(min=1e-9), 0)
    return torch.where(inside, torch.where(smooth, mixed, plain), 0), nearest


def _ids_at(view: _View, points_px: Tensor) -> Tensor:
    """Instance id (B, N) at the nearest pixels; 0 where the sample knows none."""
    if view.ids is None:
        return torch.zeros(points_px.shape[:2], dtype=torch.int64, device=points_px.device)
    height, width = view.ids.shape[-2:]
    x, y = points_px.round().unbind(-1)
    index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
    return view.ids.flatten(1).gather(1, index)


def _carry(sample: Sample, world: Tensor, ids: Tensor, source: int, target: int) -> tuple[Tensor, Tensor]:
    """Points moved with their things from one view's moment to the other's, and whether their motion is known."""
    if sample.object_to_world is None:
        return world, torch.ones_like(ids, dtype=torch.bool)
    poses = sample.object_to_world.double()
    count = poses.shape[2]
    steady = ids <= count
    if sample.moments is not None:
        steady = steady | (sample.moments[:, source] == sample.moments[:, target])[:, None]
    still = torch.eye(4, dtype=torch.float64, device=world.device).expand(len(poses), 1, 4, 4)
    motion = torch.cat([still, poses[:, target] @ torch.linalg.inv(poses[:, source])], dim=1)
    index = torch.where(ids <= count, ids, 0)[..., None, None].expand(-1, -1, 4, 4)
    matrix = motion.gather(1, index)
    moved = (matrix[..., :3, :3] @ world[..., None])[..., 0] + matrix[..., :3, 3]
    return torch.where((ids > 0)[..., None], moved, world), steady


def _project(view: _View, world: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, N, 2) and depth (B, N) of world points."""
    pose = view.camera_to_world
    local = (world - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    image = local @ view.intrinsics.transpose(1, 2)
    depth = image[..., 2]
    return image[..., :2] / torch.where(depth.abs() < 1e-9, 1e-9, depth)[..., None], depth


def _seen(view: _View, pixels: Tensor, depth: Tensor, ids: Tensor) -> Tensor:
    """Whether points (B, N) lie on what a view sees."""
    inverse, nearest = _inverse_depth(view.depth, pixels)
    between = 1 / torch.where(inverse > 0, inverse, 1e-9)
    near = ((between - depth).abs() < DEPTH_TOLERANCE * depth) | ((nearest - depth).abs() < DEPTH_TOLERANCE * depth)
    return (depth > 0) & (nearest > 0) & near & (_ids_at(view, pixels) == ids)
