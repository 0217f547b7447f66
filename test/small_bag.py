"""A bag of the exact little table of scenes.py: quick to write, with ground truth or without."""

from pathlib import Path

from scenes import FLOOR, TABLE, WALL, render_set, tabletop

from geoseg_core.datasets.bag_writer import BagWriter
from geoseg_core.datasets.truth import LabelledSet, TruthObject

CAMERAS = ("ego", "exo_left", "exo_right")
TRUTHS = tuple(TruthObject(each, f"thing_{each}", "thing") for each in range(1, 7)) + tuple(
    TruthObject(each, f"support_{each}", "support", "support") for each in (TABLE, FLOOR, WALL)
)


def write_small_bag(
    path: Path, sets: int, truths: tuple[TruthObject, ...] = TRUTHS, cameras: tuple[str, ...] = CAMERAS
) -> None:
    """Sets at 10 Hz; the ego camera sways sideways."""
    with BagWriter(path, truths, static_cameras=cameras[1:]) as writer:
        for number in range(sets):
            frames, labels = render_set(tabletop(), 10**9 + number * 10**8, sway=0.01 * number, names=cameras)
            writer.write(LabelledSet(frames, dict(zip(cameras, labels, strict=True)) if truths else {}))
