"""One runner for each kind of parity fixture. A new model is one more entry of RUNNERS."""

from geoseg_core.evaluation.parity import Runner
from geoseg_core.evaluation.parity_field import run_postprocess
from geoseg_core.evaluation.parity_files import run_keys, run_sizes
from geoseg_core.evaluation.parity_pi3 import run_pi3, run_pi3x
from geoseg_core.evaluation.parity_vggt import run_iggt, run_pose_encoding, run_vggt
from geoseg_core.evaluation.parity_vggt_s import run_calls, run_head_keys, run_recipe, run_weights
from geoseg_core.evaluation.parity_vggt_s_step import run_step
from geoseg_core.evaluation.parity_vggt_s_views import run_anchors, run_positions, run_tracks, run_views
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
    "vggt_s recipe": run_recipe,
    "vggt_s keys": run_head_keys,
    "vggt_s weights": run_weights,
    "vggt_s calls": run_calls,
    "vggt_s step": run_step,
    "vggt_s views": run_views,
    "vggt_s anchors": run_anchors,
    "vggt_s positions": run_positions,
    "vggt_s tracks": run_tracks,
}
