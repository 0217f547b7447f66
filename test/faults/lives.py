"""A node that is taken through its life over and over, and what that leaves behind."""

import os
from dataclasses import dataclass
from pathlib import Path

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live import Live, live_node

from geoseg_ros import msg

WARM_UP = 3
# What a life left behind once was 0.4 MB.
MOST_MB_PER_LIFE = 0.15
LIFE = (
    Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
)  # fmt: skip


@dataclass(frozen=True)
class Growth:
    """What a node grew by: resident memory and open files."""

    lives: int
    memory_mb: float
    open_files: int


def growth_over(lives: int, folder: Path) -> Growth:
    """Deactivate, clean up, configure and activate a node many times, after a few that do not count; each time it must
    deliver a set. Its log goes to the folder.

    Raises:
        AssertionError: a transition failed, nothing was delivered, or there is a traceback in its log.
    """
    with live_node(folder) as live:
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        number = live.process.pid
        for life in range(WARM_UP + lives):
            if life == WARM_UP:
                memory_mb, files = resident_mb(number), open_files(number)
            for step in LIFE:
                change(live, step)
            count = len(masks)
            live.spin_until(lambda: len(masks) > count)  # noqa: B023 (called at once)
        assert "Traceback" not in live.log.read_text()
        return Growth(lives, resident_mb(number) - memory_mb, open_files(number) - files)


def change(live: Live, transition: int) -> None:
    """Take a node one step through its life."""
    assert live.call(ChangeState, "change_state", transition=Transition(id=transition)).success


def resident_mb(process_id: int, kind: str = "VmRSS") -> float:
    """The memory of a process; kind "RssAnon" is without what it shares with others and without files."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def open_files(process_id: int) -> int:
    """How many files, sockets and shared memories a process has open."""
    return len(os.listdir(f"/proc/{process_id}/fd"))


def processor_s(process_id: int) -> float:
    """How long a process has computed so far, on all cores together."""
    user, system = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def stolen_s() -> float:
    """How long this machine's processors wanted to compute but other virtual machines did, all cores together."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")
