"""A light process that starts another one, and again whenever that dies.

It says at once how the child died, in its log and on /diagnostics ("geoseg: supervisor"): ERROR until the child has
started again, OK while it runs. It computes nothing, so that what ends the child does not end the supervisor.

A child that lives but is out of order, by a test that is given, is ended and started again as if it had died.

The child is told a file descriptor and writes a newline there when it has started (the readiness notification of s6 and
dinit). One that ends with an error before it ever started is not started again: its configuration is wrong.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header

from geoseg_ros.commands.stopping import Stopping
from geoseg_ros.environment import ros_environment
from geoseg_ros.processes import STOP_TIMEOUT_S

STARTED = b"\n"
NAME = "geoseg_supervisor"
# How often the child is looked at, which is how late its death may be noticed; how often it is tested, and ended if it
# fails twice in a row; how often /diagnostics is said.
LOOK_S = 0.1
TEST_S = 1.0
DIAGNOSTICS_S = 1.0
# After the second death in a row, doubling with each; a life that was longer than LONG_LIFE_S begins a new row.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
LONG_LIFE_S = 60.0


def pause_s(deaths: int) -> float:
    """Seconds to wait after so many deaths in a row: 0, 0.5, 1, 2, 2, ..."""
    return 0.0 if deaths < 2 else min(FIRST_PAUSE_S * 2 ** min(deaths - 2, 10), LONGEST_PAUSE_S)


def end_in_words(status: int) -> str:
    """How a process ended, from its exit status as `subprocess` gives it."""
    if status >= 0:
        return f"exit status {status}"
    return signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"


@dataclass(frozen=True)
class Life:
    """How one life of the child went.

    Attributes:
        status: its exit status, negative for a signal.
        served_s: how long it served, None if it never started.
        fault: why it was ended, "" if it ended by itself.
    """

    status: int
    served_s: float | None
    fault: str


class Supervisor:
    """Keeps a command running.

    Args:
        command: its command line, which is given the file descriptor to write `STARTED` to.
        ros_arguments: what follows --ros-args, for the supervisor's own publisher.
        test: says of a process (its id) that has started what is wrong with it, "" where nothing is.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        ros_arguments: Sequence[str] = (),
        test: Callable[[int], str] = lambda pid: "",
    ) -> None:
        self._command, self._test = command, test
        self._diagnostics = Diagnostics(ros_arguments)
        self._log = get_logger(NAME)
        self._has_started = False

    def run(self) -> int:
        """Until SIGINT or SIGTERM, or until the child ends by itself.

        Returns:
            the exit status: that of a child that ended well or never started; 0 after a signal.
        """
        try:
            with Stopping() as stopping:
                return self._keep_alive(stopping)
        finally:
            rclpy.try_shutdown()

    def _keep_alive(self, stopping: Stopping) -> int:
        in_a_row = 0
        while stopping.goes_on():
            life = self._live(stopping)
            if not stopping.goes_on():
                return 0 if life.status == -signal.SIGTERM else _exit_status(life.status)
            if not life.fault and (life.status == 0 or (life.status > 0 and not self._has_started)):
                return life.status
            in_a_row = 1 if (life.served_s or 0.0) > LONG_LIFE_S else in_a_row + 1
            self._mourn(life, pause_s(in_a_row))
            self._pause(pause_s(in_a_row), stopping)
        return 0

    def _live(self, stopping: Stopping) -> Life:
        """Start the child and watch it until it has ended, which it is asked for when a signal comes."""
        reading, writing = os.pipe()
        # In a process group of its own, Ctrl-C reaches it through here alone.
        command = self._command(writing)
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[writing], process_group=0,
            env={**os.environ, **ros_environment()},
        )  # fmt: skip
        os.close(writing)
        awaited, started_s, fault = [reading], None, ""
        try:
            while stopping.goes_on() and not fault and child.poll() is None:
                if select.select(awaited, [], [], LOOK_S)[0]:
                    awaited = []
                    if os.read(reading, 1) == STARTED:
                        started_s = time.monotonic()
                        self._note_start()
                if started_s is not None:
                    fault = self._lasting_fault(child.pid)
                self._diagnostics.repeat()
        finally:
            os.close(reading)
            _stop(child)
        return Life(child.wait(), None if started_s is None else time.monotonic() - started_s, fault)

    def _lasting_fault(self, pid: int) -> str:
        """What is wrong with the child, if it was so a while ago already."""
        if time.monotonic() - self._tested_s < TEST_S:
            return ""
        self._tested_s, before = time.monotonic(), self._fault
        self._fault = self._test(pid)
        return self._fault if self._fault == before else ""

    def _note_start(self) -> None:
        if self._has_started:
            self._log.info("the nodes are up again")
        self._has_started = True
        self._tested_s, self._fault = time.monotonic(), ""
        self._diagnostics.open()
        self._diagnostics.say(DiagnosticStatus.OK, "the nodes are up")

    def _mourn(self, life: Life, pause_s: float) -> None:
        """Say that the child has died."""
        end = life.fault or end_in_words(life.status)
        self._diagnostics.count_death(end)
        lived = "while they started" if life.served_s is None else f"after {life.served_s:.1f} s"
        soon = f"in {pause_s} s" if pause_s else "at once"
        words = f"the nodes died {lived} ({end}), death {self._diagnostics.deaths}; they are started again {soon}"
        self._log.error(words)
        self._diagnostics.say(DiagnosticStatus.ERROR, words)

    def _pause(self, seconds: float, stopping: Stopping) -> None:
        end_s = time.monotonic() + seconds
        while stopping.goes_on() and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left_s))
            self._diagnostics.repeat()


class Diagnostics:
    """The status "geoseg: supervisor" on /diagnostics; silent until it is opened."""

    def __init__(self, ros_arguments: Sequence[str]) -> None:
        self.deaths = 0
        self._last_death = ""
        self._ros_arguments = ros_arguments
        self._publisher = None
        self._level, self._words, self._said_s = DiagnosticStatus.OK, "", 0.0

    def open(self) -> None:
        """Announce the publisher, when the child has shown that ROS takes the arguments."""
        if self._publisher is not None:
            return
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = ros_environment()["ROS_AUTOMATIC_DISCOVERY_RANGE"]
        rclpy.init(args=["--ros-args", *self._ros_arguments], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(NAME, start_parameter_services=False)
        self._publisher = self._node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def count_death(self, end: str) -> None:
        """How it ended, in words."""
        self.deaths += 1
        self._last_death = end

    def say(self, level: bytes, words: str) -> None:
        """Publish at once, and from now on in `repeat`."""
        self._level, self._words = level, words
        self._publish()

    def repeat(self) -> None:
        """Publish again when it is time."""
        if time.monotonic() - self._said_s >= DIAGNOSTICS_S:
            self._publish()

    def _publish(self) -> None:
        self._said_s = time.monotonic()
        if self._publisher is None:
            return
        pairs = {"restarts": self.deaths, "last_death": self._last_death}
        values = [KeyValue(key=key, value=str(value)) for key, value in pairs.items()]
        status = DiagnosticStatus(name="geoseg: supervisor", level=self._level, message=self._words, values=values)
        self._publisher.publish(DiagnosticArray(header=Header(stamp=Clock().now().to_msg()), status=[status]))


def _stop(child: subprocess.Popen) -> None:
    """End it if it still runs: SIGTERM, and SIGKILL where that does not help."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _exit_status(status: int) -> int:
    """As a shell says it: 128 and the number of the signal."""
    return status if status >= 0 else 128 - status
