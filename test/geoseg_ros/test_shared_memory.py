"""What ended processes left in shared memory is removed, what others hold or have just made is not."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from geoseg_core.resources import resource
from geoseg_ros.shared_memory import SETTLED_S, lack_of_room, lost_ports, remove_abandoned_segments

PROFILE = resource("config/fastdds.xml")


def segment(folder: Path, digits: str, age_s: float = 60.0, has_lock: bool = True) -> Path:
    made = folder / f"fastrtps_{digits * 16}"
    made.write_bytes(b"images")
    os.utime(made, (time.time() - age_s,) * 2)
    if has_lock:
        made.with_name(f"{made.name}_el").touch()
    return made


def test_only_abandoned_segments_are_removed(tmp_path: Path) -> None:
    segment(tmp_path, "a")
    segment(tmp_path, "b", has_lock=False)  # there was no room for it
    held, young = segment(tmp_path, "c"), segment(tmp_path, "d", age_s=SETTLED_S / 2)
    others = {tmp_path / "fastrtps_port7400", tmp_path / "fastrtps_port7400_el", tmp_path / "images"}
    for each in others:
        each.touch()
        os.utime(each, (0, 0))
    with held.with_name(f"{held.name}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_abandoned_segments(tmp_path)
        left = {held, young} | {each.with_name(f"{each.name}_el") for each in (held, young)} | others
        assert set(tmp_path.iterdir()) == left
    remove_abandoned_segments(tmp_path)
    assert not held.exists()


def test_no_shared_memory_and_segments_of_others_are_no_error(tmp_path: Path) -> None:
    remove_abandoned_segments(tmp_path / "none")
    if os.geteuid():
        (tmp_path / "closed").mkdir()
        kept = segment(tmp_path / "closed", "a")
        (tmp_path / "closed").chmod(0o500)
        remove_abandoned_segments(tmp_path / "closed")
        assert kept.exists()


@pytest.mark.parametrize("words", ["", "<segment_size>64</segment_size>"])
def test_room_is_asked_for_as_the_profile_does(tmp_path: Path, words: str) -> None:
    small = tmp_path / "small.xml"
    small.write_text(f"<a>{words}</a>")
    assert lack_of_room(small, tmp_path) == ""
    assert lack_of_room(PROFILE, tmp_path) == ""
    assert lack_of_room(PROFILE, tmp_path / "none").startswith("expected 70 MB free in ")
    assert "expected a profile of Fast DDS, got /nowhere.xml" in lack_of_room(Path("/nowhere.xml"), tmp_path)


def test_a_process_without_ports_has_lost_none() -> None:
    assert lost_ports(os.getpid()) == "" and lost_ports(2**22 + 1) == ""
