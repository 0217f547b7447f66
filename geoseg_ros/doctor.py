"""What `geoseg doctor` finds: of this machine and shell, of the networks, and of what the node would hear now.

The doctor listens with the node's own inputs, so that it sees what the node would see; it publishes nothing.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from geoseg_core.errors import GeosegError, TransformError
from geoseg_core.pipeline import ScenePipeline
from geoseg_core.resources import resource
from geoseg_core.synchronizer import IMAGE
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.diagnostics import Statistics, camera_status, connection_status
from geoseg_ros.environment import ros_environment
from geoseg_ros.inputs import Inputs
from geoseg_ros.parameters import NodeConfig, NodeParameters
from geoseg_ros.qos_peers import QosPeers
from geoseg_ros.shared_memory import FOLDER, PROFILE, segment_sizes
from geoseg_ros.worker import Arrival

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
RANGE, PEERS = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS"
# A segment of shared memory that holds the newest images of a camera; the middleware's own has half a MB.
LEAST_SEGMENT = 8_000_000
# Stamps further than this from the clock are not those of a camera that shares it.
SKEW_MS = 1000.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `level` of DiagnosticStatus, what was found, and what to do about it."""

    subject: str
    level: bytes
    words: str
    advice: str = ""


def shell_findings(environment: dict[str, str]) -> Iterator[Finding]:
    """Of the middleware and the variables of the shell that it is started from.

    Args:
        environment: of that shell, before geoseg adds what is missing.
    """
    middleware, wanted = get_rmw_implementation_identifier(), ros_environment()
    if middleware != "rmw_fastrtps_cpp":
        yield Finding("middleware", WARN, f"{middleware}: the profile of geoseg is one for Fast DDS",
                      "give it enough shared memory for images in its own configuration")  # fmt: skip
    elif PROFILE not in environment:
        yield Finding("middleware", WARN, f"{PROFILE} is not set in this shell: camera drivers that are started from "
                      "it lose most large images", f"export {PROFILE}={resource('config/fastdds.xml')}")  # fmt: skip
    else:
        yield profile_finding(Path(environment[PROFILE]))
    yield discovery_finding(environment, Path(environment.get(PROFILE, wanted[PROFILE])))


def discovery_finding(environment: dict[str, str], profile: Path) -> Finding:
    """Who finds and reaches the nodes, by the variables and the profile of Fast DDS that they are started with."""
    found, domain = environment.get(RANGE, "LOCALHOST"), environment.get("ROS_DOMAIN_ID", "0")
    peers = environment.get(PEERS, "")
    keeps_to_itself = profile.is_file() and "interfaceWhiteList" in profile.read_text(errors="replace")
    if found == "LOCALHOST" and not peers:
        if keeps_to_itself:
            return Finding("discovery", OK, f"this computer alone, domain {domain}")
        return Finding("discovery", WARN, f"the nodes look for this computer alone, domain {domain}, but another that "
                       f"knows its address reaches them through {profile}",
                       f"export {PROFILE}={resource('config/fastdds.xml')}")  # fmt: skip
    named = f"{RANGE}={found}{f', {PEERS}={peers}' if peers else ''}, domain {domain}"
    if keeps_to_itself:
        return Finding("discovery", WARN, f"{named}, but {profile} keeps to this computer",
                       f"export {PROFILE}={resource('config/fastdds_network.xml')}")  # fmt: skip
    return Finding("discovery", WARN, f"{named}: other computers see and feed the nodes",
                   f"unset {PEERS if peers else RANGE} unless cameras or planners run elsewhere")  # fmt: skip


def profile_finding(profile: Path) -> Finding:
    """Whether a profile of Fast DDS has shared memory for images."""
    subject, advice = "middleware", f"export {PROFILE}={resource('config/fastdds.xml')}"
    try:
        sizes = segment_sizes(profile)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return Finding(subject, ERROR, f"{PROFILE}: expected a profile of Fast DDS, got {profile}: {error}", advice)
    if max(sizes, default=0) < LEAST_SEGMENT:
        words = f"{profile}: expected segments of shared memory of {LEAST_SEGMENT / 1e6:.0f} MB or more, got {sizes}"
        return Finding(subject, WARN, f"{words}; large images are lost", advice)
    return Finding(subject, OK, f"Fast DDS, segments of {max(sizes) / 1e6:.0f} MB ({profile})")


def shared_memory_finding(cameras: int, folder: Path = FOLDER) -> Finding:
    """Whether there is room for a segment of each camera's driver and of the node."""
    try:
        free = shutil.disk_usage(folder).free
        left = [each for each in folder.iterdir() if each.name.startswith("fastrtps_")]
    except OSError as error:
        return Finding("shared memory", ERROR, f"expected {folder}, got {error}", "mount a tmpfs there")
    used = sum(each.stat().st_size for each in left if each.exists())
    words = f"{free / 1e6:.0f} MB free in {folder}, {used / 1e6:.0f} MB in {len(left)} files of Fast DDS"
    wanted = (cameras + 1) * 64 * 2**20
    if free < wanted:
        advice = "give a container --shm-size=1g; `fastdds shm clean` removes what ended processes left"
        return Finding("shared memory", WARN, f"{words}; {wanted / 1e6:.0f} MB may be wanted", advice)
    return Finding("shared memory", OK, words)


