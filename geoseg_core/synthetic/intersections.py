"""Where rays meet primitives, in each primitive's own frame. All inputs broadcast to (pairs, lanes).

Each function takes the origin and direction as three tensors and the parameters as columns (pairs, 1), and returns the
smallest t > NEAR with origin + t * direction on the surface, inf where there is none.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.shapes import BOX, LATHE, LINK, ROUNDED

NEAR = 1e-4
STRIDE = 4
STRIDES_OF_RAY = 7
MARCH_TOLERANCE = 3e-5
POLISH_STEPS = 3
INFINITY = float("inf")

Vector = Sequence[Tensor]


def meet_box(origin: Vector, direction: Vector, params: Vector) -> Tensor:
    """The nearer face of a box; from inside, the farther."""
    first, last = slab(origin, direction, [-size for size in params[:3]], params[:3])
    nearest = torch.where(first > NEAR, first, last)
    return torch.where((first <= last) & (nearest > NEAR), nearest, INFINITY)


def slab(origin: Vector, direction: Vector, low: Vector, high: Vector) -> tuple[Tensor, Tensor]:
    """t of entering and leaving an axis-aligned box; the first is larger where the ray misses it."""
    entries, exits = [], []
    for start, step, lowest, highest in zip(origin, direction, low, high, strict=True):
        inverse = 1 / torch.where(step.abs() < 1e-12, 1e-12, step)
        one, two = (lowest - start) * inverse, (highest - start) * inverse
        entries.append(torch.minimum(one, two))
        exits.append(torch.maximum(one, two))
    return torch.maximum(torch.maximum(entries[0], entries[1]), entries[2]), torch.minimum(
        torch.minimum(exits[0], exits[1]), exits[2]
    )


def nearer_origin(origin: Vector, direction: Vector) -> tuple[Tensor, list[Tensor]]:
    """t of the point of the ray nearest to the frame's origin, and that point: small numbers keep their digits."""
    dot = origin[0] * direction[0] + origin[1] * direction[1] + origin[2] * direction[2]
    square = direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2
    shift = -dot / square
    return shift, [start + shift * step for start, step in zip(origin, direction, strict=True)]


def meet_lathe(origin: Vector, direction: Vector, params: Vector) -> Tensor:
    """The nearest of both walls and both caps of a quadric of revolution."""
    const, linear, square, z0, z1, hole0, hole1, scale_x, scale_y = params
    shift, (x, y, z) = nearer_origin(origin, direction)
    x, y = x / scale_x, y / scale_y
    dx, dy, dz = direction[0] / scale_x, direction[1] / scale_y, direction[2]
    a = dx * dx + dy * dy - square * dz * dz
    b = x * dx + y * dy - (0.5 * linear + square * z) * dz
    c = x * x + y * y - const - (linear + square * z) * z
    root = (b * b - a * c).sqrt()  # NaN where the ray misses: all comparisons below are then false
    q = -(b + torch.copysign(root, b))
    nearest = torch.full_like(q, INFINITY)
    low = NEAR - shift
    for t in (q / a, c / q):
        height = z + t * dz
        good = (t > low) & (height >= z0) & (height <= z1) & (t < nearest)
        nearest = torch.where(good, t, nearest)
    inverse = 1 / torch.where(dz.abs() < 1e-12, 1e-12, dz)
    for cap, hole in ((z0, hole0), (z1, hole1)):
        t = (cap - z) * inverse
        u, v = x + t * dx, y + t * dy
        radius = u * u + v * v
        good = (t > low) & (radius >= hole) & (radius <= const + (linear + square * cap) * cap) & (t < nearest)
        nearest = torch.where(good, t, nearest)
    return nearest + shift


def rounded_distance(x: Tensor, y: Tensor, z: Tensor, params: Vector) -> Tensor:
    """Signed distance to a box with round edges."""
    radius = params[3]
    qx, qy, qz = (value.abs() - (size - radius) for value, size in zip((x, y, z), params[:3], strict=True))
    outside = (qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2 + qz.clamp(min=0) ** 2).sqrt()
    return outside + torch.maximum(torch.maximum(qx, qy), qz).clamp(max=0) - radius


