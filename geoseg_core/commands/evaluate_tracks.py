"""`geoseg evaluate-tracks --data DATA`: objects prompted once and followed through views and time, measured.

The pipeline sees images alone: neither depth nor calibration nor poses. geoseg_core/evaluation/tracks.py defines the
figures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from geoseg_core.commands import measuring
from geoseg_core.commands.measuring import Gallery
from geoseg_core.config import build, build_from_words
from geoseg_core.cross_view.choice import head_weights
from geoseg_core.cross_view.config import CrossViewConfig
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.evaluation.clips import Clip, bag_clip, world_clips
from geoseg_core.evaluation.plots import write_tracks
from geoseg_core.evaluation.tracks import TracksConfig, over_time
from geoseg_core.evaluation.tracks_evaluator import SOURCES, FollowedSet, TracksScore, evaluate_tracks
from geoseg_core.evaluation.tracks_pictures import film_strip, shown_sets
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.synthetic.config import WorldsConfig

COLUMNS = {
    "from_ego.iou.ego": "ego>ego IoU",
    "from_ego.iou.exo": "ego>exo",
    "from_exo.iou.exo": "exo>exo",
    "from_exo.iou.ego": "exo>ego",
    "both.overall.single_frame_iou": "single frame",
    "both.overall.gain": "gain",
    "both.with_occlusion.gain": "gain occluded",
    "both.absent_accuracy": "absent",
    "both.identity.kept": "kept",
    "seconds_median": "seconds",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the pipeline, the clips, what counts, and where the results go."""
    parser.add_argument("--encoder", default="tiny", help="the encoder: NAME or NAME=FILE")
    parser.add_argument("--head", default="", metavar="NAME|FILE", help="the union head (default: the encoder's)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="a setting of the pipeline, such as cross_view.follow.least_score=0.4; repeatable",
    )  # fmt: skip
    measuring.add_data_arguments(parser, "out/tracks")
    parser.add_argument("--moments", type=int, default=12, metavar="N", help="worlds: sets of a clip")
    parser.add_argument("--step-s", type=float, default=0.2, metavar="S", help="worlds: seconds between two sets")
    parser.add_argument("--sets", type=int, default=0, metavar="N", help="only the first N sets of a clip")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th set of a clip")
    parser.add_argument("--blackout", metavar="FIRST,LAST", help="seconds in which the ego camera is covered")
    parser.add_argument("--least-px", type=int, default=64, metavar="N", help="pixels of an object that counts")
    parser.add_argument("--occluded-s", type=float, default=2.0, metavar="S", help="seconds of an occlusion, at least")


def run(arguments: argparse.Namespace) -> int:
    """Follow the objects of all clips, write all, print the table.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown encoder or setting, or a bad number.
    """
    config = build(TracksConfig, {"least_px": arguments.least_px, "occluded_s": arguments.occluded_s})
    blackout_s = read_blackout(arguments.blackout) if arguments.blackout else None
    clips = open_clips(arguments, blackout_s)
    pipeline = open_pipeline(arguments)
    print(f"encoder {pipeline.config.geometry.encoder}, {pipeline.loaded.weights}")
    print(f"masks by {pipeline.masks_by}, {pipeline.head_weights}")
    score = measured(pipeline, clips, config, arguments)
    print("\n".join(score.refusals[:5]), end="\n" if score.refusals else "")
    arguments.out.mkdir(parents=True, exist_ok=True)
    curves = {f"{kind} views": over_time(score.tracks, config, kind) for kind in ("ego", "exo")}
    write_tracks(arguments.out / "tracks.png", curves, blackout_s)
    report = score.report()
    columns = COLUMNS | {"both.identity.kept": f"kept of {report['both']['identity']['occlusions']}"}
    count = f"{len(clips)} clips, {sum(map(len, clips))} sets of views"
    measuring.finish(arguments, name_of(arguments.data), count, "tracks", columns, {pipeline.masks_by: report})
    return 0


def open_pipeline(arguments: argparse.Namespace) -> ScenePipeline:
    """A pipeline that follows masks by a union head and does nothing else.

    Raises:
        BadInput: weights that are missing or do not fit; BadConfig: an unknown encoder or setting, or an encoder that
            has no head.
    """
    given = PipelineConfig(
        tasks=("cross_view",),
        geometry=measuring.read_encoder(arguments.encoder, arguments.device),
        cross_view=CrossViewConfig(method="union_head", weights=arguments.head),
    )
    config = build_from_words(given, arguments.overrides)
    try:
        head_weights(config.cross_view, config.geometry)
    except BadInput as error:
        raise BadInput(f"--head: {error}") from error
    return ScenePipeline(config)


def open_clips(arguments: argparse.Namespace, blackout_s: tuple[float, float] | None) -> list[Clip]:
    """Worlds by their seeds, or a bag as one clip; thinned and blacked out as is asked for.

    Raises:
        BadInput: the bag is refused, or the blackout does not lie in the clip; BadConfig: not a list of seeds, or a bad
            number.
    """
    if arguments.every < 1 or arguments.sets < 0:
        raise BadConfig(f"expected --every 1 or more and --sets 0 or more, got {arguments.every} and {arguments.sets}")
    if arguments.data.startswith(measuring.WORLDS):
        worlds = build(WorldsConfig, {"moments": arguments.moments, "time_step_s": arguments.step_s})
        clips = world_clips(measuring.read_seeds(arguments.data.removeprefix(measuring.WORLDS)), worlds)
    else:
        clips = [bag_clip(arguments.data)]
    clips = [clip.thinned(arguments.every, arguments.sets) for clip in clips]
    return [clip.blacked_out(*blackout_s) for clip in clips] if blackout_s else clips


def name_of(data: str) -> str:
    """The data's name in the report: that of the worlds, or of the bag without its folder."""
    return data if data.startswith(measuring.WORLDS) else Path(data).name


def read_blackout(words: str) -> tuple[float, float]:
    """Words such as "0.4,2.6" as two times in seconds.

    Raises:
        BadConfig: anything else, or times in the wrong order.
    """
    try:
        first, last = map(float, words.split(","))
    except ValueError:
        first, last = 0.0, -1.0
    if not 0 <= first <= last:
        raise BadConfig(f"--blackout: expected FIRST,LAST in seconds, such as 0.4,2.6, got {words!r}")
    return first, last


def measured(
    pipeline: ScenePipeline, clips: Sequence[Clip], config: TracksConfig, arguments: argparse.Namespace
) -> TracksScore:
    """Follow the objects of all clips, with a bar and film strips of some of them."""
    galleries = {
        view: Gallery(arguments.out, f"film_{name}", len(clips), arguments.pictures) for name, view in SOURCES.items()
    }
    reel: list[FollowedSet] = []
    with tqdm(total=len(SOURCES) * sum(map(len, clips)), unit="set", dynamic_ncols=True, mininterval=0.5) as bar:

        def on_set(clip: Clip, source: int, found: FollowedSet) -> None:
            if found.number in shown_sets(len(clip)):
                reel.append(found)
            if found.number == len(clip) - 1:
                galleries[source].add(film_strip, tuple(reel), source)
                reel.clear()
            bar.update()

        return evaluate_tracks(pipeline, clips, config, on_set)
