"""From scenes to pictures with ground truth: rays, surfaces, light."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.synthetic.scene import Scenes
from geoseg_core.synthetic.shapes import ROOM
from geoseg_core.synthetic.surface import surface_at
from geoseg_core.synthetic.textures import Pages
from geoseg_core.synthetic.tracer import Geometry, first_hits, pixel_grid, shadows

LIFT_M = 5e-4


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
        repeated(scenes.kind), repeated(scenes.params).float(), repeated(scenes.bounds), to_world.flatten(0, 1),
        scenes.camera_to_world.flatten(0, 1), scenes.intrinsics.flatten(0, 1), size,
    )  # fmt: skip


def render(scenes: Scenes, size: tuple[int, int], pages: Pages) -> Rendering:
    """Every view of every scene."""
    geometry = geometry_of(scenes, size)
    views = scenes.camera_to_world.shape[1]
    depth, primitive = first_hits(geometry)
    scene = torch.arange(len(depth), device=depth.device) // views
    owner = scenes.body[scene[:, None, None], primitive]
    instance = scenes.instance_of_body[scene[:, None, None], owner]
    classes = scenes.class_of_body[scene[:, None, None], owner]
    light = shade(scenes, geometry, depth, primitive, pages)
    return Rendering(light, depth, instance, classes)


def shade(scenes: Scenes, geometry: Geometry, depth: Tensor, primitive: Tensor, pages: Pages) -> Tensor:
    """Linear light (S, 3, H, W) from every pixel."""
    count, height, width = depth.shape
    rays = world_rays(geometry)
    points = geometry.camera_to_world[:, :3, 3, None, None].float() + rays * depth[:, None]
    flat = (primitive + torch.arange(count, device=depth.device)[:, None, None] * geometry.kind.shape[1]).flatten()
    kind = geometry.kind.flatten().index_select(0, flat)
    pose = geometry.to_world.flatten(0, 1).float().index_select(0, flat)  # (N, 4, 4)
    world = points.permute(0, 2, 3, 1).reshape(-1, 3)
    local = (pose[:, :3, :3] * (world - pose[:, :3, 3])[:, :, None]).sum(dim=1)
    normal, texture = surface_at(kind, geometry.params.flatten(0, 1).index_select(0, flat), local)
    normal = (pose[:, :3, :3] * normal[:, None]).sum(dim=2)
    ray = rays.permute(0, 2, 3, 1).reshape(-1, 3)
    ray = ray / ray.norm(dim=1, keepdim=True)
    facing = (normal * ray).sum(dim=1, keepdim=True)
    normal = torch.where(facing > 0, -normal, normal)
    scene = torch.arange(count * height * width, device=depth.device) // (
        height * width * (count // len(scenes.kind))
    )
    material = scenes.material[scene, primitive.flatten()]
    material = material + torch.where(kind == ROOM, room_face(normal), 0)
    row = scene * scenes.materials.page.shape[1] + material
    footprint = depth / geometry.intrinsics[:, 0, 0, None, None].float()
    footprint = footprint.flatten() / facing.abs().flatten().clamp(min=0.15).sqrt()
    albedo = surface_colour(scenes, pages, row, texture, footprint)
    lifted = points + LIFT_M * normal.reshape(count, height, width, 3).permute(0, 3, 1, 2)
    reach = shadows(geometry, lifted, *key_of(scenes, count))
    reach = torch.nn.functional.avg_pool2d(reach[:, None], 3, 1, 1, count_include_pad=False).flatten()
    lit = illuminate(scenes, scene, row, albedo, normal, ray, reach)
    return lit.reshape(count, height, width, 3).permute(0, 3, 1, 2)


def world_rays(geometry: Geometry) -> Tensor:
    """(S, 3, H, W) float32 directions of depth 1 in the world."""
    matrix = geometry.camera_to_world[:, :3, :3] @ torch.linalg.inv(geometry.intrinsics)
    grid = pixel_grid(geometry.size, matrix.device)
    return (matrix.float()[..., None, None] * grid).sum(dim=2)


def room_face(normal: Tensor) -> Tensor:
    """0 floor, 1 ceiling, 2 wall, from normals that look into the room (N, 3)."""
    up = normal[:, 2]
    return torch.where(up > 0.5, 0, torch.where(up < -0.5, 1, 2))


def key_of(scenes: Scenes, count: int) -> tuple[Tensor, Tensor]:
    """Direction (S, 3) and softness (S,) of the key light of each picture."""
    views = count // len(scenes.kind)
    return scenes.lights.key.repeat_interleave(views, 0), scenes.lights.softness.repeat_interleave(views).float()


def surface_colour(scenes: Scenes, pages: Pages, row: Tensor, texture: Tensor, footprint: Tensor) -> Tensor:
    """(N, 3) linear colour of surfaces without light."""
    materials = scenes.materials
    scale = materials.per_metre.float().flatten().index_select(0, row)
    offset = materials.offset.float().flatten(0, 1).index_select(0, row)
    place = texture * scale[:, None] + offset
    page = materials.page.flatten().index_select(0, row)
    seen = pages.look_up(page, place[:, 0], place[:, 1], footprint * scale)
    colours = materials.colours.float().flatten(0, 1).index_select(0, row)
    return (colours[:, :, 3] + (colours[:, :, :3] * seen[:, None]).sum(dim=2)).clamp(0.01, 0.95)


def illuminate(scenes: Scenes, scene: Tensor, row: Tensor, albedo: Tensor, normal: Tensor, ray: Tensor,
               reach: Tensor) -> Tensor:  # fmt: skip
    """(N, 3) linear light that surfaces send along rays that hit them."""
    lights = scenes.lights
    key, key_colour, sky, ground = (
        value.float().index_select(0, scene)
        for value in (lights.key, lights.key_colour, lights.sky_colour, lights.ground_colour)
    )
    gloss = scenes.materials.gloss.float().flatten(0, 1).index_select(0, row)
    incidence = (normal * key).sum(dim=1).clamp(min=0) * reach
    up = 0.5 + 0.5 * normal[:, 2:]
    half = key - ray
    half = half / half.norm(dim=1, keepdim=True).clamp(min=1e-6)
    shine = gloss[:, 0] * (normal * half).sum(dim=1).clamp(min=0) ** gloss[:, 1] * reach
    return albedo * (key_colour * incidence[:, None] + ground + (sky - ground) * up) + key_colour * shine[:, None]
