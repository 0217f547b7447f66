"""A picture of a labelled cloud, drawn with numpy: no window, no OpenGL.

Points are splatted far to near into a z-buffer; edges are darkened from the buffer (eye-dome lighting), which
is what makes shapes readable without normals; oriented boxes and captions are drawn on top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import cv2
import numpy as np
from scipy.spatial import cKDTree

from geoseg_core.evaluation.colours import colour_of, colour_table
from geoseg_core.evaluation.pictures import write
from geoseg_core.results import Instance, LabelledCloud, OrientedBox

FIELD_OF_VIEW_DEG = 42.0
TINT = 0.62
BACKGROUND_TOP, BACKGROUND_BOTTOM = (34, 38, 46), (14, 15, 18)
BACKDROP_GREY = 0.7
SHADE_STRENGTH = 9.0
NEAR_M = 0.05
MAX_RADIUS_PX = 5
SPACING_SAMPLES = 500


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """A pinhole camera to look at the cloud with: world_to_camera (4, 4), focal length in pixels, (width, height)."""

    world_to_camera: np.ndarray
    focal_px: float
    size: tuple[int, int]

    def project(self, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) of the world to pixels (N, 2) and depth (N,)."""
        camera = xyz @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth = camera[:, 2]
        centre = np.array(self.size) / 2
        return camera[:, :2] * (self.focal_px / np.maximum(depth, NEAR_M))[:, None] + centre, depth


