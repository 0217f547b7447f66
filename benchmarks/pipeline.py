"""How long the stages of the core take on a bag, without ROS.

    python benchmarks/pipeline.py [BAG] [--passes 3] [--sets 40] [--set NAME=VALUE ...] [--images-alone]

Three objects are followed where the tasks allow it. Of several passes over the same sets the quickest counts: others
may use the machine.
"""

import argparse
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from records import add_out, print_table, write_record

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.config import build_from_words
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.truth import LabelledSet
from geoseg_core.evaluation.evaluator import unique_names
from geoseg_core.evaluation.machine import percentiles
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.resources import resource

FOLLOWED = 3


def one_pass(
    config: PipelineConfig, sets: list[LabelledSet], objects: Collection[int]
) -> dict[str, dict[str, float]]:
    """p50 and p95 of each stage, milliseconds, over all sets but the first; the largest `objects` are followed."""
    pipeline, samples = ScenePipeline(config), defaultdict(list)
    pipeline.process(sets[0].frames)
    camera, labels = next(iter(sets[0].labels.items()))
    wanted = FOLLOWED if "cross_view" in config.tasks else 0
    for object_id in sorted(objects, key=lambda each: -np.count_nonzero(labels == each))[:wanted]:
        pipeline.track_object(Prompt(camera, mask=labels == object_id))
    for labelled in sets[1:]:
        for stage, milliseconds in pipeline.process(labelled.frames).stage_ms.items():
            samples[stage].append(milliseconds)
    return percentiles(samples)


def bare(labelled: LabelledSet) -> LabelledSet:
    """A set of which nothing is known but its images."""
    views = tuple(
        replace(view, intrinsics=None, camera_to_world=None, depth_m=None) for view in labelled.frames.views
    )
    return replace(labelled, frames=replace(labelled.frames, views=views))


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the stages of the core take.")
    parser.add_argument("bag", type=Path, nargs="?", help="a bag with ground truth (default: the sample bag)")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
                        help="a setting such as geometry.encoder=tiny; repeatable")  # fmt: skip
    parser.add_argument("--images-alone", action="store_true", help="no calibration, no poses, no depth")
    parser.add_argument("--name", default="pipeline", help="name of the JSON file")
    add_out(parser)
    arguments = parser.parse_args()
    config = build_from_words(PipelineConfig, arguments.overrides)
    sequence = BagSequence(arguments.bag or resource(SAMPLE_BAG))
    sets = [labelled for _, labelled in zip(range(arguments.sets), sequence, strict=False)]
    sets = [bare(each) for each in sets] if arguments.images_alone else sets
    passes = [one_pass(config, sets, unique_names(sequence.objects)) for _ in range(arguments.passes)]
    rows = [
        {"stage": stage, **{f"{part}_ms": min(each[stage][part] for each in passes) for part in ("p50", "p95")}}
        for stage in passes[0]
    ]
    print_table(rows)
    settings = {"bag": sequence.path.name, "sets": len(sets), "passes": arguments.passes, "followed": FOLLOWED}
    settings |= {"overrides": arguments.overrides, "images_alone": arguments.images_alone}
    print(f"written: {write_record(arguments.out, arguments.name, rows, settings)}")


if __name__ == "__main__":
    main()
