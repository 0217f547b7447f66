"""How long a prompt takes: the first answer on a set of many views, which embeds it, and the next ones, which do not.

    python benchmarks/prompts.py [BAG] [--weights FILE] [--views 20] [--clicks 10] [--pixels 49152]

MV-SAM on the features of `tiny`. The views are those of successive sets of a bag, seen as one set. Without weights the
decoder is random, which takes as long. Of several passes the quickest counts, and beside it the least time of
processors: others may use the machine.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from records import add_out, print_table, write_record

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.geometry.inference import TinyEncoderConfig
from geoseg_core.prompting.mv_sam.prompter import TinyPrompter
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam
from geoseg_core.prompting.session import PromptSession
from geoseg_core.resources import resource
from geoseg_core.views import FrameSet


def many_views(bag: Path, count: int) -> FrameSet:
    """The images of the first sets of a bag as the views of one."""
    views = []
    for number, labelled in enumerate(BagSequence(bag)):
        views += [replace(view, camera=f"{view.camera}_{number}") for view in labelled.frames.views]
        if len(views) >= count:
            break
    return FrameSet(tuple(views[:count]))


def quickest(what: str, work: Callable[[], object], passes: int, parts: int = 1) -> dict[str, str | float]:
    """Milliseconds of the quickest of several runs, and of processors, for each of its parts."""
    least = np.full(2, np.inf)
    for _ in range(passes):
        start = np.array((time.perf_counter(), time.process_time()))
        work()
        least = np.minimum(least, (time.perf_counter(), time.process_time()) - start)
    wall, processors = (1e3 * least / parts).tolist()
    return {"what": what, "ms": wall, "processors ms": processors}


def main() -> None:
    parser = argparse.ArgumentParser(description="How long prompts take on a set of many views.")
    parser.add_argument("bag", type=Path, nargs="?", help="a bag (default: the sample bag)")
    parser.add_argument("--weights", type=Path, help="of the recipe tiny-mv-sam (default: random ones)")
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--pixels", type=int, default=TinyEncoderConfig().pixels, help="of each view, at most")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_out(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tiny = TinyEncoderConfig(pixels=arguments.pixels)
    encoder = load_encoder(GeometryConfig(encoder="tiny", tiny=tiny)).encoder
    prompter = TinyPrompter.from_weights(arguments.weights) if arguments.weights else TinyPrompter(TinyMvSam())
    frames = many_views(arguments.bag or resource(SAMPLE_BAG), arguments.views)
    height, width = frames.views[0].size
    places = np.random.default_rng(0).integers((0, 0), (width, height), (arguments.clicks + 1, 2))
    scene = encoder.encode(frames)
    session = PromptSession(prompter, scene)
    clicks = [(frames.cameras[number % len(frames.views)], place) for number, place in enumerate(places[1:])]

    def first() -> None:
        PromptSession(prompter, encoder.encode(frames)).add(frames.cameras[0], points=places[:1])

    def next_ones() -> None:
        for camera, place in clicks:
            session.add(camera, points=[place])
        session.clear()

    rows = [
        quickest("encode", lambda: encoder.encode(frames), arguments.passes),
        quickest("embed", lambda: prompter.embed(scene), arguments.passes),
        quickest("first answer", first, arguments.passes),
        quickest("next answer", next_ones, arguments.passes, len(clicks)),
    ]
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("views", "clicks", "pixels", "passes", "threads")}
    print(f"written: {write_record(arguments.out, 'prompts', rows, settings | {'size': [height, width]})}")


if __name__ == "__main__":
    main()
