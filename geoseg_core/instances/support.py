"""Support planes: table tops, floors and walls, found once and followed from set to set.

Everything that lies on one of them is background. How thick a plane is follows from how noisy the depth on it is, so
that the lowest millimetres of an object survive where the depth is good.
"""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift, normals

COARSE = 4  # planes are found and followed on every fourth pixel
HYPOTHESES = 96
REFUSALS = 4  # the first search ends after so many planes that are neither large nor fill a view
SAMPLES = 4000
FIT_SAMPLES = 1500
NORMAL_AGREEMENT = 0.9
WARP = 8  # in coarse pixels: how far round a pixel the bend of a plane is averaged
REACH = 9  # in coarse pixels: how far round its certain pixels a plane may extend


@dataclass(frozen=True)
class SupportConfig:
    """What is taken as a support plane."""

    area_m2: float = setting(0.08, "smallest area that is taken as table, floor or wall", "m^2", 0.001, 100.0)
    share: float = setting(0.12, "it also fills this part of a view, or is large", "", 0.0, 1.0)
    board_m2: float = setting(0.2, "an area that no handled thing has: with board_share it is a board or a table top",
                              "m^2", 0.001, 1000.0)  # fmt: skip
    board_share: float = setting(0.035, "the part of a view that a board or a table top fills", "", 0.0, 1.0)
    large_m2: float = setting(0.7, "an area that is large", "m^2", 0.001, 1000.0)
    thickness_m: float = setting(0.0016, "smallest distance to the plane that belongs to an object", "m", 0.0, 0.1)
    noise_factor: float = setting(3.5, "the same in standard deviations of the depth noise", "", 0.0, 20.0)
    planes: int = setting(8, "at most so many planes are followed", "", 0, 50)
    search_interval: int = setting(15, "look for new planes every so many sets", "", 1, 1000)


@dataclass(frozen=True, eq=False)
class Plane:
    """normal (3,) · point + offset = 0, the normal pointing to the side that the cameras are on."""

    normal: np.ndarray
    offset: float


@dataclass(frozen=True, eq=False)
class CoarseView:
    """Points and normals (h, w, 3) of a view's blocks of COARSE pixels; `raw` (h * w, 3) is one pixel of each block.

    `weight` is the area that each stands for, square metres; `band_m` how far it may lie off a plane in the search.
    """

    points: np.ndarray
    normals: np.ndarray
    depth_m: np.ndarray
    weight: np.ndarray
    usable: np.ndarray
    band_m: np.ndarray
    raw: np.ndarray


