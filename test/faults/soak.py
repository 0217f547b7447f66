"""A real node for an hour, while its cameras, its peers and its users do what they should not.

    make soak MINUTES=60

Three RGB-D cameras publish at 10 Hz from a process of their own, a fault of soak_faults.py is done every few seconds in
an order that the seed alone decides, and somebody prompts every two seconds. This process only listens: when the masks
of each set arrive, how large the node is, how many files it has open. report.json, report.png and the logs go to a
folder; the exit status is 1 where the node did not keep what docs/reliability.md promises, and the reasons are named.
"""

import argparse
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from faults.lives import MOST_MB_PER_LIFE, growth_over, open_files, processor_s, resident_mb, stolen_s
from faults.soak_faults import FAULTS, NAMES, scene
from faults.soak_report import (
    JUDGED_MINUTES,
    MAX_AGE_S,
    SLOP_S,
    Delivered,
    Size,
    Watched,
    failures_of,
    latencies,
    print_report,
    report_of,
    spread_of,
    write_plot,
)
from live import Live, live_node, stamp_of, values, with_modules

from geoseg_ros import msg, srv

PROMPT_EVERY_S, FAULT_S = 2.0, (0.3, 1.0)
ANSWER_S = 10.0  # twice as long as a prompt waits for a set
HELD_UP_S = 2.0  # ten images wait in each queue after 1 s
PROMPTED = 2  # label of a box in the scene that stands still
TELL_EVERY_S, NEWEST = 10.0, 1000
ALL_FAULTS = [name for table in FAULTS.values() for name in table]


class Listener:
    """Notes what the node says, and prompts it."""

    def __init__(self, live: Live, labels: np.ndarray) -> None:
        self.watched = Watched()
        self._live = live
        self._pixel = [float(np.median(axis)) for axis in np.nonzero(labels == PROMPTED)[::-1]]
        self._is_followed = False
        node = live.bench.node
        node.create_subscription(msg.CrossViewMasks, "/geoseg/cross_view_masks", self._note_masks, 100)
        node.create_subscription(msg.PromptMasks, "/geoseg/prompt_masks", self._note_answer, 100)
        self._prompts = node.create_publisher(msg.Prompt, "/geoseg/prompt", 10)
        self._segment = node.create_client(srv.Segment, "/geoseg/segment")
        self._track = node.create_client(srv.TrackObject, "/geoseg/track_object")

    def _note_masks(self, message: msg.CrossViewMasks) -> None:
        now_s, stamp_ns = time.time(), stamp_of(message)
        oldest_ns = min((stamp_of(view) for view in message.views), default=stamp_ns)
        self._is_followed = any(view.masks for view in message.views)
        self.watched.sets.append(Delivered(stamp_ns, now_s, (stamp_ns - oldest_ns) / 1e9, len(message.views)))

    def _note_answer(self, answer: msg.PromptMasks) -> None:
        if answer.request_id.startswith("topic"):
            self._answered(answer.request_id, not answer.error)

    def _answered(self, name: str, is_good: bool) -> None:
        self.watched.prompts[name].append(time.time())
        self.watched.refused_prompts += not is_good

    def prompt(self) -> None:
        """Have the box followed where it is not; else ask for its masks, by topic and service alternately."""
        number = len(self.watched.prompts)
        way = ("topic" if number % 2 else "service") if self._is_followed else "track"
        name = f"{way} {number}"
        self.watched.prompts[name] = [time.time()]
        prompt = msg.Prompt(request_id=name, camera="ego", points_px=self._pixel, point_labels=[1])
        if way == "topic":
            self._prompts.publish(prompt)
            return
        client = self._segment if way == "service" else self._track
        future = client.call_async(client.srv_type.Request(prompt=prompt))
        future.add_done_callback(lambda done: self._answered(name, done.result().success))

    def look(self) -> None:
        """At the node's size and at its newest diagnostics."""
        process_id = self._live.process.pid
        shared_mb = resident_mb(process_id, "RssShmem")
        self.watched.sizes.append(Size(time.time(), resident_mb(process_id), shared_mb, open_files(process_id)))
        self.watched.processor_s = processor_s(process_id)
        self.watched.stolen_s.append((time.time(), stolen_s()))
        arrays = self._live.bench.heard["/diagnostics"]
        del arrays[:-1]
        for status in (each for array in arrays for each in array.status):
            part = status.name.removeprefix("geoseg: ")
            for key, value in values(status).items():
                if "_ms_p" in key and part == "pipeline":
                    self.watched.node_ms[key] = float(value)
                elif key.startswith(("sets_", "memory_resets")) or " dropped" in key or " refused" in key:
                    self.watched.counts[f"{part}: {key}"] = int(value)

    def is_answered(self) -> bool:
        return all(len(times) > 1 for times in self.watched.prompts.values())


