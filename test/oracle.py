"""A small labelled sequence, and a pipeline that knows its truth and spoils it in known ways."""

import numpy as np

from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.errors import BadInput
from geoseg_core.results import (
    Instance,
    InstanceResult,
    LabelledCloud,
    ObjectMask,
    OrientedBox,
    PromptResult,
    ScaleState,
    SceneResult,
    ViewMasks,
    Visibility,
)
from geoseg_core.views import FrameSet, View

CAMERAS = ("ego", "exo")
OBJECTS = (TruthObject(1, "mug", "mug"), TruthObject(2, "box", "box"), TruthObject(9, "arm", "arm", "robot"))
SIZE = (48, 64)


def labelled_set(number):
    """Two views; the mug (20x20) and the box (20x20) in both, the arm in the ego view."""
    labels = {camera: np.zeros(SIZE, np.uint16) for camera in CAMERAS}
    labels["ego"][2:22, 2 + number : 22 + number] = 1
    labels["ego"][24:44, 30:50] = 2
    labels["ego"][0:10, 50:64] = 9
    labels["exo"][20:40, 2:22] = 1
    labels["exo"][10:30, 40:60] = 2
    image, stamp_ns = np.full((*SIZE, 3), 90, np.uint8), 10**9 + number * 10**8
    views = [View(name, image, stamp_ns, np.eye(3), np.eye(4)) for name in CAMERAS]
    return LabelledSet(FrameSet(tuple(views)), labels)


def sequence(count=4):
    return [labelled_set(number) for number in range(count)]


class OraclePipeline:
    """Answers with the truth. `cut_px`: rows cut off every transferred mask; `refuse`: camera whose prompts fail."""

    def __init__(self, sets, cut_px=0, refuse=""):
        self.sets = {each.frames.stamp_ns: each for each in sets}
        self.cut_px, self.refuse = cut_px, refuse
        self.prompts = []

    def process(self, frames):
        self.current = self.sets[frames.stamp_ns]
        labels = tuple(self.current.labels[camera] * 10 for camera in frames.cameras)
        cloud = LabelledCloud(
            np.random.default_rng(0).random((500, 3)).astype(np.float32),
            np.full((500, 3), 128, np.uint8),
            np.repeat(np.array([10, 20], np.uint16), 250),
            np.ones(500, np.float32),
        )
        box = OrientedBox(np.full(3, 0.5), np.eye(3), np.ones(3))
        instances = tuple(
            Instance(each, np.full(3, 0.5), np.eye(3), box, 250, 0.9, 0, 0, frames.cameras) for each in (10, 20, 90)
        )
        result = InstanceResult(labels, instances, cloud, ScaleState())
        return SceneResult(frames, (), result, stage_ms={"encode": 2.0, "total": 5.0})

    def segment(self, prompt):
        self.prompts.append(prompt)
        if prompt.camera == self.refuse:
            raise BadInput("refused")
        object_id = self._object(prompt)
        views = tuple(ViewMasks(camera, (self._mask(camera, object_id, prompt),)) for camera in CAMERAS)
        empty = LabelledCloud(
            np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.uint16), np.zeros(0, np.float32)
        )
        return PromptResult(self.current.frames, 0, views, empty, None, ScaleState())

    def _object(self, prompt):
        labels = self.current.labels[prompt.camera]
        if prompt.mask is not None:
            return int(np.bincount(labels[prompt.mask]).argmax())
        if prompt.box_px is not None:
            u, v = (prompt.box_px[:2] + prompt.box_px[2:]) / 2
            return int(labels[int(v), int(u)])
        u, v = prompt.points_px[0].astype(int)
        return int(labels[v, u])

    def _mask(self, camera, object_id, prompt):
        mask = self.current.labels[camera] == object_id
        if camera != prompt.camera and self.cut_px:
            mask[np.flatnonzero(mask.any(1))[: self.cut_px]] = False
        return ObjectMask(0, mask, 1.0, Visibility.VISIBLE)
