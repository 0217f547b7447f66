"""What fits the memory that a process may take, by hand-computed sizes."""

from dataclasses import replace

import pytest

from geoseg_core.errors import BadConfig
from geoseg_core.geometry.memory_budget import MIB, Cost
from geoseg_core.memory_limits import MemoryLimits, Used, fitted
from geoseg_core.pipeline import PipelineConfig

RGBD = PipelineConfig()
LARGEST = 64_000_000


def with_encoder(name: str, **changed) -> PipelineConfig:
    return replace(RGBD, geometry=replace(RGBD.geometry, encoder=name, **changed))


def test_without_a_network_all_that_is_free_is_for_images():
    found = fitted(RGBD, MemoryLimits(cpu_mib=500), Used(cpu_mib=100), None, False, 2, LARGEST)
    assert found.image_pixels == 400 * MIB // (2 * 200) == 1_048_576
    assert found.pipeline == RGBD and found.words == "2 cameras with images of at most 1048576 pixels fit"
    roomy = fitted(RGBD, MemoryLimits(cpu_mib=500), Used(cpu_mib=100), None, False, 2, 640 * 480)
    assert roomy.image_pixels == 640 * 480


def test_a_network_on_the_cpu_gets_half_less_the_memory_bank():
    config = with_encoder("tiny")
    found = fitted(config, MemoryLimits(cpu_mib=680), Used(cpu_mib=600), Cost(in_view=700), False, 2, LARGEST)
    # Of 80 MiB, 40 are for images. Of the others the memory bank gets a quarter; it may have 64 at most.
    assert found.image_pixels == 40 * MIB // (2 * 200)
    assert found.pipeline.cross_view.bank.budget_mib == 10
    tiny = found.pipeline.geometry.tiny
    assert tiny.memory_mib == 30 and tiny.pixels == 30 * MIB // (2 * 700) == 22_469
    assert "a network input of 22469 pixels for at most 2 views in 30 MiB, a memory bank of 10 MiB" in found.words
    ample = fitted(config, MemoryLimits(cpu_mib=2000), Used(cpu_mib=600), Cost(in_view=700), False, 2, LARGEST)
    assert ample.pipeline.geometry.tiny.pixels == config.geometry.tiny.pixels
    assert ample.pipeline.cross_view.bank.budget_mib == 64


def test_a_network_on_a_gpu_is_fitted_to_the_gpu_and_a_stream_takes_its_part():
    config = with_encoder("vggt", streaming=True)
    limits, used = MemoryLimits(cpu_mib=1000, gpu_mib=8000), Used(cpu_mib=600, gpu_mib=4800)
    found = fitted(config, limits, used, Cost(in_view=400, once=1000), True, 4, LARGEST)
    # 3200 MiB less a bank of 64 and a cache of 2048 are 1088; (1088 MiB / (4 * 400 + 1000)) pixels are a square of 662.
    assert found.pipeline.geometry.vggt.memory_mib == 1088 and found.pipeline.geometry.vggt.side == 518
    assert found.image_pixels == 400 * MIB // (4 * 200)
    tight = fitted(config, replace(limits, gpu_mib=7000), used, Cost(in_view=400, once=1000), True, 4, LARGEST)
    # (2200 - 2048) less a quarter are 114 MiB.
    assert tight.pipeline.geometry.vggt.side == 214 and "214x214" in tight.words
    unlimited = fitted(config, replace(limits, gpu_mib=0), used, Cost(in_view=400, once=1000), True, 4, LARGEST)
    assert unlimited.pipeline == config


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        # 4096 pixels x 2 views x 700 bytes are 6 MiB, with the memory bank 8; on the CPU images get as much.
        (MemoryLimits(cpu_mib=100), 616),
        (MemoryLimits(cpu_mib=615), 616),
        (MemoryLimits(gpu_mib=400), 508),
    ],
)
def test_a_limit_that_is_too_low_is_named_with_what_it_takes(limits, least):
    used, on_gpu, cost = Used(cpu_mib=600, gpu_mib=500), bool(limits.gpu_mib), Cost(in_view=700)
    name, given = ("gpu_mib", limits.gpu_mib) if on_gpu else ("cpu_mib", limits.cpu_mib)
    with pytest.raises(BadConfig, match=rf"memory\.{name}: expected at least {least} MiB, got {given}"):
        fitted(with_encoder("tiny"), limits, used, cost, on_gpu, 2, LARGEST)
    enough = fitted(with_encoder("tiny"), replace(limits, **{name: least}), used, cost, on_gpu, 2, LARGEST)
    assert enough.pipeline.geometry.tiny.pixels >= 4096
