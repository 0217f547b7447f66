"""`geoseg encode IMAGES... --out DIR`: cameras, depth, a cloud and a picture of photographs of one scene."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from geoseg_core.config import build_from_words
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.cloud_picture import render_cloud
from geoseg_core.evaluation.pictures import write_png
from geoseg_core.evaluation.ply import write_ply
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, load_encoder
from geoseg_core.geometry.encoder import EncodedScene, GeometryEncoder, ViewGeometry
from geoseg_core.imaging import decode_compressed, to_rgb
from geoseg_core.results import LabelledCloud
from geoseg_core.views import FrameSet, View

MODELS = {name: encoder for encoder, choice in CHOICES.items() for name in choice.weights}
CLOUD_POINTS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare images, weights and output."""
    parser.add_argument("images", nargs="+", type=Path, help="PNG or JPEG photographs of one scene")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--model", choices=MODELS, default="vggt-1b", help="network, by the name of its weights")
    parser.add_argument("--weights", metavar="FILE", help="its safetensors file, if not in the store")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="a setting of the geometry, such as vggt.side=392 or device=cpu; repeatable",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Encode and write.

    Raises:
        BadInput: an image or the weights cannot be read; BadConfig: an unknown setting.
    """
    frames = read_images(arguments.images)
    chosen = [f"encoder={MODELS[arguments.model]}", f"weights={arguments.weights or arguments.model}"]
    loaded = load_encoder(build_from_words(GeometryConfig, [*chosen, *arguments.overrides]))
    print(f"encoder {loaded.encoder.name}, {loaded.weights}")
    encode_to(loaded.encoder, frames, arguments.out)
    print(f"{len(frames.views)} views; cameras.json, depth, cloud.ply and picture.png in {arguments.out}")
    return 0


def read_images(paths: list[Path]) -> FrameSet:
    """Photographs as the views of one instant, named after their files.

    Raises:
        BadInput: a file that is no photograph, or two of the same name.
    """
    views = []
    for path in paths:
        try:
            image = to_rgb(decode_compressed(path.read_bytes(), path.suffix.lstrip(".")))
        except OSError as error:
            raise BadInput(f"{path}: expected a PNG or JPEG photograph, got {error}") from error
        views.append(View(path.stem, image))
    return FrameSet(tuple(views))


def encode_to(encoder: GeometryEncoder, frames: FrameSet, out: Path) -> None:
    """Encode a frame set and write cameras.json, depth and confidence of each view, cloud.ply and picture.png."""
    scene = encoder.encode(frames)
    out.mkdir(parents=True, exist_ok=True)
    cameras = {view.camera: camera_facts(view, found) for view, found in zip(frames.views, scene.views, strict=True)}
    facts = {"encoder": encoder.name, "scale": scene.scale.status.name.lower(), "cameras": cameras}
    (out / "cameras.json").write_text(json.dumps(facts, indent=1))
    for view, found in zip(frames.views, scene.views, strict=True):
        np.savez_compressed(out / f"{view.camera}.npz", depth=found.depth_m, confidence=found.confidence)
        write_png(str(out / f"{view.camera}_depth.png"), depth_picture(found.depth_m))
    cloud = cloud_of(scene)
    write_ply(str(out / "cloud.ply"), cloud)
    poses = [found.camera_to_world for found in scene.views]
    write_png(str(out / "picture.png"), render_cloud(cloud, [], poses))


def camera_facts(view: View, found: ViewGeometry) -> dict:
    """What cameras.json says of one view; lengths are in the unit of the scale."""
    return {
        "width": view.size[1],
        "height": view.size[0],
        "intrinsics": found.intrinsics.tolist(),
        "camera_to_world": found.camera_to_world.tolist(),
    }


def depth_picture(depth: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: near is bright, black is unknown."""
    known = depth > 0
    if not known.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0)
    low, high = np.percentile(inverse[known], (2, 98))
    grey = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1) * 255
    coloured = cv2.cvtColor(cv2.applyColorMap(grey.astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return np.where(known[..., None], coloured, 0).astype(np.uint8)


def cloud_of(scene: EncodedScene) -> LabelledCloud:
    """The points of all views in their colours, thinned evenly to at most CLOUD_POINTS."""
    xyz = np.concatenate([found.points.reshape(-1, 3) for found in scene.views])
    rgb = np.concatenate([view.image.reshape(-1, 3) for view in scene.frames.views])
    confidence = np.concatenate([found.confidence.ravel() for found in scene.views])
    kept = np.flatnonzero(np.isfinite(xyz).all(axis=1))
    kept = kept[:: max(-(-len(kept) // CLOUD_POINTS), 1)]
    return LabelledCloud(xyz[kept], rgb[kept], np.zeros(len(kept), np.int32), confidence[kept])
