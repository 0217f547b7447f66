"""Which encoder gives a frame set its geometry, and with what weights. One row of CHOICES for each encoder.

Networks, and torch with them, are imported only when one of them is chosen: without, a node starts seconds sooner.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg_core.config import setting
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.alignment.aligner import Aligner, AlignmentConfig
from geoseg_core.geometry.encoder import GeometryEncoder
from geoseg_core.geometry.inference import Pi3EncoderConfig, TinyEncoderConfig, VggtEncoderConfig
from geoseg_core.geometry.memory_budget import Cost
from geoseg_core.geometry.rgbd import RgbdConfig, RgbdEncoder
from geoseg_core.geometry.streaming.config import StreamingConfig
from geoseg_core.weights.chosen import ChosenWeights, choose_weights, stored_config

if TYPE_CHECKING:
    import torch

    from geoseg_core.geometry.vggt.model import Vggt


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder, the weights that are in it and what its input costs, if it has any, and what makes it forget earlier
    sets."""

    encoder: GeometryEncoder
    weights: ChosenWeights | None = None
    cost: Cost | None = None
    reset: Callable[[], None] = lambda: None


def load_vggt(config: "GeometryConfig", weights: ChosenWeights, device: "torch.device") -> LoadedEncoder:
    from geoseg_core.geometry.streaming.encoder import StreamingEncoder
    from geoseg_core.geometry.vggt.encoder import VggtEncoder

    model, layers = vggt_of(weights.path, config.vggt.dtype)
    encoder = VggtEncoder(model.to(device), config.vggt, layers)
    if not config.streaming:
        return LoadedEncoder(encoder, weights, encoder.cost)
    stream = StreamingEncoder(encoder, config.stream)
    return LoadedEncoder(stream, weights, encoder.cost, stream.reset)


def vggt_of(path: Path, dtype: "torch.dtype") -> "tuple[Vggt, tuple[int, ...]]":
    """VGGT without the head that no readout asks for; IGGT or SegVGGT of their weights, with the token layers that
    their instances are read from."""
    from geoseg_core.geometry.vggt.config import VggtConfig
    from geoseg_core.geometry.vggt.model import Vggt
    from geoseg_core.instances.field.config import IggtConfig
    from geoseg_core.instances.field.model import Iggt
    from geoseg_core.instances.queries.segvggt import SegVggt, SegVggtConfig
    from geoseg_core.weights.header import read_header
    from geoseg_core.weights.loading import plain_names

    modules = {name.partition(".")[0] for name in plain_names(read_header(path), str(path))}
    if "part_head" in modules:
        iggt = Iggt.from_checkpoint(path, stored_config(path, IggtConfig()), dtype)
        return iggt, tuple(iggt.layers_of_field())
    if "decoder" in modules:
        seg = SegVggt.from_checkpoint(path, stored_config(path, SegVggtConfig()), dtype)
        return seg, tuple(seg.layers_of_queries())
    sizes = stored_config(path, VggtConfig())
    sizes = replace(sizes, heads=tuple(head for head in sizes.heads if head != "points"))
    return Vggt.from_checkpoint(path, sizes, dtype), ()


def load_pi3(config: "GeometryConfig", weights: ChosenWeights, device: "torch.device") -> LoadedEncoder:
    from geoseg_core.geometry.pi3.config import Pi3Config
    from geoseg_core.geometry.pi3.encoder import Pi3Encoder
    from geoseg_core.geometry.pi3.model import Pi3

    sizes = stored_config(weights.path, Pi3Config())
    encoder = Pi3Encoder(Pi3.from_checkpoint(weights.path, sizes, config.pi3.dtype).to(device), config.pi3)
    return LoadedEncoder(encoder, weights, encoder.cost)


def load_pi3x(config: "GeometryConfig", weights: ChosenWeights, device: "torch.device") -> LoadedEncoder:
    from geoseg_core.geometry.pi3.config import Pi3XConfig
    from geoseg_core.geometry.pi3.encoder import Pi3Encoder
    from geoseg_core.geometry.pi3.pi3x import Pi3X

    sizes = stored_config(weights.path, Pi3XConfig())
    encoder = Pi3Encoder(Pi3X.from_checkpoint(weights.path, sizes, config.pi3.dtype).to(device), config.pi3)
    return LoadedEncoder(encoder, weights, encoder.cost)


