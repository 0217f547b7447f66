"""Pictures to look at: masks over an image, and sheets of many images."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.prompts import deepest_pixel
from geoseg_core.results import ObjectMask

MASK_WEIGHT = 0.45
OUTLINE_PX = 2
TITLE_PX = 24
CAPTION_SCALE, CAPTION_PX = 0.45, 14
FONT = cv2.FONT_HERSHEY_SIMPLEX


def label_image(masks: Iterable[ObjectMask], size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint16 object ids of masks; where masks overlap the higher score wins."""
    labels = np.zeros(size, np.uint16)
    for each in sorted(masks, key=lambda mask: mask.score):
        labels[each.mask] = each.object_id
    return labels


def overlay(image: np.ndarray, labels: np.ndarray, names: Mapping[int, str] | None = None) -> np.ndarray:
    """A copy of an (H, W, 3) uint8 RGB image with tinted masks, outlines and one caption for each id.

    Args:
        labels: (H, W) uint16 of the image's size, 0 = none.
        names: captions by id; an id without one is written as its number.

    Raises:
        BadInput: image and labels have different sizes.
    """
    if image.shape[:2] != labels.shape:
        raise BadInput(f"overlay: expected labels of the image's size {image.shape[:2]}, got {labels.shape}")
    ids = _ids(labels)
    picture = np.ascontiguousarray(image).copy()
    if not ids:
        return picture
    boxes = {each: _padded_box(labels, each) for each in ids}
    for each, box in boxes.items():
        mask = (labels[box] == each).astype(np.uint8)
        region = picture[box]
        tint = np.empty_like(region)
        tint[:] = colour_of(each)
        cv2.copyTo(cv2.addWeighted(region, 1 - MASK_WEIGHT, tint, MASK_WEIGHT, 0), mask, region)
        edge = mask - cv2.erode(mask, np.ones((2 * OUTLINE_PX + 1,) * 2, np.uint8), borderValue=0)
        cv2.copyTo(tint, edge, region)
    captions = {each: (names or {}).get(each) or str(each) for each in ids}
    for each, place in _caption_places(labels, boxes, captions).items():
        write(picture, captions[each], place, centred=True)
    return picture


def _ids(labels: np.ndarray) -> list[int]:
    histogram = cv2.calcHist([labels], [0], None, [65536], [0, 65536])
    return [int(each) for each in np.flatnonzero(histogram) if each]


def _padded_box(labels: np.ndarray, object_id: int) -> tuple[slice, slice]:
    left, top, width, height = cv2.boundingRect((labels == object_id).view(np.uint8))
    return slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)


def _caption_places(
    labels: np.ndarray, boxes: Mapping[int, tuple[slice, slice]], captions: Mapping[int, str]
) -> dict[int, tuple[int, int]]:
    """Centres (u, v) of the captions: over the deepest place of each mask, or below a caption that is there already."""
    places: dict[int, tuple[int, int]] = {}
    widths = {each: cv2.getTextSize(text, FONT, CAPTION_SCALE, 1)[0][0] for each, text in captions.items()}
    for each, (rows, columns) in boxes.items():
        u, v = deepest_pixel(labels[rows, columns] == each).astype(int)
        u, v = int(u) + columns.start, int(v) + rows.start
        while any(
            abs(v - there[1]) < CAPTION_PX and 2 * abs(u - there[0]) < widths[each] + widths[other]
            for other, there in places.items()
        ):
            v += 1
        places[each] = u, v
    return places


def write(
    picture: np.ndarray, text: str, place: tuple[int, int], centred: bool = False, scale: float = CAPTION_SCALE
) -> None:
    """White text with a dark rim, in place; `place` (u, v) is its left foot, or its centre."""
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    u, v = (place[0] - width // 2, place[1] + height // 2) if centred else place
    u = min(max(u, 2), max(picture.shape[1] - width - 2, 2))
    v = min(max(v, height + 2), picture.shape[0] - 3)
    # A thicker stroke has wider letters: the rim is made of the same ones.
    stencil = np.zeros(picture.shape[:2], np.uint8)
    cv2.putText(stencil, text, (u, v), FONT, scale, 255, 1, cv2.LINE_AA)
    for shape, colour in ((cv2.dilate(stencil, np.ones((3, 3), np.uint8)), 20), (stencil, 255)):
        share = shape[..., None] / np.float32(255)
        picture[:] = (picture * (1 - share) + colour * share).round().astype(picture.dtype)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], gap_px: int = 6) -> np.ndarray:
    """One (H, W, 3) uint8 picture of rows of (h, w, 3) pictures; all are scaled to the first one's height.

    Args:
        rows: pictures of one instant in each row; rows may differ in length.
        titles: written above each row.

    Raises:
        BadInput: there is no picture.
    """
    if not rows or not all(rows):
        raise BadInput("contact sheet: expected at least one picture in each row, got none")
    height = rows[0][0].shape[0]
    strips = []
    for row, title in zip(rows, titles, strict=True):
        strip = _beside([scaled(picture, height) for picture in row], gap_px)
        strip = cv2.copyMakeBorder(strip, TITLE_PX, 0, 0, 0, cv2.BORDER_CONSTANT)
        write(strip, title, (6, TITLE_PX - 7), scale=0.5)
        strips.append(strip)
    width = max(strip.shape[1] for strip in strips)
    padded = [cv2.copyMakeBorder(each, 0, gap_px, 0, width - each.shape[1], cv2.BORDER_CONSTANT) for each in strips]
    return np.concatenate(padded)[:-gap_px]


def scaled(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture (h, w, 3) or map (h, w) uint8 at another height, in its proportions."""
    width = round(picture.shape[1] * height / picture.shape[0])
    return picture if picture.shape[0] == height else cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _beside(pictures: Sequence[np.ndarray], gap_px: int) -> np.ndarray:
    spaced = [cv2.copyMakeBorder(each, 0, 0, 0, gap_px, cv2.BORDER_CONSTANT) for each in pictures]
    return np.ascontiguousarray(np.concatenate(spaced, 1)[:, :-gap_px])


def write_png(path: str, picture: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB picture."""
    cv2.imwrite(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
