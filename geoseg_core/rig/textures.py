"""Procedural textures in numpy: solid 3-D patterns sampled on a cube's faces or on a plane, from a seed."""

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.random.Generator], np.ndarray]
NOISE_CELLS = 24


def noise(points: np.ndarray, frequency: float, generator: np.random.Generator, octaves: int = 3) -> np.ndarray:
    """Smooth value noise in [0, 1] at points (..., 3); `frequency` in cells for each unit of length."""
    total = np.zeros(points.shape[:-1])
    for octave in range(octaves):
        lattice = generator.random((NOISE_CELLS, NOISE_CELLS, NOISE_CELLS))
        total += _trilinear(lattice, (points + 2.0) * frequency * 2**octave) / 2 ** (octave + 1)
    return total / (1 - 0.5**octaves)


def _trilinear(lattice: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Periodic smooth interpolation of a cubic lattice."""
    cell = np.floor(position).astype(np.int32)
    fraction = position - cell
    weight = fraction * fraction * (3 - 2 * fraction)
    flat, strides = lattice.ravel(), (NOISE_CELLS**2, NOISE_CELLS, 1)
    # along each axis: what the lower and the upper neighbour add to the flat index, and how much they weigh
    index = [[(cell[..., axis] + side) % NOISE_CELLS * strides[axis] for side in (0, 1)] for axis in range(3)]
    share = [(1 - weight[..., axis], weight[..., axis]) for axis in range(3)]
    value = np.zeros(position.shape[:-1])
    for x, y, z in np.ndindex(2, 2, 2):
        value += flat[index[0][x] + index[1][y] + index[2][z]] * (share[0][x] * share[1][y] * share[2][z])
    return value


def checker(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Alternating cubes."""
    cells = np.floor(points * generator.integers(2, 4) + 0.01).sum(-1)
    return cells % 2


def stripes(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Bands along one axis with slightly wavy edges."""
    phase = points[..., 2] * generator.uniform(1.5, 2.5) + 0.35 * noise(points, 1.5, generator)
    return np.clip(4 * np.sin(2 * np.pi * phase) + 0.5, 0, 1)


def marble(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Veins: a sine wave bent by noise."""
    direction = generator.normal(size=3)
    phase = points @ (direction / np.linalg.norm(direction)) + 2.5 * noise(points, 1.2, generator, 4)
    return 0.5 + 0.5 * np.sin(2 * np.pi * phase)


def spots(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Round dots at seeded places on the unit cube's surface."""
    centres = generator.uniform(-1, 1, (40, 3))
    centres /= np.abs(centres).max(axis=1, keepdims=True)
    distance = np.linalg.norm(points[..., None, :] - centres, axis=-1).min(-1)
    return np.clip((0.3 - distance) * 20, 0, 1)


def speckle(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Coarse noise with hard edges, like camouflage or stone."""
    return np.clip(6 * (noise(points, 2.5, generator) - 0.5) + 0.5, 0, 1)


def gradient(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A smooth change from bottom to top, with some noise."""
    return np.clip(0.5 + 0.45 * points[..., 2] + 0.5 * (noise(points, 2.0, generator) - 0.5), 0, 1)


def label(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A printed band round the middle with blocks in it, as on a can or a carton."""
    band = np.abs(points[..., 2] - 0.1) < 0.55
    blocks = noise(np.floor(points * 3.5) / 3.5, 3.0, generator, 1) > 0.5
    return np.where(band, np.where(blocks, 0.55, 1.0), 0.0)


PATTERNS: tuple[Pattern, ...] = (checker, stripes, marble, spots, speckle, gradient, label)


def cube_points(size: int) -> np.ndarray:
    """Points (6, size, size, 3) on the faces +x -x +y -y +z -z of the cube [-1, 1]^3, as OpenGL orders them."""
    line = (np.arange(size) + 0.5) * 2 / size - 1
    t, s = np.meshgrid(line, line, indexing="ij")
    one = np.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    return np.stack([np.stack(face, axis=-1) for face in faces])


def plane_points(size: int) -> np.ndarray:
    """Points (size, size, 3) of the square [-1, 1]^2 at height 0."""
    line = (np.arange(size) + 0.5) * 2 / size - 1
    v, u = np.meshgrid(line, line, indexing="ij")
    return np.stack([u, v, np.zeros_like(u)], axis=-1)


def paint(points: np.ndarray, pattern: Pattern, colours: np.ndarray, seed: int, grain: float = 0.3) -> np.ndarray:
    """Colour points (..., 3) by a pattern between two colours (2, 3) in [0, 1], with fine grain of a strength.

    Returns:
        (..., 3) uint8 RGB.
    """
    generator = np.random.default_rng(seed)
    value = pattern(points, generator)[..., None]
    colour = colours[0] * (1 - value) + colours[1] * value
    shade = 1 + grain * (noise(points, 7.0, generator, 2)[..., None] - 0.5)
    return (np.clip(colour * shade, 0, 1) * 255).astype(np.uint8)


def wood(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Planks along x with grain."""
    plank = np.floor(points[..., 1] * 4)
    shifted = points + np.stack([plank * 0.37, plank * 0.0, plank * 0.71], axis=-1)
    rings = noise(shifted * [0.35, 5.0, 1.0], 2.0, generator)
    joint = np.abs(points[..., 1] * 4 - np.round(points[..., 1] * 4)) < 0.03
    return np.where(joint, 1.0, rings)


def plaster(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Faint large clouds, for walls."""
    return noise(points, 1.5, generator, 4)
