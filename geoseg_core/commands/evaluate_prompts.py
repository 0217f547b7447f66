"""`geoseg evaluate-prompts METHOD... --data DATA`: prompts in some views to masks in all views, measured.

Networks see images and prompts alone: neither depth nor calibration nor poses.
geoseg_core/evaluation/prompts_evaluator.py defines the figures.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from geoseg_core.commands import evaluate_instances, measuring
from geoseg_core.commands.measuring import Gallery
from geoseg_core.config import build
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.prompt_baselines import ViewByView
from geoseg_core.evaluation.prompts_evaluator import Answer, Answered, Method, PromptsEvaluationConfig, evaluate_prompts
from geoseg_core.evaluation.prompts_pictures import prompts_sheet
from geoseg_core.geometry.choice import device_named
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.prompting.mv_sam.prompter import TinyPrompter
from geoseg_core.prompts import Prompt
from geoseg_core.weights.chosen import choose_weights

MV_SAM, PROJECTED, VIEW_BY_VIEW = "mv-sam", "projected", "view-by-view"
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare methods, encoder, data and where the results go."""
    known = ", ".join(f"{name}=FILE" for name in (MV_SAM, PROJECTED, VIEW_BY_VIEW))
    parser.add_argument("methods", nargs="+", metavar="METHOD", help=f"{known}, with weights of tiny-mv-sam")
    parser.add_argument("--encoder", default="tiny", help="what the network reads: tiny, or tiny=FILE")
    measuring.add_data_arguments(parser, "out/prompts")
    evaluate_instances.add_scene_arguments(parser)
    parser.add_argument("--things", type=int, default=0, metavar="N", help="prompt the N largest things of a set (all)")
    parser.add_argument("--least-px", type=int, default=64, metavar="N", help="pixels of a thing in a view that counts")


def run(arguments: argparse.Namespace) -> int:
    """Measure every method on the same prompts, write all, print the table.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown method or encoder, or a bad number.
    """
    config = build(PromptsEvaluationConfig, {"things": arguments.things, "least_px": arguments.least_px})
    data = evaluate_instances.open_scenes(arguments)
    encode = evaluate_instances.seeing(measuring.open_encoder(arguments.encoder, arguments.device))
    methods = {word: open_method(word, arguments.device) for word in arguments.methods}
    galleries = {word: Gallery(arguments.out, word, data.count, arguments.pictures) for word in methods}

    def draw(word: str, sample: Sample, answers: list[Answered]) -> None:
        galleries[word].add(prompts_sheet, sample, answers)

    scores = evaluate_prompts(encode, methods, data.shown("prompts"), config, data.no_things, draw)
    for word, score in scores.items():
        print("\n".join(f"{word}: {each}" for each in score.refusals[:5]), end="\n" if score.refusals else "")
    reports = {word: score.report() for word, score in scores.items()}
    measuring.finish(arguments, data.name, data.measured, "prompts", COLUMNS, reports)
    return 0


def open_method(word: str, device: str) -> Method:
    """The method of a word such as "mv-sam=weights.safetensors".

    Raises:
        BadConfig: an unknown name, or no weights; BadInput: weights that are missing or do not fit.
    """
    name, _, weights = word.partition("=")
    if name not in (MV_SAM, PROJECTED, VIEW_BY_VIEW) or not weights:
        known = [f"{each}=FILE" for each in (MV_SAM, PROJECTED, VIEW_BY_VIEW)]
        raise BadConfig(f"expected one of the methods {known}, got {word!r}")
    prompter = TinyPrompter.from_weights(choose_weights(weights).path, device_named(device))
    baseline = None if name == MV_SAM else ViewByView(prompter, projected=name == PROJECTED)

    def method(scene: EncodedScene) -> Answer:
        given = prompter.embed(scene)

        def answer(prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
            if baseline is None:
                return prompter.answer(given, prompts).masks
            return baseline.answer(scene, given, prompts)

        return answer

    return method
