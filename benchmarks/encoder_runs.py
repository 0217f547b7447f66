"""One run of `encoders.py`, in a process of its own: a network with random weights, its stages, time and memory.

Weights are drawn from a seeded normal distribution with standard deviation 1 / sqrt(fan in); norms are near 1 and layer
scales near 0.1, so that every block matters, nothing overflows, and depth varies by about a quarter.
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_vggt import PlainVggt
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from geoseg_core.geometry.acceleration import InferenceConfig, graphed, prepared
from geoseg_core.geometry.pi3.config import ConvHeadConfig, DecoderConfig, HeadConfig, Pi3Config, Pi3XConfig
from geoseg_core.geometry.pi3.model import FRAME_CHUNK, Pi3, Pi3Trunk
from geoseg_core.geometry.pi3.model import HEADS as PI3_HEADS
from geoseg_core.geometry.pi3.pi3x import Pi3X
from geoseg_core.geometry.vggt.config import AggregatorConfig, CameraHeadConfig, TrackHeadConfig, VggtConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.images import IMAGENET_MEAN, IMAGENET_STD
from geoseg_core.layers.vit import VitConfig

MODELS: dict[str, type] = {"vggt": Vggt, "pi3": Pi3, "pi3x": Pi3X}
TINY_VIT = VitConfig(depth=1, heads=2)
TINY_PI3: dict[str, Any] = {
    "width": 64,
    "encoder": TINY_VIT,
    "decoder": DecoderConfig(depth=2, heads=2),
    "heads": HeadConfig(depth=1, width=64, heads=2, dense_out=64, camera_out=32),
}
TINY_DPT = DptConfig(features=16, channels=(8, 8, 16, 16))
TINY = {
    "vggt": VggtConfig(
        width=64,
        patch_embed=TINY_VIT,
        aggregator=AggregatorConfig(depth=24, heads=2),
        camera_head=CameraHeadConfig(depth=1, heads=2),
        depth_head=TINY_DPT,
        point_head=TINY_DPT,
        track_head=TrackHeadConfig(TINY_DPT, hidden=32, depth=1),
    ),
    "pi3": Pi3Config(**TINY_PI3),
    "pi3x": Pi3XConfig(**TINY_PI3, conv_head=ConvHeadConfig(channels=(16, 16, 16)), pose_after=(1,)),
}
GIB = 2**30
# Sides of the matrices that the machine's rate is measured with.
MATRIX = {"cpu": 2048, "cuda": 8192}

Found = dict[str, Any]
Stage = tuple[str, Callable[[Found], Any]]


@dataclass(frozen=True)
class Run:
    """What one process measures; `plain` takes the published steps instead of ours."""

    model: str
    plain: bool
    config: InferenceConfig
    views: int
    size: tuple[int, int]
    heads: tuple[str, ...]
    points: int
    device: str
    passes: int
    warm_ups: int
    threads: int
    tiny: bool
    depth_file: str


def random_model(run: Run) -> nn.Module:
    """The network with seeded weights, on the device in the type of the run."""
    with torch.device("meta"):
        model = MODELS[run.model](TINY[run.model] if run.tiny else None)
    model = model.to_reduced(run.config.dtype).eval().to_empty(device=run.device)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "gamma" in name:
                noise = 0.1 + 0.02 * noise
            elif weight.ndim == 1:
                noise = 0.02 * noise + float("norm" in name and name.endswith("weight"))
            else:
                noise = noise / weight[0].numel() ** 0.5
            weight.copy_(noise)
        if isinstance(model, Pi3Trunk):
            model.image_mean.copy_(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
            model.image_std.copy_(torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
    return model


def stages_of(model: nn.Module, run: Run, images: Tensor) -> list[Stage]:
    """The steps of one pass, each with what was found before."""
    grid = (images.shape[-2] // model.config.patch, images.shape[-1] // model.config.patch)
    if isinstance(model, Pi3Trunk):
        return _pi3_stages(model, images, grid)
    if run.plain:
        return _plain_stages(PlainVggt(model), run, images)
    keep = model.layers_read(run.heads)
    queries = torch.rand(run.points, 2, device=images.device) * images.new_tensor(images.shape[:-3:-1])
    steps: dict[str, Callable[[Found], Any]] = {
        "camera": lambda found: model.read(found["aggregate"], ("camera",)).pose_encodings[-1],
        "depth": lambda found: model.read(found["aggregate"], ("depth",)).depth,
        "points": lambda found: model.read(found["aggregate"], ("points",)).points,
        "tracks": lambda found: model.read(found["aggregate"], ("tracks",), queries).tracks,
    }
    return [
        ("patch embed", lambda found: model.aggregator.embed(images)),
        ("aggregate", lambda found: model.aggregator.aggregate(found["patch embed"], 1, grid, keep)),
        *((head, steps[head]) for head in run.heads),
    ]


def _plain_stages(plain: PlainVggt, run: Run, images: Tensor) -> list[Stage]:
    size = (images.shape[-2], images.shape[-1])
    steps: dict[str, Callable[[Found], Any]] = {
        "camera": lambda found: plain.camera(found["aggregate"])[-1],
        "depth": lambda found: plain.depth(found["aggregate"])[0],
        "points": lambda found: plain.points(found["aggregate"])[0],
    }
    return [
        ("patch embed", lambda found: plain.embed(images)),
        ("aggregate", lambda found: plain.aggregate(found["patch embed"], 1, size)),
        *((head, steps[head]) for head in run.heads),
    ]


def _pi3_stages(model: Pi3Trunk, images: Tensor, grid: tuple[int, int]) -> list[Stage]:
    return [
        ("patch embed", lambda found: model.encode(images)),
        ("aggregate", lambda found: model.decode(found["patch embed"], 1, grid)),
        ("heads", lambda found: model.read(found["aggregate"], 1, grid, PI3_HEADS, FRAME_CHUNK)),
    ]


def depth_of(found: Found) -> Tensor:
    """(V, H, W) float32 of a pass."""
    depth = found["depth"] if "depth" in found else found["heads"].local_points[..., 2]
    return depth[0].float().cpu()


def one_pass(stages: list[Stage], run: Run) -> tuple[dict[str, float], Found]:
    """Seconds of each stage, and what they found."""
    device, clock, seconds, found = torch.device(run.device), clock_of(run), {}, {}
    with torch.inference_mode(), run.config.trunk_types(device):
        for name, step in stages:
            finish(device)
            start = clock()
            found[name] = step(found)
            finish(device)
            seconds[name] = clock() - start
    return seconds, found


def clock_of(run: Run) -> Callable[[], float]:
    """One thread on a CPU is timed by what it computed, since others may use the machine too."""
    return time.thread_time if run.device == "cpu" and run.threads == 1 else time.perf_counter


def finish(device: torch.device) -> None:
    """Wait for a GPU; a CPU is done at once."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def whole(stages: list[Stage], run: Run) -> Callable[[Tensor], Found]:
    """All stages as one function of the images, for a CUDA graph."""

    def function(images: Tensor) -> Found:
        found: Found = {}
        with run.config.trunk_types(images.device):
            for name, step in stages:
                found[name] = step(found)
        return found

    return function