def load_tiny(config: "GeometryConfig", weights: ChosenWeights, device: "torch.device") -> LoadedEncoder:
    from geoseg_core.geometry.tiny.config import TinyConfig
    from geoseg_core.geometry.tiny.encoder import TinyEncoder
    from geoseg_core.geometry.tiny.model import TinyGeometry
    from geoseg_core.weights.loading import load_checkpoint

    model = TinyGeometry(stored_config(weights.path, TinyConfig()))
    load_checkpoint(model, weights.path)
    return LoadedEncoder(TinyEncoder(model.to(device), config.tiny), weights, TinyEncoder.cost)


@dataclass(frozen=True)
class Choice:
    """One encoder that needs weights.

    Attributes:
        load: makes it, on a device.
        weights: names of weights that fit it, published or shipped, the usual ones first.
        metric: whether its unit of length is a guess of the metre.
        streams: whether it can be run as a stream.
    """

    load: Callable[["GeometryConfig", ChosenWeights, "torch.device"], LoadedEncoder]
    weights: tuple[str, ...]
    metric: bool = False
    streams: bool = False


MEASURED = "rgbd"
CHOICES = {
    "vggt": Choice(load_vggt, ("vggt-1b", "vggt-1b-commercial", "iggt"), streams=True),
    "pi3": Choice(load_pi3, ("pi3",)),
    "pi3x": Choice(load_pi3x, ("pi3x",), metric=True),
    "tiny": Choice(load_tiny, ("tiny",)),
}


@dataclass(frozen=True)
class GeometryConfig:
    """How a frame set gets its geometry."""

    encoder: str = setting(MEASURED, "what gives depth and poses", choices=(MEASURED, *CHOICES))
    weights: str = setting("", "weights by name (`geoseg weights list`) or file; empty for the encoder's usual ones")
    device: str = setting("auto", "where a network runs: auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    streaming: bool = setting(False, "whether vggt sees a set in the light of those before it")
    rgbd: RgbdConfig = field(default_factory=RgbdConfig)
    vggt: VggtEncoderConfig = field(default_factory=VggtEncoderConfig)
    pi3: Pi3EncoderConfig = field(default_factory=Pi3EncoderConfig)
    tiny: TinyEncoderConfig = field(default_factory=TinyEncoderConfig)
    stream: StreamingConfig = field(default_factory=StreamingConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)


def load_encoder(config: GeometryConfig) -> LoadedEncoder:
    """The configured encoder with its weights.

    Raises:
        BadInput: weights that are not here (the message names the command that gets them) or do not fit.
        BadConfig: a device that is not there, or streaming with an encoder that can't.
    """
    if config.streaming and not (config.encoder in CHOICES and CHOICES[config.encoder].streams):
        able = [name for name, choice in CHOICES.items() if choice.streams]
        raise BadConfig(f"geometry.streaming: expected one of the encoders {able}, got {config.encoder!r}; turn it off")
    if config.encoder == MEASURED:
        return LoadedEncoder(RgbdEncoder(config.rgbd))
    choice = CHOICES[config.encoder]
    weights = choose_weights(config.weights or choice.weights[0])
    return choice.load(config, weights, device_named(config.device))


def aligner_for(config: GeometryConfig) -> Aligner | None:
    """What brings the encoder's scenes to metres; None for measured depth, which is there."""
    if config.encoder == MEASURED:
        return None
    return Aligner(config.alignment, config.rgbd, CHOICES[config.encoder].metric)


def within(config: GeometryConfig, cost: Cost, memory_mib: int, views: int) -> tuple[GeometryConfig, str]:
    """The settings of a network with which so many views fit a memory, none larger than now, and words for them."""
    section = "pi3" if config.encoder == "pi3x" else config.encoder
    settings = getattr(config, section)
    room = cost.pixels(memory_mib, views)
    if section == "vggt":
        side = min(settings.side, math.isqrt(room))
        smaller, words, pixels = {"side": side}, f"a network input of {side}x{side} pixels", side**2
    else:
        pixels = min(settings.pixels, room)
        smaller, words = {"pixels": pixels}, f"a network input of {pixels} pixels"
    fitting = replace(settings, **smaller, memory_mib=memory_mib)
    return replace(config, **{section: fitting}), f"{words} for at most {cost.views(memory_mib, pixels)} views"


def device_named(name: str, where: str = "geometry.device") -> "torch.device":
    """A device by its name; "auto" is the first GPU, or the CPU without one. `where`: the setting that names it.

    Raises:
        BadConfig: no such device, or it is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadConfig(f"{where}: expected auto, cpu or cuda:0, got {name!r}") from error
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= here):
        raise BadConfig(f"{where}: expected cpu or one of {here} CUDA devices, got {name!r}")
    return device
