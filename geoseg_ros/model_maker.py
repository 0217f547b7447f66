"""Makes the node's model: warm, and of sizes that fit the memory that the node may take."""

import gc
from collections.abc import Callable
from dataclasses import replace

from geoseg_core.errors import GeosegError
from geoseg_core.geometry.choice import device_named
from geoseg_core.memory_limits import MemoryLimits, Used, fitted
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.process_memory import gpu_mib, is_out_of_memory, limit_gpu, resident_mib, return_memory
from geoseg_core.warm_up import warm_up
from geoseg_ros.parameters import NodeConfig


class ModelMaker:
    """Makes one model after another, whenever the one before was let go.

    Args:
        make: makes one of a configuration.
        tell: says a line of information.

    Attributes:
        config: the node's settings; once `first` has run, those that fit.
    """

    def __init__(
        self, make: Callable[[PipelineConfig], ScenePipeline], config: NodeConfig, tell: Callable[[str], object]
    ) -> None:
        self.config = config
        self._make = make
        self._tell = tell

    def first(self) -> ScenePipeline:
        """The first model. Where memory is limited it shows what is left, from which sizes follow.

        Raises:
            GeosegError: it can't be made as configured, memory runs out, or a limit is too low.
        """
        pipeline = self.again()
        config, limits = self.config, self.config.memory
        if limits == MemoryLimits():
            return pipeline
        cost = pipeline.loaded.cost
        device = device_named(config.pipeline.geometry.device) if cost is not None else None
        on_gpu = device is not None and device.type == "cuda"
        used = Used(resident_mib(), gpu_mib())
        found = fitted(
            config.pipeline, limits, used, cost, on_gpu, len(config.cameras), config.max_image_pixels
        )
        self._tell(f"within the limits of memory, {found.words}")
        self.config = replace(config, pipeline=found.pipeline, max_image_pixels=found.image_pixels)
        if on_gpu and limits.gpu_mib:
            limit_gpu(limits.gpu_mib, device.index or 0)
        if found.pipeline == config.pipeline:
            return pipeline
        del pipeline
        return self.again()

    def again(self) -> ScenePipeline:
        """A model for which the first set costs as much as any other.

        Raises:
            GeosegError: as for `first`.
        """
        config = self.config.pipeline
        try:
            pipeline = self._make(config)
            if config.tasks:
                warm_up(ScenePipeline(config, pipeline.loaded))
                pipeline.reset_memory()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise GeosegError(
                f"expected memory for the encoder {config.geometry.encoder}, it ran out ({error}); make room, or take "
                "a smaller one"
            ) from error
        # What is loaded by now stays: without this, Python walks through all of it now and then, for 30 ms and more.
        return_memory()  # what a model before left behind
        gc.freeze()
        return pipeline
