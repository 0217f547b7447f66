"""Where things are: patch grids, rotary tables and sine tables. Each is made once for a size and a device.

Tables are made outside inference mode, so that one made while looking can be used while training.
"""

from functools import lru_cache

import torch
from torch import Tensor

# A robot sees a handful of image sizes; more than this many are made anew.
KEPT_SIZES = 32


@lru_cache(KEPT_SIZES)
def rotary_table(
    grid: tuple[int, int], specials: int, head_dim: int, base: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the 2-D rotary embedding of one frame's tokens.

    Patches stand at (row + 1, column + 1), the `specials` tokens before them at (0, 0). The first half of a head
    vector turns with the row, the second with the column, by the angles p * base^(-2k/D) with D = head_dim / 2.

    Returns:
        two float32 tensors (specials + h*w, head_dim): cosines, and sines with the sign that `rotate` needs.
    """
    with torch.inference_mode(False):
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        patches = torch.stack((rows, columns), dim=-1).reshape(-1, 2) + 1
        positions = torch.cat((patches.new_zeros(specials, 2), patches)).to(device)  # (P, 2)
        half = head_dim // 2
        exponents = torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
        angles = positions[..., None].float() * (1.0 / base**exponents)  # (P, 2, D/2)
        cosines, sines = angles.cos(), angles.sin()
        return torch.cat((cosines, cosines), dim=-1).flatten(1), torch.cat((-sines, sines), dim=-1).flatten(1)


def rotate(vectors: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn head vectors (B, heads, F*P, D) by a table of P positions, the same in each of the F frames.

    The work is done in the type of the vectors.
    """
    cosines, sines = (each.to(vectors.dtype) for each in table)
    frames = vectors.unflatten(2, (-1, cosines.shape[0]))  # (B, heads, F, P, D)
    first, second, third, fourth = frames.chunk(4, dim=-1)
    swapped = torch.cat((second, first, fourth, third), dim=-1)
    return torch.addcmul(frames * cosines, swapped, sines).flatten(2, 3)


def uv_axes(grid: tuple[int, int], aspect: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """u of each column and v of each row: cell centres of a rectangle of that aspect (W/H) with half diagonal 1."""
    height, width = grid
    span_x = aspect / (aspect**2 + 1.0) ** 0.5
    span_y = 1.0 / (aspect**2 + 1.0) ** 0.5
    edge_x, edge_y = span_x * (width - 1) / width, span_y * (height - 1) / height
    return torch.linspace(-edge_x, edge_x, width, dtype=dtype), torch.linspace(-edge_y, edge_y, height, dtype=dtype)


@lru_cache(KEPT_SIZES)
def uv_map(grid: tuple[int, int], aspect: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(2, h, w): u and v of each cell."""
    with torch.inference_mode(False):
        u, v = uv_axes(grid, aspect, torch.float32)
        return torch.stack((u.expand(grid), v[:, None].expand(grid))).to(device, dtype)


def sines(places: Tensor, bands: int, base: float) -> Tensor:
    """(N,) -> (N, 2 * bands) float32: sines, then cosines, of p * base^(-k / bands); formed in float64."""
    frequencies = base ** (-torch.arange(bands, dtype=torch.float64) / bands)
    angles = places.double()[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


@lru_cache(4 * KEPT_SIZES)
def uv_sines(
    grid: tuple[int, int], channels: int, aspect: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The positional term of DPT as its two separable halves, (channels/2, 1, w) of u and (channels/2, h, 1) of v.

    Kept apart they cost w + h columns of memory where the whole map costs w * h.
    """
    with torch.inference_mode(False):
        u, v = uv_axes(grid, aspect, torch.float64)
        of_u, of_v = sines(u, channels // 4, 100.0), sines(v, channels // 4, 100.0)
        return of_u.T[:, None, :].to(device, dtype), of_v.T[:, :, None].to(device, dtype)


@lru_cache(KEPT_SIZES)
def index_sines(length: int, channels: int, device: torch.device) -> Tensor:
    """(length, channels) sines of the indices along one axis, base 10000."""
    with torch.inference_mode(False):
        return sines(torch.arange(length), channels // 2, 10000.0).to(device)
