"""What may be known beside the images for Pi3X: depth, rays or intrinsics, and poses, brought to one scale."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.errors import BadInput

EPS = 1e-8
RAY_EPS = 1e-6
# Below this largest distance from the first camera, translations say nothing of the scale.
LEAST_TRANSLATION = 0.02


@dataclass(frozen=True, eq=False)
class Conditions:
    """Known facts of each frame, each optional; a mask says in which frames one is used (all by default).

    Attributes:
        depth: (B, S, H, W) along z; 0 where unknown.
        intrinsics: (B, S, 3, 3) pixels of the network's input; or
        rays: (B, S, H, W, 3) directions in each camera's frame.
        camera_to_world: (B, S, 4, 4).
        depth_mask, ray_mask, pose_mask: (B, S) bool.
    """

    depth: Tensor | None = None
    intrinsics: Tensor | None = None
    rays: Tensor | None = None
    camera_to_world: Tensor | None = None
    depth_mask: Tensor | None = None
    ray_mask: Tensor | None = None
    pose_mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PreparedConditions:
    """Conditions as the network takes them; the masks are all False for what is not given.

    Attributes:
        depth: (B, S, 2, H, W) depth over its mean, and where it is known.
        rays: (B, S, 2, H, W) x/z and y/z.
        camera_to_world: (B, S, 4, 4) in the frame of the first camera, at the scale of the depth.
    """

    depth: Tensor | None
    rays: Tensor | None
    camera_to_world: Tensor | None
    depth_mask: Tensor
    ray_mask: Tensor
    pose_mask: Tensor


def prepare(conditions: Conditions, images: Tensor) -> PreparedConditions:
    """Check conditions against images (B, S, 3, H, W) and bring them to the network's scale, with autocast off.

    Raises:
        BadInput: a condition of another shape, or both rays and intrinsics.
    """
    check(conditions, images)
    with torch.autocast(images.device.type, enabled=False):
        return _prepare(conditions, images)


def _prepare(conditions: Conditions, images: Tensor) -> PreparedConditions:
    depth_mask = mask_of(conditions.depth, conditions.depth_mask, images)
    pose_mask = mask_of(conditions.camera_to_world, conditions.pose_mask, images)
    # One posed frame says nothing: its pose is the origin.
    pose_mask = pose_mask & (pose_mask.sum(dim=1, keepdim=True) != 1)
    scale = mean_depth(conditions.depth, images)
    known = conditions.rays if conditions.rays is not None else conditions.intrinsics
    return PreparedConditions(
        None if conditions.depth is None else depth_channels(conditions.depth, scale),
        None if known is None else ray_channels(conditions, images),
        None if conditions.camera_to_world is None else scaled_poses(conditions.camera_to_world, scale, depth_mask),
        depth_mask,
        mask_of(known, conditions.ray_mask, images),
        pose_mask,
    )


def check(conditions: Conditions, images: Tensor) -> None:
    """Raises:
    BadInput: a condition of another shape or with numbers that are not finite, or both rays and intrinsics.
    """
    views, size = tuple(images.shape[:2]), tuple(images.shape[3:])
    wanted = {
        "depth": (*views, *size),
        "intrinsics": (*views, 3, 3),
        "rays": (*views, *size, 3),
        "camera_to_world": (*views, 4, 4),
        "depth_mask": views,
        "ray_mask": views,
        "pose_mask": views,
    }
    for name, shape in wanted.items():
        given = getattr(conditions, name)
        if given is not None and tuple(given.shape) != shape:
            raise BadInput(f"condition {name}: expected shape {shape}, got {tuple(given.shape)}")
        if given is not None and not bool(torch.isfinite(given).all()):
            raise BadInput(f"condition {name}: expected finite numbers, got NaN or infinite ones")
    if conditions.rays is not None and conditions.intrinsics is not None:
        raise BadInput("conditions: expected rays or intrinsics, got both")


def mask_of(given: Tensor | None, mask: Tensor | None, images: Tensor) -> Tensor:
    """(B, S) bool: the mask where the condition is given, else all False."""
    nothing = images.new_zeros(images.shape[:2], dtype=torch.bool)
    if given is None:
        return nothing
    return ~nothing if mask is None else mask.to(images.device, torch.bool)


def mean_depth(depth: Tensor | None, images: Tensor) -> Tensor:
    """(B,) mean of all known depths of a sample, masked or not; 1 where there are none."""
    if depth is None:
        return images.new_ones(images.shape[0])
    known = depth > 0
    count = known.sum(dim=(1, 2, 3))
    mean = torch.where(known, depth, 0).sum(dim=(1, 2, 3)) / count.clamp(min=1)
    return torch.where(count > 0, mean, 1)


def depth_channels(depth: Tensor, scale: Tensor) -> Tensor:
    """Depth over its mean, and where it is known: (B, S, 2, H, W)."""
    scaled = depth / (scale + EPS)[:, None, None, None]
    return torch.stack((scaled, (scaled > 0).to(scaled.dtype)), dim=2)


def ray_channels(conditions: Conditions, images: Tensor) -> Tensor:
    """x/z and y/z of each pixel: (B, S, 2, H, W)."""
    if conditions.rays is not None:
        x, y, z = conditions.rays.unbind(-1)
        return torch.stack((x / (z + RAY_EPS), y / (z + RAY_EPS)), dim=2)
    assert conditions.intrinsics is not None
    height, width = images.shape[3:]
    rows = torch.arange(height, device=images.device, dtype=images.dtype) + 0.5
    columns = torch.arange(width, device=images.device, dtype=images.dtype) + 0.5
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u)), dim=-1)  # (H, W, 3)
    directions = torch.einsum("bsij,hwj->bsihw", torch.linalg.inv(conditions.intrinsics), pixels)
    return directions[:, :, :2] / directions[:, :, 2:]


def scaled_poses(camera_to_world: Tensor, scale: Tensor, depth_mask: Tensor) -> Tensor:
    """Poses in the frame of the first camera, translations over the mean depth; without any depth in use, over their
    own mean length."""
    relative = torch.linalg.inv(camera_to_world[:, :1]) @ camera_to_world
    relative[..., :3, 3] /= (scale + EPS)[:, None, None]
    if relative.shape[1] == 1:
        return relative
    lengths = relative[:, :, :3, 3].norm(dim=-1)  # (B, S)
    own = ~depth_mask.any(dim=1) & (lengths.amax(dim=1) >= LEAST_TRANSLATION)
    divisor = torch.where(own, lengths[:, 1:].mean(dim=1) + EPS, 1)
    relative[..., :3, 3] /= divisor[:, None, None]
    return relative
