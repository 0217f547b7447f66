"""`geoseg` commands in processes of their own, and a node that listens to them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

TIMEOUT_S = 60.0


@contextmanager
def command(environment: Mapping[str, str], *words: object) -> Iterator[subprocess.Popen]:
    """A `geoseg` subcommand in a process of its own; interrupted at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "geoseg_core.cli", *map(str, words)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(TIMEOUT_S)
        finally:
            process.kill()


@contextmanager
def listener() -> Iterator[tuple[Node, Callable[[Callable[[], object]], None]]]:
    """A node with an executor and a function that spins until something is true."""
    rclpy.init()
    node, executor = rclpy.create_node("listener"), SingleThreadedExecutor()
    executor.add_node(node)

    def wait_for(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, "nothing came"
            executor.spin_once(timeout_sec=0.1)

    try:
        yield node, wait_for
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
