"""A made room over time for benchmarks: one camera that walks and two that stand still, drawn with numpy alone.

A textured box with balls in it. Half of the time a hand (one more ball) moves through the views; the other half nothing
but the walker moves. The walk and the hand repeat after `PERIOD` sets, the noise of the cameras never does.
"""

import numpy as np

from geoseg_core.views import FrameSet, View

PERIOD = 180
HAND_PERIOD, HAND_SETS = 36, 18
STEP_NS = 100_000_000
NOISE = 2.0
ROOM_M = np.array([[-2.5, -2.5, 0.0], [2.5, 2.5, 2.5]])
BALLS_M = np.array(
    [[0.1, 0.2, 0.4, 0.4], [-0.7, 0.5, 0.3, 0.3], [0.8, -0.3, 0.25, 0.25], [-0.2, -0.8, 0.2, 0.2], [1.2, 1.1, 0.6, 0.6]]
)  # centre and radius
STILL = {"exo_left": (-1.9, -1.7, 1.7), "exo_right": (1.9, -1.5, 1.8)}
TARGET_M = np.array([0.0, 0.2, 0.5])
FOCAL = 0.9  # over the width


def frame_set(number: int, size: tuple[int, int]) -> FrameSet:
    """Set `number` with images of `size` (height, width); the same number gives the same images."""
    angle = 2 * np.pi * number / PERIOD
    walking = {"ego": (1.1 * np.sin(angle), -1.9 + 0.3 * np.cos(2 * angle), 1.5 + 0.15 * np.sin(3 * angle))}
    generator = np.random.default_rng(number)
    views = []
    for camera, position in (walking | STILL).items():
        clean = draw(np.array(position), balls_at(number), size)
        noisy = clean + generator.normal(0, NOISE, clean.shape)
        views.append(View(camera, noisy.round().clip(0, 255).astype(np.uint8), number * STEP_NS))
    return FrameSet(tuple(views))


def balls_at(number: int) -> np.ndarray:
    """Balls of that moment, (N, 4), the hand among them while it is there."""
    phase = number % HAND_PERIOD
    if phase >= HAND_SETS:
        return BALLS_M
    along = phase / HAND_SETS - 0.5
    return np.vstack((BALLS_M, [1.6 * along, -0.5 + 0.4 * along, 0.9, 0.12]))


def draw(position: np.ndarray, balls: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) colours in [0, 255] of a camera that looks from `position` at the middle of the room."""
    height, width = size
    forward = TARGET_M - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    across = (np.arange(width) - (width - 1) / 2) / (FOCAL * width)
    along = (np.arange(height) - (height - 1) / 2) / (FOCAL * width)
    rays = forward + across[None, :, None] * right + along[:, None, None] * down
    walls = np.where(rays > 0, ROOM_M[1], ROOM_M[0]) - position
    nearest = (walls / np.where(rays == 0, 1e-9, rays)).min(axis=-1)
    kind, light = np.zeros(size, int), np.ones(size)
    for index, ball in enumerate(balls, 1):
        distance = ball_distance(position, rays, ball)
        hit = distance < nearest
        nearest, kind = np.where(hit, distance, nearest), np.where(hit, index, kind)
        upward = (position + distance[..., None] * rays - ball[:3])[..., 2] / ball[3]
        light = np.where(hit, 0.65 + 0.35 * upward, light)
    return 255 * light[..., None] * texture(position + nearest[..., None] * rays, kind)


def ball_distance(position: np.ndarray, rays: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """How many times each ray fits between the camera and a ball; infinite where it misses."""
    offset = position - ball[:3]
    square, half = (rays**2).sum(axis=-1), rays @ offset
    root = half**2 - square * (offset @ offset - ball[3] ** 2)
    return np.where(root > 0, (-half - np.sqrt(root.clip(min=0))) / square, np.inf)


def texture(points: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) in [0, 1] of points in the room: a colour for each thing, and waves of several lengths."""
    generator = np.random.default_rng(5)
    colours = generator.uniform(0.3, 0.7, (len(BALLS_M) + 2, 3))
    waves = np.sin(points @ generator.uniform(1.0, 4.0, (3, 3)))
    fine = np.sin(23 * points[..., 0]) * np.sin(19 * points[..., 1] + 3 * kind) * np.sin(21 * points[..., 2] + 1)
    return colours[kind] + 0.1 * waves + 0.12 * fine[..., None]
