"""VGGT's pose encoding, against values worked out by hand."""

import math

import pytest
import torch

from geoseg_core.geometry.vggt.pose_encoding import (
    decode_pose,
    encode_pose,
    matrix_to_quaternion,
    quaternion_to_matrix,
    unproject,
)


def test_a_field_of_view_is_vertical_first() -> None:
    encoding = torch.tensor([1.0, 2, 3, 0, 0, 0, 2, math.pi / 2, 2 * math.atan(2)])
    extrinsics, intrinsics = decode_pose(encoding, (100, 300))
    torch.testing.assert_close(extrinsics, torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3]]))
    torch.testing.assert_close(intrinsics, torch.tensor([[75.0, 0, 150], [0, 50, 50], [0, 0, 1]]))


@pytest.mark.parametrize(
    ("quaternion", "turned"),
    [
        ((0, 0, math.sqrt(0.5), math.sqrt(0.5)), (0.0, 1.0, 0.0)),  # a quarter turn about z
        ((1, 0, 0, 0), (1.0, 0.0, 0.0)),  # half turns
        ((0, 1, 0, 0), (-1.0, 0.0, 0.0)),
        ((0, 0, 1, 0), (-1.0, 0.0, 0.0)),
    ],
)
def test_quaternions_turn_x_and_come_back(quaternion: tuple, turned: tuple) -> None:
    matrix = quaternion_to_matrix(torch.tensor(quaternion, dtype=torch.float64))
    torch.testing.assert_close(matrix[:, 0], torch.tensor(turned, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(matrix_to_quaternion(matrix), torch.tensor(quaternion, dtype=torch.float64))


def test_any_pose_comes_back() -> None:
    torch.manual_seed(0)
    quaternions = torch.nn.functional.normalize(torch.randn(200, 4, dtype=torch.float64), dim=-1)
    extrinsics = torch.cat((quaternion_to_matrix(quaternions), torch.randn(200, 3, 1, dtype=torch.float64)), dim=-1)
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(200, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = 80, 90
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 42, 28
    encoding = encode_pose(extrinsics, intrinsics, (56, 84))
    assert (encoding[:, 6] >= 0).all()
    decoded = decode_pose(encoding, (56, 84))
    torch.testing.assert_close(decoded, (extrinsics, intrinsics))


def test_unprojected_points_project_back_to_their_pixels() -> None:
    torch.manual_seed(1)
    encoding = torch.tensor([0.3, -0.2, 0.5, 0.1, -0.4, 0.2, 0.8, 0.9, 1.2], dtype=torch.float64)
    extrinsics, intrinsics = decode_pose(encoding, (4, 6))
    depth = torch.rand(4, 6, dtype=torch.float64) + 1
    points = unproject(depth, extrinsics, intrinsics)
    in_camera = points @ extrinsics[:, :3].T + extrinsics[:, 3]
    torch.testing.assert_close(in_camera[..., 2], depth)
    pixels = in_camera @ intrinsics.T / depth[..., None]
    torch.testing.assert_close(pixels[3, 5], torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64))
