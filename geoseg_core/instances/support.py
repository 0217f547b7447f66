"""Support planes: table tops, floors and walls, found once and followed from set to set.

Everything that lies on one of them is background. How thick a plane is follows from how noisy the depth on it is, so
that the lowest millimetres of an object survive where the depth is good.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import normals

COARSE = 4  # planes are found and followed on every fourth pixel
HYPOTHESES = 96
SAMPLES = 4000
NORMAL_AGREEMENT = 0.9
REACH = 9  # in coarse pixels: how far round its certain pixels a plane may extend


@dataclass(frozen=True)
class SupportConfig:
    """What is taken as a support plane."""

    area_m2: float = setting(0.08, "smallest area that is taken as table, floor or wall", "m^2", 0.001, 100.0)
    thickness_m: float = setting(0.0016, "smallest distance to the plane that belongs to an object", "m", 0.0, 0.1)
    noise_factor: float = setting(4.0, "the same in standard deviations of the depth noise", "", 0.0, 20.0)
    planes: int = setting(8, "at most so many planes are followed", "", 0, 50)
    search_interval: int = setting(15, "look for new planes every so many sets", "", 1, 1000)


@dataclass(frozen=True, eq=False)
class Plane:
    """normal (3,) · point + offset = 0, the normal pointing to the side that the cameras are on."""

    normal: np.ndarray
    offset: float


@dataclass(frozen=True, eq=False)
class CoarseView:
    """Every fourth point and normal of a view; `weight` is the area that each stands for, square metres."""

    points: np.ndarray
    normals: np.ndarray
    depth_m: np.ndarray
    weight: np.ndarray
    usable: np.ndarray


class SupportFinder:
    """Follows the planes of one workplace."""

    def __init__(self, config: SupportConfig) -> None:
        self.config = config
        self.planes: list[Plane] = []
        self._sets = 0

    def update(self, views: tuple[ViewGeometry, ...]) -> tuple[np.ndarray, ...]:
        """Follow the planes into a new set; return where each view sees one: V masks (H, W) bool."""
        coarse = [coarse_view(view) for view in views]
        self.planes = [plane for old in self.planes if (plane := self._refit(old, coarse)) is not None]
        if self._sets % self.config.search_interval == 0 or not self.planes:
            self._search(coarse)
        self._sets += 1
        return tuple(self._mask(view, small) for view, small in zip(views, coarse, strict=True))

    def up(self) -> np.ndarray:
        """Normal (3,) of the plane found first (the one that most points lie on), z axis if there is none."""
        return self.planes[0].normal if self.planes else np.array([0.0, 0.0, 1.0])

    def _refit(self, plane: Plane, coarse: list[CoarseView]) -> Plane | None:
        chosen = [core(plane, view) for view in coarse]
        if sum(float(view.weight[mask].sum()) for mask, view in zip(chosen, coarse, strict=True)) < 0.3 * self.config.area_m2:
            return None
        return fit(np.concatenate([view.points[mask] for mask, view in zip(chosen, coarse, strict=True)]), plane.normal)

    def _search(self, coarse: list[CoarseView]) -> None:
        """Add planes, largest support first, until what is left over holds none."""
        random = np.random.default_rng(0)
        left = [view.usable.copy() for view in coarse]
        for plane in self.planes:
            self._strike_out(plane, coarse, left)
        while len(self.planes) < self.config.planes:
            points, directions, weight, depth = (
                np.concatenate([getattr(view, name)[mask] for view, mask in zip(coarse, left, strict=True)])
                for name in ("points", "normals", "weight", "depth_m")
            )
            if weight.sum() < self.config.area_m2:
                return
            plane = best_plane(points, directions, weight, depth, random)
            area = self._strike_out(plane, coarse, left)
            if area < self.config.area_m2:
                return
            self.planes.append(plane)

    def _strike_out(self, plane: Plane, coarse: list[CoarseView], left: list[np.ndarray]) -> float:
        """Take a plane's points out of `left`; return the area of the largest view's share."""
        areas = [0.0]
        for view, mask in zip(coarse, left, strict=True):
            on_plane = core(plane, view)
            areas.append(float(view.weight[on_plane & mask].sum()))
            mask &= ~on_plane
        return max(areas)

    def _mask(self, view: ViewGeometry, coarse: CoarseView) -> np.ndarray:
        """Pixels (H, W) bool of one view that lie on any plane."""
        result = np.zeros(view.depth_m.shape, bool)
        for plane in self.planes:
            certain = core(plane, coarse)
            if certain.sum() < 20:
                continue
            points, depth_m = coarse.points[certain], coarse.depth_m[certain]
            local = fit(points, plane.normal)  # each view its own: calibration is never perfect
            noise_m = 1.48 * float(np.median(np.abs(points @ local.normal + local.offset)))
            # Depth noise of structured light and stereo grows with the square of the range.
            slope = self.config.noise_factor * noise_m / float(np.median(depth_m)) ** 2
            rows, columns, zone = reach(certain, result.shape)
            if zone.size == 0:
                continue
            depth_m = view.depth_m[rows, columns]
            matrix = np.append(local.normal, local.offset)[None].astype(np.float32)
            distance = np.abs(cv2.transform(view.points[rows, columns], matrix))
            tolerance = np.maximum(depth_m * depth_m * np.float32(slope), np.float32(self.config.thickness_m))
            result[rows, columns] |= (distance <= tolerance) & zone
        return result


def reach(certain: np.ndarray, size: tuple[int, ...]) -> tuple[slice, slice, np.ndarray]:
    """The neighbourhood of a plane's certain coarse pixels: rows, columns and mask at full resolution.

    Beyond it a plane goes on in space, but what it cuts there is something else.
    """
    opened = cv2.morphologyEx(certain.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    grown = cv2.dilate(opened, np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8))
    left, top, width, height = cv2.boundingRect(grown)
    rows = slice(top * COARSE, min((top + height) * COARSE, size[0]))
    columns = slice(left * COARSE, min((left + width) * COARSE, size[1]))
    full = grown[top : top + height, left : left + width].repeat(COARSE, 0).repeat(COARSE, 1)
    return rows, columns, full[: rows.stop - rows.start, : columns.stop - columns.start].view(bool)


def coarse_view(view: ViewGeometry) -> CoarseView:
    """Thin a view and give each remaining point its normal and area."""
    direction = normals(view.points, COARSE)
    points, depth_m = view.points[::COARSE, ::COARSE], view.depth_m[::COARSE, ::COARSE]
    rays = points - view.camera_to_world[:3, 3].astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.einsum("hwc,hwc->hw", rays, direction) / np.sqrt(np.einsum("hwc,hwc->hw", rays, rays))
        direction = direction * -np.sign(cosine)[..., None]
        focal = view.intrinsics[0, 0] * view.intrinsics[1, 1]
        weight = (COARSE * depth_m) ** 2 / focal / np.maximum(np.abs(cosine), 0.1)
    usable = np.isfinite(direction[..., 0]) & smooth(depth_m)
    return CoarseView(points, direction, depth_m, np.where(usable, weight, 0), usable)


def smooth(depth_m: np.ndarray) -> np.ndarray:
    """Pixels (h, w) bool whose inverse depth, linear on every plane, bends little: no jump, no crease."""
    with np.errstate(divide="ignore"):
        inverse = 1 / depth_m
    result = np.zeros(depth_m.shape, bool)
    middle = inverse[1:-1, 1:-1]
    with np.errstate(invalid="ignore"):
        across = np.abs(inverse[1:-1, 2:] + inverse[1:-1, :-2] - 2 * middle)
        down = np.abs(inverse[2:, 1:-1] + inverse[:-2, 1:-1] - 2 * middle)
        result[1:-1, 1:-1] = np.maximum(across, down) < 0.02 * middle
    return result


def band(depth_m: np.ndarray) -> np.ndarray:
    """How far a point may lie off a plane while the plane is searched, metres."""
    return 0.004 + 0.004 * depth_m * depth_m


def core(plane: Plane, view: CoarseView) -> np.ndarray:
    """Coarse pixels (h, w) bool that lie on the plane and face as it does."""
    with np.errstate(invalid="ignore"):
        near = np.abs(view.points @ plane.normal.astype(np.float32) + np.float32(plane.offset)) < band(view.depth_m)
        return near & view.usable & (view.normals @ plane.normal.astype(np.float32) > NORMAL_AGREEMENT)


def fit(points: np.ndarray, normal: np.ndarray) -> Plane:
    """Least-squares plane of points (N, 3), once more without the worst; faces as `normal` does."""
    points = points[:: 1 + len(points) // SAMPLES]
    for share in (1.0, 0.9):
        centre = points.mean(0, dtype=np.float64)
        offset_points = (points - centre).astype(np.float64)
        axis = np.linalg.eigh(offset_points.T @ offset_points)[1][:, 0]
        if share == 1.0:
            residual = np.abs(offset_points @ axis)
            points = points[residual <= np.quantile(residual, 0.9)]
    axis = axis if axis @ normal >= 0 else -axis
    return Plane(axis, float(-axis @ centre))


def best_plane(
    points: np.ndarray, directions: np.ndarray, weight: np.ndarray, depth_m: np.ndarray, random: np.random.Generator
) -> Plane:
    """The plane with the most points among those that single points with their normals propose."""
    chosen = random.choice(len(points), min(SAMPLES, len(points)), replace=False)
    points, directions, weight, depth_m = points[chosen], directions[chosen], weight[chosen], depth_m[chosen]
    seeds = random.choice(len(points), min(HYPOTHESES, len(points)), replace=False)
    normal = directions[seeds]
    offset = -np.einsum("nc,nc->n", normal, points[seeds])
    near = np.abs(points @ normal.T + offset) < band(depth_m)[:, None]
    votes = weight @ (near & (directions @ normal.T > NORMAL_AGREEMENT)).astype(np.float32)
    winner = int(votes.argmax())
    plane = Plane(normal[winner].astype(np.float64), float(offset[winner]))
    for _ in range(2):
        distance = np.abs(points @ plane.normal + plane.offset)
        inliers = (distance < band(depth_m)) & (directions @ plane.normal > NORMAL_AGREEMENT)
        if inliers.sum() < 10:
            return plane
        plane = fit(points[inliers], plane.normal)
    return plane
