"""Turn photographs with depth into a bag that `geoseg demo` and `geoseg evaluate` take.

    python examples/photographs_to_bag.py scene.json BAG [--sets 20] [--rate 10]

scene.json lists the cameras, the ego camera first; paths are relative to the file. Each is one photograph of a
scene that stands still; the same pictures are written again and again, at the given rate:

    {"cameras": [{"name": "ego", "image": "0.png", "depth": "0_depth.png", "depth_per_metre": 1000,
                  "intrinsics": [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]],
                  "camera_to_world": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}]}

`depth` is a 16-bit PNG registered to the image; `camera_to_world` (metres, optical frame) may be left out where
there is only one camera.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geoseg_core.datasets.bag_writer import BagWriter
from geoseg_core.datasets.truth import LabelledSet
from geoseg_core.errors import BadInput
from geoseg_core.views import FrameSet, View


def read_view(folder: Path, entry: dict[str, Any]) -> View:
    """One camera of scene.json."""
    name = entry["name"]
    image = _read_image(folder / entry["image"], cv2.IMREAD_COLOR)
    depth = _read_image(folder / entry["depth"], cv2.IMREAD_UNCHANGED)
    pose = entry.get("camera_to_world")
    return View(
        name,
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
        intrinsics=np.array(entry["intrinsics"], float),
        camera_to_world=None if pose is None else np.array(pose, float),
        depth_m=(depth / float(entry["depth_per_metre"])).astype(np.float32),
        frame_id=f"{name}_optical_frame",
    )


def _read_image(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise BadInput(f"photograph {path}: expected an image file, got none that can be read")
    return image


def write_bag(views: list[View], path: Path, sets: int, rate_hz: float) -> None:
    """Write the same views `sets` times, their stamps 1 / rate_hz apart."""
    cameras = tuple(view.camera for view in views)
    with BagWriter(path, static_cameras=cameras) as writer:
        for number in range(sets):
            stamp_ns = 1_000_000_000 + round(number * 1e9 / rate_hz)
            stamped = tuple(replace(view, stamp_ns=stamp_ns) for view in views)
            writer.write(LabelledSet(FrameSet(stamped), {}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn photographs with depth into a bag.")
    parser.add_argument("scene", type=Path, help="scene.json, as described at the top of this file")
    parser.add_argument("bag", type=Path, help="folder to write the bag to")
    parser.add_argument("--sets", type=int, default=20, help="how often the photographs are repeated")
    parser.add_argument("--rate", type=float, default=10.0, help="sets per second")
    arguments = parser.parse_args()
    cameras = json.loads(arguments.scene.read_text())["cameras"]
    views = [read_view(arguments.scene.parent, entry) for entry in cameras]
    write_bag(views, arguments.bag, arguments.sets, arguments.rate)


if __name__ == "__main__":
    main()
