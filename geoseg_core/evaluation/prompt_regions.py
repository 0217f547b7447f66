"""What MV-SAM is compared with beside its own decoder: a prompt becomes a region of its own view, and that is carried.

`grown` grows it on measured depth and colours and carries it by depth; it is given what no network here is: true depth,
calibration and poses. `carried` sees images alone: GrabCut makes the region, a union head carries it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from geoseg_core.cross_view.config import ReprojectionConfig
from geoseg_core.cross_view.thing_follower import ThingFollower
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.masks_evaluator import Transfer
from geoseg_core.evaluation.prompts_evaluator import Answer, Method
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter
from geoseg_core.moment import Moment
from geoseg_core.prompting.image_regions import image_mask
from geoseg_core.prompting.regions import PromptConfig
from geoseg_core.prompts import Prompt


def grown(scene: EncodedScene) -> Answer:
    """Answers on a scene of measured depth, each by itself: nothing is followed."""
    segmenter = InstanceSegmenter(InstanceConfig())
    follower, moment = ThingFollower(segmenter, ReprojectionConfig(), PromptConfig()), Moment(scene, segmenter)
    return united(lambda prompt: [view.masks[0].mask for view in follower.segment(moment, prompt).views])


def carried(transfer: Transfer) -> Method:
    """Answers by regions of like colours that a transfer carries."""

    def method(scene: EncodedScene) -> Answer:
        frames = scene.frames

        def answer(prompt: Prompt) -> Sequence[np.ndarray]:
            prompt.check(frames)
            source = frames.index(prompt.camera)
            mask = image_mask(frames.views[source].image, prompt)
            if len(frames.views) == 1:
                return [mask]
            return [each[0] for each in transfer(scene, source, mask[None]).masks]

        return united(answer)

    return method


def united(one: Callable[[Prompt], Sequence[np.ndarray]]) -> Answer:
    """Answers to prompts in several views: each view's is answered by itself, and what one of them finds is found.

    A view with points beside the thing alone says nothing, and one that is refused is left out, unless all are.
    """

    def answer(prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
        found, refusals = [], []
        for prompt in prompts:
            if not prompt.says_where:
                continue
            try:
                found.append(one(prompt))
            except BadInput as error:
                refusals.append(error)
        if not found:
            raise refusals[0] if refusals else BadInput("expected a positive point, a box or a mask, got none")
        return [np.logical_or.reduce(views) for views in zip(*found, strict=True)]

    return answer
