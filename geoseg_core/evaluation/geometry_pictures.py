"""Pictures of predicted geometry beside the truth: tracks drawn across a pair of views, depth beside depth."""

import cv2
import numpy as np

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.geometry import depth_scale
from geoseg_core.evaluation.geometry_evaluator import Query
from geoseg_core.evaluation.pictures import contact_sheet, scaled
from geoseg_core.geometry.encoder import EncodedScene

SHOWN_POINTS = 24
NEAR_PERCENT = 4
GOOD, BAD, TRUTH = (60, 200, 60), (230, 60, 60), (255, 255, 255)
HEIGHT_PX = 240


def scene_sheet(sample: Sample, scene: EncodedScene, queries: list[Query]) -> np.ndarray:
    """(H, W, 3) uint8: a row for each view with its image, predicted and true depth in the same colours, after the
    set's scale; then a row for each two directions of tracks."""
    assert sample.depth is not None
    images = [view.image for view in scene.frames.views]
    truths = list(sample.depth.cpu().numpy())
    predicted = [view.depth_m for view in scene.views]
    scale = depth_scale(predicted, truths)
    rows = [
        [scaled(each, HEIGHT_PX) for each in (image, depth_colours(scale * depth, truth), depth_colours(truth, truth))]
        for image, depth, truth in zip(images, predicted, truths, strict=True)
    ]
    titles = [f"{view.camera}: image, predicted depth, true depth" for view in scene.frames.views]
    for query in queries:
        names = [scene.frames.views[index].camera for index in (query.source, query.target)]
        rows.append([scaled(tracks_picture(scene, query, images), HEIGHT_PX)])
        titles.append(f"{names[0]} to {names[1]}: green within {NEAR_PERCENT} % of the width, red not, white the truth")
    return contact_sheet(rows, titles)


def tracks_picture(scene: EncodedScene, query: Query, images: list[np.ndarray]) -> np.ndarray:
    """Source and target side by side with lines from points to where they were followed; (H, W, 3) uint8."""
    left, right = images[query.source], images[query.target]
    shown = np.flatnonzero(query.visible)
    shown = shown[:: max(len(shown) // SHOWN_POINTS, 1)][:SHOWN_POINTS]
    found = scene.track(query.points_px[shown], query.source, [query.target]).points_px[0]
    height = max(left.shape[0], right.shape[0])
    picture = np.concatenate([_extended(left, height), _extended(right, height)], axis=1)
    shift = np.array((left.shape[1], 0))
    limit = NEAR_PERCENT / 100 * right.shape[1]
    for start, end, truth in zip(query.points_px[shown], found, query.truth_px[shown], strict=True):
        colour = GOOD if np.linalg.norm(end - truth) <= limit else BAD
        inside = np.clip(end, 0, (right.shape[1] - 1, right.shape[0] - 1))
        cv2.line(picture, _pixel(start), _pixel(inside + shift), colour, 1, cv2.LINE_AA)
        cv2.circle(picture, _pixel(truth + shift), 3, TRUTH, 1, cv2.LINE_AA)
        cv2.circle(picture, _pixel(start), 2, colour, -1, cv2.LINE_AA)
    return picture


def depth_colours(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: near is bright, black is unknown; the range is that of the truth."""
    known = truth[truth > 0]
    low, high = np.percentile(1 / known, (2, 98)) if known.size else (0.0, 1.0)
    inverse = 1 / np.where(depth > 0, depth, np.inf)
    grey = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1) * 255
    coloured = cv2.cvtColor(cv2.applyColorMap(grey.astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return np.where((depth > 0)[..., None], coloured, 0).astype(np.uint8)


def _extended(image: np.ndarray, height: int) -> np.ndarray:
    return cv2.copyMakeBorder(image, 0, height - image.shape[0], 0, 0, cv2.BORDER_CONSTANT)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    u, v = np.rint(point).astype(int).tolist()
    return u, v
