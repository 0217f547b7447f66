"""Sizes of the memory's networks, and how much is kept."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class MemoryConfig:
    """Widths, strides, depths and counts; those of SAM 2.1 where the paper names none."""

    map_width: int = setting(128, "channels of the feature map that is enhanced", low=4)
    token_width: int = setting(128, "channels of the head's mask token", low=4)
    map_stride: int = setting(2, "pixels of the image for one cell of the feature map", "px", 1)
    stride: int = setting(7, "cells of the feature map for one of a memory", low=1)
    width: int = setting(256, "channels inside, and of an object pointer; a multiple of four times the heads", low=8)
    memory_width: int = setting(64, "channels of a memory; a multiple of 4 that divides the width", low=4)
    mask_strides: tuple = setting((2, 7), "strides of the mask's convolutions; their product is the side of a "
                                  "memory's cell", "px", 1)  # fmt: skip
    mask_channels: tuple = setting((16, 64), "channels after each of them", low=1)
    mask_scale: float = setting(20.0, "a mask enters as scale * chance - scale / 2", low=0.1)
    fuser_blocks: int = setting(2, "blocks that join mask and image", low=0)
    layers: int = setting(4, "layers of the memory attention", low=1)
    heads: int = setting(1, "attention heads", low=1)
    hidden: int = setting(2048, "hidden width of a layer's MLP", low=1)
    rotary_base: float = setting(10000.0, "base of the rotary angles", low=1.0)
    dropout: float = setting(0.1, "share of numbers dropped in training", "", 0.0, 0.9)
    ranks: int = setting(6, "codes for how recent a memory is; older ones share the last", low=1)
    pointer_frames: float = setting(15.0, "frames after which an object pointer's age counts as 1", low=1.0)


@dataclass(frozen=True)
class BankConfig:
    """How much a memory bank keeps and gives."""

    budget_mib: float = setting(64.0, "memory of all objects together", "MiB", 0.001)
    recent: int = setting(6, "newest memories of a view that are kept and given to the same view", "", 1)
    others: int = setting(2, "newest memories of each other view that are given too", "", 0)
    prompted: int = setting(4, "memories of prompted frames of an object that are kept and given to every view", "", 1)
    pointers: int = setting(16, "object pointers that are given at most", "", 0)
    least_score: float = setting(0.5, "a mask that was not prompted and is trusted less is not stored", "", 0.0, 1.0)
