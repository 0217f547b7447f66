"""The batches of the steps of a run, made ahead in processes of their own where there are cores for it."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from geoseg_core.datasets.sample import Sample
from geoseg_core.training.devices import Devices
from geoseg_core.training.task import Task, step_seeds

WORKERS_MAX = 8
# Cores that a training on the CPU keeps for itself.
LOOP_CORES = 2


class Batches(Dataset):
    """This process's share of the batch of each step."""

    def __init__(self, task: Task, devices: Devices, device: torch.device) -> None:
        self.task, self.devices, self.device = task, devices, device

    def __getitem__(self, step: int) -> Sample:
        loop = self.task.config.loop
        seeds = step_seeds(loop.seed, step, loop.batch)[self.devices.rank :: self.devices.count]
        return self.task.batch(step, seeds, self.device)


def worker_count(task: Task, devices: Devices) -> int:
    """Processes that make data for this one."""
    asked = task.config.loop.workers
    if asked >= 0:
        return asked
    if task.data_on_device and devices.device.type != "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(WORKERS_MAX, (cores - LOOP_CORES) // devices.count))


def batches(task: Task, devices: Devices, first: int, last: int) -> Iterator[Sample]:
    """The batches of steps first to last - 1, on the training device."""
    workers = worker_count(task, devices)
    if workers == 0:
        source = Batches(task, devices, devices.device)
        yield from (source[step] for step in range(first, last))
        return
    loader = DataLoader(
        Batches(task, devices, torch.device("cpu")),
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_leave_signals,
        prefetch_factor=2,
    )
    for batch in loader:
        yield batch.to(devices.device)


def rows(batch: Sample, start: int, stop: int) -> Sample:
    """Some samples of a batch."""
    parts: dict[str, Any] = {name: value[start:stop] for name, value in batch.tensors().items()}
    return replace(batch, **parts)


def _unchanged(batch: Sequence[Sample]) -> Any:
    return batch


def _leave_signals(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the loop decides when its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
