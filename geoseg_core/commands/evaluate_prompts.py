"""`geoseg evaluate-prompts METHOD... --data DATA`: prompts in some views to masks in all views, measured.

Networks see images and prompts alone: neither depth nor calibration nor poses. The method grown sees all of them.
geoseg_core/evaluation/prompts_evaluator.py defines the figures.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg_core.commands import evaluate_instances, measuring
from geoseg_core.commands.evaluate_instances import SceneData
from geoseg_core.commands.measuring import Gallery
from geoseg_core.config import build
from geoseg_core.cross_view.config import TINY_LOOK
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.nvos import nvos_samples
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.spin_nerf import spin_nerf_samples
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation import published_prompts
from geoseg_core.evaluation.measured_things import with_geometry
from geoseg_core.evaluation.plots import write_curves
from geoseg_core.evaluation.prompt_baselines import ViewByView
from geoseg_core.evaluation.prompt_regions import carried, grown
from geoseg_core.evaluation.prompts_evaluator import (
    KINDS,
    Answer,
    Answered,
    Group,
    Method,
    PromptsEvaluationConfig,
    evaluate_prompts,
)
from geoseg_core.evaluation.prompts_pictures import prompts_sheet
from geoseg_core.evaluation.prompts_variation import (
    OPTIONS,
    VIEWS,
    Variation,
    change_settings,
    noise_of,
    with_noise,
    with_views,
)
from geoseg_core.evaluation.published import published_lines
from geoseg_core.geometry.choice import device_named
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.prompting.mv_sam.prompter import TinyPrompter
from geoseg_core.prompts import Prompt
from geoseg_core.weights.chosen import choose_weights

MV_SAM, PROJECTED, VIEW_BY_VIEW, CARRIED, GROWN = "mv-sam", "projected", "view-by-view", "carried", "grown"
DECODED = (MV_SAM, PROJECTED, VIEW_BY_VIEW)
COLUMNS = {
    "points_10_2.miou": "10+2 mIoU",
    "points_10_2.macc": "mAcc",
    "one_click.miou": "click mIoU",
    "one_click.others_miou": "others",
    "three_clicks.others_miou": "3 clicks, others",
    "box.others_miou": "box, others",
    "mask.others_miou": "mask, others",
    "embed_s_median": "embed s",
    "click_s_median": "click s",
}
BENCHMARK_COLUMNS = {
    "points_8_2.miou": "8+2 mIoU",
    "points_8_2.macc": "mAcc",
    "points_8_2.pixel_accuracy": "pixels",
    "embed_s_median": "embed s",
    "click_s_median": "click s",
}
# By the word before the colon of --data: the reader, and the folder of annotations in the data's.
BENCHMARKS = {"nvos": (nvos_samples, ""), "spin-nerf": (spin_nerf_samples, "MVSeg_data")}
MOST_VIEWS = 100
CURVES = {
    "points_10_2.miou": "10+2 points: mIoU",
    "points_10_2.macc": "10+2 points: mAcc",
    "one_click.others_miou": "one click: mIoU of the other views",
    "points_8_2.miou": "8+2 points: mIoU",
    "points_8_2.macc": "8+2 points: mAcc",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare methods, encoder, data and where the results go."""
    known = ", ".join(f"{name}=FILE" for name in DECODED)
    other = f"{CARRIED}=FILE with those of a union head, or {GROWN}"
    parser.add_argument("methods", nargs="+", metavar="METHOD", help=f"{known}, with weights of tiny-mv-sam; {other}")
    parser.add_argument("--encoder", default="tiny", help="what the network reads: tiny, or tiny=FILE")
    measuring.add_data_arguments(parser, "out/prompts")
    evaluate_instances.add_scene_arguments(parser)
    parser.add_argument("--things", type=int, default=0, metavar="N", help="prompt the N largest things of a set (all)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of prompts (all)")
    parser.add_argument("--least-px", type=int, default=64, metavar="N", help="pixels of a thing in a view that counts")
    usual = evaluate_instances.VIEWS
    parser.add_argument("--views", metavar="N,...", help=f"views of a scene ({usual}; of a bag all; "
                        f"of {' and '.join(BENCHMARKS)} up to {MOST_VIEWS})")  # fmt: skip
    about = "for mv-sam and the like; a list for one of them or for --views is measured value by value and drawn"
    changed = parser.add_argument_group("changes of the trained decoder", about)
    changed.add_argument("--point-noise", metavar="SIGMA,...", help="noise on its points, in deviations of the scene's")
    changed.add_argument("--low-share", metavar="SHARE,...", help="share of the points that have low confidence")
    changed.add_argument("--standardised", metavar="BOOL,...", help="whether points are brought to deviation 1")