def count_flops(run: Run) -> dict[str, float]:
    """TFLOP of each stage of our network, counted on tensors without contents."""
    ours = replace(run, plain=False, device="cpu")
    warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
    # The counter knows the products of which attention consists, not every fused one.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model = MODELS[run.model](TINY[run.model] if run.tiny else None).eval().requires_grad_(False)
        images = torch.empty(1, run.views, 3, *run.size)
        counts, found = {}, {}
        for name, step in stages_of(model, ours, images):
            with FlopCounterMode(display=False) as counter:
                found[name] = step(found)
            counts[name] = counter.get_total_flops() / 1e12
    return counts


def matrix_rate(run: Run) -> float:
    """TFLOP/s of a large matrix product in the type of the run's products: the best of some."""
    device, clock = torch.device(run.device), clock_of(run)
    side = MATRIX[device.type]
    dtype = torch.float32 if run.config.precision == "fp32" else torch.bfloat16
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        finish(device)
        start = clock()
        left @ right
        finish(device)
        best = min(best, clock() - start)
    return 2 * side**3 / best / 1e12


def resident_gib() -> float:
    """Memory of this process at the moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIB


def measure(run: Run) -> dict[str, Any]:
    """Stage times of the quickest pass, memory and FLOPs of a run; its depth goes to the file that the run names."""
    device = torch.device(run.device)
    model = random_model(run)
    weights = sum(each.numel() * each.element_size() for each in model.state_dict().values()) / GIB
    model = prepared(model, run.config)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(1, run.views, 3, *run.size, generator=generator).to(device)
    stages = stages_of(model, run, images)
    if run.config.cuda_graphs:
        replay = graphed(whole(stages, run), run.config, device)
        stages = [("whole", lambda found: found.update(replay(images)))]  # a graph has no stages
    before = torch.cuda.memory_allocated(device) / GIB if device.type == "cuda" else resident_gib()
    passes = []
    for _ in tqdm(range(run.warm_ups + run.passes), desc="passes", leave=False):
        seconds, found = one_pass(stages, run)
        passes.append(seconds)
    np.save(run.depth_file, depth_of(found).numpy())
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / GIB
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    best = min(passes[run.warm_ups :], key=lambda each: sum(each.values()))
    return {
        "stage_s": best,
        "total_s": sum(best.values()),
        "weights_gib": weights,
        "before_gib": before,
        "peak_gib": peak,
        "matrix_tflops": matrix_rate(run),
    }


def run_of(words: dict[str, Any]) -> Run:
    """A run from what a process is told."""
    return Run(**{**words, "config": InferenceConfig(**words["config"])})


def main() -> None:
    run = run_of(json.loads(sys.argv[1]))
    torch.set_num_threads(run.threads)
    print(json.dumps(measure(run)))


if __name__ == "__main__":
    main()
