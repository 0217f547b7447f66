"""The shared photographs as scenes for examples/photographs_to_bag.py."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def write_room_scene(data: Path, folder: Path) -> Path:
    """Views 0, 1 and 2 of room_views as three calibrated cameras; returns scene.json."""
    known = np.load(data / "room_views" / "condition.npz")
    cameras = []
    for number, name in enumerate(("ego", "exo_left", "exo_right")):
        depth = folder / f"{name}_depth.png"
        cv2.imwrite(str(depth), np.rint(known["depths"][number] * 1000).clip(0, 65535).astype(np.uint16))
        cameras.append(
            {
                "name": name,
                "image": str(data / "room_views" / f"{number}.png"),
                "depth": depth.name,
                "depth_per_metre": 1000,
                "intrinsics": known["intrinsics"][number].tolist(),
                "camera_to_world": known["poses"][number].tolist(),
            }
        )
    return _write(cameras, folder)


def write_desk_scene(data: Path, folder: Path) -> Path:
    """The desk frame as one camera without a pose; returns scene.json."""
    camera = {
        "name": "ego",
        "image": str(data / "desk_rgbd" / "color.png"),
        "depth": str(data / "desk_rgbd" / "depth.png"),
        "depth_per_metre": 5000,
        "intrinsics": [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]],
    }
    return _write([camera], folder)


def write_bag(scene: Path, bag: Path, sets: int) -> None:
    """Run the example."""
    script = ROOT / "examples" / "photographs_to_bag.py"
    subprocess.run([sys.executable, script, scene, bag, "--sets", str(sets)], check=True, cwd=ROOT)


def _write(cameras: list[dict], folder: Path) -> Path:
    scene = folder / "scene.json"
    scene.write_text(json.dumps({"cameras": cameras}))
    return scene
