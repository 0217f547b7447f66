"""The environment variables that every geoseg process wants, whether launch, a command or a test starts it."""

import os

from geoseg_core.resources import resource


def ros_environment() -> dict[str, str]:
    """Names and values. A value that the user has set is left as it is.

    FASTRTPS_DEFAULT_PROFILES_FILE: shared memory that is large enough for images; without it most are lost.
    ROS_AUTOMATIC_DISCOVERY_RANGE: nobody outside this computer sees or feeds the nodes unless it is asked for.
    OMP_WAIT_POLICY: threads of the numeric libraries sleep while they wait, and leave the cores to the executor.
    OPENBLAS_NUM_THREADS, OPENCV_FOR_THREADS_NUM: our matrices and images are small; a second thread that waits for
    them costs more than it does, twice so with publishers on the same cores.
    """
    wanted = {
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(resource("config/fastdds.xml")),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        "OPENCV_FOR_THREADS_NUM": "1",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def set_ros_environment() -> None:
    """Set them for this process. They are read when rclpy starts and torch is loaded: call this before."""
    os.environ.update(ros_environment())
