"""What the worlds are like: one place for all that can be chosen."""

from dataclasses import dataclass

from geoseg_core.config import setting
from geoseg_core.errors import BadConfig


@dataclass(frozen=True)
class WorldsConfig:
    """Settings of the procedural worlds; the same settings and seed give the same scene."""

    width: int = setting(224, "image width", "px", 16, 2048)
    height: int = setting(168, "image height", "px", 16, 2048)
    exo_min: int = setting(1, "fewest exo cameras", "", 0, 127)
    exo_max: int = setting(1, "most exo cameras", "", 0, 127)
    moments: int = setting(1, "instants of time; every camera sees each of them", "", 1, 32)
    time_step_s: float = setting(0.4, "time between two moments", "s", 0.0, 10.0)
    objects_min: int = setting(4, "fewest objects", "", 0, 24)
    objects_max: int = setting(10, "most objects, and the K of object_to_world", "", 1, 24)
    difficulty: float = setting(
        1.0, "curriculum: gap of baseline and scale, clutter, texture and photometric noise", "", 0.0, 1.0
    )
    arm: bool = setting(True, "whether a hand or gripper may reach into the scene")
    photometric: bool = setting(True, "exposure, white balance, blur, noise and JPEG; off gives clean pictures")
    compile: bool = setting(False, "compile the kernels: takes a minute once, then several times faster")
    photographs: str = setting("", "folder of photographs (PNG or JPEG) used as textures beside the procedural ones")

    def __post_init__(self) -> None:
        """Refuse a range whose ends are exchanged."""
        for name in ("exo", "objects"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise BadConfig(f"{name}_min: expected at most {name}_max = {high}, got {low}")
