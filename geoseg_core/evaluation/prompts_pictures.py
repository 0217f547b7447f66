"""Pictures of answers to prompts: all views of a set, with what was found and the truth."""

from collections.abc import Sequence

import numpy as np

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.masks_pictures import TRUTH, outlined, tinted
from geoseg_core.evaluation.overlap import mask_iou
from geoseg_core.evaluation.pictures import contact_sheet
from geoseg_core.evaluation.prompts_evaluator import ALL_VIEWS, Answered

SHOWN = 6


def prompts_sheet(sample: Sample, answers: Sequence[Answered]) -> np.ndarray:
    """(H, W, 3) uint8: a row for each of the first answers, its views side by side; what was found is tinted, the white
    line is the truth."""
    views = images_only(sample).views
    rows, titles = [], []
    for each in answers[:SHOWN]:
        marked = [outlined(tinted(view.image, found), truth, TRUTH)
                  for view, found, truth in zip(views, each.found, each.truth, strict=True)]  # fmt: skip
        rows.append(marked)
        where = views[each.source].camera if each.source != ALL_VIEWS else "all views"
        ious = [mask_iou(*pair) for pair in zip(each.truth, each.found, strict=True)]
        titles.append(f"thing {each.thing}, {each.kind} in {where}: IoU " + ", ".join(f"{iou:.2f}" for iou in ious))
    return contact_sheet(rows, titles)
