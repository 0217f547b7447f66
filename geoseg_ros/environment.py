"""The environment variables that every geoseg process wants, whether launch, a command or a test starts it."""

import os

from geoseg_core.resources import resource


def ros_environment() -> dict[str, str]:
    """Names and values. A value that the user has set is left as it is.

    FASTRTPS_DEFAULT_PROFILES_FILE: shared memory that is large enough for images, without which most are lost; nobody
    outside this computer reaches the nodes, unless the range of discovery or ROS_STATIC_PEERS asks for it.
    RMW_FASTRTPS_USE_QOS_FROM_XML: prompts of any size leave no memory behind. With our profile alone, for one that says
    nothing on the memory of queues would then lose messages.
    ROS_AUTOMATIC_DISCOVERY_RANGE: the nodes look for nobody outside this computer.
    OMP_WAIT_POLICY: threads of the numeric libraries sleep while they wait, and leave the cores to the executor.
    OPENBLAS_NUM_THREADS, OPENCV_FOR_THREADS_NUM: our matrices and images are small; a second thread that waits for
    them costs more than it does, twice so with publishers on the same cores.
    MALLOC_ARENA_MAX: all threads share one heap, the only one that glibc gives back to its end. Read when a process
    begins: it comes from launch, the supervisor or the shell.
    """
    is_alone = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST") == "LOCALHOST"
    is_alone = is_alone and not os.environ.get("ROS_STATIC_PEERS")
    profile = str(resource(f"config/fastdds{'' if is_alone else '_network'}.xml"))
    is_ours = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", profile) == profile
    wanted = {
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
        "RMW_FASTRTPS_USE_QOS_FROM_XML": "1" if is_ours else "0",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        "OPENCV_FOR_THREADS_NUM": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def set_ros_environment() -> None:
    """Set them for this process. They are read when rclpy starts and torch is loaded: call this before."""
    os.environ.update(ros_environment())