def run(arguments: argparse.Namespace) -> int:
    """Measure every method on the same prompts, write all, print the table.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown method or encoder, or a bad value.
    """
    asked = {"things": arguments.things, "least_px": arguments.least_px, "kinds": tuple(arguments.kinds)}
    config = build(PromptsEvaluationConfig, asked)
    given = {name: getattr(arguments, name) for name in OPTIONS}
    variation = Variation({name: tuple(words.split(",")) for name, words in given.items() if words})
    data = open_data(arguments, variation)
    rows = {word: variants(word, variation) for word in arguments.methods}
    groups = open_groups(arguments, rows)
    measured = {
        named: measure(arguments, groups, seen_by(data, variation, count), config, named)
        for count, named in view_counts(variation)
    }
    reports = {
        f"{row}{named}": found[row] for each in rows.values() for named, found in measured.items() for row in each
    }
    columns = BENCHMARK_COLUMNS if benchmark_of(arguments) else COLUMNS
    measuring.finish(arguments, data.name, data.measured, "prompts", columns, reports)
    if variation.listed:
        curves = {word: [found[row] for found in measured.values() for row in each] for word, each in rows.items()}
        path = arguments.out / f"{variation.listed}.png"
        print(f"written: {write_curves(path, variation.listed, variation.words[variation.listed], CURVES, curves)}")
    print("\n".join(paper_lines(arguments, variation, reports)))
    return 0


def benchmark_of(arguments: argparse.Namespace) -> str:
    """The benchmark that is measured on, "" where it is none."""
    kind: str = arguments.data.partition(":")[0]
    return kind if kind in BENCHMARKS else ""


