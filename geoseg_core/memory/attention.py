"""The memory attention: features of a new frame look at what is remembered of an object.

After SAM 2: pre-norm layers of self-attention, cross-attention to the memories and an MLP, with rotary codes on the
grid. Codes of place, recency and view are added to the keys alone. What comes out is added to the features through a
convolution that starts at zero, and without memories the features stay as they are, exactly: a trained head works with
this module from the first step on, and its published numbers still hold.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.layers.positions import KEPT_SIZES, rotary_table, rotate, sines
from geoseg_core.memory.config import MemoryConfig
from geoseg_core.memory.encoder import check_sizes

PLACE_WEIGHT = 0.1
FULL_TURN = 6.283185307179586
TEMPERATURE = 10000.0

Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Recalled:
    """What is remembered of B objects, padded to the same counts.

    Attributes:
        spatial: (B, F, P, M) memories.
        ranks: (B, F) how many newer memories of its view there are; -1 for prompted ones.
        same_view: (B, F) bool, whether the view is the one that looks now.
        known: (B, F) bool; False for padding.
        pointers: (B, G, C) object pointers.
        ages: (B, G) frames since then.
        pointers_known: (B, G) bool.
    """

    spatial: Tensor
    ranks: Tensor
    same_view: Tensor
    known: Tensor
    pointers: Tensor
    ages: Tensor
    pointers_known: Tensor


class MemoryLayer(nn.Module):
    """Self-attention, cross-attention to memories, MLP; a norm before each."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        width, memory = config.width, config.memory_width
        self.heads = config.heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory, width)
        self.value = nn.Linear(memory, width)
        self.cross_out = nn.Linear(width, width)
        self.widen = nn.Linear(width, config.hidden)
        self.narrow = nn.Linear(config.hidden, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, memory: "Keys", rotary: Rotary) -> Tensor:
        """x: (B, P, C)"""
        query, key, value = (self._split(each) for each in self.self_qkv(self.norm1(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(rotate(query, rotary), rotate(key, rotary), value)
        x = x + self.dropout(self.self_out(self._join(mixed)))
        query = rotate(self._split(self.query(self.norm2(x))), rotary)
        key, value = self._split(self.key(memory.keys)), self._split(self.value(memory.values))
        turned = rotate(key[:, :, : memory.spatial], rotary)
        key = torch.cat((turned, key[:, :, memory.spatial :]), dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value, memory.mask)
        x = x + self.dropout(self.cross_out(self._join(mixed)))
        return x + self.dropout(self.narrow(self.dropout(F.relu(self.widen(self.norm3(x))))))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, D)

    @staticmethod
    def _join(mixed: Tensor) -> Tensor:
        return mixed.transpose(1, 2).flatten(2)


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys and values (B, L, M) of all memories and then of all pointers; `spatial` of them have a place on the grid.
    `mask`: (B, 1, 1, L) bool, which are known."""

    keys: Tensor
    values: Tensor
    mask: Tensor
    spatial: int


class MemoryAttention(nn.Module):
    """Feature maps of a view and memories of an object to feature maps in which the object is easier to find."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        check_sizes(config)
        self.config, width, memory = config, config.width, config.memory_width
        self.down = nn.Conv2d(config.map_width, width, config.stride, config.stride)
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.up = nn.ConvTranspose2d(width, config.map_width, config.stride, config.stride)
        self.rank_codes = nn.Parameter(0.02 * torch.randn(config.ranks + 1, memory))  # the last for prompted ones
        self.view_codes = nn.Parameter(0.02 * torch.randn(2, memory))
        self.age_code = nn.Linear(width, memory)
        nn.init.zeros_(self.up.weight)
        assert self.up.bias is not None
        nn.init.zeros_(self.up.bias)

    def forward(self, maps: Tensor, recalled: Recalled | None) -> Tensor:
        """maps (B, D, h, w) -> the same shape; rows of which nothing is known stay as they are.

        Raises:
            BadInput: memories of another grid than that of the maps.
        """
        if recalled is None:
            return maps
        small = self.down(maps)
        grid = (small.shape[2], small.shape[3])
        if recalled.spatial.shape[2] != grid[0] * grid[1]:
            raise BadInput(
                f"expected memories of {grid[0]}x{grid[1]} cells, got {recalled.spatial.shape[2]}; "
                "forget the objects when the cameras change"
            )
        memory = self.keys(recalled, grid)
        head_dim = self.config.width // self.config.heads
        rotary = rotary_table(grid, 0, head_dim, self.config.rotary_base, maps.device)
        x = small.flatten(2).transpose(1, 2)
        x = x + PLACE_WEIGHT * grid_sines(grid, self.config.width, maps.device).to(x)
        for layer in self.layers:
            x = layer(x, memory, rotary)
        added = self.up(self.norm(x).transpose(1, 2).unflatten(2, grid))
        anything = recalled.known.any(dim=1) | recalled.pointers_known.any(dim=1)
        return torch.where(anything[:, None, None, None], maps + added, maps)

    def keys(self, recalled: Recalled, grid: tuple[int, int]) -> Keys:
        """Memories and pointers as keys and values. Where nothing is known all are let through: it is not used."""
        spatial, (frames, cells, width) = recalled.spatial, recalled.spatial.shape[1:]
        ranks = recalled.ranks.clamp(max=self.config.ranks - 1)
        codes = self.rank_codes[ranks] + self.view_codes[recalled.same_view.long()]  # (B, F, M)
        placed = spatial + codes[:, :, None] + grid_sines(grid, width, spatial.device).to(spatial)
        tokens = recalled.pointers.unflatten(-1, (-1, width))  # (B, G, C / M, M)
        parts = tokens.shape[2]
        aged = self.age_code(sines_of_ages(recalled.ages / self.config.pointer_frames, self.config.width).to(spatial))
        pointed = tokens + aged[:, :, None]
        known = torch.cat(
            (recalled.known.repeat_interleave(cells, 1), recalled.pointers_known.repeat_interleave(parts, 1)), dim=1
        )
        mask = known | ~known.any(dim=1, keepdim=True)
        return Keys(
            torch.cat((placed.flatten(1, 2), pointed.flatten(1, 2)), dim=1),
            torch.cat((spatial.flatten(1, 2), tokens.flatten(1, 2)), dim=1),
            mask[:, None, None],
            frames * cells,
        )


@lru_cache(KEPT_SIZES)
def grid_sines(grid: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """(P, channels): sines of the row, then of the column, each position from 1 to n over n as part of a turn."""
    with torch.inference_mode(False):
        of_row, of_column = (
            sines((torch.arange(length) + 1) / length * FULL_TURN, channels // 4, TEMPERATURE) for length in grid
        )
        both = (of_row[:, None].expand(-1, grid[1], -1), of_column.expand(grid[0], -1, -1))
        return torch.cat(both, dim=-1).flatten(0, 1).to(device)


def sines_of_ages(ages: Tensor, channels: int) -> Tensor:
    """(B, G) -> (B, G, channels)"""
    bands = channels // 2
    angles = ages[..., None] * TEMPERATURE ** (-torch.arange(bands, device=ages.device) / bands)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
