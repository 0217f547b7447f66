"""The perception node with a model that fails, as a broken model would, by the first pixel of the first image, and that
thinks long about a prompt of the words SLOW."""

import time
from dataclasses import replace

import numpy as np
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from geoseg_core.pipeline import ScenePipeline
from geoseg_ros.nodes import perception

MAGIC = (1, 2, 3)  # it breaks
HUNGRY = (1, 2, 4)  # memory runs out the first time that a set is tried
STARVED = (1, 2, 5)  # memory runs out whenever a set is tried
CONTRARY = (1, 2, 6)  # it speaks of an instance that is not there
GREEDY = (1, 2, 7)  # it takes another 64 MiB
SLUGGISH, SLUGGISH_S = (1, 2, 8), 1.5  # it takes so long
SLOW, SLOW_S = "something that is hard to find", 0.1


class FaultyPipeline(ScenePipeline):
    tried = None
    taken = ()

    def process(self, frames):
        pixels = {tuple(view.image[0, 0]) for view in frames.views}
        is_first, self.tried = self.tried != frames.stamp_ns, frames.stamp_ns
        if MAGIC in pixels:
            raise ZeroDivisionError("the model broke")
        if STARVED in pixels or (HUNGRY in pixels and is_first):
            np.ones(2**48)
        if SLUGGISH in pixels:
            time.sleep(SLUGGISH_S)
        if GREEDY in pixels:
            self.taken += (np.ones(2**23),)
        result = super().process(frames)
        if CONTRARY in pixels:
            return replace(result, instances=replace(result.instances, instances=()))
        return result

    def segment(self, prompt, budget_s=0.0):
        if prompt.text == SLOW:
            time.sleep(SLOW_S)
        return super().segment(prompt, budget_s)


class FaultyNode(perception.PerceptionNode):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.create_subscription(Empty, "~/break", self.break_down, 10)
        self.create_service(Trigger, "~/break", self.break_down)

    def break_down(self, *_):
        raise ArithmeticError("a callback broke")

    def make_pipeline(self, config):
        return FaultyPipeline(config)


if __name__ == "__main__":
    perception.main(FaultyNode)
