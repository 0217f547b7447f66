"""Worlds: procedural scenes as samples, made on the fly."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.synthetic.catalogue import CLASS_NAMES
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.fusing import can_compile, compiling
from geoseg_core.synthetic.layout import draw_scenes
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.photo import Darkroom
from geoseg_core.synthetic.rendering import Rendering, render
from geoseg_core.synthetic.scene import Scenes
from geoseg_core.synthetic.textures import Pages

VIEWS_STREAM = 100


@lru_cache(maxsize=4)
def load_pages(device: str, photographs: str) -> Pages:
    """The textures on a device, with the photographs of a folder if one is given; made once.

    Raises:
        BadInput: a folder without photographs.
    """
    if not photographs:
        return Pages(device)
    from geoseg_core.synthetic.photographs import read_photographs  # needs OpenCV, which may be missing

    return Pages(device, read_photographs(photographs))


@lru_cache(maxsize=4)
def load_darkroom(device: str) -> Darkroom:
    """The table of noise on a device, made once."""
    return Darkroom(device)


class Worlds:
    """Scenes from seeds, rendered in batches on one device.

    Ground truth: instance id 0 is the room with its table and furniture, 1 to K are the things (K = objects_max; some
    may be absent), K + 1 is the arm with the class "arm". Class ids index `class_names`. `object_to_world` has K poses;
    that of an absent thing is the identity.

    Args:
        config: what the scenes are like.
        device: where they are rendered.

    Raises:
        BadInput: photographs are wanted from a folder that has none.
    """

    class_names = CLASS_NAMES

    def __init__(self, config: WorldsConfig | None = None, device: torch.device | str = "cpu") -> None:
        self.config = config or WorldsConfig()
        self.device = torch.device(device)
        self._pages = load_pages(str(self.device), self.config.photographs)
        self._compiled = self.config.compile and can_compile(str(self.device))
        self._darkroom = load_darkroom(str(self.device))

    def sample(self, seed: int, exo: int | None = None) -> Sample:
        """The scene of a seed: V = moments * (1 + exo) views, moment by moment, the ego camera first.

        Args:
            seed: any whole number from 0.
            exo: number of exo cameras; by default drawn from the settings' range by the seed.

        Raises:
            BadInput: a negative seed, or more exo cameras than the settings allow.
        """
        batch = self.batch([seed], exo)
        tensors = {name: value[0] for name, value in batch.tensors().items()}
        return replace(batch, **tensors)  # type: ignore[arg-type]

    def batch(self, seeds: Sequence[int], exo: int | None = None) -> Sample:
        """Scenes with one more dimension in front; all have the number of exo cameras that the first seed draws.

        Raises:
            BadInput: no seed, a negative one, or more exo cameras than the settings allow.
        """
        seeds = [int(seed) for seed in seeds]
        if not seeds or min(seeds) < 0:
            raise BadInput(f"worlds: expected seeds from 0, got {seeds}")
        exo = self.exo_of(seeds[0]) if exo is None else exo
        if not 0 <= exo <= self.config.exo_max:
            raise BadInput(f"worlds: expected 0 to exo_max = {self.config.exo_max} exo cameras, got {exo}")
        return self.render(self.draw(seeds, exo), f"worlds seed {seeds[0]}")

    def draw(self, seeds: Sequence[int], exo: int) -> Scenes:
        """The scenes as numbers on the CPU: what `render` needs, and what may be drawn in another process."""
        return draw_scenes(seeds, self.config, exo, pages=self._pages.count)

    def render(self, scenes: Scenes, source: str = "worlds") -> Sample:
        """Pictures and ground truth of scenes that `draw` made."""
        with torch.inference_mode(False), torch.no_grad(), compiling(self._compiled):
            scenes = scenes.to(self.device)
            rendering = render(scenes, (self.config.height, self.config.width), self._pages)
            images = self._darkroom.develop(rendering.light, scenes.shots)
            return self._as_sample(source, scenes, rendering, images)

    def exo_of(self, seed: int) -> int:
        """How many exo cameras the scene of a seed has."""
        low, high = self.config.exo_min, self.config.exo_max
        return low + int(Numbers([seed], VIEWS_STREAM).whole(1, below=high - low + 1)[0, 0])

    def _as_sample(self, source: str, scenes: Scenes, rendering: Rendering, images: Tensor) -> Sample:
        batch, views = scenes.camera_to_world.shape[:2]

        def shaped(value: Tensor) -> Tensor:
            return value.reshape(batch, views, *value.shape[1:])

        moments = scenes.moment.float() * self.config.time_step_s
        exo = views // self.config.moments - 1
        return Sample(
            images=shaped(images),
            depth=shaped(rendering.depth),
            instance_ids=shaped(rendering.instance_ids),
            class_ids=shaped(rendering.class_ids),
            intrinsics=scenes.intrinsics.float(),
            camera_to_world=scenes.camera_to_world.float(),
            object_to_world=scenes.body_to_world[:, scenes.moment, 1 : scenes.objects + 1].float(),
            moments=moments.expand(batch, -1),
            cameras=("ego", *(f"exo_{index + 1}" for index in range(exo))) * self.config.moments,
            source=source,
        )
