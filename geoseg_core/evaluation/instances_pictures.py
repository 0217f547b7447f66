"""Pictures of found things: the views of a scene with the true things, and below with those that were found."""

import numpy as np

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.instance_tracks import assigned
from geoseg_core.evaluation.instances_evaluator import SceneTruth
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.evaluation.pictures import contact_sheet, overlay, scaled
from geoseg_core.instances.finder import FoundThings

HEIGHT_PX = 260
# Things that stand for no true one get colours that no true one has.
OTHERS = 1000


def instances_sheet(sample: Sample, truth: SceneTruth, found: FoundThings) -> np.ndarray:
    """(H, W, 3) uint8. A found thing that stands for a true one has its colour and is named by the overlap of the two,
    in all views together; any other one is named by its score, with a question mark."""
    counts = overlap(truth.labels, found.labels)
    things = np.isin(counts.truth_ids, truth.things)
    iou = counts.iou()[things]
    numbers = np.arange(len(found.scores) + 1, dtype=np.uint16) + OTHERS
    numbers[0] = 0
    names = {OTHERS + place: f"?{score:.2f}" for place, score in enumerate(found.scores, start=1)}
    for row, column in enumerate(assigned(iou)):
        if column >= 0:
            object_id, number = int(counts.truth_ids[things][row]), int(counts.predicted_ids[column])
            numbers[number] = object_id
            names[object_id] = f"{iou[row, column]:.2f}"
    images = [view.image for view in images_only(sample).views]
    true = [np.where(np.isin(each, truth.things), each, 0).astype(np.uint16) for each in truth.labels]
    painted = [numbers[each] for each in found.labels]
    rows = [
        [overlay(tall(image), enlarged(each)) for image, each in zip(images, true, strict=True)],
        [overlay(tall(image), enlarged(each), names) for image, each in zip(images, painted, strict=True)],
    ]
    titles = [f"{sample.source}: {things.sum()} things", f"{len(found.scores)} found: overlap, or ?score"]
    return contact_sheet(rows, titles)


def tall(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) at the height of the sheet, so that captions have room."""
    return scaled(image, HEIGHT_PX)


def enlarged(labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) at the size of `tall`, without values in between."""
    height, width = HEIGHT_PX, round(labels.shape[1] * HEIGHT_PX / labels.shape[0])
    rows, columns = (np.arange(size) * old // size for size, old in zip((height, width), labels.shape, strict=True))
    return np.ascontiguousarray(labels[rows[:, None], columns])