def choose_viewpoint(
    cloud: LabelledCloud, cameras_to_world: Sequence[np.ndarray], size: tuple[int, int] = (1280, 800)
) -> Viewpoint:
    """Look at the instances from the side of the cameras, from a little above and far enough to see them all.

    Args:
        cloud: with at least one point.
        cameras_to_world: (4, 4) poses of the cameras that saw it; they say what is up and where the front is.
        size: (width, height) of the picture in pixels.
    """
    labelled = cloud.xyz[cloud.instance_id > 0]
    subject = (labelled if len(labelled) else cloud.xyz).astype(float)
    target = (np.percentile(subject, 5, axis=0) + np.percentile(subject, 95, axis=0)) / 2
    poses = np.asarray(cameras_to_world, float)
    up = _unit(-poses[:, :3, 1].mean(0))
    if up[2] > 0.5:
        up = np.array([0.0, 0.0, 1.0])
    front = poses[:, :3, 3].mean(0) - target
    level = _unit(front - up * (front @ up)) if np.linalg.norm(np.cross(front, up)) > 1e-6 else _unit(-poses[0, :3, 2])
    direction = _unit(level + 0.6 * up)
    focal = size[0] / 2 / np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2)
    rotation = _looking_along(-direction, up)
    offset = (subject - target) @ rotation.T
    half = np.array(size) / 2 * 0.74
    distance = (np.abs(offset[:, :2]) * focal / half).max(1) - offset[:, 2]
    eye = target + direction * max(float(np.percentile(distance, 99)), 4 * NEAR_M)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation
    world_to_camera[:3, 3] = -rotation @ eye
    return Viewpoint(world_to_camera, focal, size)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _looking_along(forward: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(3, 3) world_to_camera rotation of an optical frame."""
    right = _unit(np.cross(forward, up))
    return np.stack([right, np.cross(forward, right), forward])


def render_cloud(
    cloud: LabelledCloud,
    instances: Sequence[Instance],
    cameras_to_world: Sequence[np.ndarray],
    names: Mapping[int, str] | None = None,
    size: tuple[int, int] = (1280, 800),
) -> np.ndarray:
    """(H, W, 3) uint8 RGB picture of the cloud with the boxes of its instances on a dark ground.

    Args:
        cloud: may be empty.
        instances: boxes are drawn of those that are seen now, captioned by `names` or their ids.
        cameras_to_world: poses of the cameras, see `choose_viewpoint`.
        names: captions by id.
        size: (width, height) in pixels.
    """
    picture = _backdrop(size)
    finite = np.isfinite(cloud.xyz).all(1)
    if not finite.any():
        write(picture, "no points", (size[0] // 2, size[1] // 2), centred=True, scale=0.8)
        return picture
    viewpoint = choose_viewpoint(_kept(cloud, finite), cameras_to_world, size)
    colours = _point_colours(cloud.rgb[finite], cloud.instance_id[finite])
    xyz, labelled = cloud.xyz[finite].astype(float), cloud.instance_id[finite] > 0
    spacing_m = np.where(labelled, _spacing(xyz[labelled]), _spacing(xyz[~labelled]))
    depth = _splat(picture, viewpoint, xyz, spacing_m, colours)
    _shade(picture, depth)
    seen = [each for each in instances if each.seen_by]
    for each in seen:
        _draw_box(picture, viewpoint, each.box, colour_of(each.instance_id))
    for each in seen:
        _caption(picture, viewpoint, each, (names or {}).get(each.instance_id) or str(each.instance_id))
    return picture


def _kept(cloud: LabelledCloud, keep: np.ndarray) -> LabelledCloud:
    return LabelledCloud(cloud.xyz[keep], cloud.rgb[keep], cloud.instance_id[keep], cloud.confidence[keep])


def _backdrop(size: tuple[int, int]) -> np.ndarray:
    ramp = np.linspace(BACKGROUND_TOP, BACKGROUND_BOTTOM, size[1])
    return np.ascontiguousarray(np.broadcast_to(ramp[:, None], (size[1], size[0], 3)).astype(np.uint8))


def _point_colours(rgb: np.ndarray, instance_id: np.ndarray) -> np.ndarray:
    """(N, 3) uint8: instances tinted with their colour, the rest paler so that it stays in the background."""
    tint = colour_table(np.unique(instance_id).tolist())[instance_id]
    grey = rgb.mean(1, keepdims=True)
    light = 0.45 + 0.55 * grey / 255
    instance = TINT * tint * light + (1 - TINT) * rgb
    rest = BACKDROP_GREY * (0.5 * rgb + 0.5 * grey) + 18
    return np.where((instance_id > 0)[:, None], instance, rest).clip(0, 255).astype(np.uint8)


def _spacing(xyz: np.ndarray) -> float:
    """Usual distance of points (N, 3) to their third neighbour, metres; 0 for fewer than four points."""
    if len(xyz) < 4:
        return 0.0
    sample = xyz[:: max(len(xyz) // SPACING_SAMPLES, 1)]
    return float(np.percentile(cKDTree(xyz).query(sample, k=4)[0][:, 3], 75))


def _splat(
    picture: np.ndarray, viewpoint: Viewpoint, xyz: np.ndarray, spacing_m: np.ndarray, colours: np.ndarray
) -> np.ndarray:
    """Draw each point as a square that reaches its neighbours; returns the z-buffer (H, W), infinite where empty."""
    pixels, depth = viewpoint.project(xyz)
    width, height = viewpoint.size
    reach_px = 0.6 * spacing_m * viewpoint.focal_px / np.maximum(depth, NEAR_M)
    radius = np.clip(np.rint(reach_px), 1, MAX_RADIUS_PX).astype(int)
    buffer = np.full((height, width), np.inf)
    order = np.argsort(-depth, kind="stable")
    order = order[depth[order] > NEAR_M]
    corner = np.floor(pixels[order]).astype(int)
    for right, down in product(range(-MAX_RADIUS_PX, MAX_RADIUS_PX + 1), repeat=2):
        u, v = corner[:, 0] + right, corner[:, 1] + down
        reached = radius[order] >= max(abs(right), abs(down))
        inside = reached & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        chosen, place = order[inside], v[inside] * width + u[inside]
        nearest = np.full(width * height, -1)
        nearest[place] = np.arange(len(place))  # the last one written stays, and the nearest comes last
        winners = nearest[nearest >= 0]
        _paint(picture, buffer, place[winners], depth[chosen[winners]], colours[chosen[winners]])
    return buffer


def _paint(picture: np.ndarray, buffer: np.ndarray, place: np.ndarray, depth: np.ndarray, colours: np.ndarray) -> None:
    """Overwrite the pixels whose new depth is nearer than what the buffer holds."""
    nearer = depth < buffer.reshape(-1)[place]
    buffer.reshape(-1)[place[nearer]] = depth[nearer]
    picture.reshape(-1, 3)[place[nearer]] = colours[nearer]


def _shade(picture: np.ndarray, depth: np.ndarray) -> None:
    """Eye-dome lighting: a pixel is darker the farther it lies behind its neighbours."""
    drawn = np.isfinite(depth)
    log_depth = np.where(drawn, np.log2(np.where(drawn, depth, 1.0)), 1e3).astype(np.float32)
    behind = np.zeros_like(log_depth)
    for shift in product((-2, 0, 2), repeat=2):
        behind += np.clip(log_depth - np.roll(log_depth, shift, (0, 1)), 0, 0.12)
    light = np.exp(-SHADE_STRENGTH * behind / 8)
    picture[drawn] = (picture[drawn] * light[drawn][:, None]).astype(np.uint8)


def box_corners(box: OrientedBox) -> np.ndarray:
    """(8, 3) corners in the world; two that differ in one bit of their index share an edge."""
    signs = np.array(list(product((-0.5, 0.5), repeat=3)))
    return box.centre + (signs * box.size) @ box.rotation.T


def _draw_box(picture: np.ndarray, viewpoint: Viewpoint, box: OrientedBox, colour: tuple[int, int, int]) -> None:
    pixels, depth = viewpoint.project(box_corners(box))
    if (depth <= NEAR_M).any():
        return
    points = [tuple(map(int, np.rint(pixel * 8))) for pixel in pixels]
    for first, second in combinations(range(8), 2):
        if (first ^ second).bit_count() == 1:
            cv2.line(picture, points[first], points[second], colour, 1, cv2.LINE_AA, shift=3)


def _caption(picture: np.ndarray, viewpoint: Viewpoint, instance: Instance, text: str) -> None:
    pixels, depth = viewpoint.project(box_corners(instance.box))
    if (depth <= NEAR_M).any():
        return
    place = int(pixels[:, 0].mean()), int(pixels[:, 1].min()) - 9
    if 0 <= place[0] < viewpoint.size[0] and 0 <= place[1] < viewpoint.size[1]:
        write(picture, text, place, centred=True, scale=0.5)
