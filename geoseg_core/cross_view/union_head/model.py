"""The union segmentation head of VGGT-S: features of two views and a mask in one of them to the mask in the other.

"VGGT-Segmentor" (2026); parameters are named as in the released checkpoint.

    X = [F_s + E(mask) | F_t + E(feedback)],  T = [mask token, source points, target points, features of source points]
    blocks: X <- fusion(X);  T <- self, on X, MLP;  X <- on T
    mask = upscale(X_t) . MLP(T_0)

The published head has neither `presence`, another MLP(T_0) that says whether the target shows the object at all, nor
`detail`, which adds the target's features as they were given, finer than the map, to the first step of `upscale`, as
SAM 2 (Ravi et al., 2024) does.

A call may be repeated with its own mask as feedback, which refines it. Where the paper and the released code differ,
see config.py. A head made without points or prior does not look at those that it is given. Any size of image will do
whose feature map the bottleneck's stride divides.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.cross_view.union_head.blocks import Codes, TwoWay, target_half
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.prompt_encoder import PromptEncoder, sample_points
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.layers.two_way import ChannelNorm, Mlp
from geoseg_core.weights.loading import load_checkpoint


@dataclass(frozen=True, eq=False)
class HeadInput:
    """B pairs of views, an object in each.

    Attributes:
        source_maps, target_maps: (B, C, h, w) features, or (1, C, h, w) if all pairs are of the same views.
        masks: (B, H, W) bool, the object in the source view; H = h * given_stride, W alike.
        source_points_px, target_points_px: (B, N, 2) and (B, M, 2) x, y in images H x W; N and M may be 0.
        sampled: (B, N, C) features of the source points; sampled from the map if None.
        prior: (B, 1, H, W) logits of the mask in the target that something else found; the first call refines it.
    """

    source_maps: Tensor
    target_maps: Tensor
    masks: Tensor
    source_points_px: Tensor
    target_points_px: Tensor
    sampled: Tensor | None = None
    prior: Tensor | None = None


def without_points(pairs: HeadInput) -> HeadInput:
    """The pairs with no points to guide the head."""
    none = pairs.source_points_px[:, :0]
    return replace(pairs, source_points_px=none, target_points_px=none, sampled=None)


@dataclass(frozen=True, eq=False)
class HeadOutput:
    """Masks in the target view.

    Attributes:
        logits: (B, H, W) at the size of the image.
        raw: (B, 1, h * upscale_stride^2, w * upscale_stride^2) as decoded.
        token: (B, C) the mask token at the end: what the head knows of the object.
        presence: (B,) logits of whether the target shows the object; None from a head that does not say.
    """

    logits: Tensor
    raw: Tensor
    token: Tensor
    presence: Tensor | None = None

    @property
    def masks(self) -> Tensor:
        """(B, H, W) bool; empty where the target does not show the object."""
        masks = self.logits > 0
        return masks if self.presence is None else masks & (self.presence > 0)[:, None, None]


class MaskDecoder(nn.Module):
    """Image state and tokens to mask logits."""

    def __init__(self, config: UnionHeadConfig) -> None:
        super().__init__()
        width, stride = config.width, config.upscale_stride
        middle, last = config.upscale_channels
        self.transformer = TwoWay(config)
        self.mask_tokens = nn.Embedding(1, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, middle, stride, stride),
            ChannelNorm(middle),
            nn.GELU(),
            nn.ConvTranspose2d(middle, last, stride, stride),
            nn.GELU(),
        )
        hidden = [width] * config.hyper_layers
        self.output_hypernetworks_mlps = nn.ModuleList([Mlp(*hidden, last)])
        if config.detail:
            # From zero, a head that was trained without it goes on as it was.
            self.detail = nn.Conv2d(config.input_width, middle, 1, bias=False)
            nn.init.zeros_(self.detail.weight)

    def forward(self, image: Tensor, codes: Codes, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """image (B, C, h, 2w) -> raw logits (B, 1, 4h, 4w) and the mask token (B, C).

        Args:
            given: (B or 1, C', 2h, 2w) the target's features for the detail, where there is any.
        """
        tokens, state = self.transformer(image, codes)
        token = tokens[:, 0]
        larger, *rest = self.output_upscaling
        upscaled = larger(target_half(state, codes.size))  # (B, M, 2h, 2w)
        if given is not None:
            upscaled = upscaled + self.detail(given)
        for layer in rest:
            upscaled = layer(upscaled)  # at the end (B, L, 4h, 4w)
        weights = self.output_hypernetworks_mlps[0](token)  # (B, L)
        return (weights[:, None] @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:]), token


class UnionHead(nn.Module):
    """HeadInput -> HeadOutput."""

    def __init__(self, config: UnionHeadConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UnionHeadConfig()
        if config.detail and (not config.input_width or config.input_shrink != config.upscale_stride):
            raise BadConfig(
                f"detail: expected features that are given (input_width) at {config.upscale_stride} times the map's "
                f"size, got input_width {config.input_width} and input_shrink {config.input_shrink}; set "
                f"input_shrink={config.upscale_stride}, or detail=false"
            )
        if config.input_width:
            self.input = nn.Conv2d(config.input_width, config.width, config.input_shrink, config.input_shrink)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        if config.presence:
            self.presence = Mlp(config.width, config.width, 1)

    @classmethod
    def from_checkpoint(cls, path: Path | str, config: UnionHeadConfig | None = None) -> Self:
        """The head with the weights of a safetensors file (`geoseg weights convert` makes one), for inference.

        Raises:
            BadInput: the file does not fit the configuration.
        """
        with torch.device("meta"):
            head = cls(config)
        load_checkpoint(head, path, torch.float32)
        return head.eval()

    def forward(self, pairs: HeadInput, refinements: int | None = None) -> HeadOutput:
        """The masks of the last call; each call but the first sees the mask of the one before.

        Raises:
            BadInput: shapes that do not fit each other or the configuration.
        """
        pairs, given = self._looked_at(pairs)
        output = self._call(pairs, given, 0, pairs.prior)
        for number in range(1, 1 + (self.config.refinements if refinements is None else refinements)):
            output = self._call(pairs, given, number, self.resized_feedback(output.raw))
        return output

    def call(self, pairs: HeadInput, number: int = 0, feedback: Tensor | None = None) -> HeadOutput:
        """One call.

        Args:
            number: calls on the same pairs before this one.
            feedback: (B, 1, H, W) logits, from `resized_feedback`; without, the prior is seen.

        Raises:
            BadInput: as for `forward`.
        """
        pairs, given = self._looked_at(pairs)
        return self._call(pairs, given, number, pairs.prior if feedback is None else feedback)

    def _looked_at(self, pairs: HeadInput) -> tuple[HeadInput, Tensor | None]:
        """The pairs with maps of the head's width, and without the points or the prior that it is not made for; and the
        target's features as they were given, if the head draws by them."""
        self._check(pairs)
        given = pairs.target_maps if self.config.detail else None
        if not self.config.guided:
            pairs = without_points(pairs)
        if not self.config.prior:
            pairs = replace(pairs, prior=None)
        if not self.config.input_width:
            return pairs, given
        source, target = self.input(pairs.source_maps), self.input(pairs.target_maps)
        return replace(pairs, source_maps=source, target_maps=target), given

    def _call(self, pairs: HeadInput, given: Tensor | None, number: int, feedback: Tensor | None) -> HeadOutput:
        image = self.image_state(pairs, feedback)
        codes = self.codes(pairs, number)
        raw, token = self.mask_decoder(image, codes, given)
        logits = F.interpolate(raw, size=pairs.masks.shape[1:], mode="bilinear", align_corners=False)
        presence = self.presence(token)[:, 0] if self.config.presence else None
        return HeadOutput(logits[:, 0], raw, token, presence)

    def resized_feedback(self, raw: Tensor) -> Tensor:
        """Raw logits of a call (B, 1, 4h, 4w) as the next one takes them, (B, 1, H, W)."""
        limit, stride = self.config.feedback_limit, self.config.upscale_stride**2
        size = tuple(side // stride * self.config.map_stride for side in raw.shape[2:])
        clamped = raw.float().clamp(-limit, limit)
        return F.interpolate(clamped, size=size, mode="bilinear", align_corners=False, antialias=True)

    def image_state(self, pairs: HeadInput, feedback: Tensor | None) -> Tensor:
        """(B, C, h, 2w): both maps side by side, with the masks that are known."""
        source = pairs.source_maps + self.prompt_encoder.source_mask(pairs.masks)
        target = pairs.target_maps
        if feedback is not None:
            target = target + self.prompt_encoder.feedback(feedback)
        return torch.cat((source, target.expand_as(source)), dim=-1)

    def codes(self, pairs: HeadInput, number: int) -> Codes:
        """Prompt tokens and codes of the cells."""
        height, width = pairs.source_maps.shape[2:]
        stride = self.config.fusion_stride
        fusing = self.config.fusion != "none"
        bottleneck = self.prompt_encoder.bottleneck_cells((height // stride, width // stride)) if fusing else None
        # Laid out as the image is: sums of different layouts are slow.
        cells = self.prompt_encoder.cells((height, width)).flatten(2).transpose(1, 2).contiguous()
        return Codes(self.prompt_tokens(pairs, number), cells, (height, 2 * width), bottleneck)

    def prompt_tokens(self, pairs: HeadInput, number: int) -> Tensor:
        """(B, 1 + N + M + N, C): mask token, source points, target points, features of the source points."""
        size = (pairs.masks.shape[1], pairs.masks.shape[2])
        sampled = pairs.sampled
        if sampled is None:
            maps = pairs.source_maps.expand(len(pairs.masks), -1, -1, -1)
            sampled = sample_points(maps, pairs.source_points_px, size)
        features = self.prompt_encoder.point_features(sampled, number + 1 if self.config.accumulate else 1)
        points = self.prompt_encoder.points(pairs.source_points_px, pairs.target_points_px, size)
        mask_token = self.mask_decoder.mask_tokens.weight.expand(len(points), -1, -1)
        return torch.cat((mask_token, points, features), dim=1)

    def _check(self, pairs: HeadInput) -> None:
        config, shape = self.config, tuple(pairs.source_maps.shape)
        _, width, *cells = shape
        if width != config.given_width or tuple(pairs.target_maps.shape) != shape:
            raise BadInput(
                f"expected maps (B, {config.given_width}, h, w) of both views, got {shape} and "
                f"{tuple(pairs.target_maps.shape)}; take the features that the head was made for"
            )
        batch = len(pairs.masks) if shape[0] == 1 else shape[0]
        size = (batch, *(config.given_stride * side for side in cells))
        if tuple(pairs.masks.shape) != size:
            raise BadInput(f"expected masks {size}, got {tuple(pairs.masks.shape)}; bring them to the network's size")
        shrink = config.map_stride // config.given_stride
        multiple = shrink * (config.fusion_stride if config.fusion != "none" else 1)
        if any(side % multiple for side in cells):
            raise BadInput(
                f"expected maps whose sides are multiples of {multiple}, got {tuple(cells)}; "
                "give the views another size"
            )
