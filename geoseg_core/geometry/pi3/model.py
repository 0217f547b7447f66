"""Pi3: images of a scene to local points, confidence and cameras, whatever the order of the images.

Wang et al., "Pi3: Permutation-Equivariant Visual Geometry Learning" (2025); parameters are named as in the released
checkpoint. No frame is special: every frame carries the same registers, blocks attend within frames (even) and over
all frames (odd), and the scale is arbitrary. Departure from the release, without a change of results: heads run only
where asked for, over a few frames at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.geometry.pi3.config import Pi3Config
from geoseg_core.geometry.pi3.decoders import CameraHead, HeadDecoder, PixelHead, decoder_blocks, to_world
from geoseg_core.layers.attention import Rotary
from geoseg_core.layers.images import IMAGENET_MEAN, IMAGENET_STD, check_images
from geoseg_core.layers.positions import rotary_table
from geoseg_core.layers.vit import VisionTransformer
from geoseg_core.weights.loading import load_checkpoint

HEADS = ("points", "confidence", "camera")
FRAME_CHUNK = 8


@dataclass(frozen=True, eq=False)
class Pi3Output:
    """What the heads that were asked for say; None for the others.

    Attributes:
        features: (B*S, registers + h*w, 2C), the decoder's last two layers.
        local_points: (B, S, H, W, 3) in each camera's frame.
        confidence: (B, S, H, W), logits.
        camera_to_world: (B, S, 4, 4), in a world frame of the model's own.
        points: (B, S, H, W, 3) in that world, where both local points and cameras were asked for.
        rays: (B, S, H, W, 3) unit directions in each camera's frame (Pi3X).
        metric_scale: (B,) by which all lengths were multiplied (Pi3X).
    """

    features: Tensor
    local_points: Tensor | None = None
    confidence: Tensor | None = None
    camera_to_world: Tensor | None = None
    points: Tensor | None = None
    rays: Tensor | None = None
    metric_scale: Tensor | None = None


class Pi3Trunk(nn.Module):
    """What Pi3 and Pi3X share: encoder, decoder, three head decoders and the camera head."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: Pi3Config) -> None:
        super().__init__()
        self.config: Pi3Config = config
        sizes, heads = config.decoder, config.heads
        self.register_token = nn.Parameter(0.02 * torch.randn(1, 1, sizes.registers, config.width))
        self.register_buffer("image_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.encoder = VisionTransformer(
            config.encoder, config.width, image_size=config.image_size, patch=config.patch
        )
        self.decoder = decoder_blocks(sizes, config.width)
        self.point_decoder = HeadDecoder(heads, 2 * config.width, heads.dense_out)
        self.conf_decoder = HeadDecoder(heads, 2 * config.width, heads.dense_out)
        self.camera_decoder = HeadDecoder(heads, 2 * config.width, heads.camera_out)
        self.camera_head = CameraHead(heads.camera_out)

    @classmethod
    def from_checkpoint(
        cls, path: Path | str, config: Pi3Config | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """The model with the weights of a safetensors file, ready for inference, cast to `dtype` if given.

        Raises:
            BadInput: the file does not fit the configuration.
        """
        with torch.device("meta"):
            model = cls(config) if config else cls()  # type: ignore[call-arg]
        load_checkpoint(model, path, dtype, unused=model.left_out())
        return model.eval()

    def to_reduced(self, dtype: torch.dtype) -> Self:
        """Cast all weights."""
        return self.to(dtype)

    def left_out(self) -> tuple[str, ...]:
        """Beginnings of names that a checkpoint may hold for modules that this configuration leaves out."""
        return ()

    def encode(self, images: Tensor) -> Tensor:
        """Patch tokens (B*S, h*w, C) of each image by itself."""
        normal = (images.flatten(0, 1) - self.image_mean) / self.image_std
        return self.encoder(normal.to(self.register_token.dtype))

    def decode(
        self,
        patches: Tensor,
        batch: int,
        grid: tuple[int, int],
        after: Callable[[int, Tensor], Tensor] = lambda number, tokens: tokens,
    ) -> Tensor:
        """Decoder features (B*S, P, 2C): the last two layers. `after(number, tokens)` may change the tokens
        (B*S, P, C) that a block gives."""
        specials = self.register_token.flatten(0, 1).expand(patches.shape[0], -1, -1).to(patches.dtype)
        tokens = torch.cat((specials, patches), dim=1)
        rotary = self.rotary(grid, tokens, self.config.decoder.heads, self.config.width)
        last: list[Tensor] = []
        for number, block in enumerate(self.decoder):
            if number % 2:
                together = tokens.unflatten(0, (batch, -1)).flatten(1, 2)
                tokens = block(together, rotary).unflatten(1, (-1, tokens.shape[1])).flatten(0, 1)
            else:
                tokens = block(tokens, rotary)
            tokens = after(number, tokens)
            last = [*last[-1:], tokens]
        return torch.cat(last, dim=-1)

    def rotary(self, grid: tuple[int, int], tokens: Tensor, heads: int, width: int) -> Rotary:
        """Rotary table of one frame for attention of that width."""
        sizes = self.config.decoder
        return rotary_table(grid, sizes.registers, width // heads, sizes.rotary_base, tokens.device)

    def head_tokens(self, decoder: HeadDecoder, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """All tokens that a head decoder makes of some frames."""
        sizes = self.config.heads
        return decoder(features, self.rotary(grid, features, sizes.heads, sizes.width))

    def dense(
        self, decoder: HeadDecoder, head: nn.Module, features: Tensor, grid: tuple[int, int], frame_chunk: int
    ) -> Tensor:
        """A dense head over all frames, `frame_chunk` at a time: (B*S, outputs, H, W)."""
        dtype = next(head.parameters()).dtype
        maps = []
        for start in range(0, features.shape[0], frame_chunk):
            tokens = self.head_tokens(decoder, features[start : start + frame_chunk], grid)
            with torch.autocast(features.device.type, enabled=False):
                maps.append(head(tokens[:, self.config.decoder.registers :].to(dtype), grid))
        return torch.cat(maps)

    def cameras(self, features: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
        """camera_to_world (B, S, 4, 4)."""
        tokens = self.head_tokens(self.camera_decoder, features, grid)[:, self.config.decoder.registers :]
        with torch.autocast(features.device.type, enabled=False):
            return self.camera_head(tokens.to(self.camera_head.fc_t.weight.dtype)).unflatten(0, (batch, -1))

    def prepare(self, images: Tensor, heads: Sequence[str]) -> tuple[int, tuple[int, int]]:
        """Batch size and patch grid of images (B, S, 3, H, W).

        Raises:
            BadInput: images of another shape, or an unknown head.
        """
        unknown = [head for head in heads if head not in HEADS]
        if unknown:
            raise BadInput(f"expected heads of {list(HEADS)}, got {unknown}")
        patch = self.config.patch
        check_images(images, patch)
        return images.shape[0], (images.shape[3] // patch, images.shape[4] // patch)


class Pi3(Pi3Trunk):
    """Images (B, S, 3, H, W), RGB float in [0, 1], sides multiples of the patch -> Pi3Output."""

    def __init__(self, config: Pi3Config | None = None) -> None:
        config = config or Pi3Config()
        super().__init__(config)
        self.point_head = PixelHead(config.heads.dense_out, 3, config.patch)
        self.conf_head = PixelHead(config.heads.dense_out, 1, config.patch)

    def forward(self, images: Tensor, heads: Sequence[str] = HEADS, frame_chunk: int = FRAME_CHUNK) -> Pi3Output:
        """Run the trunk and the heads asked for: some of "points", "confidence", "camera".

        Raises:
            BadInput: images of another shape, or an unknown head.
        """
        batch, grid = self.prepare(images, heads)
        return self.read(self.decode(self.encode(images), batch, grid), batch, grid, heads, frame_chunk)

    def read(
        self, features: Tensor, batch: int, grid: tuple[int, int], heads: Sequence[str], frame_chunk: int
    ) -> Pi3Output:
        """Run heads on decoder features."""
        found: dict = {}
        if "points" in heads:
            raw = self.dense(self.point_decoder, self.point_head, features, grid, frame_chunk)
            found["local_points"] = along_rays(raw, raw[:, 2:].exp()).unflatten(0, (batch, -1))
        if "confidence" in heads:
            logits = self.dense(self.conf_decoder, self.conf_head, features, grid, frame_chunk)
            found["confidence"] = logits[:, 0].unflatten(0, (batch, -1))
        if "camera" in heads:
            found["camera_to_world"] = self.cameras(features, batch, grid)
        if "points" in heads and "camera" in heads:
            found["points"] = to_world(found["local_points"], found["camera_to_world"])
        return Pi3Output(features, **found)


def along_rays(raw: Tensor, z: Tensor) -> Tensor:
    """x/z and y/z in the first channels of (N, >=2, H, W) and z (N, 1, H, W) to points (N, H, W, 3)."""
    return torch.cat((raw[:, :2] * z, z), dim=1).movedim(1, -1)