def link_distance(x: Tensor, y: Tensor, z: Tensor, params: Vector) -> Tensor:
    """Signed distance to a ring that is pulled apart along x and cut off below clip."""
    ring, tube, length, clip = params[:4]
    folded = x - torch.minimum(torch.maximum(x, -length), length)
    around = (folded * folded + y * y).sqrt() - ring
    return torch.maximum((around * around + z * z).sqrt() - tube, clip - x)


Distance = Callable[[Tensor, Tensor, Tensor, Vector], Tensor]


def make_stride(distance: Distance) -> Callable[[Vector, Vector, Tensor, Tensor, Tensor, Vector], Tensor]:
    """A few steps of sphere tracing: (origin, direction, speed, t, last t, params) to the new t."""

    @fused
    def stride(origin: Vector, direction: Vector, speed: Tensor, t: Tensor, last: Tensor, params: Vector) -> Tensor:
        for _ in range(STRIDE):
            x, y, z = (start + t * step for start, step in zip(origin, direction, strict=True))
            t = torch.minimum(t + distance(x, y, z, params) / speed, last)
        return t

    return stride


def make_polish(distance: Distance) -> Callable[[Vector, Vector, Tensor, Tensor, Vector], tuple[Tensor, Tensor]]:
    """A step of Newton's method along the ray: (origin, direction, speed, t, params) to t and how far it was off."""

    @fused
    def polish(origin: Vector, direction: Vector, speed: Tensor, t: Tensor, params: Vector) -> tuple[Tensor, Tensor]:
        ahead = t + 1e-4 / speed
        x, y, z = (start + t * step for start, step in zip(origin, direction, strict=True))
        here = distance(x, y, z, params)
        x, y, z = (start + ahead * step for start, step in zip(origin, direction, strict=True))
        slope = (distance(x, y, z, params) - here) / (ahead - t)
        return torch.where(slope < -0.02 * speed, t - here / slope, t), here.abs()

    return polish


DISTANCES: tuple[Distance, ...] = (rounded_distance, link_distance)
STRIDES = {distance: make_stride(distance) for distance in DISTANCES}
POLISHES = {distance: make_polish(distance) for distance in DISTANCES}


def march(origin: Vector, direction: Vector, params: Vector, low: Vector, high: Vector, distance: Distance) -> Tensor:
    """Sphere tracing inside the bounds, then Newton's method along the ray for the last digits."""
    shift, near = nearer_origin(origin, direction)
    first, last = slab(near, direction, low, high)
    speed = (direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2).sqrt()
    t, beyond = torch.maximum(first, NEAR - shift), last + MARCH_TOLERANCE
    for _ in range(STRIDES_OF_RAY):
        t = STRIDES[distance](near, direction, speed, t, beyond, params)
    for _ in range(POLISH_STEPS):
        t, off = POLISHES[distance](near, direction, speed, t, params)
    good = (first <= last) & (t <= beyond) & (off < MARCH_TOLERANCE) & (t > NEAR - shift)
    return torch.where(good, t + shift, INFINITY)


def meet_rounded(origin: Vector, direction: Vector, params: Vector) -> Tensor:
    """A box with round edges."""
    return march(origin, direction, params, [-size for size in params[:3]], params[:3], rounded_distance)


def meet_link(origin: Vector, direction: Vector, params: Vector) -> Tensor:
    """A ring or a chain link, whole or cut."""
    reach = params[0] + params[1]
    far = reach + params[2]
    low = [torch.maximum(-far, params[3]), -reach, -params[1]]
    return march(origin, direction, params, low, [far, reach, params[1]], link_distance)


Meet = Callable[[Vector, Vector, Vector], Tensor]
MEET: dict[int, Meet] = {BOX: meet_box, LATHE: meet_lathe, ROUNDED: meet_rounded, LINK: meet_link}
IN_ONE_STEP = (BOX, LATHE)  # the others march, in kernels of their own