def paper_lines(
    arguments: argparse.Namespace, variation: Variation, reports: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The tables of the paper that tell the like, with our rows."""
    if benchmark := benchmark_of(arguments):
        return published_lines(arguments.data, reports, published_prompts.BENCHMARKS[benchmark], "ours")
    varied = published_prompts.VARIED.get(variation.listed)
    return published_lines(arguments.data, reports, (varied,) if varied else published_prompts.COMPARED)


def open_data(arguments: argparse.Namespace, variation: Variation) -> SceneData:
    """The data with as many views as are ever asked for: a benchmark, or as `evaluate_instances.open_scenes` has it.

    Raises:
        BadInput: the data is refused; BadConfig: not a list of seeds, or a bad number.
    """
    most = max(variation.views, default=None)
    if not (benchmark := benchmark_of(arguments)):
        return evaluate_instances.open_scenes(argparse.Namespace(**vars(arguments) | {"views": most}))
    root = Path(arguments.data.partition(":")[2])
    read, inner = BENCHMARKS[benchmark]
    labels = Path(arguments.labels) if arguments.labels else root / inner
    samples = read(root, labels, ReaderConfig(height=0, width=0, views=most or MOST_VIEWS))
    for name, fault in samples.faults.items():
        print(f"{name} is left out: {fault}")
    return SceneData(arguments.data, len(samples), samples.scene_sample)


def variants(word: str, variation: Variation) -> dict[str, dict[str, str]]:
    """The rows of a method: what is changed, by name. Nothing is of what has no decoder."""
    if word.partition("=")[0] not in DECODED:
        return {word: {}}
    return {" ".join([word, *(f"{name}={value}" for name, value in changes.items())]): changes
            for changes in variation.changes()}  # fmt: skip


def view_counts(variation: Variation) -> Iterator[tuple[int, str]]:
    """How many views are measured, 0 for all there are, and what is added to the names of the rows."""
    for count in variation.views or (0,):
        yield count, f" {VIEWS}={count}" if variation.listed == VIEWS else ""


def seen_by(data: SceneData, variation: Variation, count: int) -> SceneData:
    """The data with their first `count` views, if not 0."""
    if not count:
        return data
    return replace(data, read=lambda number: with_views(data.read(number), count, max(variation.views)))


def measure(
    arguments: argparse.Namespace, groups: Sequence[Group], data: SceneData, config: PromptsEvaluationConfig, named: str
) -> dict[str, dict[str, Any]]:
    """Figures by row; `named` is added to the names of the rows."""
    galleries = {
        row: Gallery(arguments.out, f"{row}{named}", data.count, arguments.pictures)
        for group in groups
        for row in group.methods
    }

    def draw(row: str, sample: Sample, answers: list[Answered]) -> None:
        galleries[row].add(prompts_sheet, sample, answers)

    scores = evaluate_prompts(groups, data.shown(f"prompts{named}"), config, data.no_things, draw)
    for row, score in scores.items():
        print("\n".join(f"{row}{named}: {each}" for each in score.refusals[:5]), end="\n" if score.refusals else "")
    return {row: score.report() for row, score in scores.items()}


def open_groups(arguments: argparse.Namespace, rows: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Group]:
    """The rows' methods by what makes their scenes.

    Args:
        rows: what is changed, by method and row.

    Raises:
        BadConfig: an unknown method or encoder, or a bad value; BadInput: weights that are missing or do not fit.
    """
    networks = {
        row: open_method(word, arguments.device, changes)
        for word, each in rows.items()
        for row, changes in each.items()
        if word != GROWN
    }
    groups = []
    if networks:
        encoder = measuring.open_encoder(arguments.encoder, arguments.device)
        groups.append(Group(evaluate_instances.seeing(encoder), networks))
    if GROWN in rows:
        given = RgbdEncoder()
        groups.append(Group(lambda sample: given.encode(with_geometry(sample)), {GROWN: grown}))
    return groups


def open_method(word: str, device: str, changes: Mapping[str, str] | None = None) -> Method:
    """The method of a word such as "mv-sam=weights.safetensors", with its decoder changed.

    Raises:
        BadConfig: an unknown name, no weights, or a bad value; BadInput: weights that are missing or do not fit.
    """
    name, _, weights = word.partition("=")
    if name not in (*DECODED, CARRIED) or not weights:
        known = [f"{each}=FILE" for each in (*DECODED, CARRIED)]
        raise BadConfig(f"expected one of the methods {[*known, GROWN]}, got {word!r}")
    path = choose_weights(weights).path
    if name == CARRIED:
        return carried(load_union_head(path, TINY_LOOK, device_named(device)))
    prompter = TinyPrompter.from_weights(path, device_named(device))
    decoder, noise = prompter.model.decoder, noise_of(changes or {})
    change_settings(decoder, changes or {})
    baseline = None if name == MV_SAM else ViewByView(prompter, projected=name == PROJECTED)

    def method(scene: EncodedScene) -> Answer:
        given = prompter.embed(scene)
        if noise:
            given = replace(given, prepared=with_noise(decoder, given.prepared, noise))

        def answer(prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
            if baseline is None:
                return prompter.answer(given, prompts).masks
            return baseline.answer(scene, given, prompts)

        return answer

    return method
