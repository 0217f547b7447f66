"""What a batch of scenes is made of, as numbers: the meeting place of layout (numpy, CPU) and rendering (torch)."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from geoseg_core.synthetic.photo import Shots
from geoseg_core.synthetic.shapes import NONE, Primitives


@dataclass(frozen=True, eq=False)
class Lights:
    """One far light with a disc (a window, a lamp), a sky that lights from above, and a weak fill without shadow.

    Attributes:
        key: (B, 3) unit vectors towards the light.
        softness: (B,) radius of its disc at distance 1.
        key_colour, sky_colour, ground_colour: (B, 3) linear light.
    """

    key: Tensor
    softness: Tensor
    key_colour: Tensor
    sky_colour: Tensor
    ground_colour: Tensor


@dataclass(frozen=True, eq=False)
class Materials:
    """M surfaces of each scene; a texture's pixel (r, g, b, 1) becomes linear colour by `colours`.

    Attributes:
        page: (B, M) int64 index of the texture.
        per_metre: (B, M) repeats of the texture in a metre.
        offset: (B, M, 2) where the texture begins.
        colours: (B, M, 3, 4).
        gloss: (B, M, 2) strength and exponent of highlights.
    """

    page: Tensor
    per_metre: Tensor
    offset: Tensor
    colours: Tensor
    gloss: Tensor


@dataclass(frozen=True, eq=False)
class Scenes:
    """B scenes of P primitives on N bodies, seen by V views at T moments. float64 where geometry needs it.

    Attributes:
        kind: (B, P) int64, the room first.
        params: (B, P, 9).
        bounds: (B, P, 2, 3).
        to_body: (B, P, 4, 4).
        body: (B, P) int64.
        material: (B, P) int64; the room's is that of its floor, its ceiling's and walls' follow.
        body_to_world: (B, T, N, 4, 4); body 0 is the world, 1 to K are the objects, the rest is the arm.
        instance_of_body, class_of_body: (B, N) int64.
        camera_to_world: (B, V, 4, 4), moment by moment, the ego camera first.
        intrinsics: (B, V, 3, 3).
        moment: (V,) int64.
        objects: K.
        materials, lights, shots: how they look, are lit and photographed.
    """

    kind: Tensor
    params: Tensor
    bounds: Tensor
    to_body: Tensor
    body: Tensor
    material: Tensor
    body_to_world: Tensor
    instance_of_body: Tensor
    class_of_body: Tensor
    camera_to_world: Tensor
    intrinsics: Tensor
    moment: Tensor
    objects: int
    materials: Materials
    lights: Lights
    shots: Shots

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return type(self)(**{each.name: moved(getattr(self, each.name), device) for each in fields(self)})


def moved(value: Any, device: torch.device | str) -> Any:
    """A tensor, or a dataclass of tensors, on another device; anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: moved(getattr(value, each.name), device) for each in fields(value)})
    return value


@dataclass
class Part:
    """Primitives (B, P) with the body that each belongs to and the material of each, (B, P)."""

    primitives: Primitives
    body: np.ndarray
    material: np.ndarray


def join(parts: list[Part]) -> Part:
    """All primitives in one array, those that are nothing left out as far as every scene has some."""
    names = ("kind", "params", "bounds", "to_body", "slot")
    arrays = {name: np.concatenate([getattr(part.primitives, name) for part in parts], axis=1) for name in names}
    body = np.concatenate([part.body for part in parts], axis=1)
    material = np.concatenate([part.material for part in parts], axis=1)
    absent = arrays["kind"] == NONE
    kept = int((~absent).sum(axis=1).max())
    order = np.argsort(absent, axis=1, kind="stable")[:, :kept]
    rows = np.arange(len(order))[:, None]
    return Part(Primitives(**{name: value[rows, order] for name, value in arrays.items()}),
                body[rows, order], material[rows, order])  # fmt: skip
