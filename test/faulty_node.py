"""The perception node with a model that fails, as a broken model would, on any image whose first pixel is MAGIC."""

from geoseg_core.pipeline import ScenePipeline
from geoseg_ros.nodes import perception

MAGIC = (1, 2, 3)


class FaultyPipeline(ScenePipeline):
    def process(self, frames):
        if any(tuple(view.image[0, 0]) == MAGIC for view in frames.views):
            raise ZeroDivisionError("the model broke")
        return super().process(frames)


class FaultyNode(perception.PerceptionNode):
    def make_pipeline(self):
        return FaultyPipeline()


if __name__ == "__main__":
    perception.main(FaultyNode)
