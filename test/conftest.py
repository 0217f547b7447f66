"""What all tests share: a ROS domain of their own, the shared photographs, the sample bag."""

import itertools
import os
import signal
from pathlib import Path

import pytest

from geoseg_core.resources import resource

ROOT = Path(__file__).resolve().parent.parent
domains = itertools.count(os.getpid())


def pytest_sessionstart() -> None:
    """Started in the background by a script, a process ignores Ctrl-C, and so would the programs under test."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ros_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process set up for DDS on a domain of its own; returned is the same environment for other processes."""
    from geoseg_ros.environment import ros_environment

    for name, value in ros_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + next(domains) % 100))
    return dict(os.environ)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the shared photographs; tests that need it are skipped where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared photographs (../shared/data) are not here")
    return folder


@pytest.fixture(scope="session")
def sample_bag() -> Path:
    """The bag that is part of the repository."""
    return resource("bags/tabletop")