class Helper:
    """One of the processes of soak_faults.py."""

    def __init__(self, role: str, size: tuple[int, int], rate_hz: float, folder: Path) -> None:
        self.role = role
        self._said, self._log = folder / f"{role}.txt", folder / f"{role}.log"
        command = [sys.executable, "-m", "faults.soak_faults", role, *map(str, size), str(rate_hz)]
        with self._said.open("w") as said, self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=log, text=True,
                env=with_modules(os.environ),
            )  # fmt: skip
        self._lines = self._said.open()

    def order(self, fault: str, seconds: float) -> None:
        with suppress(BrokenPipeError):  # it ended, as the next look at it says
            self.process.stdin.write(json.dumps({"fault": fault, "seconds": seconds}) + "\n")
            self.process.stdin.flush()

    def sent(self) -> Iterator[tuple[int, float]]:
        """Stamp in nanoseconds and time of the sets that were sent since the last call."""
        for line in self._lines:
            stamp_ns, sent_ns = map(int, line.split())
            yield stamp_ns, sent_ns / 1e9

    def last_words(self) -> str:
        return " ".join(self._log.read_text().strip().splitlines()[-1:])

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self._lines.close()


@contextmanager
def helper(role: str, settings: argparse.Namespace) -> Iterator[Helper]:
    made = Helper(role, settings.size, settings.rate, settings.out)
    try:
        yield made
    finally:
        made.close()


def orders(seed: int, wanted: list[str]) -> Iterator[tuple[str, str, float]]:
    """Process, fault and seconds without end: the faults in a random order, then in another one."""
    chance = random.Random(seed)
    faults = [(role, name) for role, table in FAULTS.items() for name in table if name in wanted]
    while True:
        for role, name in chance.sample(faults, len(faults)):
            yield role, name, chance.uniform(*FAULT_S)


def watch(settings: argparse.Namespace) -> Watched:
    """Run the node for a while under faults."""
    views, labels = scene(settings.size)[0]
    names = {"cameras": NAMES, "sync__max_age_s": MAX_AGE_S, "sync__slop_s": SLOP_S}
    with (
        live_node(settings.out, "faulty_node", list(views), **names) as live,
        helper("cameras", settings) as cameras,
        helper("peers", settings) as peers,
    ):
        listener = Listener(live, labels)
        watched = listener.watched
        live.bench.until(lambda: watched.sets or broken(live, cameras, peers), timeout_s=60)
        if words := broken(live, cameras, peers):
            sys.exit(words)
        hold_up(live)
        watched.sets.clear()
        watched.begun_s = now_s = time.time()
        gc.collect()
        gc.freeze()  # this process' own pauses would be counted as the node's
        ordered = orders(settings.seed, settings.fault or ALL_FAULTS)
        due_s = {"look": now_s, "prompt": now_s, "fault": now_s + settings.every, "tell": now_s + TELL_EVERY_S}
        every_s = {"look": 1.0, "prompt": PROMPT_EVERY_S, "fault": settings.every, "tell": TELL_EVERY_S}
        while (now_s := time.time()) < watched.begun_s + 60 * settings.minutes and not watched.broken:
            for what in [each for each, when_s in due_s.items() if when_s <= now_s]:
                due_s[what] += every_s[what]
                if what == "look":
                    watched.broken = broken(live, cameras, peers)
                    if not watched.broken:
                        listener.look()
                elif what == "prompt":
                    listener.prompt()
                elif what == "fault":
                    role, name, seconds = next(ordered)
                    {"cameras": cameras, "peers": peers}[role].order(name, seconds)
                    watched.faults.append((now_s, now_s + seconds, name))
                else:
                    watched.sent_s.update(cameras.sent())
                    print(progress(watched), flush=True)
            live.bench.spin(max(min(due_s.values()) - time.time(), 0.0))
        deadline_s = time.time() + ANSWER_S
        while not listener.is_answered() and time.time() < deadline_s:
            live.bench.spin(0.1)
        watched.ended_s = time.time()
        watched.sent_s.update(cameras.sent())
    return watched