def network_findings(config: NodeConfig) -> Iterator[Finding]:
    """Whether the networks that the parameters name load, and where they run."""
    begun = time.perf_counter()
    try:
        pipeline = ScenePipeline(config.pipeline)
    except GeosegError as error:
        yield Finding("networks", ERROR, str(error), "`geoseg weights list` says what there is and how to get it")
        return
    names = [f"{words}: {weights.name} ({weights.licence})" for words, weights in pipeline.networks.values()]
    words = ", ".join(names) or "none are wanted: geometry is measured"
    yield Finding("networks", OK, f"{words}; loaded in {time.perf_counter() - begun:.1f} s")
    yield gpu_finding()


def gpu_finding() -> Finding:
    """The GPU, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", OK, f"none: networks run on {os.cpu_count()} processor cores")
    free, total = torch.cuda.mem_get_info()
    return Finding("GPU", OK, f"{torch.cuda.get_device_name()}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")


class Listener:
    """Hears for a while what the node would hear.

    Args:
        node: has the node's parameters; it is asked for nothing else.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.config = NodeParameters(node).config
        self._statistics = Statistics(lambda words: None)
        self._newest_ns: int | None = None
        self._rig = CameraRig(self.config.cameras, self.config.world_frame)
        self._inputs = Inputs(
            node, self.config, self._rig, self._statistics, self._take, lambda jump: None, lambda camera, why: None
        )
        self._peers = QosPeers(node, lambda: self._inputs.subscriptions)

    def listen(self, seconds: float, goes_on: Callable[[], bool]) -> None:
        """Until the time is up or `goes_on` says no."""
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and goes_on():
            executor.spin_once(timeout_sec=0.05)
            self._inputs.poll()
            self._statistics.incompatible = self._peers.look()
        executor.shutdown()

    def findings(self) -> Iterator[Finding]:
        """Of the clock, of the connections, of each camera and of tf."""
        yield self._clock_finding()
        peers = connection_status(self._statistics)
        yield Finding("connections", peers.level, peers.message,
                      "let the publisher be reliable, or best effort with volatile durability"
                      if peers.level != OK else "")  # fmt: skip
        for camera in self.config.cameras:
            yield from self._camera_findings(camera)

    def _take(self, arrival: Arrival) -> None:
        self._newest_ns = arrival.synced.stamp_ns

    def _clock_finding(self) -> Finding:
        now_ns = self._node.get_clock().now().nanoseconds
        if not self._node.get_parameter("use_sim_time").value:
            return Finding("clock", OK, f"the system's: {time.strftime('%Y-%m-%d %H:%M:%S')}")
        if not now_ns:
            return Finding("clock", ERROR, "use_sim_time is set, and nothing comes on /clock",
                           "start the simulation or the replay, or unset use_sim_time")  # fmt: skip
        return Finding("clock", OK, f"/clock: {now_ns / 1e9:.3f} s")

    def _camera_findings(self, camera: str) -> Iterator[Finding]:
        synchronizer, percentiles = self._inputs.synchronizer, self._statistics.percentiles()
        counts, subject, is_left_out = synchronizer.counts, f"camera {camera}", camera in synchronizer.missing()
        status = camera_status(camera, self.config, self._statistics, counts, percentiles, is_left_out)
        if not counts.received[camera, IMAGE]:
            yield Finding(subject, ERROR, f"no image on {camera}/image or {camera}/image/compressed",
                          f"start its driver, or remap: --ros-args -r {camera}/image:=/its/topic")  # fmt: skip
            return
        age_ms = percentiles[f"{camera} {IMAGE} arrival"][0]
        words = f"{counts.received[camera, IMAGE]} images, {counts.matched[camera, IMAGE]} in sets, {age_ms:.0f} ms old"
        if status.level != OK:
            yield Finding(subject, status.level, f"{words}; {status.message}", "docs/parameters.md: sync.*, tf_wait_s")
        elif abs(age_ms) > SKEW_MS:
            yield Finding(subject, WARN, f"{words} by the node's clock", "synchronise the clocks (chrony), or, for a "
                          "replay or a simulation, set use_sim_time")  # fmt: skip
        else:
            yield Finding(subject, OK, words)
        yield self._place_finding(camera)

    def _place_finding(self, camera: str) -> Finding:
        """Of its calibration and its place in the world."""
        subject, calibration = f"calibration {camera}", self._rig.calibration(camera)
        if calibration is None:
            return Finding(subject, WARN, f"nothing on {camera}/camera_info", "without it, measured depth is not used")
        frame, world = calibration.frame_id, self.config.world_frame
        advice = f"publish the chain from {world!r} to {frame!r}, or let an encoder estimate the poses"
        stamp_ns = self._newest_ns or self._node.get_clock().now().nanoseconds
        try:
            pose = self._rig.camera_to_world(frame, stamp_ns, deadline_s=0.0)
        except TransformError as error:
            return Finding(subject, WARN, f"tf does not tell where {frame!r} is: {error}", advice)
        if pose is None:
            return Finding(subject, WARN, f"tf does not connect {frame!r} to {world!r}", advice)
        return Finding(subject, OK, f"known, {frame!r} is connected to {world!r}")
