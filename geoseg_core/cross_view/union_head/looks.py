"""What the union head is shown of an encoded scene: pairs of views, an object in each.

Three looks:

* "whole": the views as they were encoded. Nothing is computed anew.
* "zoom": windows of the maps that are there already, enlarged. The encoder's work is reused wholly; the maps get no
  sharper by that.
* "encode": windows of the images, encoded anew for each object, as released. Of the first encode only the coarse points
  are used.

The ego view is the first one of the set. As a target it is shown whole, other targets through windows around coarse
points; a source is shown around its mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.cross_view.union_head.anchors import mask_anchors, spread_points
from geoseg_core.cross_view.union_head.config import EgoExoConfig
from geoseg_core.cross_view.union_head.ego_exo import (
    exo_square,
    exo_target,
    source_window,
    whole,
    without_outliers,
)
from geoseg_core.cross_view.union_head.windows import UNSEEN, Window
from geoseg_core.geometry.encoder import EncodedScene, GeometryEncoder
from geoseg_core.geometry.network_input import Placement
from geoseg_core.views import FrameSet, View

EGO = 0


class MatchingEncoder(GeometryEncoder, Protocol):
    """An encoder whose features tell where the places of one view are in another one, even of another set.

    All pixels are those of the network's input.

    Attributes:
        points_apart: whether a point is found in the same place whatever other points are asked for with it.
    """

    points_apart: bool

    def matched_points(self, maps: Tensor, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 2) of the first of two views of different sets, with features (2, C, h, w), in the second, and how
        far (N,) they are in sight there."""

    def matched_masks(self, maps: Tensor, masks: np.ndarray, same_set: bool = False) -> Tensor | None:
        """Logits (K, H, W) of masks (K, H, W) of the first of two views in the second; None from an encoder that
        matches points alone."""


class MatchedScene(EncodedScene, Protocol):
    """An encoded scene with the features that the union head reads."""

    @property
    def placements(self) -> list[Placement]:
        """How each view stands in the network's input."""

    @property
    def encoder(self) -> MatchingEncoder:
        """What encoded it."""

    def matching_maps(self, source: int) -> Tensor:
        """Features (V, C, h, w) of every view by which view `source` is matched."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One object, from the source view to a target view, in pixels of what the network sees.

    Attributes:
        maps: (2, C, h, w) features of source and target.
        mask: (H, W) bool.
        source_points_px, target_points_px: (N, 2).
        back: logits (1, H, W) of the target as the network sees it to those of its image.
        prior: (H, W) logits of the mask as the encoder itself matches it; None if it does not.
    """

    maps: Tensor
    mask: np.ndarray
    source_points_px: np.ndarray
    target_points_px: np.ndarray
    back: Callable[[Tensor], Tensor]
    prior: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Coarse:
    """Where the points of each object are in every target, in pixels of the images.

    Attributes:
        targets: the views that they were followed into.
        points_px: for each object and target (N, 2); fewer points in the ego view, whose prompts they are themselves.
        anchors_px: for each object the (points, 2) that stand for it in the source's network input.
    """

    targets: list[int]
    points_px: list[dict[int, np.ndarray]]
    anchors_px: list[np.ndarray] = field(default_factory=list)


def coarse_points(
    scene: MatchedScene, source: int, marked: list[np.ndarray], config: EgoExoConfig, whole: bool = False
) -> Coarse:
    """Follow points of every object into every other view.

    Args:
        marked: the masks in pixels of the network's input.
        whole: the views are shown whole; then projected prompts are all that has to be followed.
    """
    place, apart = scene.placements[source], scene.encoder.points_apart
    targets = [index for index in range(len(scene.frames.views)) if index != source]
    kinds = {config.points: targets}
    if not (whole and config.prompts == "projected") and config.coarse_points != config.points:
        kinds = {config.points: [each for each in targets if each == EGO]}
        kinds[config.coarse_points] = [each for each in targets if each != EGO]
    anchors = [mask_anchors(mask, config.points).points_px for mask in marked]
    found: list[dict[int, np.ndarray]] = [{} for _ in marked]
    for count, asked in kinds.items():
        if asked:
            points = anchors if count == config.points else [mask_anchors(mask, count).points_px for mask in marked]
            tracks = of_each(lambda some: scene.track(place.to_source(some), source, asked).points_px, points, apart)  # noqa: B023
            for followed, track in zip(found, tracks, strict=True):
                followed |= dict(zip(asked, track, strict=True))
    return Coarse(targets, found, anchors)


