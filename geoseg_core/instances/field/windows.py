"""Attention inside the windows of a map, as released with IGGT (after Chen et al., HAT, 2023).

Two modules share one frame: norm, attention block, norm, convolutions. Quirks of the release that change the numbers
and are therefore kept:

* the queries of the cross attention are read from the map in an order in which an axis permutation is missing
  (unless `scrambled` is off);
* its table of position biases is read at negative indices, which count from its end;
* keys and values beyond the border are zeros that take part in the softmax;
* the self attention has no position bias, and its convolution branch counts for a hundredth.

Departure: maps whose sides are no multiples of the window are filled up by repeating the border and cut again; the
release cannot run on them. Windows of the cross attention may be shifted, which only the paper of IGGT speaks of: then
the first begins half a window before the map.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.instances.field.config import PartHeadConfig
from geoseg_core.layers.attention import LayerNorm, Mlp

Grid = tuple[int, int]


class TokenNorm(nn.Module):
    """The norm at the door, in a module of its own as in the checkpoint."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) -> tokens (N, H*W, C)."""
        return self.norm(x.flatten(2).transpose(1, 2))


class WindowModule(nn.Module):
    """The frame of both modules around an attention block: map (N, C, H, W) -> map of the same shape."""

    def __init__(self, width: int, config: PartHeadConfig, atten_block: nn.Module) -> None:
        super().__init__()
        # The index is stored by the release and read by nobody.
        self.register_buffer("relative_position_index_SA", self_index(config.window))
        self.patch_embed = TokenNorm(width)
        self.atten_block = atten_block
        self.norm = LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(width, config.closing, 3, padding=1), nn.LeakyReLU())
        self.conv_last = nn.Conv2d(config.closing, width, 3, padding=1)

    def close(self, tokens: Tensor, x: Tensor) -> Tensor:
        """What follows the block; x is the map that came in."""
        body = self.norm(tokens).transpose(1, 2).unflatten(2, x.shape[-2:])
        return self.conv_last(self.conv_before_upsample(self.conv_after_body(body) + x))


class WindowSelfAttention(WindowModule):
    """Attention among the pixels of each window of a map."""

    def __init__(self, width: int, config: PartHeadConfig) -> None:
        super().__init__(width, config, WindowSelfBlock(width, config))

    def forward(self, x: Tensor) -> Tensor:
        return self.close(self.atten_block(self.patch_embed(x), x.shape[-2:]), x)


class WindowCrossAttention(WindowModule):
    """Attention from each window of a map to a larger window of another map of the same shape.

    With `shift` the first window begins so many pixels before the map.
    """

    relative_position_index_OCA: Tensor  # noqa: N815 (as in the checkpoint)

    def __init__(self, width: int, config: PartHeadConfig, shift: int = 0) -> None:
        super().__init__(width, config, WindowCrossBlock(width, config, shift))
        self.register_buffer("relative_position_index_OCA", cross_index(config.window))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        tokens, context = self.patch_embed(x), self.patch_embed(other)
        return self.close(self.atten_block(tokens, context, x.shape[-2:], self.relative_position_index_OCA), x)


class WindowSelfBlock(nn.Module):
    """n = LN1 t; u = t + A(n) + 0.01 K(n); out = u + MLP(LN2 u), A attention in windows, K convolutions."""

    def __init__(self, width: int, config: PartHeadConfig) -> None:
        super().__init__()
        self.window, self.branch = config.window, config.branch
        self.norm1 = LayerNorm(width)
        self.attn = WindowAttention(width, config.window_heads)
        self.conv_block = ConvolutionBranch(width, config)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        normal = self.norm1(tokens).transpose(1, 2).unflatten(2, grid)  # (N, C, H, W)
        windows = self.attn(cut(fill(normal, self.window), self.window))
        attended = join(windows, padded(grid, self.window), self.window)[:, : grid[0], : grid[1]]
        tokens = tokens + attended.flatten(1, 2) + self.branch * self.conv_block(normal).flatten(2).mT
        return tokens + self.mlp(self.norm2(tokens))


