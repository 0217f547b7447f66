"""What the order of the frames changes in the masks that prompts get: the overlap of the masks of one click with the
frames in the order of the bag and in every other.

    python benchmarks/prompt_order.py [BAG] [--encoders pi3 vggt tiny] [--sets 4] [--clicks 4]
    python benchmarks/prompt_order.py --encoders vggt=FILE pi3=FILE --sam FOLDER --decoder FILE

`tiny` is measured as it is shipped, with MV-SAM on its features. Other encoders have MV-SAM on SAM 2; what no weights
are given for is small and random: its masks mean nothing, but they change as far as points and confidence do.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, permutations
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from records import add_out, print_table, write_record

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.cross_view.sam2 import Sam2
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.truth import LabelledSet
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.geometry.encoder import GeometryEncoder
from geoseg_core.geometry.pi3.config import DecoderConfig, HeadConfig, Pi3Config
from geoseg_core.geometry.pi3.encoder import Pi3Encoder, Pi3EncoderConfig
from geoseg_core.geometry.pi3.model import Pi3
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.layers.vit import VitConfig
from geoseg_core.prompting.mv_sam.config import sam2_decoder
from geoseg_core.prompting.mv_sam.model import MvSam
from geoseg_core.prompting.mv_sam.prompter import Prompter, TinyPrompter
from geoseg_core.prompting.mv_sam.sam2_prompter import Sam2Prompter
from geoseg_core.prompting.session import PromptSession
from geoseg_core.resources import resource
from geoseg_core.training.recipes.vggt import small_vggt
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import choose_weights

SIDE = 256


Network = TypeVar("Network", bound=torch.nn.Module)


def stirred(model: Network) -> Network:
    """With numbers in which every part counts; as networks begin, what tells the first frame is next to nothing."""
    with torch.no_grad():
        for name, each in model.named_parameters():
            each.normal_(std=each[0].numel() ** -0.5 if each.ndim > 1 else 0.3)
            each.add_(0.5 * ("gamma" in name) + float("norm" in name and each.ndim == 1))
    return model.eval()


def random_vggt() -> VggtEncoder:
    """A small VGGT."""
    return VggtEncoder(stirred(Vggt(small_vggt())), VggtEncoderConfig(side=224))


def random_pi3() -> Pi3Encoder:
    """A small pi3."""
    heads = HeadConfig(depth=2, width=96, heads=3, dense_out=96, camera_out=48)
    sizes = Pi3Config(224, width=96, encoder=VitConfig(depth=4, heads=3), decoder=DecoderConfig(8, 3), heads=heads)
    return Pi3Encoder(stirred(Pi3(sizes)), Pi3EncoderConfig(pixels=224 * 168))


RANDOM: dict[str, Callable[[], GeometryEncoder]] = {"vggt": random_vggt, "pi3": random_pi3}


def random_sam() -> Sam2:
    """A SAM 2 of the channels of the published ones, for small images."""
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2PromptEncoderConfig, Sam2VisionConfig

    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(image_size=[SIDE, SIDE]),
        backbone_feature_sizes=[[SIDE // stride] * 2 for stride in (4, 8, 16)],
    )
    sizes = Sam2Config(vision_config=vision, prompt_encoder_config=Sam2PromptEncoderConfig(image_size=SIDE))
    return Sam2(stirred(Sam2Model(sizes)))


def opened(word: str, sam: str | None, decoder: Path | None) -> tuple[GeometryEncoder, Prompter]:
    """The encoder of a word such as "vggt" or "vggt=FILE", and what answers on its scenes."""
    torch.manual_seed(0)
    name, _, weights = word.partition("=")
    if weights or name not in RANDOM:
        encoder = load_encoder(GeometryConfig(encoder=name, weights=weights)).encoder
    else:
        encoder = RANDOM[name]()
    if name == "tiny":
        return encoder, TinyPrompter.from_weights(choose_weights("tiny-mv-sam").path)
    if decoder is not None and sam is not None:
        return encoder, Sam2Prompter.from_weights(decoder, sam)
    random = MvSam(sam2_decoder())
    torch.nn.init.constant_(random.first, 0.0)
    return encoder, Sam2Prompter(random, Sam2.from_pretrained(sam) if sam else random_sam())


def clicks_on(labelled: LabelledSet, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Cameras in turn, and a pixel (2,) of a thing in each."""
    random = np.random.default_rng(0)
    for number in range(count):
        camera = labelled.frames.cameras[number % len(labelled.frames.cameras)]
        rows, columns = np.nonzero(labelled.labels[camera])
        chosen = random.integers(len(rows))
        yield camera, np.array([columns[chosen], rows[chosen]])


def overlaps(
    encoder: GeometryEncoder, prompter: Prompter, sets: Sequence[LabelledSet], clicks: int
) -> Iterator[float]:
    """IoU of the masks of each click in each view, in the order of the bag and in another one."""
    for labelled in sets:
        frames = labelled.frames
        given = list(clicks_on(labelled, clicks))
        first, *others = permutations(frames.views)
        straight = answered(prompter, encoder, FrameSet(first), given)
        for order in others:
            turned = answered(prompter, encoder, FrameSet(order), given)
            for one, other in zip(straight, turned, strict=True):
                for camera, mask in one.items():
                    if (mask | other[camera]).any():
                        yield float((mask & other[camera]).sum() / (mask | other[camera]).sum())


def answered(
    prompter: Prompter, encoder: GeometryEncoder, frames: FrameSet, clicks: Sequence[tuple[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """The masks of each click, by camera."""
    session = PromptSession(prompter, encoder.encode(frames))
    answers = [session.add(camera, points=point[None], object_id=row) for row, (camera, point) in enumerate(clicks)]
    return [dict(zip(frames.cameras, answer.masks, strict=True)) for answer in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description="What the order of frames changes in masks.")
    parser.add_argument("bag", type=Path, nargs="?", help="a bag with true labels (default: the sample bag)")
    parser.add_argument("--encoders", nargs="+", default=["pi3", "vggt", "tiny"], metavar="NAME[=WEIGHTS]")
    parser.add_argument("--sam", help="SAM 2 or EdgeTAM, a folder or an id (default: a small random one)")
    parser.add_argument("--decoder", type=Path, help="of the recipe mv-sam (default: a random one)")
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--clicks", type=int, default=4)
    add_out(parser)
    arguments = parser.parse_args()
    sets = list(islice(BagSequence(arguments.bag or resource(SAMPLE_BAG)), arguments.sets))
    rows = []
    for word in arguments.encoders:
        found = list(overlaps(*opened(word, arguments.sam, arguments.decoder), sets, arguments.clicks))
        below = float(np.mean([each < 0.9 for each in found]))
        rows.append({"encoder": word, "iou": float(np.mean(found)), "worst": min(found), "below 0.9": below,
                     "masks": len(found)})  # fmt: skip
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("sets", "clicks")}
    settings |= {"random": [word for word in arguments.encoders if word in RANDOM]}
    print(f"written: {write_record(arguments.out, 'prompt_order', rows, settings)}")


if __name__ == "__main__":
    main()
