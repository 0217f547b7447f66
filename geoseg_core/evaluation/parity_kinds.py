"""One runner for each kind of parity fixture. A new model is one more entry of RUNNERS."""

from geoseg_core.evaluation.parity import Runner
from geoseg_core.evaluation.parity_field import run_postprocess
from geoseg_core.evaluation.parity_files import run_keys, run_sizes
from geoseg_core.evaluation.parity_pi3 import run_pi3, run_pi3x
from geoseg_core.evaluation.parity_vggt import run_iggt, run_pose_encoding, run_vggt
from geoseg_core.geometry.pi3.model import Pi3
from geoseg_core.geometry.pi3.pi3x import Pi3X
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.instances.field.model import Iggt

RUNNERS: dict[str, Runner] = {
    "vggt": run_vggt,
    "iggt": run_iggt,
    "iggt_postprocess": run_postprocess,
    "pi3": run_pi3,
    "pi3x": run_pi3x,
    "pose_encoding": run_pose_encoding,
    "sizes": run_sizes,
    "keys VGGT-1B (released)": run_keys(Vggt),
    "keys IGGT": run_keys(Iggt),
    "keys Pi3": run_keys(Pi3),
    "keys Pi3X (multimodal branch enabled)": run_keys(Pi3X),
}
