"""Labelled clouds as binary PLY files, which any viewer opens."""

import numpy as np

from geoseg_core.results import LabelledCloud

VERTEX = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    + [("instance_id", "<i4"), ("confidence", "<f4")]
)
PLY_TYPES = {"f4": "float", "u1": "uchar", "i4": "int"}


def write_ply(path: str, cloud: LabelledCloud) -> None:
    """Write x y z (metres), red green blue, instance_id (0 = none) and confidence of each point."""
    vertices = np.zeros(len(cloud.xyz), VERTEX)
    for axis, name in enumerate(("x", "y", "z")):
        vertices[name] = cloud.xyz[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.rgb[:, channel]
    vertices["instance_id"] = cloud.instance_id
    vertices["confidence"] = cloud.confidence
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property {PLY_TYPES[VERTEX[name].str[1:]]} {name}" for name in VERTEX.names or ()]
    with open(path, "wb") as file:
        file.write("\n".join([*header, "end_header\n"]).encode())
        file.write(vertices.tobytes())
