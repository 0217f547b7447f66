"""Things by the readout without weights, behind the contract of every finder of instances, for comparison.

It is given what no network here is: true depth, calibration and poses.
"""

from dataclasses import replace

import numpy as np

from geoseg_core.config import build
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.finder import FoundThings
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter
from geoseg_core.views import FrameSet


class MeasuredThings:
    """Things by clusters of the points off the support planes; each scene by itself: one set confirms a thing."""

    method = "rgbd"

    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together. What they look like is not told: `looks` has no columns."""
        segmenter = InstanceSegmenter(build(InstanceConfig, {"identity.confirm_sets": 1}))
        result = segmenter.result(segmenter.update(scene))
        ranked = sorted(result.instances, key=lambda each: -each.score)
        numbers = np.zeros(1 + max((each.instance_id for each in ranked), default=0), np.uint16)
        for number, each in enumerate(ranked, start=1):
            numbers[each.instance_id] = number
        scores = np.array([each.score for each in ranked], np.float64)
        labels = tuple(numbers[np.where(each < len(numbers), each, 0)] for each in result.labels)
        return FoundThings(labels, scores, np.zeros((len(ranked), 0), np.float32))


def with_geometry(sample: Sample) -> FrameSet:
    """The views of a sample with true depth, calibration and poses.

    Raises:
        BadInput: the sample lacks one of them.
    """
    if sample.depth is None or sample.intrinsics is None or sample.camera_to_world is None:
        raise BadInput(f"{sample.source}: expected depth, calibration and poses that the method needs; leave it out")
    depth = sample.depth.cpu().numpy()
    intrinsics, poses = (each.double().cpu().numpy() for each in (sample.intrinsics, sample.camera_to_world))
    frames = images_only(sample)
    known = zip(frames.views, depth, intrinsics, poses, strict=True)
    views = (replace(view, depth_m=seen, intrinsics=lens, camera_to_world=pose) for view, seen, lens, pose in known)
    return replace(frames, views=tuple(views))
