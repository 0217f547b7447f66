"""The training loop: steps, logs, looks at held-out samples, checkpoints, and an end that can be gone on from."""

import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from geoseg_core.config import settings
from geoseg_core.errors import BadConfig, BadInput, TrainingFailed
from geoseg_core.training.checkpoint import checkpoint_name, keep_newest, read_checkpoint, read_facts, write_checkpoint
from geoseg_core.training.devices import Devices
from geoseg_core.training.held_out import evaluate, export, show
from geoseg_core.training.loader import batches, worker_count
from geoseg_core.training.log import Log
from geoseg_core.training.optimiser import freeze, rate_factor
from geoseg_core.training.progress import Progress
from geoseg_core.training.report import write_report
from geoseg_core.training.state import give_state, state_tensors
from geoseg_core.training.stepper import Stepper, StepResult
from geoseg_core.training.stops import Stop, caught_signals
from geoseg_core.training.task import Task, step_seeds
from geoseg_core.weights.loading import load_state

CHECKPOINTS = "checkpoints"
FINISHED, TIME, SIGNAL = "the schedule is done", "the time is over", "signal"
# A schedule by time has no last step.
ENDLESS = 10**9
# How much of the newest step goes into the measured time of a step.
SPEED_SHARE = 0.05


class Trainer:
    """One training in one folder, from its beginning or from a checkpoint."""

    def __init__(self, recipe: str, task: Task, devices: Devices, out: Path, progress: Progress) -> None:
        loop = task.config.loop
        if loop.batch % devices.count:
            raise BadConfig(f"loop.batch: expected a multiple of the {devices.count} devices, got {loop.batch}")
        self.recipe, self.task, self.devices, self.out, self.progress = recipe, task, devices, out, progress
        torch.manual_seed(loop.seed)
        model = task.model()
        if loop.weights:
            task.load(model, {name: value.float() for name, value in load_state(loop.weights).items()})
        freeze(model, task.config.optimiser.frozen)
        self.stepper = Stepper(task, model.to(devices.device), devices)
        self.done, self.seconds, self.step_s = 0, 0.0, 0.0
        self._saved_at = time.monotonic()

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            BadInput: it is broken, or of another recipe or model.
        """
        facts = read_facts(folder)
        if facts["recipe"] != self.recipe:
            raise BadInput(f"{folder}: expected a checkpoint of {self.recipe}, got one of {facts['recipe']}")
        give_state(self.stepper, read_checkpoint(folder), str(folder))
        self.done, self.seconds = facts["step"], facts["seconds"]
        self.stepper.bad, self.stepper.bad_in_a_row = facts["bad"], facts["bad_in_a_row"]
        if not self.task.config.loop.micro_batch:
            self.stepper.micro_batch = facts["micro_batch"]
        self.progress.say(f"going on after step {self.done} from {folder}")

    def run(self, minutes: float = 0.0) -> int:
        """Train to the end of the schedule, of the minutes (0 = no limit), or until a signal.

        Returns:
            The number of the signal that ended it, else 0.

        Raises:
            TrainingFailed: no finite loss for many steps, no memory for a single sample, or no room for a checkpoint.
        """
        log = Log(self.out, self.done, self.progress.say) if self.devices.main else None
        self.progress.start()
        try:
            with caught_signals() as stop:
                ended = self._train(log, minutes, stop)
                if self.devices.main:
                    self._finish(log, ended)
        finally:
            self.progress.close()
            if log is not None:
                log.close()
        return stop.number if ended == SIGNAL else 0

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            TrainingFailed: it cannot be written; the ones before it are whole.
        """
        loop = self.task.config.loop
        folder = self.out / CHECKPOINTS
        tensors = state_tensors(self.stepper, loop.stored == "compact")
        try:
            write_checkpoint(folder / checkpoint_name(self.done), tensors, self.facts(), loop.shard_mib)
            keep_newest(folder, loop.keep)
        except (OSError, SafetensorError) as error:
            raise TrainingFailed(
                f"{folder}: expected room for a checkpoint, got {error}; free some, then go on with --resume"
            ) from error
        self._saved_at = time.monotonic()

    def facts(self) -> dict[str, Any]:
        """All that is known of the training beside its tensors."""
        config = self.task.config
        used = step_seeds(config.loop.seed, 0, 1)[0]
        parameters = list(self.stepper.model.parameters())
        return {
            "recipe": self.recipe,
            "step": self.done,
            "samples": self.done * config.loop.batch,
            "seconds": self.seconds,
            "seeds": [used, used + self.done * config.loop.batch],
            "random_numbers": "torch.manual_seed from loop.seed, step and rank before each step",
            "devices": self.devices.count,
            "micro_batch": self.stepper.micro_batch,
            "bad": self.stepper.bad,
            "bad_in_a_row": self.stepper.bad_in_a_row,
            "parameters": sum(value.numel() for value in parameters),
            "trained_parameters": sum(value.numel() for value in parameters if value.requires_grad),
            "config": {each.name: each.default for each in settings(config)},
        }

    def _part(self) -> float:
        """How much of the schedule is done, 0 to 1."""
        schedule = self.task.config.schedule
        return self.seconds / (60 * schedule.minutes) if schedule.minutes else self.done / schedule.steps

    def _train(self, log: Log | None, minutes: float, stop: Stop) -> str:
        """Steps until something ends them."""
        schedule = self.task.config.schedule
        self.progress.say(
            f"{self.recipe}: {self.facts()['trained_parameters']:,} parameters to train on {self.devices.count} x "
            f"{self.devices.device}, data from {worker_count(self.task, self.devices)} workers"
        )
        if self._part() >= 1:
            return FINISHED
        began, before = time.monotonic(), self.seconds
        last = ENDLESS if schedule.minutes else schedule.steps
        for batch in batches(self.task, self.devices, self.done, last):
            part = self._part() if schedule.minutes else (self.done + 1) / schedule.steps
            rate = self.task.config.optimiser.learning_rate * rate_factor(part, schedule)
            size = self.stepper.micro_batch
            result = self.stepper.step(batch, self.done, rate)
            if self.stepper.micro_batch < size:
                self.progress.say(f"memory ran out: {self.stepper.micro_batch} samples at a time from now on")
            self.done += 1
            now, signal_number = self.devices.highest(time.monotonic() - began, float(stop.number))
            self._measure(before + now - self.seconds)
            self.seconds = before + now
            self._record(log, result, rate, 60 * minutes - now if minutes else float("inf"))
            if self._part() >= 1:
                return FINISHED
            if signal_number:
                return SIGNAL
            if minutes and now >= 60 * minutes:
                return TIME
            if self.devices.main and self._due():
                self.save()
        return FINISHED

    def _measure(self, step_s: float) -> None:
        self.step_s = step_s if not self.step_s else self.step_s + SPEED_SHARE * (step_s - self.step_s)

    def _due(self) -> bool:
        loop = self.task.config.loop
        by_step = loop.checkpoint_steps and self.done % loop.checkpoint_steps == 0
        waited = time.monotonic() - self._saved_at
        return bool(by_step or (loop.checkpoint_minutes and waited >= 60 * loop.checkpoint_minutes))

    def _record(self, log: Log | None, result: StepResult, rate: float, run_left_s: float) -> None:
        """Progress, a line of the log, and what is due of held-out samples."""
        if log is None:
            return
        loop, schedule = self.task.config.loop, self.task.config.schedule
        speed = loop.batch / self.step_s
        left = 60 * schedule.minutes - self.seconds
        left = min(left if schedule.minutes else (schedule.steps - self.done) * self.step_s, run_left_s)
        self.progress.update(self._part(), self.done, speed, result.losses["total"], max(left, 0.0))
        if not result.taken:
            self.progress.say(f"step {self.done}: no finite loss or gradient, skipped ({self.stepper.bad} so far)")
        if self.done % loop.log_every == 0:
            facts = {"learning_rate": rate, "gradient_norm": result.gradient_norm, "samples_per_s": speed}
            log.row(self.done, "train", result.losses | facts | {"seconds": self.seconds})
        if loop.picture_every and self.done % loop.picture_every == 0:
            log.picture(self.done, show(self.stepper, self.out, self.done))
        if loop.evaluate_every and self.done % loop.evaluate_every == 0:
            log.row(self.done, "held_out", evaluate(self.stepper, loop.evaluate_samples, self.progress.note))

    def _finish(self, log: Log | None, ended: str) -> None:
        """Checkpoint first, then all that people look at; after a signal only what takes no time."""
        self.save()
        metrics: dict[str, float] = {}
        loop = self.task.config.loop
        if ended != SIGNAL and log is not None:
            self.progress.say(f"{ended}; looking at held-out samples")
            count = loop.final_samples if ended == FINISHED else loop.evaluate_samples
            metrics = evaluate(self.stepper, count, self.progress.note)
            log.row(self.done, "held_out", metrics)
            log.picture(self.done, show(self.stepper, self.out, self.done))
        facts = self.facts() | {"ended": ended}
        export(self.stepper, self.out, facts)
        write_report(self.out, facts, metrics, self.progress.say)
        self.progress.say(f"{ended} after step {self.done}; checkpoint, weights and report.md are in {self.out}")
