"""VGGT as the published code runs it, for comparison: plain eager steps over the weights of our model.

Nothing is saved here: all token layers are kept, every head sees all of them, position embeddings and positional terms
are made anew at each call, maps are enlarged before their 1x1 convolution, and convolutions run in the usual memory
order. As released, the trunk follows the ambient autocast and the heads run with autocast off in the type of their
weights. Where the release would mix types wholly in bfloat16 (the positional term), the sum is cast back.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.vggt.model import Vggt

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES_CHUNK = 8
RATIO = 0.1


@dataclass
class PlainTokens:
    """Every token layer (B, S, P, 2C), and where the patches start."""

    layers: list[Tensor]
    specials: int
    size: tuple[int, int]


class PlainVggt:
    """The published steps over the weights of `model`."""

    def __init__(self, model: Vggt) -> None:
        self.model = model

    def embed(self, images: Tensor) -> Tensor:
        """Patch tokens (B*S, h*w, C) of images (B, S, 3, H, W)."""
        vit = self.model.aggregator.patch_embed
        mean, std = (images.new_tensor(each).view(1, 1, 3, 1, 1) for each in (MEAN, STD))
        normal = ((images - mean) / std).flatten(0, 1).to(vit.pos_embed.dtype)
        patches = vit.patch_embed.proj(normal).flatten(2).transpose(1, 2)
        tokens = torch.cat((vit.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1)
        tokens = tokens + self._position_embedding(normal.shape[-2:], patches.dtype)
        registers = vit.register_tokens.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat((tokens[:, :1], registers, tokens[:, 1:]), dim=1)
        for block in vit.blocks:
            tokens = run_block(block, tokens)
        return norm(vit.norm, tokens)[:, 1 + registers.shape[1] :]

    def _position_embedding(self, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        vit = self.model.aggregator.patch_embed
        table = vit.pos_embed.float()
        grid = table[:, 1:].reshape(1, vit.side, vit.side, -1).permute(0, 3, 1, 2)
        size = (size[0] // vit.patch, size[1] // vit.patch)
        if size != (vit.side, vit.side):
            grid = F.interpolate(grid, size=size, mode="bicubic", antialias=True)
        return torch.cat((table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1).to(dtype)

    def aggregate(self, patches: Tensor, batch: int, size: tuple[int, int]) -> PlainTokens:
        """All token layers of patch tokens (B*S, h*w, C); `size` is that of the images."""
        trunk = self.model.aggregator
        frames = patches.shape[0] // batch
        camera, register = (
            torch.cat((each[:, :1], each[:, 1:].expand(-1, frames - 1, -1, -1)), dim=1)
            .expand(batch, -1, -1, -1)
            .flatten(0, 1)
            for each in (trunk.camera_token, trunk.register_token)
        )
        tokens = torch.cat((camera, register, patches), dim=1)
        specials = tokens.shape[1] - patches.shape[1]
        rows, columns = size[0] // trunk.patch, size[1] // trunk.patch
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(tokens.device) + 1
        places = torch.cat((places.new_zeros(specials, 2), places)).expand(batch * frames, -1, -1)
        layers = []
        for within, across in zip(trunk.frame_blocks, trunk.global_blocks, strict=True):
            tokens = run_block(within, tokens, places, trunk.rotary_base)
            inside = tokens.view(batch, frames, *tokens.shape[1:])
            together = tokens.view(batch, -1, tokens.shape[-1])
            over_all = places.reshape(batch, -1, 2)
            tokens = run_block(across, together, over_all, trunk.rotary_base).view(tokens.shape)
            layers.append(torch.cat((inside, tokens.view(inside.shape)), dim=-1))
        return PlainTokens(layers, specials, size)

    def camera(self, tokens: PlainTokens) -> list[Tensor]:
        """Pose encodings (B, S, 9) after each refinement."""
        head = self.model.camera_head
        with torch.autocast(tokens.layers[-1].device.type, enabled=False):
            start = norm(head.token_norm, tokens.layers[-1][:, :, 0].to(head.empty_pose_tokens.dtype))
            encoding, found = None, []
            for _ in range(head.iterations):
                known = head.empty_pose_tokens.expand(*start.shape[:2], -1) if encoding is None else encoding
                shift, scale, gate = head.poseLN_modulation(head.embed_pose(known)).chunk(3, dim=-1)
                x = gate * (F.layer_norm(start, start.shape[-1:], eps=1e-6) * (1 + scale) + shift) + start
                for block in head.trunk:
                    x = run_block(block, x)
                step = run_mlp(head.pose_branch, norm(head.trunk_norm, x))
                encoding = step if encoding is None else encoding + step
                found.append(torch.cat((encoding[..., :7], F.relu(encoding[..., 7:])), dim=-1))
        return found

    def depth(self, tokens: PlainTokens) -> tuple[Tensor, Tensor]:
        """Depth and its confidence, (B, S, H, W) each."""
        raw = self._dense(self.model.depth_head, tokens, self.model.config.depth_head.layers)
        return raw[:, :, 0].exp(), 1 + raw[:, :, 1].exp()

    def points(self, tokens: PlainTokens) -> tuple[Tensor, Tensor]:
        """Points (B, S, H, W, 3) and their confidence (B, S, H, W)."""
        raw = self._dense(self.model.point_head, tokens, self.model.config.point_head.layers)
        xyz = raw[:, :, :3].permute(0, 1, 3, 4, 2)
        return xyz.sign() * xyz.abs().expm1(), 1 + raw[:, :, 3].exp()

    def _dense(self, head: nn.Module, tokens: PlainTokens, layers: tuple[int, ...]) -> Tensor:
        frames = tokens.layers[0].shape[1]
        with torch.autocast(tokens.layers[0].device.type, enabled=False):
            parts = [
                run_dpt(head, [tokens.layers[each][:, start : start + FRAMES_CHUNK] for each in layers], tokens)
                for start in range(0, frames, FRAMES_CHUNK)
            ]
        return torch.cat(parts, dim=1)


def norm(module: nn.Module, x: Tensor) -> Tensor:
    """A layer norm in the type of its weights."""
    return F.layer_norm(x.to(module.weight.dtype), x.shape[-1:], module.weight, module.bias, module.eps)


def run_mlp(module: nn.Module, x: Tensor) -> Tensor:
    """Linear, GELU, linear."""
    return module.fc2(F.gelu(module.fc1(x)))


def run_block(block: nn.Module, x: Tensor, places: Tensor | None = None, base: float = 100.0) -> Tensor:
    """One pre-norm block on tokens (B, N, C) at `places` (B, N, 2)."""
    x = x + run_attention(block.attn, norm(block.norm1, x), places, base) * block.ls1.gamma
    return x + run_mlp(block.mlp, norm(block.norm2, x)) * block.ls2.gamma


def run_attention(module: nn.Module, x: Tensor, places: Tensor | None, base: float) -> Tensor:
    """Attention with normed and rotated queries and keys where the block has them."""
    batch, count, width = x.shape
    qkv = module.qkv(x).reshape(batch, count, 3, module.heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    if places is not None:
        query, key = norm(module.q_norm, query), norm(module.k_norm, key)
        query, key = rotate(query, places, base), rotate(key, places, base)
    mixed = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value)
    return module.proj(mixed.transpose(1, 2).reshape(batch, count, width))


def rotate(vectors: Tensor, places: Tensor, base: float) -> Tensor:
    """Half of each head vector (B, heads, N, D) turned by the row, half by the column."""
    down, across = vectors.chunk(2, dim=-1)
    return torch.cat((rotate_1d(down, places[..., 0], base), rotate_1d(across, places[..., 1], base)), dim=-1)


def rotate_1d(vectors: Tensor, places: Tensor, base: float) -> Tensor:
    """Vectors turned by one coordinate; the angles are rounded to the vectors' type."""
    width = vectors.shape[-1]
    frequencies = base ** (-torch.arange(0, width, 2, device=vectors.device).float() / width)
    table = torch.arange(int(places.max()) + 1, device=vectors.device).float()[:, None] * frequencies
    table = torch.cat((table, table), dim=-1).to(vectors.dtype)
    cosines, sines = (F.embedding(places, each)[:, None] for each in (table.cos(), table.sin()))
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cosines + torch.cat((-second, first), dim=-1) * sines


