"""What comes out of the pipeline for one frame set. Every message of geoseg_ros is made from these."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from geoseg_core.views import FrameSet


class Visibility(IntEnum):
    """Where an object is with respect to one view."""

    VISIBLE = 0
    OCCLUDED = 1
    OUT_OF_VIEW = 2


class Agreement(IntEnum):
    """Whether an object's mask agrees with its masks in other views, seen through depth, and with the instances."""

    UNCHECKED = 0
    AGREED = 1
    DISPUTED = 2


class ScaleStatus(IntEnum):
    """How far the unit of length can be trusted to be the metre."""

    UNKNOWN = 0
    ESTIMATED = 1
    LOCKED = 2


class EventKind(IntEnum):
    """What happened to an object's identity."""

    LOST = 0
    FOUND = 1
    MERGED = 2
    SPLIT = 3


@dataclass(frozen=True)
class ScaleState:
    """Metric scale with its provenance; `standard_deviation` is relative (0.01 = 1 %).

    `drift`: the drift alarm, how tf or a depth camera and the prediction disagree; empty while it is off.
    """

    status: ScaleStatus = ScaleStatus.UNKNOWN
    source: str = ""
    standard_deviation: float = float("inf")
    drift: str = ""


@dataclass(frozen=True, eq=False)
class ObjectMask:
    """One object in one view. `mask`: (H, W) bool; `score`: the overlap with the truth (IoU) that is expected."""

    object_id: int
    mask: np.ndarray
    score: float
    visibility: Visibility
    label: str = ""
    agreement: Agreement = Agreement.UNCHECKED


@dataclass(frozen=True, eq=False)
class ViewMasks:
    """The masks of one view; `camera` names it. Object ids are unique within a view."""

    camera: str
    masks: tuple[ObjectMask, ...]


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """Centre (3,), box_to_world rotation (3, 3), full edge lengths (3,); metres."""

    centre: np.ndarray
    rotation: np.ndarray
    size: np.ndarray


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing of the scene with an identity that persists over views and time.

    Attributes:
        instance_id: persistent, 1 to 65535, never used again for another thing.
        centroid: (3,) metres, world frame; centroid_covariance: (3, 3) square metres.
        box: oriented box of its points.
        point_count: points of the cloud that carry its id.
        score: confidence in [0, 1].
        first_seen_ns, last_seen_ns: stamps of the first and the newest set that saw it.
        seen_by: cameras that see it in this set (empty while it is remembered but unseen).
        class_name, class_score: empty and 0 without a vocabulary or classes, and where no class scores enough.
    """

    instance_id: int
    centroid: np.ndarray
    centroid_covariance: np.ndarray
    box: OrientedBox
    point_count: int
    score: float
    first_seen_ns: int
    last_seen_ns: int
    seen_by: tuple[str, ...]
    class_name: str = ""
    class_score: float = 0.0


@dataclass(frozen=True, eq=False)
class LabelledCloud:
    """Points in the world frame: xyz (N, 3) float32 metres, rgb (N, 3) uint8, instance_id (N,) uint16
    (0 = no instance), confidence (N,) float32 in [0, 1]."""

    xyz: np.ndarray
    rgb: np.ndarray
    instance_id: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, eq=False)
class InstanceResult:
    """`labels`: per view (H, W) uint16, pixel = instance id, 0 = none; `instances` has live ones only."""

    labels: tuple[np.ndarray, ...]
    instances: tuple[Instance, ...]
    cloud: LabelledCloud
    scale: ScaleState


@dataclass(frozen=True, eq=False)
class PromptResult:
    """Answer to one prompted object: its mask in every view and its points and box in 3-D.

    `frames` is the set that the prompt was answered on; `instance` is None where no 3-D was found. `seconds` is what
    computing took. Cameras of the set that a budget left no time for are `not_asked`, and missing in `frames`.
    """

    frames: FrameSet
    object_id: int
    views: tuple[ViewMasks, ...]
    cloud: LabelledCloud
    instance: Instance | None
    scale: ScaleState
    seconds: float = 0.0
    not_asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObjectEvent:
    """Something that happened to an identity: `related_ids` are the partners of a merge or split."""

    kind: EventKind
    object_id: int
    stamp_ns: int
    reason: str
    related_ids: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class SceneResult:
    """All that one frame set gave. A readout whose task is off is None (masks: empty).

    `stage_ms` holds the wall time of each stage: encode, cross_view, instances, vocabulary, total. `memory_bytes`: what
    is remembered takes.
    """

    frames: FrameSet
    masks: tuple[ViewMasks, ...]
    instances: InstanceResult | None
    events: tuple[ObjectEvent, ...] = ()
    scale: ScaleState = field(default_factory=ScaleState)
    stage_ms: dict[str, float] = field(default_factory=dict)
    memory_bytes: int = 0
