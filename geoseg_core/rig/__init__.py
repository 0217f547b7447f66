"""The simulated workplace in MuJoCo: `from geoseg_core.rig import Rig` (extra [sim])."""

from geoseg_core.errors import MissingExtra

try:
    import mujoco as _mujoco  # noqa: F401
except ImportError as error:
    raise MissingExtra("the simulated workplace", "sim") from error

from geoseg_core.rig.simulation import Rig

__all__ = ["Rig"]
