"""Run the demo live: bring the nodes up, ask for the objects, replay the bag, collect until nothing more comes."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.errors import GeosegError
from geoseg_ros.demo.follower import Follower
from geoseg_ros.demo.scoring import Followed
from geoseg_ros.demo.script import Request
from geoseg_ros.processes import Child, geoseg_command

START_TIMEOUT_S = 300.0  # a large network is loaded for minutes
ANSWER_TIMEOUT_S = 5.0
PROMPT_TIMEOUT_S = 60.0
REPLAY_TIMEOUT_S = 3600.0
QUIET_S = 1.5


@dataclass(frozen=True, eq=False)
class LiveRun:
    """What a live run gave: the collecting node's data, and the objects that are followed."""

    follower: Follower
    followed: tuple[Followed, ...]
    notes: tuple[str, ...]


def run_live(
    sequence: BagSequence,
    requests: Sequence[Request],
    out: Path,
    overrides: Sequence[str] = (),
    topics: Sequence[str] = (),
) -> LiveRun:
    """Replay a bag into live nodes, each in its own process, with this process as their client.

    Args:
        sequence: the bag that is replayed.
        requests: prompts on its first set.
        out: folder for the logs of the children.
        overrides: parameters of the node, as NAME=VALUE.
        topics: those of the bag that are played; all of them if empty.

    Raises:
        ChildFailed: a child ended before its time; GeosegError: the node did not get ready.
    """
    cameras = f"cameras=[{', '.join(sequence.cameras)}]"
    parameters = (cameras, f"world_frame={sequence.world_frame}", "use_sim_time=true", *overrides)
    bringup = geoseg_command("bringup", "--unsupervised", *(word for each in parameters for word in ("--set", each)))
    with _client(sequence.cameras) as (follower, spin), Child("bringup", bringup, out / "bringup.log", {}) as node:
        _wait_until_active(follower, spin, node)
        waiting = [follower.track(each.prompt, each.name, PROMPT_TIMEOUT_S) for each in requests]
        chosen = ("--topics", *topics) if topics else ()
        replay = geoseg_command("replay", str(sequence.path), "--wait-for-subscribers", *chosen)
        with Child("replay", replay, out / "replay.log", {}) as player:
            _follow_replay(follower, spin, (node, player), waiting)
        followed, notes = _answers(requests, waiting)
        return LiveRun(follower, tuple(followed), tuple(notes))


@contextmanager
def _client(cameras: Sequence[str]) -> Iterator[tuple[Follower, Callable[[], None]]]:
    """The collecting node, and a function that serves it for a moment."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C is a KeyboardInterrupt, as everywhere
    executor = SingleThreadedExecutor()
    follower = Follower(cameras)
    executor.add_node(follower)
    try:
        yield follower, lambda: executor.spin_once(timeout_sec=0.05)
    finally:
        executor.shutdown()
        follower.destroy_node()
        rclpy.try_shutdown()


def _wait_until_active(follower: Follower, spin: Callable[[], None], node: Child) -> None:
    """Wait for the node's word: it serves nobody before it has tried to configure and activate itself."""
    deadline, asked_s = time.monotonic() + START_TIMEOUT_S, 0.0
    answer: Future | None = None
    while (now_s := time.monotonic()) < deadline:
        spin()
        node.check()
        if node.status == 0:
            raise node.failure()
        if answer is not None and answer.done():
            if follower.is_active(answer):
                return
            raise GeosegError(f"expected an active node, got an inactive one; the end of its log:\n{node.tail()}")
        if answer is None or now_s - asked_s > ANSWER_TIMEOUT_S:  # on a busy machine an answer may get lost
            answer, asked_s = follower.ask_state(), now_s
    raise GeosegError(f"expected an active node within {START_TIMEOUT_S:.0f} s; the end of its log:\n{node.tail()}")


def _follow_replay(
    follower: Follower, spin: Callable[[], None], children: tuple[Child, Child], waiting: Sequence[Future]
) -> None:
    """Serve the client until the replay has ended, the prompts are answered and the node has been quiet for a while;
    print progress."""
    player = children[1]
    start = printed = busy = time.monotonic()
    while True:
        spin()
        for child in children:
            child.check()
        now = time.monotonic()
        if now - printed > 1.0:
            _print_progress(follower, now - start, f"{sum(each.done() for each in waiting)}/{len(waiting)}")
            printed = now
        is_awaited = now - start < PROMPT_TIMEOUT_S and not all(each.done() for each in waiting)
        if player.status is None or is_awaited:
            busy = now
        if now - max(busy, follower.last_result_s) > QUIET_S:
            break
        if now - start > REPLAY_TIMEOUT_S:
            raise GeosegError(f"expected the replay to end within {REPLAY_TIMEOUT_S:.0f} s: {player.tail()}")
    if sys.stdout.isatty():
        print()


def _print_progress(follower: Follower, seconds: float, answered: str) -> None:
    latency = f"{follower.end_to_end_ms[-1]:.0f} ms" if follower.end_to_end_ms else "-"
    text = f"demo: {seconds:4.0f} s, {len(follower.masks)} sets, {answered} prompts answered, latency {latency}"
    print(f"\r{text:78}" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)


def _answers(requests: Sequence[Request], waiting: Sequence[Future]) -> tuple[list[Followed], list[str]]:
    """The requests that were granted; a note for each one that was not."""
    followed, notes = [], []
    for request, answer in zip(requests, waiting, strict=True):
        name = f"{request.name} in {request.prompt.camera}"
        if not answer.done():
            notes.append(f"prompt on {name}: no answer")
        elif not answer.result().success:
            notes.append(f"prompt on {name}: refused, {answer.result().message}")
        else:
            followed.append(Followed(request, answer.result().object_id, answer.result().result))
    return followed, notes