class WindowAttention(nn.Module):
    """Self-attention of windows (M, window^2, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor) -> Tensor:
        query, key, value = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class ConvolutionBranch(nn.Module):
    """Two convolutions and a gate for each channel."""

    def __init__(self, width: int, config: PartHeadConfig) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(width, width // config.neck, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width // config.neck, width, 3, padding=1),
            ChannelGate(width, width // config.squeeze),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x)


class ChannelGate(nn.Module):
    """Each channel times a factor in (0, 1) that the means of all channels give."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class WindowCrossBlock(nn.Module):
    """out = t + Linear(attention of LN1 t to LN1 context); out += MLP(LN2 out)."""

    def __init__(self, width: int, config: PartHeadConfig, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = config.window_heads, config.window, shift
        self.queries = scrambled if config.scrambled else cut
        span = self.window + reach(self.window) - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros(span**2, self.heads))
        self.norm1 = LayerNorm(width)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))

    def forward(self, tokens: Tensor, context: Tensor, grid: Grid, index: Tensor) -> Tensor:
        window, shift = self.window, self.shift
        normal, known = self.norm1(tokens), self.norm1(context)
        query = self.queries(fill(as_map(self.q(normal), grid), window, shift), window)
        key, value = (overlapping(as_map(each(known), grid), window, shift) for each in (self.k, self.v))
        bias = self.relative_position_bias_table[index].permute(2, 0, 1).to(query.dtype)  # (heads, w^2, r^2)
        query, key, value = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
        whole = join(mixed, padded(grid, window, shift), window)
        attended = whole[:, shift : shift + grid[0], shift : shift + grid[1]]
        tokens = tokens + self.proj(attended.flatten(1, 2))
        return tokens + self.mlp(self.norm2(tokens))


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """(N, H*W, C) -> (N, C, H, W)"""
    return tokens.transpose(1, 2).unflatten(2, grid)


def padded(grid: Grid, window: int, shift: int = 0) -> Grid:
    """The size with `shift` more rows and columns, rounded up to whole windows."""
    return -(-(grid[0] + shift) // window) * window, -(-(grid[1] + shift) // window) * window


def fill(x: Tensor, window: int, shift: int = 0) -> Tensor:
    """Map (N, C, H, W) of whole windows, `shift` rows and columns before it; what is new repeats the border."""
    height, width = x.shape[-2:]
    rows, columns = padded((height, width), window, shift)
    if (rows, columns) == (height, width):
        return x
    return F.pad(x, (shift, columns - width - shift, shift, rows - height - shift), mode="replicate")


def cut(x: Tensor, window: int) -> Tensor:
    """Map (N, C, H, W) -> its windows (N * windows, window^2, C), row by row."""
    split = x.unflatten(3, (-1, window)).unflatten(2, (-1, window))  # (N, C, rows, y, columns, x)
    return split.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)


def join(windows: Tensor, grid: Grid, window: int) -> Tensor:
    """The opposite of `cut`, as (N, H, W, C)."""
    rows, columns = grid[0] // window, grid[1] // window
    split = windows.unflatten(1, (window, window)).unflatten(0, (-1, rows, columns))  # (N, rows, columns, y, x, C)
    return split.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def scrambled(x: Tensor, window: int) -> Tensor:
    """Map (N, C, H, W) -> queries (N * windows, window^2, C) in the order of the release.

    All numbers of an image stand in the order (c div w, y div w, c mod w, y mod w, x), and this list is cut in rows
    of C numbers and windows of w^2 rows.
    """
    count, channels = x.shape[:2]
    split = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (N, c div, c mod, y div, y mod, x)
    return split.transpose(2, 3).reshape(count, -1, window**2, channels).flatten(0, 1)


def overlapping(x: Tensor, window: int, shift: int = 0) -> Tensor:
    """Map (N, C, H, W) -> windows of one and a half times the side, (N * windows, reach^2, C), zeros outside."""
    side = reach(window)
    border = (side - window) // 2
    before = border + shift
    height, width = x.shape[-2:]
    rows, columns = padded((height, width), window, shift)
    after = (columns - width - shift + border, rows - height - shift + border)
    wide = F.pad(x, (before, after[0], before, after[1]))
    windows = wide.unfold(2, side, window).unfold(3, side, window)  # (N, C, rows, columns, y, x)
    return windows.permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(0, 2)


def reach(window: int) -> int:
    """Side of the windows of keys."""
    return window + window // 2


def cross_index(window: int) -> Tensor:
    """(window^2, reach^2) index into the table of biases, as released: partly negative, which counts from the end."""
    side = reach(window)
    own, other = cells(window), cells(side)  # (n, 2) y, x
    steps = other[None] - own[:, None] + (window - side + 1)
    return steps[..., 0] * (window + side - 1) + steps[..., 1]


def self_index(window: int) -> Tensor:
    """(window^2, window^2) index of the steps between the cells of a window."""
    own = cells(window)
    steps = own[:, None] - own[None] + (window - 1)
    return steps[..., 0] * (2 * window - 1) + steps[..., 1]


def cells(side: int) -> Tensor:
    """(side^2, 2) row and column of each cell."""
    return torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), dim=-1).flatten(0, 1)