def hold_up(live: Live) -> None:
    """Stop the node for a while, as a busy machine does sooner or later, so that its queues were full once: their
    memory stays theirs."""
    live.process.send_signal(signal.SIGSTOP)
    live.bench.spin(HELD_UP_S)
    live.process.send_signal(signal.SIGCONT)
    live.bench.spin(HELD_UP_S)


def broken(live: Live, *helpers: Helper) -> str:
    """What is said of a process that ended before its time, "" where all run."""
    if live.process.poll() is not None:
        return f"the node ended with status {live.process.returncode}"
    ended = (each for each in helpers if each.process.poll() is not None)
    return next((f"{each.role} ended: {each.last_words()}" for each in ended), "")


def progress(watched: Watched) -> str:
    """A line on the last seconds."""
    now_s, resident, _, files = watched.sizes[-1]
    latency = latencies(watched.sets[-NEWEST:], watched.sent_s)
    recent = spread_of(latency[latency[:, 1] > now_s - TELL_EVERY_S, 2])
    answered = sum(len(times) > 1 for times in watched.prompts.values())
    last = watched.faults[-1][2] if watched.faults else "none"
    return (
        f"{(now_s - watched.begun_s) / 60:6.1f} min: {recent['count'] / TELL_EVERY_S:4.1f} sets/s, "
        f"p50 {recent.get('p50', 0):.0f} ms, p99 {recent.get('p99', 0):.0f} ms, {resident:.1f} MB, "
        f"{files} files, prompts {answered}/{len(watched.prompts)}, "
        f"{len(watched.faults)} faults, the last: {last}"
    )


def main(words: list[str] | None = None) -> int:
    """Watch the node, then its lives; write the report."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--lives", type=int, help="afterwards (200 where the run takes 30 minutes or more, else none)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from one fault to the next")
    parser.add_argument("--fault", action="append", choices=ALL_FAULTS, help="this one alone")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the faults")
    parser.add_argument("--size", type=size_of, default=(96, 128), help="of the images, HEIGHTxWIDTH")
    parser.add_argument("--rate", type=float, default=10.0, help="of the cameras, Hz")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder of report, picture and logs")
    settings = parser.parse_args(words)
    settings.out.mkdir(parents=True, exist_ok=True)
    watched = watch(settings)
    shown = {name: value for name, value in vars(settings).items() if name != "out"}
    report = report_of(watched, shown)
    failures = failures_of(report)
    lives = (200 if settings.minutes >= JUDGED_MINUTES else 0) if settings.lives is None else settings.lives
    if lives:
        failures += live_on(lives, settings.out / "lives", report)
    report["failures"] = failures
    (settings.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_plot(settings.out / "report.png", watched, report)
    print_report(report)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"written: {settings.out}/report.json and report.png")
    return 1 if failures else 0


def live_on(lives: int, folder: Path, report: dict[str, Any]) -> list[str]:
    """Take another node through its lives, add to the report what it grew by; what failed."""
    folder.mkdir(exist_ok=True)
    try:
        grown = growth_over(lives, folder)
    except AssertionError as error:
        return [f"a life of the node failed: {error}"]
    report["lives"] = asdict(grown)
    if grown.memory_mb > MOST_MB_PER_LIFE * lives or grown.open_files > 0:
        return [f"{lives} lives left {grown.memory_mb:.1f} MB and {grown.open_files} open files behind"]
    return []


def size_of(words: str) -> tuple[int, int]:
    """(height, width) of HEIGHTxWIDTH."""
    height, _, width = words.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
