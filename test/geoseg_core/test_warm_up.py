"""Warming up runs every readout that the pipeline has, and needs none of them."""

import pytest

from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.warm_up import warm_up


def test_it_finds_and_follows_the_block():
    pipeline = ScenePipeline()
    warm_up(pipeline)
    assert len(pipeline.objects()) == 1


@pytest.mark.parametrize("tasks", [("instances",), ("prompts",), ("cross_view",)])
def test_it_works_with_any_task_alone(tasks):
    warm_up(ScenePipeline(PipelineConfig(tasks=tasks)))
