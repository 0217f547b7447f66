"""A tiny exact renderer for tests: boxes and spheres on a table, ray-cast in numpy, with depth and true labels."""

from dataclasses import dataclass, replace

import numpy as np

from geoseg_core.views import FrameSet, View

TABLE, FLOOR, WALL = 200, 201, 202
COLOURS = [(200, 60, 50), (60, 160, 70), (70, 90, 200), (220, 190, 60), (160, 80, 180), (70, 190, 190), (230, 130, 60)]


@dataclass(frozen=True)
class Solid:
    """A box (half sizes, yaw) or a sphere (radius in half[0]) at `centre`, metres; `label` is its true id."""

    label: int
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float = 0.0
    kind: str = "box"
    colour: tuple[int, int, int] = (128, 128, 128)

    def moved(self, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> "Solid":
        return replace(self, centre=(self.centre[0] + dx, self.centre[1] + dy, self.centre[2] + dz))

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Ray parameter of the first hit for rays (N, 3) from origin (3,); inf where missed."""
        local = origin - np.array(self.centre)
        if self.kind == "sphere":
            a, b = (rays**2).sum(1), rays @ local
            root = b * b - a * (local @ local - self.half[0] ** 2)
            near = (-b - np.sqrt(np.maximum(root, 0))) / a
            return np.where((root > 0) & (near > 0), near, np.inf)
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        start, direction = turn @ local, rays @ turn.T
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (-np.array(self.half) - start) / direction, (np.array(self.half) - start) / direction
        enter, leave = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
        return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def box(label: int, x: float, y: float, size: tuple[float, float, float], yaw: float = 0.0) -> Solid:
    """A box of full `size` standing on the table (z = 0)."""
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    return Solid(label, (x, y, half[2]), half, yaw, "box", COLOURS[label % len(COLOURS)])


def ball(label: int, x: float, y: float, radius: float) -> Solid:
    """A sphere resting on the table."""
    return Solid(label, (x, y, radius), (radius, 0, 0), 0.0, "sphere", COLOURS[label % len(COLOURS)])


def workplace() -> list[Solid]:
    """A table top at z = 0, the floor below it and a wall behind."""
    return [
        Solid(TABLE, (0, 0, -0.02), (0.6, 0.45, 0.02), colour=(150, 120, 90)),
        Solid(FLOOR, (0, 0, -0.76), (4, 4, 0.01), colour=(110, 110, 115)),
        Solid(WALL, (0, 1.6, 0), (4, 0.01, 3), colour=(190, 190, 180)),
    ]


def tabletop() -> list[Solid]:
    """Six objects, standing apart."""
    return [
        box(1, -0.25, -0.1, (0.08, 0.06, 0.1), 0.4),
        box(2, 0.0, -0.12, (0.06, 0.06, 0.06), 0.1),
        ball(3, 0.2, -0.08, 0.045),
        box(4, -0.15, 0.15, (0.1, 0.05, 0.12), -0.5),
        ball(5, 0.05, 0.12, 0.035),
        box(6, 0.27, 0.16, (0.05, 0.09, 0.14), 0.9),
    ]


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> np.ndarray:
    """camera_to_world (4, 4) of an optical frame at `eye` that looks at `target`, world z up."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def cameras(sway: float = 0.0) -> dict[str, np.ndarray]:
    """Poses of one ego and two exo cameras; `sway` moves the ego camera sideways, metres."""
    return {
        "ego": look_at((sway, -0.6, 0.55), (sway / 2, 0.02, 0.0)),
        "exo_left": look_at((-0.85, -0.45, 0.7), (0, 0, 0)),
        "exo_right": look_at((0.85, -0.4, 0.65), (0, 0, 0)),
    }


def intrinsics(size: tuple[int, int]) -> np.ndarray:
    """A pinhole of about 55 degrees for an image of (H, W)."""
    return np.array([[0.95 * size[1], 0, (size[1] - 1) / 2], [0, 0.95 * size[1], (size[0] - 1) / 2], [0, 0, 1]])


def render(
    solids: list[Solid], name: str, pose: np.ndarray, size: tuple[int, int] = (240, 320), stamp_ns: int = 0
) -> tuple[View, np.ndarray]:
    """A view with exact depth, and its labels (H, W) uint16."""
    matrix = intrinsics(size)
    v, u = np.mgrid[: size[0], : size[1]]
    local = np.stack([(u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1], np.ones(size)], -1)
    rays = local.reshape(-1, 3) @ pose[:3, :3].T
    distance = np.stack([solid.hit(pose[:3, 3], rays) for solid in solids])
    nearest = distance.argmin(0)
    depth = distance.min(0)
    colours, labels = np.array([solid.colour for solid in solids]), np.array([solid.label for solid in solids])
    missed = ~np.isfinite(depth)
    points = pose[:3, 3] + rays * np.where(missed, 0, depth)[:, None]
    checker = (np.floor(points / 0.015).astype(int).sum(1) % 2) * 16 - 8
    image = np.clip(colours[nearest] + checker[:, None], 0, 255)
    image[missed] = 30
    depth = np.where(missed, 0, depth).astype(np.float32).reshape(size)
    view = View(name, image.reshape(*size, 3).astype(np.uint8), stamp_ns, matrix, pose, depth, f"{name}_optical_frame")
    return view, np.where(missed, 0, labels[nearest]).reshape(size).astype(np.uint16)


def render_set(
    objects: list[Solid],
    stamp_ns: int = 0,
    sway: float = 0.0,
    size: tuple[int, int] = (240, 320),
    names: tuple[str, ...] = ("ego", "exo_left", "exo_right"),
) -> tuple[FrameSet, tuple[np.ndarray, ...]]:
    """One frame set of the workplace with `objects` on it, and the true labels of each view."""
    poses = cameras(sway)
    pairs = [render([*workplace(), *objects], name, poses[name], size, stamp_ns) for name in names]
    return FrameSet(tuple(view for view, _ in pairs)), tuple(labels for _, labels in pairs)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = (first | second).sum()
    return 1.0 if union == 0 else float((first & second).sum() / union)
