"""A node that is taken through its life over and over stays as large as it was."""

import os
from pathlib import Path

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live import live_node

from geoseg_ros import msg

WARM_UP, CYCLES = 3, 12
LIFE = (
    Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
)  # fmt: skip
# What a life left behind once was 0.4 MB.
MOST_MB = 0.15 * CYCLES


def resident_mb(process_id: int) -> float:
    """The memory of a process."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def open_files(process_id: int) -> int:
    return len(os.listdir(f"/proc/{process_id}/fd"))


def test_many_lives_leave_nothing_behind(tmp_path, ros_environment):
    with live_node(tmp_path) as live:
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        number = live.process.pid
        for life in range(WARM_UP + CYCLES):
            if life == WARM_UP:
                memory, files = resident_mb(number), open_files(number)
            for step in LIFE:
                assert live.call(ChangeState, "change_state", transition=Transition(id=step)).success
            count = len(masks)
            live.spin_until(lambda: len(masks) > count)  # noqa: B023 (called at once)
        assert resident_mb(number) - memory < MOST_MB
        assert open_files(number) <= files
        assert "Traceback" not in live.log.read_text()
