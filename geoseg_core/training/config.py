"""Settings that all recipes share: optimiser, schedule and loop. A recipe's config adds its model and its data."""

from dataclasses import dataclass, field

from geoseg_core.config import setting

PRECISIONS = ("bf16", "fp32")
STORED = ("exact", "compact")


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW, clipping, averaged weights."""

    learning_rate: float = setting(5e-4, "highest learning rate", low=0.0)
    weight_decay: float = setting(0.05, "decay of matrices; norms, biases and other vectors have none", low=0.0)
    beta1: float = setting(0.9, "decay of the mean of the gradients", low=0.0, high=1.0)
    beta2: float = setting(0.95, "decay of the mean of their squares", low=0.0, high=1.0)
    clip: float = setting(1.0, "gradients are scaled down to this norm, 0 = as they are", low=0.0)
    ema_decay: float = setting(0.999, "decay of the averaged weights, which are exported", low=0.0, high=1.0)
    frozen: tuple = setting((), "parameters whose names begin with one of these stay as they are")
    slow: tuple = setting((), "parameters whose names begin with one of these learn at a part of the rate")
    slow_rate: float = setting(0.1, "which part", low=0.0)


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up, then a cosine down to `floor`, over steps or over time."""

    steps: int = setting(10_000, "steps of the whole training", low=1)
    minutes: float = setting(0.0, "length of the whole training by time, over all its runs; 0 = by steps", "min", 0.0)
    warmup: float = setting(0.02, "part of the training in which the learning rate rises", low=0.0, high=1.0)
    floor: float = setting(0.01, "last learning rate over the highest", low=0.0, high=1.0)


@dataclass(frozen=True)
class LoopConfig:
    """How the loop runs. All of it may be changed when a training goes on, but `seed` and `batch` change its course."""

    seed: int = setting(0, "seed of weights and data", low=0, high=1_000)
    batch: int = setting(16, "samples of a step, over all devices", low=1)
    micro_batch: int = setting(0, "samples on a device at a time, 0 = all; halved when memory runs out", low=0)
    precision: str = setting("bf16", "type of matrix products", choices=PRECISIONS)
    workers: int = setting(-1, "processes that make data, 0 = in the loop itself, -1 = by cores", low=-1, high=256)
    weights: str = setting("", "safetensors file that the training starts from")
    log_every: int = setting(1, "steps from one line of the log to the next", low=1)
    picture_every: int = setting(1_000, "steps from one picture to the next, 0 = none", low=0)
    evaluate_every: int = setting(1_000, "steps from one look at held-out samples to the next, 0 = none", low=0)
    evaluate_samples: int = setting(64, "held-out samples of such a look", low=1)
    final_samples: int = setting(256, "held-out samples of the final report", low=1)
    checkpoint_steps: int = setting(1_000, "steps from one checkpoint to the next, 0 = by time alone", low=0)
    checkpoint_minutes: float = setting(10.0, "minutes from one checkpoint to the next, 0 = by steps alone", "min", 0.0)
    keep: int = setting(2, "checkpoints that are kept, the newest", low=1)
    shard_mib: float = setting(0.0, "largest file of a checkpoint, 0 = one file", "MiB", 0.0)
    stored: str = setting("exact", "compact: averages and moments in bfloat16, half the size", choices=STORED)
    bad_steps: int = setting(20, "so many steps in a row without a finite loss end the training", low=1)


@dataclass(frozen=True)
class TrainingConfig:
    """What every recipe's config inherits."""

    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
