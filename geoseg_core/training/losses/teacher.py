"""A frozen bigger encoder in place of the truth: its depth and cameras become the sample's (SegVGGT, section 3.5).

It keeps a student's geometry from following the noise of a dataset's own depth, and teaches on images without any.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812

from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.geometry.vggt.pose_encoding import decode_pose


@torch.no_grad()
def taught(batch: Sample, teacher: Vggt, least_confidence: float = 1.0) -> Sample:
    """The batch with the teacher's depth, intrinsics and poses; the first camera is the world, lengths have no unit.

    The teacher sees the images at the nearest size that its patches divide. Depth of less confidence is unknown (0);
    what the dataset says of objects' poses is dropped, since its unit is another.
    """
    height, width = batch.images.shape[-2:]
    patch = teacher.config.patch
    size = [max(round(side / patch), 1) * patch for side in (height, width)]
    images = F.interpolate(batch.images.flatten(0, 1), size, mode="bilinear", antialias=True)
    said = teacher(images.unflatten(0, batch.images.shape[:2]), heads=("camera", "depth"))
    assert said.depth is not None and said.depth_confidence is not None
    depth, confidence = (F.interpolate(each, (height, width)) for each in (said.depth, said.depth_confidence))
    world_to_camera, intrinsics = decode_pose(said.pose_encodings[-1].float(), (height, width))
    rows = world_to_camera.new_tensor([0, 0, 0, 1]).expand(*world_to_camera.shape[:2], 1, 4)
    poses = torch.cat((world_to_camera, rows), dim=-2).inverse()
    sure = torch.isfinite(depth) & (confidence >= least_confidence)
    return replace(
        batch,
        depth=torch.where(sure, depth, 0.0).float(),
        intrinsics=intrinsics,
        camera_to_world=poses,
        object_to_world=None,
        metric=False,
    )