class SupportFinder:
    """Follows the planes of one workplace."""

    def __init__(self, config: SupportConfig) -> None:
        self.config = config
        self.planes: list[Plane] = []
        self._sets = 0
        self._noise: list[float] = []

    def update(self, views: tuple[ViewGeometry, ...]) -> tuple[np.ndarray, ...]:
        """Follow the planes into a new set; return where each view sees one: V masks (H, W) bool."""
        coarse = [coarse_view(view) for view in views]
        shared = share_out(self.planes, [[core(plane, view) for view in coarse] for plane in self.planes], coarse)
        followed = [
            found
            for plane, cores in zip(self.planes, shared, strict=True)
            if (found := self._refit(plane, cores, coarse)) is not None
        ]
        self.planes = [plane for plane, _ in followed]
        certain = [cores for _, cores in followed]
        if self._sets % self.config.search_interval == 0 or not self.planes:
            self._search(coarse, certain)
        self._sets += 1
        self._noise = []
        return tuple(
            self._mask(view, small, [cores[index] for cores in certain])
            for index, (view, small) in enumerate(zip(views, coarse, strict=True))
        )

    def noise(self) -> float:
        """Depth noise in the newest set: standard deviation at one metre, growing with the square of the range."""
        return float(np.median(self._noise)) if self._noise else 0.0

    def up(self) -> np.ndarray:
        """Normal (3,) of the plane found first (the one that most points lie on), z axis if there is none."""
        return self.planes[0].normal if self.planes else np.array([0.0, 0.0, 1.0])

    def _refit(
        self, plane: Plane, cores: list[np.ndarray], coarse: list[CoarseView]
    ) -> tuple[Plane, list[np.ndarray]] | None:
        """A plane as its certain coarse pixels in a new set show it, with these; None if it is not there."""
        areas = [float(view.weight[mask].sum()) for mask, view in zip(cores, coarse, strict=True)]
        if max(areas) < 0.3 * self.config.area_m2:
            return None
        points = np.concatenate(
            [view.points.reshape(-1, 3).take(sample(mask), 0) for mask, view in zip(cores, coarse, strict=True)]
        )
        return fit(points, plane.normal), cores

    def _search(self, coarse: list[CoarseView], certain: list[list[np.ndarray]]) -> None:
        """Add planes and their certain pixels, largest first, until what is left over holds none."""
        random = np.random.default_rng(0)
        left = [view.usable.copy() for view in coarse]
        for cores in certain:
            for mask, taken in zip(left, cores, strict=True):
                mask &= ~taken
        patience = REFUSALS if self._sets == 0 else 1
        while len(self.planes) < self.config.planes and patience > 0:
            points, directions, weight, band_m = (
                np.concatenate([getattr(view, name)[mask] for view, mask in zip(coarse, left, strict=True)])
                for name in ("points", "normals", "weight", "band_m")
            )
            if weight.sum() < self.config.area_m2:
                return
            plane = best_plane(points, directions, weight, band_m, random)
            cores = [core(plane, view) & mask for view, mask in zip(coarse, left, strict=True)]
            areas = [float(view.weight[mask].sum()) for view, mask in zip(coarse, cores, strict=True)]
            if max(areas) < self.config.area_m2:
                return
            shares = [float(mask.mean()) for mask in cores]
            if self._holds(max(areas), max(shares)) or any(continues(plane, other) for other in self.planes):
                self.planes.append(plane)
                certain.append(cores)
            else:
                patience -= 1
            left = [mask & ~taken for mask, taken in zip(left, cores, strict=True)]

    def _holds(self, area_m2: float, share: float) -> bool:
        """Whether a plane of this area, filling this share of a view, is one that things stand on or lean at."""
        board = area_m2 >= self.config.board_m2 and share >= self.config.board_share
        return board or area_m2 >= self.config.large_m2 or share >= self.config.share

    def _mask(self, view: ViewGeometry, coarse: CoarseView, cores: list[np.ndarray]) -> np.ndarray:
        """Pixels (H, W) bool of one view that lie on any plane."""
        result = np.zeros(view.depth_m.shape, bool)
        squared = view.depth_m * view.depth_m
        for plane, certain in zip(self.planes, cores, strict=True):
            chosen = sample(certain)
            if len(chosen) < 20:
                continue
            depth_m = coarse.depth_m.reshape(-1).take(chosen)
            local = fit(coarse.points.reshape(-1, 3).take(chosen, 0), plane.normal)  # calibration is never perfect
            residual = coarse.raw.take(chosen, 0) @ local.normal + local.offset
            noise_m = spread_of(residual)
            noisy = noise_m > self.config.thickness_m
            other = crossing(coarse, local) if noisy else None
            rows, columns, zone = reach(certain, other, result.shape)
            distance = plane_distance(local, view, rows, columns)
            if noisy:
                warp = plane_warp(coarse, local, certain)
                noise_m = spread_of(residual - warp.reshape(-1).take(chosen))
                distance -= enlarge(warp, result.shape)[rows, columns]
            np.abs(distance, out=distance)
            # Depth noise of structured light and stereo grows with the square of the range.
            self._noise.append(noise_m / float(np.median(depth_m)) ** 2)
            slope = np.float32(self.config.noise_factor * self._noise[-1])
            near = distance <= self.config.thickness_m
            near |= distance <= squared[rows, columns] * slope
            near &= zone
            result[rows, columns] |= near
        result &= view.depth_m > 0
        return result


def plane_distance(plane: Plane, view: ViewGeometry, rows: slice, columns: slice) -> np.ndarray:
    """Signed distance (h, w) float32 of a window's points to a plane; the plane's offset where depth is unknown.

    Along the image rows and columns, a plane's normal times the pixel's ray is linear: two vectors make it.
    """
    pose = view.camera_to_world
    across = plane.normal @ pose[:3, :3] @ np.linalg.inv(view.intrinsics)
    offset = plane.normal @ pose[:3, 3] + plane.offset
    u = (across[0] * np.arange(columns.start, columns.stop)).astype(np.float32)
    v = (across[1] * np.arange(rows.start, rows.stop) + across[2]).astype(np.float32)
    distance = u[None] + v[:, None]
    distance *= view.depth_m[rows, columns]
    distance += np.float32(offset)
    return distance


