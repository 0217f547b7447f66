"""From scenes to pictures with ground truth: rays, surfaces, light."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.synthetic.filters import filtered, weights_like
from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.occlusion import REACH_M, nearness, shadows
from geoseg_core.synthetic.scene import Scenes
from geoseg_core.synthetic.shading import Hits, colour_of, illuminate
from geoseg_core.synthetic.shapes import ROOM
from geoseg_core.synthetic.surface import Planes, surface_at
from geoseg_core.synthetic.textures import Pages
from geoseg_core.synthetic.tracer import Geometry, first_hits, ray_planes

LIFT_M = 5e-4
GRAZING = 0.15


@dataclass(frozen=True, eq=False)
class Rendering:
    """Pictures of S = B * V views: light (S, 3, H, W) linear, depth, instance and class ids (S, H, W)."""

    light: Tensor
    depth: Tensor
    instance_ids: Tensor
    class_ids: Tensor


def geometry_of(scenes: Scenes, size: tuple[int, int]) -> Geometry:
    """All primitives at the moment of each view."""
    views = scenes.camera_to_world.shape[1]
    poses = scenes.body_to_world[:, scenes.moment]  # (B, V, N, 4, 4)
    index = scenes.body[:, None, :, None, None].expand(-1, views, -1, 4, 4)
    to_world = poses.gather(2, index) @ scenes.to_body[:, None]

    def repeated(value: Tensor) -> Tensor:
        return value[:, None].expand(-1, views, *value.shape[1:]).flatten(0, 1)

    return Geometry(
        repeated(scenes.kind), repeated(scenes.params).float(), repeated(scenes.bounds), repeated(scenes.body),
        to_world.flatten(0, 1), scenes.camera_to_world.flatten(0, 1), scenes.intrinsics.flatten(0, 1), size,
    )  # fmt: skip


def render(scenes: Scenes, size: tuple[int, int], pages: Pages) -> Rendering:
    """Every view of every scene."""
    geometry = geometry_of(scenes, size)
    depth, primitive = first_hits(geometry)
    hits = locate(scenes, geometry, depth, primitive)
    owner = scenes.body.flatten().index_select(0, hits.scene * scenes.body.shape[1] + primitive.flatten())
    owner = hits.scene * scenes.instance_of_body.shape[1] + owner
    instance = scenes.instance_of_body.flatten().index_select(0, owner).reshape(depth.shape)
    classes = scenes.class_of_body.flatten().index_select(0, owner).reshape(depth.shape)
    albedo = colour_of(scenes.materials, pages, hits)
    views = len(depth) // len(scenes.kind)
    key, softness = scenes.lights.key.repeat_interleave(views, 0), scenes.lights.softness.repeat_interleave(views)
    reach = smooth(shadows(geometry, raised(hits, depth, LIFT_M), key, softness.float()))
    openness = 1 - nearness(geometry, raised(hits, depth, REACH_M), primitive)
    light = illuminate(scenes.lights, scenes.materials, hits, albedo, reach.flatten(), openness.flatten())
    picture = torch.stack([value.reshape(depth.shape) for value in light], dim=1)
    return Rendering(with_soft_edges(picture, primitive), depth, instance, classes)


def raised(hits: Hits, depth: Tensor, height_m: float) -> Tensor:
    """(S, 3, H, W) points so far above the surfaces of pictures like `depth` (S, H, W)."""
    lifted = [at + height_m * up for at, up in zip(hits.point, hits.normal, strict=True)]
    return torch.stack([value.reshape(depth.shape) for value in lifted], dim=1)


def with_soft_edges(picture: Tensor, primitive: Tensor) -> Tensor:
    """Pictures (S, 3, H, W) in which pixels at the border of two primitives are mixed with their neighbours.

    Each pixel is one ray, but cameras collect light over an area; this takes the stairs from outlines.
    """
    borders = torch.zeros_like(primitive, dtype=torch.bool)
    for axis in (1, 2):
        size = primitive.shape[axis]
        changes = primitive.narrow(axis, 1, size - 1) != primitive.narrow(axis, 0, size - 1)
        borders.narrow(axis, 0, size - 1).logical_or_(changes)
        borders.narrow(axis, 1, size - 1).logical_or_(changes)
    weights = weights_like(picture, (0, 1, 2, 1, 0))
    return torch.where(borders[:, None], filtered(picture, weights, weights), picture)


def smooth(share: Tensor) -> Tensor:
    """Neighbouring rays that looked at different parts of a light, together: mean of 4 x 4 and of 2 x 2."""
    weights = weights_like(share, (1, 2, 2, 2, 1))
    return filtered(share[:, None], weights, weights)[:, 0]


def locate(scenes: Scenes, geometry: Geometry, depth: Tensor, primitive: Tensor) -> Hits:
    """Where the rays of all pixels end, N = S * H * W."""
    count, height, width = depth.shape
    picture = torch.arange(count, device=depth.device)[:, None, None].expand_as(depth).flatten()
    to_world = (geometry.camera_to_world[:, :3, :3] @ torch.linalg.inv(geometry.intrinsics)).float()
    rays = [value.flatten() for value in ray_planes(to_world, (height, width))]
    distance = depth.flatten()
    row = picture * geometry.kind.shape[1] + primitive.flatten()
    kind = geometry.kind.flatten().index_select(0, row)
    eye = geometry.camera_to_world[:, :3, 3].float()
    point, turn, local = into_primitives(geometry.to_world.flatten(0, 1).float(), row, eye, picture, rays, distance)
    normal, texture = surface_at(kind, geometry.params.flatten(0, 1), row, local)
    normal, rays, facing = against_rays(turn, normal, rays)
    scene = picture // (count // len(scenes.kind))
    material = scenes.material.flatten().index_select(0, scene * scenes.material.shape[1] + primitive.flatten())
    material = material + torch.where(kind == ROOM, room_face(normal), 0)
    pixel = (1 / geometry.intrinsics[:, 0, 0]).float().index_select(0, picture)
    footprint = distance * pixel * facing.abs().clamp(min=GRAZING).rsqrt()
    return Hits(scene, scene * scenes.materials.page.shape[1] + material, point, normal, rays, texture, footprint)


@fused
def into_primitives(pose: Tensor, row: Tensor, eye: Tensor, picture: Tensor, rays: Planes, distance: Tensor
                    ) -> tuple[Planes, list[Planes], Planes]:  # fmt: skip
    """Points of rays in the world, rotations of what they hit, and the points in its frame.

    Args:
        pose: (rows, 4, 4) primitive_to_world of all primitives.
        row: (N,) the primitive of each ray.
        eye: (S, 3) where the rays of each picture begin.
        picture: (N,) the picture of each ray.
        rays, distance: (N,).
    """
    point = [eye[:, axis].index_select(0, picture) + ray * distance for axis, ray in enumerate(rays)]
    turn = [[pose[:, i, j].index_select(0, row) for j in range(3)] for i in range(3)]
    offset = [value - pose[:, i, 3].index_select(0, row) for i, value in enumerate(point)]
    local = [turn[0][j] * offset[0] + turn[1][j] * offset[1] + turn[2][j] * offset[2] for j in range(3)]
    return point, turn, local


@fused
def against_rays(turn: list[Planes], normal: Planes, rays: Planes) -> tuple[Planes, Planes, Tensor]:
    """Normals in the world that look against the rays, unit rays, and the cosine between ray and normal (negative)."""
    normal = [turn[i][0] * normal[0] + turn[i][1] * normal[1] + turn[i][2] * normal[2] for i in range(3)]
    length = (rays[0] ** 2 + rays[1] ** 2 + rays[2] ** 2).rsqrt()
    rays = [value * length for value in rays]
    facing = normal[0] * rays[0] + normal[1] * rays[1] + normal[2] * rays[2]
    flip = torch.where(facing > 0, -1.0, 1.0)
    return [value * flip for value in normal], rays, -facing.abs()


def room_face(normal: Planes) -> Tensor:
    """0 floor, 1 ceiling, 2 wall, from normals that look into the room."""
    return torch.where(normal[2] > 0.5, 0, torch.where(normal[2] < -0.5, 1, 2))