def of_each(
    follow: Callable[[np.ndarray], np.ndarray], points: Sequence[np.ndarray], apart: bool
) -> list[np.ndarray]:
    """What `follow` makes of the points (N, 2) of each object, (..., N, C).

    Objects shall not see each other: where points are not found apart, each object is followed by itself.
    """
    if not apart:
        return [follow(each) for each in points]
    return np.split(follow(np.concatenate(points)), np.cumsum([len(each) for each in points[:-1]]), axis=-2)


def whole_pairs(
    scene: MatchedScene, source: int, marked: list[np.ndarray], coarse: Coarse, config: EgoExoConfig
) -> list[Pair]:
    """All pairs, objects in turn, with the views as they were encoded."""
    maps = scene.matching_maps(source).float()
    priors = matched(scene, maps, marked, source, coarse.targets)
    both = {target: maps[[source, target]] for target in coarse.targets}
    pairs = []
    for number, mask in enumerate(marked):
        points = coarse.anchors_px[number]
        for target in coarse.targets:
            place = scene.placements[target]
            found = coarse.points_px[number][target]
            if config.prompts != "projected" and target != EGO:
                found = spread_points(without_outliers(found, config.dropped), config.points)
            prior = priors[target][number] if target in priors else None
            pairs.append(Pair(both[target], mask, points, on_canvas(found, place), returning(place), prior))
    return pairs


def matched(
    scene: MatchedScene, maps: Tensor, marked: list[np.ndarray], source: int, targets: list[int]
) -> dict[int, Tensor]:
    """Logits (K, H, W) of the masks in each target where the encoder itself matches them; nothing if it can't."""
    masks = np.stack(marked)
    found = {target: scene.encoder.matched_masks(maps[[source, target]], masks, True) for target in targets}
    return {target: logits for target, logits in found.items() if logits is not None}


def projected(
    scene: MatchedScene, source: int, points_px: np.ndarray, targets: list[int], config: EgoExoConfig
) -> dict[int, np.ndarray]:
    """Where points (N, 2) of the source's network input are in the targets' images; nothing if others are wanted."""
    if config.prompts != "projected":
        return {}
    tracks = scene.track(scene.placements[source].to_source(points_px), source, targets)
    return dict(zip(targets, tracks.points_px, strict=True))


def on_canvas(points_px: np.ndarray, place: Placement) -> np.ndarray:
    """Points (N, 2) of an image in the network's input, moved onto it."""
    return place.to_network(points_px).clip(0, np.array(place.canvas[::-1]) - 1)


def returning(place: Placement) -> Callable[[Tensor], Tensor]:
    """Logits (N, h, w) of the network's input at the pixels of the image, (N, H, W); UNSEEN where it was cropped."""
    return lambda logits: place.logits_to_source(logits, UNSEEN)


def zoomed_pairs(
    scene: MatchedScene, source: int, marked: list[np.ndarray], coarse: Coarse, config: EgoExoConfig
) -> list[Pair]:
    """All pairs, objects in turn, with windows of the maps that are there."""
    maps = scene.matching_maps(source).float()
    canvas = scene.placements[source].canvas
    config = replace(config, side=min(canvas))
    priors = matched(scene, maps, marked, source, coarse.targets)
    pairs = []
    for number, mask in enumerate(marked):
        around = source_window(mask, config.source_share)
        near = Window(canvas, around.left, around.top, around.width, around.height, (config.side, config.side))
        cut = near.mask(mask)
        points = mask_anchors(cut, config.points).points_px
        direct = projected(scene, source, near.to_frame(points), coarse.targets, config)
        shown = window_of_map(maps[source], near)
        for target in coarse.targets:
            place = scene.placements[target]
            window, prompts = target_window(place.to_network, canvas, number, target, coarse, config)
            if target in direct:
                prompts = window.clipped(place.to_network(direct[target]))
            both = torch.stack((shown, window_of_map(maps[target], window)))
            prior = window_of_map(priors[target][number, None], window)[0] if target in priors else None
            back = through(window.logits_to_frame, returning(place))
            pairs.append(Pair(both, cut, points, prompts, back, prior))
    return pairs


