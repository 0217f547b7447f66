"""Pose encodings of VGGT: translation (3), quaternion x y z w (4), vertical and horizontal field of view (radians).

Extrinsics are world -> camera, optical axes; the principal point stands in the centre of the image.
"""

import torch
from torch import Tensor


def decode_pose(encoding: Tensor, image_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(..., 9) -> world_to_camera (..., 3, 4) and intrinsics (..., 3, 3). A field of view of 0 gives an infinite focal
    length."""
    rotation = quaternion_to_matrix(encoding[..., 3:7])
    world_to_camera = torch.cat((rotation, encoding[..., :3, None]), dim=-1)
    height, width = image_hw
    intrinsics = encoding.new_zeros(*encoding.shape[:-1], 3, 3)
    intrinsics[..., 0, 0] = (width / 2) / torch.tan(encoding[..., 8] / 2)
    intrinsics[..., 1, 1] = (height / 2) / torch.tan(encoding[..., 7] / 2)
    intrinsics[..., 0, 2] = width / 2
    intrinsics[..., 1, 2] = height / 2
    intrinsics[..., 2, 2] = 1
    return world_to_camera, intrinsics


def encode_pose(world_to_camera: Tensor, intrinsics: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """The inverse of `decode_pose`; the principal point is ignored, the quaternion has w >= 0."""
    height, width = image_hw
    vertical = 2 * torch.atan((height / 2) / intrinsics[..., 1, 1])
    horizontal = 2 * torch.atan((width / 2) / intrinsics[..., 0, 0])
    quaternion = matrix_to_quaternion(world_to_camera[..., :3])
    fields = torch.stack((vertical, horizontal), dim=-1)
    return torch.cat((world_to_camera[..., 3], quaternion, fields), dim=-1)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """(..., 4) x y z w, of any length but 0 -> rotations (..., 3, 3)."""
    x, y, z, w = quaternion.unbind(-1)
    double = 2.0 / (quaternion * quaternion).sum(-1)
    rows = (
        (1 - double * (y * y + z * z), double * (x * y - z * w), double * (x * z + y * w)),
        (double * (x * y + z * w), 1 - double * (x * x + z * z), double * (y * z - x * w)),
        (double * (x * z - y * w), double * (y * z + x * w), 1 - double * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Rotations (..., 3, 3) -> (..., 4) x y z w with w >= 0.

    Four candidates, each scaled by twice the component that it divides by; the one with the largest divisor is taken.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    squares = torch.stack((1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22), -1)
    doubled = squares.clamp(min=0).sqrt()  # 2|x|, 2|y|, 2|z|, 2|w|
    candidates = torch.stack(
        (
            torch.stack((squares[..., 0], m01 + m10, m02 + m20, m21 - m12), dim=-1),
            torch.stack((m01 + m10, squares[..., 1], m12 + m21, m02 - m20), dim=-1),
            torch.stack((m02 + m20, m12 + m21, squares[..., 2], m10 - m01), dim=-1),
            torch.stack((m21 - m12, m02 - m20, m10 - m01, squares[..., 3]), dim=-1),
        ),
        dim=-2,
    )
    best = doubled.argmax(dim=-1, keepdim=True)
    chosen = candidates.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
    quaternion = chosen / (2 * doubled.gather(-1, best))
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def unproject(depth: Tensor, world_to_camera: Tensor, intrinsics: Tensor) -> Tensor:
    """Depth (..., H, W) to points (..., H, W, 3) in the world frame; integer coordinates are pixel centres."""
    height, width = depth.shape[-2:]
    rows = torch.arange(height, device=depth.device, dtype=depth.dtype)[:, None]
    columns = torch.arange(width, device=depth.device, dtype=depth.dtype)
    focal_x, focal_y, centre_x, centre_y = (
        intrinsics[..., i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))
    )
    x = (columns - centre_x) * depth / focal_x
    y = (rows - centre_y) * depth / focal_y
    in_camera = torch.stack((x, y, depth.expand_as(x)), dim=-1)
    rotation, translation = world_to_camera[..., :3], world_to_camera[..., 3]
    with torch.autocast(depth.device.type, enabled=False):
        # Rows times R is the transposed rotation of columns.
        return (in_camera - translation[..., None, None, :]) @ rotation[..., None, :, :]