def run_dpt(head: nn.Module, layers: list[Tensor], tokens: PlainTokens) -> Tensor:
    """A DPT head on token layers (B, S, P, 2C): (B, S, outputs, H, W)."""
    batch, frames = layers[0].shape[:2]
    height, width = tokens.size
    maps = []
    for layer, project, resize in zip(layers, head.projects, head.resize_layers, strict=True):
        patches = norm(head.norm, layer[:, :, tokens.specials :].flatten(0, 1))
        square = patches.permute(0, 2, 1).reshape(batch * frames, -1, height // head.patch, width // head.patch)
        maps.append(resize(with_positions(project(square), width / height)))
    scratch = head.scratch
    first, second, third, fourth = (getattr(scratch, f"layer{at + 1}_rn")(each) for at, each in enumerate(maps))
    x = run_fusion(scratch.refinenet4, fourth, None, third.shape[2:])
    x = run_fusion(scratch.refinenet3, x, third, second.shape[2:])
    x = run_fusion(scratch.refinenet2, x, second, first.shape[2:])
    x = run_fusion(scratch.refinenet1, x, first, (2 * first.shape[2], 2 * first.shape[3]))
    x = with_positions(enlarge(scratch.output_conv1(x), tokens.size), width / height)
    return scratch.output_conv2(x).view(batch, frames, -1, height, width)


def run_fusion(module: nn.Module, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Add, refine, enlarge, convolve."""
    if skip is not None:
        x = x + run_residual(module.resConfUnit1, skip)
    return module.out_conv(enlarge(run_residual(module.resConfUnit2, x), size))


def run_residual(module: nn.Module, x: Tensor) -> Tensor:
    """Two convolutions; the skip path carries relu(x)."""
    x = F.relu(x)
    return module.conv2(F.relu(module.conv1(x))) + x


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def with_positions(x: Tensor, aspect: float) -> Tensor:
    """The map (N, C, h, w) plus a tenth of the sines of each place, all of them made anew."""
    channels, height, width = x.shape[1:]
    span_x, span_y = aspect / (aspect**2 + 1) ** 0.5, 1 / (aspect**2 + 1) ** 0.5
    edges = (span_x * (width - 1) / width, span_y * (height - 1) / height)
    across, down = (torch.linspace(-edge, edge, n).double() for edge, n in zip(edges, (width, height), strict=True))
    u, v = torch.meshgrid(across, down, indexing="xy")
    embedded = torch.cat([sines(each.reshape(-1).to(x.device), channels // 2) for each in (u, v)], dim=-1)
    term = embedded.view(height, width, channels).permute(2, 0, 1)[None] * RATIO
    return (x + term).to(x.dtype)


def sines(places: Tensor, channels: int) -> Tensor:
    """(N,) float64 to (N, channels) float32."""
    frequencies = 100.0 ** (-torch.arange(channels // 2, dtype=torch.float64, device=places.device) / (channels // 2))
    angles = places[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()