def target_window(
    moved: Callable[[np.ndarray], np.ndarray],
    frame: tuple[int, int],
    number: int,
    target: int,
    coarse: Coarse,
    config: EgoExoConfig,
) -> tuple[Window, np.ndarray]:
    """The window of a target in a frame to which `moved` takes its points, and the prompts in it."""
    if target == EGO:
        window = whole(frame, config.side)
        return window, window.clipped(moved(coarse.points_px[number][target]))
    found = exo_target(moved(coarse.points_px[number][target]), frame, config)
    return found.window, found.points_px


def window_of_map(features: Tensor, window: Window) -> Tensor:
    """Features (C, h, w) of a frame, cut to a window of it and resampled to the cells of the window's size."""
    stride = window.frame[1] / features.shape[2]
    left, top, right, bottom = window.box
    rows, columns = (
        (torch.arange(cells, device=features.device) + 0.5) / cells * (high - low) + low
        for cells, low, high in (
            (round(window.size[0] / stride), top, bottom),
            (round(window.size[1] / stride), left, right),
        )
    )
    size = features.new_tensor(window.frame[::-1])
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).to(features)
    places = 2 * grid / size - 1
    return F.grid_sample(features[None], places[None], padding_mode="border", align_corners=False)[0]


def through(first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Both, one after the other."""
    return lambda logits: second(first(logits))


def encoded_pairs(
    scene: MatchedScene, source: int, masks: np.ndarray, coarse: Coarse, config: EgoExoConfig
) -> list[Pair]:
    """All pairs, objects in turn, with windows of the images: one more encode for each object.

    Args:
        masks: (K, H, W) in pixels of the source's image.
    """
    config = replace(config, side=max(scene.placements[source].canvas))
    views = scene.frames.views
    pairs = []
    for number, mask in enumerate(masks):
        image, cut = source_close_up(views[source], mask, source == EGO, config)
        looks = [
            target_window(np.asarray, views[target].size, number, target, coarse, config) for target in coarse.targets
        ]
        shown = [View(views[source].camera, image)]
        shown += [
            View(views[target].camera, window.image(views[target].image))
            for target, (window, _) in zip(coarse.targets, looks, strict=True)
        ]
        closer: MatchedScene = scene.encoder.encode(FrameSet(tuple(shown)))  # type: ignore[assignment]
        maps, (place, *places) = closer.matching_maps(0).float(), closer.placements
        marked = place.map_to_network(cut) > 0
        points = mask_anchors(marked, config.points).points_px
        others = list(range(1, len(shown)))
        direct = projected(closer, 0, points, others, config)
        priors = matched(closer, maps, [marked], 0, others)
        for index, (window, prompts) in enumerate(looks, start=1):
            back = through(returning(places[index - 1]), window.logits_to_frame)
            seen = on_canvas(direct.get(index, prompts), places[index - 1])
            prior = priors[index][0] if index in priors else None
            pairs.append(Pair(maps[[0, index]], marked, points, seen, back, prior))
    return pairs


def source_close_up(view: View, mask: np.ndarray, ego: bool, config: EgoExoConfig) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of a source as released: a square of the frame, and in it a window around the mask."""
    square = whole(view.size, config.side) if ego else exo_square(mask, config.side)
    image, marked = square.image(view.image), square.mask(mask)
    window = source_window(marked, config.source_share)
    cut = window.mask(marked)
    return (window.image(image), cut) if cut.any() else (image, marked)
