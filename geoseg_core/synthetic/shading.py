"""How surfaces look under the lights. Vectors are lists of three tensors (N,)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.scene import Lights, Materials
from geoseg_core.synthetic.surface import Planes
from geoseg_core.synthetic.textures import Pages

CREVICE = 0.75
FRESNEL_FLOOR = 0.25


@dataclass(frozen=True, eq=False)
class Hits:
    """N points where rays end.

    Attributes:
        scene: (N,) int64.
        material: (N,) int64, row in the table of all scenes' materials.
        point, normal, ray: in the world; normals look against the unit rays.
        texture: two (N,), metres.
        footprint: (N,) size of a pixel on the surface, metres.
    """

    scene: Tensor
    material: Tensor
    point: Planes
    normal: Planes
    ray: Planes
    texture: Planes
    footprint: Tensor


@fused
def colour_of(materials: Materials, pages: Pages, hits: Hits) -> Planes:
    """Linear colour of the surfaces themselves."""
    row = hits.material

    def of(values: Tensor) -> Tensor:
        return values.float().flatten().index_select(0, row)

    scale = of(materials.per_metre)
    u, v = (at * scale + of(materials.offset[..., axis]) for axis, at in enumerate(hits.texture))
    seen = pages.look_up(of_page(materials.page, row), u, v, hits.footprint * scale)
    result = []
    for channel in range(3):
        value = of(materials.colours[..., channel, 3])
        for source in range(3):
            value = torch.addcmul(value, of(materials.colours[..., channel, source]), seen[source])
        result.append(value.clamp(0.008, 0.95))
    return result


def of_page(page: Tensor, row: Tensor) -> Tensor:
    """(N,) int64 pages of materials."""
    return page.flatten().index_select(0, row)


@fused
def illuminate(lights: Lights, materials: Materials, hits: Hits, albedo: Planes, reach: Tensor,
               openness: Tensor) -> Planes:  # fmt: skip
    """Linear light that surfaces send back along the rays.

    Args:
        lights, materials: of all scenes.
        hits: the points.
        albedo: their colours.
        reach: (N,) share of the key light that arrives.
        openness: (N,) share of the light from everywhere that arrives.
    """

    def of(values: Tensor) -> Tensor:
        return values.float().contiguous().index_select(0, hits.scene)

    def of_material(values: Tensor) -> Tensor:
        return values.float().flatten().index_select(0, hits.material)

    key = [of(lights.key[:, axis]) for axis in range(3)]
    normal, ray = hits.normal, hits.ray
    incidence = (normal[0] * key[0] + normal[1] * key[1] + normal[2] * key[2]).clamp(min=0) * reach
    up = 0.5 + 0.5 * normal[2]
    half = [towards - along for towards, along in zip(key, ray, strict=True)]
    length = (half[0] ** 2 + half[1] ** 2 + half[2] ** 2).rsqrt()
    mirror = (half[0] * normal[0] + half[1] * normal[1] + half[2] * normal[2]).clamp(min=0) * length
    gloss = of_material(materials.gloss[..., 0])
    shine = gloss * mirror.clamp(min=1e-4) ** of_material(materials.gloss[..., 1]) * reach
    facing = -(normal[0] * ray[0] + normal[1] * ray[1] + normal[2] * ray[2]).clamp(max=0)
    sheen = gloss * (FRESNEL_FLOOR + (1 - FRESNEL_FLOOR) * (1 - facing.clamp(max=1)) ** 4) * openness
    seen_up = (ray[2] + 2 * facing * normal[2]) * 0.5 + 0.5
    result = []
    for channel in range(3):
        strength, sky, ground = (
            of(each[:, channel]) for each in (lights.key_colour, lights.sky_colour, lights.ground_colour)
        )
        diffuse = strength * incidence + torch.lerp(ground, sky, up) * openness
        result.append(albedo[channel] * diffuse + strength * shine + torch.lerp(ground, sky, seen_up) * sheen)
    return result
