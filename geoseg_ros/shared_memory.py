"""Shared memory of Fast DDS: what ended processes left behind, and whether there is room for another one.

A process has segments `fastrtps_<16 hex digits>` and holds a lock on `fastrtps_<16 hex digits>_el` while it lives. One
that was killed leaves both, 70 MB with the profile of geoseg. The files of ports are reused and stay few.
"""

import fcntl
import os
import re
import shutil
import time
from pathlib import Path
from xml.etree import ElementTree

from rclpy.logging import get_logger
from rclpy.utilities import get_rmw_implementation_identifier

FOLDER = Path("/dev/shm")
PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
SEGMENT = re.compile(r"fastrtps_[0-9a-f]{16}")
# A port whose reader a process is (among its open files), and one that is there (in its memory).
OWN_PORT = re.compile(r"/(fastrtps_port\d+)_el\b")
MAPPED_PORT = re.compile(r"/(fastrtps_port\d+)$", re.MULTILINE)
# A segment has more in it than its size says.
OVERHEAD = 1.05
# Files younger than this may be those of a process that is about to lock them.
SETTLED_S = 1.0


def prepare_shared_memory() -> None:
    """Before a node starts: remove what nobody holds any more, and warn where there is no room for its own."""
    if get_rmw_implementation_identifier() != "rmw_fastrtps_cpp":
        return
    remove_abandoned_segments()
    if complaint := lack_of_room(Path(os.environ[PROFILE])):
        get_logger("geoseg").warning(complaint)


def remove_abandoned_segments(folder: Path = FOLDER) -> None:
    """Remove the segments of processes that have ended, as `fastdds shm clean` does. Those of other users stay."""
    for segment in (each for each in folder.glob("fastrtps_*") if SEGMENT.fullmatch(each.name)):
        try:
            if time.time() - segment.stat().st_mtime > SETTLED_S:
                _remove_if_abandoned(segment)
        except OSError:  # somebody holds it, or has removed it, or it is another user's
            continue


def _remove_if_abandoned(segment: Path) -> None:
    lock = segment.with_name(f"{segment.name}_el")
    if lock.exists():  # where there was no room for the segment, its lock is gone already
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink()
            segment.unlink()
    else:
        segment.unlink()


def lost_ports(pid: int) -> str:
    """What to say of a process whose ports in shared memory are no longer there, "" where all are.

    Such a process lives and hears nobody. Fast DDS removes the port of a dead process; seldom, when the next one has
    taken the same port already, it removes that.
    """
    locks, mapped = set(), set()
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            locks |= set(OWN_PORT.findall(os.readlink(each)))
        mapped = set(MAPPED_PORT.findall(Path(f"/proc/{pid}/maps").read_text()))
    except OSError:  # it has ended, or has closed a file since they were listed
        return ""
    lost = sorted(locks - mapped)
    return f"Fast DDS has lost {', '.join(lost)} in {FOLDER}: nobody reaches them" if lost else ""


def segment_sizes(profile: Path) -> list[int]:
    """The sizes of segments that a profile of Fast DDS asks for, bytes.

    Raises:
        OSError, ElementTree.ParseError, ValueError: it is not there, no XML, or a size is no number.
    """
    return [int(each.text or 0) for each in ElementTree.parse(profile).iter() if each.tag.endswith("segment_size")]


def lack_of_room(profile: Path, folder: Path = FOLDER) -> str:
    """What to say where a segment of the profile does not fit into shared memory any more, "" where it does."""
    try:
        wanted = OVERHEAD * max(segment_sizes(profile), default=0)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return f"{PROFILE}: expected a profile of Fast DDS, got {profile}: {error}"
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    if free >= wanted:
        return ""
    return (
        f"expected {wanted / 1e6:.0f} MB free in {folder} (shared memory), got {free / 1e6:.1f} MB: messages go over "
        "UDP, and large images are lost; give a container --shm-size=1g, or remove what fills it"
    )
