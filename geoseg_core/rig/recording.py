"""A rig straight into a bag: no ROS, no clock, the same bag for the same seed."""

from pathlib import Path

from geoseg_core.datasets.bag_writer import BagWriter
from geoseg_core.rig.simulation import Rig

START_NS = 1_767_225_600 * 10**9  # 2026-01-01; a bag that began at 0 would look like an unset clock


def record(
    path: str | Path,
    seed: int,
    duration_s: float = 10.1,
    rate_hz: float = 10.0,
    jpeg_quality: int = 72,
    depth_limit_m: float = 2.1,
    depth_step_mm: int = 1,
) -> int:
    """Simulate and write a bag of the documented format; return the number of sets.

    Raises:
        BadInput: the path is taken. MissingExtra: no software GL is installed.
    """
    count = round(duration_s * rate_hz)
    with (
        Rig(seed, fine=True) as rig,
        BagWriter(
            path, rig.objects, rig.static_cameras, rig.world_frame,
            jpeg_quality=jpeg_quality, depth_limit_m=depth_limit_m, depth_step_mm=depth_step_mm,
        ) as writer,
    ):  # fmt: skip
        for _ in range(count):
            rig.step(1 / rate_hz)
            writer.write(rig.render(START_NS + rig.stamp_ns))
    return count
