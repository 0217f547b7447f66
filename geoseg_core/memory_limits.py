"""What fits the memory that a process may take: image sizes, the network's input, the memory bank."""

import math
from dataclasses import dataclass, replace

from geoseg_core.config import setting
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.choice import within
from geoseg_core.geometry.memory_budget import MIB, Cost
from geoseg_core.pipeline import PipelineConfig

# What a pixel of a camera's image takes in all, measured with 2 and 3 cameras: 80 bytes with measured depth, 160 with
# the small network; the rest is for messages that wait.
IMAGE_PIXEL_BYTES = 200
# The memory bank's share where a limit leaves less than it may have.
BANK_SHARE = 0.25
LEAST_PIXELS = 4096


@dataclass(frozen=True)
class MemoryLimits:
    """How much memory a process may take; 0 is no limit."""

    cpu_mib: int = setting(
        0, "resident memory of the node; sizes that fit are chosen at configure, and what is remembered shrinks where "
        "it is passed; 0 for no limit", "MiB", 0
    )  # fmt: skip
    gpu_mib: int = setting(
        0, "memory of the node on the GPU, weights included; nothing beyond is allocated; 0 for no limit", "MiB", 0
    )


@dataclass(frozen=True)
class Used:
    """Memory that is taken before the first set: libraries and weights."""

    cpu_mib: float
    gpu_mib: float = 0.0


@dataclass(frozen=True)
class Fitted:
    """What fits: settings, the largest images that are taken (pixels), and words that say it."""

    pipeline: PipelineConfig
    image_pixels: int
    words: str


def fitted(
    config: PipelineConfig, limits: MemoryLimits, used: Used, cost: Cost | None, on_gpu: bool, cameras: int,
    image_pixels: int,
) -> Fitted:
    """The largest sizes within limits, none larger than configured.

    Of what is free on the CPU, images get half, or all where the network is not there. The rest is the network's, less
    a stream's cache and what the memory bank may hold.

    Args:
        cost: of the network's input; None where there is no network.
        image_pixels: the largest images that are to be taken.

    Raises:
        BadConfig: names the limit that is too low, and what it takes.
    """
    stream_mib = config.geometry.stream.budget_mib if config.geometry.streaming else 0
    shared = cost is not None and not on_gpu
    least_images = LEAST_PIXELS * cameras * IMAGE_PIXEL_BYTES / MIB
    least_network = 0.0
    if cost is not None:
        input_mib = math.ceil(LEAST_PIXELS * (cameras * cost.in_view + cost.once) / MIB)
        least_network = input_mib / (1 - BANK_SHARE) + stream_mib
    least_cpu = 2 * max(least_images, least_network) if shared else least_images
    cpu_free = _free("cpu_mib", limits.cpu_mib, used.cpu_mib, least_cpu)
    gpu_free = _free("gpu_mib", limits.gpu_mib, used.gpu_mib, least_network) if on_gpu else math.inf

    for_images = cpu_free / 2 if shared else cpu_free
    fits_images = int(min(image_pixels, for_images * MIB / (cameras * IMAGE_PIXEL_BYTES)))
    words = f"{cameras} cameras with images of at most {fits_images} pixels fit"
    for_network = gpu_free if on_gpu else cpu_free / 2
    if cost is None or math.isinf(for_network):
        return Fitted(config, fits_images, words)
    for_network -= stream_mib
    bank_mib = min(config.cross_view.bank.budget_mib, BANK_SHARE * for_network)
    room_mib = int(for_network - bank_mib)
    geometry, input_words = within(config.geometry, cost, room_mib, cameras)
    bank = replace(config.cross_view.bank, budget_mib=bank_mib)
    pipeline = replace(config, geometry=geometry, cross_view=replace(config.cross_view, bank=bank))
    words += f", {input_words} in {room_mib} MiB, a memory bank of {bank_mib:.0f} MiB"
    return Fitted(pipeline, fits_images, words)


def _free(name: str, limit_mib: int, used_mib: float, least_mib: float) -> float:
    """What a limit leaves; at least so much is needed."""
    if not limit_mib:
        return math.inf
    if limit_mib < used_mib + least_mib:
        raise BadConfig(
            f"memory.{name}: expected at least {math.ceil(used_mib + least_mib)} MiB, got {limit_mib}; raise it, or "
            "take a smaller network or fewer cameras"
        )
    return limit_mib - used_mib
