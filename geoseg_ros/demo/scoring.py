"""The demo's figures: what the live nodes published, compared with the bag's ground truth by stamp."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.evaluation.config import EvaluationConfig
from geoseg_core.evaluation.cross_view import DIRECTIONS, CrossViewScore, direction
from geoseg_core.evaluation.evaluator import SetFigures, unique_names
from geoseg_core.evaluation.gallery import Instant
from geoseg_core.evaluation.instances import InstanceScore
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.evaluation.pictures import label_image
from geoseg_core.evaluation.prompts import PromptScore
from geoseg_core.results import ObjectMask, ScaleStatus
from geoseg_ros.conversions import cloud_from_msg, instances_from_msg, masks_from_msg, scale_from_msg
from geoseg_ros.demo.follower import Follower
from geoseg_ros.demo.script import Request
from geoseg_ros.msg import PromptMasks
from geoseg_ros.sensor_messages import time_from_msg


@dataclass(frozen=True, eq=False)
class Followed:
    """A request that was granted: the id that the node follows it by and the first answer."""

    request: Request
    object_id: int
    answer: PromptMasks

    @property
    def stamp_ns(self) -> int:
        """Stamp of the set that the prompt was answered on."""
        return time_from_msg(self.answer.header.stamp)


@dataclass(eq=False)
class Scores:
    """All measures of one run."""

    objects: Sequence[TruthObject]
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    received: int = 0
    processed: int = 0
    history: list[SetFigures] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = unique_names(self.objects)
        self.cross_view = CrossViewScore(self.config.min_pixels)
        self.instances = InstanceScore(self.names, self.config.min_pixels)
        self.prompts = PromptScore(self.config.min_pixels)

    def add(self, labelled: LabelledSet, follower: Follower, followed: Sequence[Followed], ego: str) -> Instant | None:
        """Compare one set of the bag with what was published for it; the instant to show, None if nothing was."""
        self.received += 1
        message = follower.masks.get(labelled.frames.stamp_ns)
        if message is None:
            return None
        self.processed += 1
        masks = masks_from_msg(message)
        figures = SetFigures(labelled.frames.stamp_ns)
        for each in followed:
            if each.stamp_ns == labelled.frames.stamp_ns:
                self._add_answer(labelled, each, masks)
            if each.stamp_ns <= labelled.frames.stamp_ns:
                self._add_transfer(labelled, masks, each, ego, figures)
        self._add_instances(labelled, follower, figures)
        self.history.append(figures)
        return _instant(labelled, follower, masks)

    def report(self, method: str) -> dict[str, Any]:
        """The figures, under the keys that all reports share."""
        figures = {
            "cross_view": self.cross_view.report(),
            "instances": self.instances.report(),
            "prompts": self.prompts.report(),
        }
        return {task: {method: parts} for task, parts in figures.items()}

    def _add_transfer(
        self,
        labelled: LabelledSet,
        masks: dict[str, dict[int, ObjectMask]],
        each: Followed,
        ego: str,
        figures: SetFigures,
    ) -> None:
        """IoU in every view across the ego-exo divide from the prompted one, where both views see the object."""
        truth_id, source = each.request.truth_id, each.request.prompt.camera
        source_labels = labelled.labels.get(source)
        if source_labels is None or np.count_nonzero(source_labels == truth_id) < self.config.min_pixels:
            return
        ways = {camera: direction(source, camera, ego) for camera in labelled.labels}
        for way in DIRECTIONS:
            ious = []
            for camera in [camera for camera in ways if ways[camera] == way]:
                found = masks.get(camera, {}).get(each.object_id)
                truth = labelled.labels[camera] == truth_id
                predicted = np.zeros(truth.shape, bool) if found is None else found.mask
                ious.append(self.cross_view.add(way, each.request.name, truth, predicted))
            counted = [iou for iou in ious if iou is not None]
            if counted:
                figures.iou.setdefault(way, {})[each.request.name] = float(np.mean(counted))

    def _add_answer(self, labelled: LabelledSet, each: Followed, masks: dict[str, dict[int, ObjectMask]]) -> None:
        """The answer to a prompt is what was said of the object in the set that it was answered on."""
        for camera, answers in masks_from_msg(each.answer).items():
            for answer in answers.values():
                masks.setdefault(camera, {})[each.object_id] = answer
        truths, predicted = [], []
        for camera, labels in labelled.labels.items():
            truths.append(labels == each.request.truth_id)
            found = masks.get(camera, {}).get(each.object_id)
            predicted.append(np.zeros(labels.shape, bool) if found is None else found.mask)
        if any(np.count_nonzero(truth) >= self.config.min_pixels for truth in truths):
            kind = "one_click" if each.request.prompt.box_px is None else "box"
            self.prompts.add(kind, truths, predicted)

    def _add_instances(self, labelled: LabelledSet, follower: Follower, figures: SetFigures) -> None:
        scores = follower.scores.get(labelled.frames.stamp_ns)
        if scores is None:  # no instances were published: the labels are those of the followed objects alone
            return
        truth, predicted = [], []
        for view in labelled.frames.views:
            runs = follower.labels.get((view.camera, view.stamp_ns))
            if runs is not None and view.camera in labelled.labels:
                truth.append(labelled.labels[view.camera])
                predicted.append(runs.image())
        if truth:
            fits = self.instances.add(overlap(truth, predicted), scores)
            figures.ids.update({self.names[truth_id]: chosen for truth_id, chosen in fits.items()})


def _instant(labelled: LabelledSet, follower: Follower, masks: dict[str, dict[int, ObjectMask]]) -> Instant:
    """The followed objects over the images, with the cloud where one was kept."""
    views = labelled.frames.views
    labels = tuple(label_image(masks.get(view.camera, {}).values(), view.size) for view in views)
    poses = tuple(view.camera_to_world for view in views if view.camera_to_world is not None)
    images = tuple(view.image for view in views)
    cloud = follower.clouds.get(labelled.frames.stamp_ns)
    if cloud is None:
        return Instant(labelled.frames.stamp_ns, images, labels, poses)
    if scale_from_msg(cloud.scale).status is ScaleStatus.UNKNOWN:  # its world is the frame of a camera, not that of tf
        poses = (np.eye(4),)
    instances = tuple(instances_from_msg(cloud).values())
    return Instant(labelled.frames.stamp_ns, images, labels, poses, cloud_from_msg(cloud), instances)