def spread_of(residual: np.ndarray) -> float:
    """Standard deviation of residuals (N,), NaN left out, by their median: a tenth of outliers does not matter."""
    return 1.48 * float(np.median(np.abs(residual[np.isfinite(residual)])))


def plane_warp(coarse: CoarseView, plane: Plane, certain: np.ndarray) -> np.ndarray:
    """How far (h, w) the depth camera bends a plane: the local mean of its certain pixels' distances to it."""
    distance = coarse.points @ plane.normal.astype(np.float32) + np.float32(plane.offset)
    window = (2 * WARP + 1, 2 * WARP + 1)
    total = cv2.blur(np.where(certain, distance, np.float32(0)), window)
    count = cv2.blur(certain.astype(np.float32), window)
    return np.where(count > 0.02, total / np.maximum(count, np.float32(0.02)), np.float32(0))


def enlarge(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A coarse image (h, w) at full size (H, W); the border repeats where blocks were cut off."""
    full = cv2.resize(image, None, fx=COARSE, fy=COARSE, interpolation=cv2.INTER_LINEAR)
    missing = [(0, size[axis] - full.shape[axis]) for axis in (0, 1)]
    return np.pad(full, missing, mode="edge") if any(after for _, after in missing) else full


def crossing(coarse: CoarseView, plane: Plane) -> np.ndarray:
    """Coarse pixels (h, w) uint8 well inside surfaces off the plane or turned from it: what the plane goes through."""
    return cv2.erode((coarse.usable & ~core(plane, coarse)).view(np.uint8), np.ones((3, 3), np.uint8))


def reach(
    certain: np.ndarray, other: np.ndarray | None, size: tuple[int, ...]
) -> tuple[slice, slice, np.ndarray]:
    """The neighbourhood of a plane's certain coarse pixels: rows, columns and mask at full resolution.

    Beyond it, and in the coarse pixels `other`, a plane goes on in space, but what it cuts there is something else.
    """
    closed = cv2.morphologyEx(certain.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    grown = cv2.dilate(opened, np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8))
    if other is not None:
        grown = main_parts(grown & (1 - other), opened)
    left, top, width, height = cv2.boundingRect(grown)
    full = grown[top : top + height, left : left + width].repeat(COARSE, 0).repeat(COARSE, 1)
    # The last rows and columns belong to no whole block: they go with the last block.
    below = size[0] % COARSE if top + height == grown.shape[0] else 0
    beside = size[1] % COARSE if left + width == grown.shape[1] else 0
    if full.size:
        full = np.pad(full, ((0, below), (0, beside)), mode="edge")
    rows = slice(top * COARSE, top * COARSE + full.shape[0])
    return rows, slice(left * COARSE, left * COARSE + full.shape[1]), full.view(bool)


def main_parts(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The connected parts of a mask (h, w) uint8 that hold one in twenty of the seeds (h, w) uint8 or more."""
    _, parts = cv2.connectedComponents(mask, connectivity=4)
    counts = np.bincount(parts[(seeds & mask) > 0], minlength=int(parts.max()) + 1)
    kept = counts >= max(0.05 * counts.sum(), 1)
    kept[0] = False
    return kept.view(np.uint8)[parts]


def coarse_view(view: ViewGeometry) -> CoarseView:
    """Thin a view to means over blocks and give each its normal and area.

    Inverse depth is averaged: on a plane it is linear in the pixel, so that the mean is exact and the noise small.
    """
    with np.errstate(divide="ignore"):
        inverse = np.where(view.depth_m > 0, 1 / view.depth_m, np.float32(0))
    height, width = (edge // COARSE * COARSE for edge in inverse.shape)
    size = (width // COARSE, height // COARSE)
    mean = cv2.resize(inverse[:height, :width], size, interpolation=cv2.INTER_AREA)
    known = cv2.resize((view.depth_m[:height, :width] > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    depth_m = np.where(known > 0.5, known / np.maximum(mean, np.float32(1e-6)), np.float32(0))
    block = np.array([[COARSE, 0, (COARSE - 1) / 2], [0, COARSE, (COARSE - 1) / 2], [0, 0, 1]])
    points = lift(depth_m, np.linalg.inv(block) @ view.intrinsics, view.camera_to_world)
    direction = normals(points)
    rays = points - view.camera_to_world[:3, 3].astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.einsum("hwc,hwc->hw", rays, direction) / np.sqrt(np.einsum("hwc,hwc->hw", rays, rays))
        direction = direction * -np.sign(cosine)[..., None]
        focal = view.intrinsics[0, 0] * view.intrinsics[1, 1]
        weight = (COARSE * depth_m) ** 2 / focal / np.maximum(np.abs(cosine), 0.1)
    usable = np.isfinite(direction[..., 0]) & smooth(depth_m)
    raw = view.points[COARSE // 2 : height : COARSE, COARSE // 2 : width : COARSE].reshape(-1, 3)
    return CoarseView(points, direction, depth_m, np.where(usable, weight, 0), usable, band(depth_m), raw)


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


def continues(plane: Plane, other: Plane) -> bool:
    """Whether a plane is all but the same as another: what a depth camera makes of one floor, bent at the rim."""
    return bool(plane.normal @ other.normal > 0.99 and abs(plane.offset - other.offset) < 0.06)


def band(depth_m: np.ndarray) -> np.ndarray:
    """How far a point may lie off a plane while the plane is searched, metres."""
    return 0.004 + 0.004 * depth_m * depth_m


def core(plane: Plane, view: CoarseView) -> np.ndarray:
    """Coarse pixels (h, w) bool that lie on the plane and face as it does."""
    with np.errstate(invalid="ignore"):
        near = np.abs(view.points @ plane.normal.astype(np.float32) + np.float32(plane.offset)) < view.band_m
        return near & view.usable & (view.normals @ plane.normal.astype(np.float32) > NORMAL_AGREEMENT)


def share_out(
    planes: list[Plane], cores: list[list[np.ndarray]], coarse: list[CoarseView]
) -> list[list[np.ndarray]]:
    """The certain pixels (h, w) of planes that nearly coincide, each left to the plane that it is nearer to.

    Two planes that share a bent floor, or a board and the wall behind it, would else become one with time.
    """
    for first, second in combinations(range(len(planes)), 2):
        if planes[first].normal @ planes[second].normal < NORMAL_AGREEMENT:
            continue
        for view, ours, theirs in zip(coarse, cores[first], cores[second], strict=True):
            both = ours & theirs
            points = view.points[both].astype(np.float64)
            away = [np.abs(points @ each.normal + each.offset) for each in (planes[first], planes[second])]
            ours[both], theirs[both] = away[0] <= away[1], away[0] > away[1]
    return cores


def fit(points: np.ndarray, normal: np.ndarray) -> Plane:
    """Least-squares plane of points (N, 3), once more without the worst tenth; faces as `normal` does."""
    points = points.astype(np.float64)
    centre, axis = principal_plane(points)
    residual = np.abs((points - centre) @ axis)
    worst = len(points) - 1 - len(points) // 10
    centre, axis = principal_plane(points[residual <= np.partition(residual, worst)[worst]])
    axis = axis if axis @ normal >= 0 else -axis
    return Plane(axis, float(-axis @ centre))


def sample(mask: np.ndarray) -> np.ndarray:
    """Flat indices of a mask's pixels, thinned evenly to about FIT_SAMPLES."""
    index = np.flatnonzero(mask)
    return index[:: 1 + len(index) // FIT_SAMPLES]


def principal_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (3,) and direction (3,) of least extent of points (N, 3)."""
    centre = np.full(len(points), 1 / len(points)) @ points
    spread = points - centre
    return centre, np.linalg.eigh(spread.T @ spread)[1][:, 0]


def best_plane(
    points: np.ndarray, directions: np.ndarray, weight: np.ndarray, band_m: np.ndarray, random: np.random.Generator
) -> Plane:
    """The plane with the most points among those that single points with their normals propose."""
    chosen = random.choice(len(points), min(SAMPLES, len(points)), replace=False)
    points, directions, weight, band_m = points[chosen], directions[chosen], weight[chosen], band_m[chosen]
    seeds = random.choice(len(points), min(HYPOTHESES, len(points)), replace=False)
    normal = directions[seeds]
    offset = -np.einsum("nc,nc->n", normal, points[seeds])
    near = np.abs(points @ normal.T + offset) < band_m[:, None]
    votes = weight @ (near & (directions @ normal.T > NORMAL_AGREEMENT)).astype(np.float32)
    winner = int(votes.argmax())
    plane = Plane(normal[winner].astype(np.float64), float(offset[winner]))
    for _ in range(2):
        distance = np.abs(points @ plane.normal + plane.offset)
        inliers = (distance < band_m) & (directions @ plane.normal > NORMAL_AGREEMENT)
        if inliers.sum() < 10:
            return plane
        plane = fit(points[inliers], plane.normal)
    return plane
