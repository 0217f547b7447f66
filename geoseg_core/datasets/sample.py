"""What trainers eat: views of one scene with all that is known of them, whatever dataset they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.shapes import check_shape

if TYPE_CHECKING:
    # It needs OpenCV, which training on worlds does without.
    from geoseg_core.datasets.scan import ScanFiles

SHAPES = {
    "images": "V 3 H W",
    "depth": "V H W",
    "instance_ids": "V H W",
    "class_ids": "V H W",
    "intrinsics": "V 3 3",
    "camera_to_world": "V 4 4",
    "object_to_world": "V K 4 4",
    "moments": "V",
}


@dataclass(frozen=True, eq=False)
class Sample:
    """Views of one scene; None stands for what the dataset does not know.

    A batch is a Sample whose tensors have one more dimension in front; `collate` makes it.

    Attributes:
        images: (V, 3, H, W) float32 RGB in [0, 1].
        depth: (V, H, W) float32 along z; 0 where unknown. In metres where `metric`.
        instance_ids: (V, H, W) int64; 0 = no object, the same id in every view and moment.
        class_ids: (V, H, W) int64; 0 = no class.
        intrinsics: (V, 3, 3) float32, pixels; pixel centres are whole numbers.
        camera_to_world: (V, 4, 4) float32.
        object_to_world: (V, K, 4, 4) float32; pose of object k + 1 at the moment of each view.
        moments: (V,) float32 seconds; views of one moment see one state of the scene.
        cameras: name of the camera of each view ("ego", "exo_1", ...); of a batch, those of its first sample.
        metric: whether lengths are metres.
        source: where it came from, for messages ("worlds seed 7", "scannet scene0000_00").
        scan: the files of the scan that the scene's benchmark measures on, its ids those of `instance_ids`; a batch has
            none.
    """

    images: Tensor
    depth: Tensor | None = None
    instance_ids: Tensor | None = None
    class_ids: Tensor | None = None
    intrinsics: Tensor | None = None
    camera_to_world: Tensor | None = None
    object_to_world: Tensor | None = None
    moments: Tensor | None = None
    cameras: tuple[str, ...] = ()
    metric: bool = True
    source: str = ""
    scan: "ScanFiles | None" = None

    @property
    def last_thing(self) -> int:
        """The highest id that a thing can have: where things have poses, what has none, such as the arm of the worlds,
        is no thing."""
        return torch.iinfo(torch.int64).max if self.object_to_world is None else self.object_to_world.shape[-3]

    def check(self) -> Self:
        """Return this sample of one scene, or refuse it.

        Raises:
            BadInput: a tensor of another shape, or of another number of views or size than the images.
        """
        for name, shape in SHAPES.items():
            value = getattr(self, name)
            if value is None:
                continue
            check_shape(value, shape, name)
            if len(value) != len(self.images):
                raise BadInput(f"{self.source}: expected {name} of {len(self.images)} views, got {len(value)}")
            if shape == "V H W" and value.shape[-2:] != self.images.shape[-2:]:
                wanted, got = tuple(self.images.shape[-2:]), tuple(value.shape[-2:])
                raise BadInput(f"{self.source}: expected {name} of the size of the images, {wanted}, got {got}")
        return self

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors().items()}
        return replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """What is known, by name."""
        known = {name: getattr(self, name) for name in SHAPES}
        return {name: value for name, value in known.items() if value is not None}


def collate(samples: Sequence[Sample]) -> Sample:
    """A batch of samples with the same number of views, size and knowledge.

    Raises:
        BadInput: no sample, or samples that differ in what is known or in shape.
    """
    if not samples:
        raise BadInput("expected at least one sample to make a batch, got none")
    known = [{name: tuple(value.shape) for name, value in sample.tensors().items()} for sample in samples]
    other = next((index for index, shapes in enumerate(known) if shapes != known[0]), None)
    if other is not None:
        raise BadInput(
            f"expected samples alike in a batch, got {known[0]} from {samples[0].source or 'the first'} and "
            f"{known[other]} from {samples[other].source or f'number {other}'}; crop or drop what differs"
        )
    stacked: dict[str, Any] = {name: torch.stack([sample.tensors()[name] for sample in samples]) for name in known[0]}
    first = samples[0]
    return Sample(**stacked, cameras=first.cameras, metric=first.metric, source=first.source)
