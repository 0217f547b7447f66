"""SAM 2.1 on single images: masks of objects of which points, and perhaps a rough mask, are known.

Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024), or EdgeTAM (Zhou et al., 2025), its form for small
devices, as the package transformers has them. The image is prepared as the released code does it (resized to a square,
mean and deviation of ImageNet), here and not by `Sam2Processor`, which needs torchvision. Nothing is downloaded.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from torch import Tensor

from geoseg_core.errors import BadInput, MissingExtra
from geoseg_core.layers.images import normalised

if TYPE_CHECKING:
    from transformers import EdgeTamModel, Sam2Model

# The published checkpoints are of the types for videos, which hold all that single images need.
MODEL_TYPES = {"sam2": "Sam2Model", "sam2_video": "Sam2Model", "edgetam": "EdgeTamModel",
               "edgetam_video": "EdgeTamModel"}  # fmt: skip
# Of the released code, where it takes a mask for logits: 10 inside, -10 outside.
LOGIT_SCALE, LOGIT_SHIFT = 20.0, -10.0


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object in one image.

    Attributes:
        points_px: (N, 2) x, y on the object, at least one, in pixels of the image.
        mask: (H, W) bool, about where it is; None where nobody knows.
    """

    points_px: np.ndarray
    mask: np.ndarray | None = None


class Sam2:
    """Prompts of an image to masks. The model is taken over."""

    def __init__(self, model: "Sam2Model | EdgeTamModel", precision: str = "fp32") -> None:
        self.model, self.precision = model.eval(), precision
        sizes = model.config.prompt_encoder_config
        self.side, self.mask_side = sizes.image_size, 4 * sizes.image_size // sizes.patch_size

    @classmethod
    def from_pretrained(cls, weights: str, device: torch.device | str = "cpu", precision: str = "fp32") -> "Sam2":
        """The model in a folder, or of an id in the cache of Hugging Face; see `load_sam2` for what is refused."""
        return cls(load_sam2(weights).to(device), precision)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, prompts: Sequence[Prompt]) -> tuple[np.ndarray, np.ndarray]:
        """Masks (K, H, W) bool of K objects in an image (H, W, 3) uint8 RGB, and the overlap (K,) with the truth (IoU)
        that the model predicts for each.

        The image is embedded once. Objects with equally many points go through the decoder together, those with a mask
        apart from those without, so that no prompt is padded: each object gets what it would get alone.
        """
        height, width = image.shape[:2]
        masks, overlaps = np.zeros((len(prompts), height, width), bool), np.zeros(len(prompts))
        with self._types():
            embeddings = self.embeddings(self.prepared(image))
            for rows in like_prompts(prompts):
                logits, expected = self._decode(embeddings, [prompts[row] for row in rows], (height, width))
                full = F.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
                masks[rows], overlaps[rows] = (full[:, 0] > 0).cpu().numpy(), expected.float().cpu().numpy()
        return masks, overlaps

    @torch.no_grad()
    def embeddings(self, prepared: Tensor) -> list[Tensor]:
        """Inputs (N, 3, s, s), s = `side`, as the mask decoder takes them, the finest first: (N, C/8, s/4, s/4),
        (N, C/4, s/8, s/8) and (N, C, s/16, s/16)."""
        with self._types():
            found: list[Tensor] = self.model.get_image_embeddings(prepared)
            return found

    def prepared(self, image: np.ndarray) -> Tensor:
        """An image (H, W, 3) uint8 as the model's input (1, 3, side, side)."""
        return self.squared(torch.tensor(image, device=self.model.device).permute(2, 0, 1)[None].float() / 255)

    def squared(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] as the model's input (N, 3, side, side)."""
        square = (self.side, self.side)
        return normalised(F.interpolate(images, square, mode="bilinear", align_corners=False, antialias=True))

    def placed(self, points_px: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Points (..., 2) of an image (H, W) in the model's input; whole numbers are centres of pixels in both."""
        return (points_px + 0.5) * self.side / np.array(size[::-1]) - 0.5

    def mask_logits(self, masks: np.ndarray) -> Tensor:
        """Masks (K, H, W) bool as logits (K, 1, m, m) at the size that the prompt encoder takes."""
        small = (self.mask_side, self.mask_side)
        shares = torch.tensor(masks, device=self.model.device)[:, None].float()
        shares = F.interpolate(shares, small, mode="bilinear", align_corners=False, antialias=True)
        return shares * LOGIT_SCALE + LOGIT_SHIFT

    def _decode(self, embeddings: list[Tensor], prompts: list[Prompt], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Logits (K, 1, m, m) and predicted overlaps (K,) of prompts that are all of one kind.

        A single point without a mask is ambiguous: of the model's three answers the one is taken that it trusts most.
        """
        points = np.stack([self.placed(prompt.points_px, size) for prompt in prompts])[:, None]  # (K, 1, N, 2)
        placed = torch.tensor(points, dtype=torch.float32, device=self.model.device)
        masks = [prompt.mask for prompt in prompts if prompt.mask is not None]
        ambiguous = points.shape[2] == 1 and not masks
        # One image for each object: mask prompts belong to images, not to objects of an image.
        output = self.model(
            image_embeddings=[each.expand(len(prompts), -1, -1, -1) for each in embeddings],
            input_points=placed,
            input_labels=torch.ones(placed.shape[:3], dtype=torch.int32, device=placed.device),
            input_masks=self.mask_logits(np.stack(masks)) if masks else None,
            multimask_output=ambiguous,
        )
        best = output.iou_scores[:, 0].argmax(dim=1)
        rows = torch.arange(len(prompts), device=best.device)
        return output.pred_masks[rows, 0, best][:, None], output.iou_scores[rows, 0, best]

    def _types(self) -> AbstractContextManager:
        autocast = self.precision == "autocast"
        return torch.autocast(self.model.device.type, torch.bfloat16) if autocast else nullcontext()


def like_prompts(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Numbers of the prompts, those together that have equally many points and that both have, or lack, a mask."""

    def kind(row: int) -> tuple[int, bool]:
        return len(prompts[row].points_px), prompts[row].mask is None

    return [list(rows) for _, rows in groupby(sorted(range(len(prompts)), key=kind), kind)]


def load_sam2(weights: str) -> "Sam2Model | EdgeTamModel":
    """SAM 2, 2.1 or EdgeTAM in float32 on the CPU, from a folder in the layout of Hugging Face, or an id in its cache.

    Raises:
        MissingExtra: transformers is not installed, or too old; for EdgeTAM, timm is not.
        BadInput: nothing of that name is here, or it is no whole model of these.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("SAM 2.1 (transformers 4.56 or newer)", "sam") from error
    folder = sam2_folder(weights)
    kind = kind_in(folder)
    lacking = MissingExtra("EdgeTAM", "edgetam") if kind.startswith("edgetam") else MissingExtra("SAM 2.1", "sam")
    # Too old a transformers lacks the class; without timm, which EdgeTAM needs, it can't be made.
    model_type = getattr(transformers, MODEL_TYPES[kind], None)
    if model_type is None:
        raise lacking
    try:
        model, report = model_type.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except ImportError as error:
        raise lacking from error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{folder}: expected a SAM 2 model, got {error}; download it again") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadInput(
            f"{folder}: expected all tensors of a SAM 2 model, got none for {len(missing)} ({', '.join(missing[:5])} "
            "...); download it again"
        )
    return model


def sam2_folder(weights: str) -> Path:
    """The folder of a model, by its path or by its id in the cache of Hugging Face.

    Raises:
        BadInput: there is none.
    """
    folder = Path(weights).expanduser()
    return folder if folder.is_dir() else cached_folder(weights)


def kind_in(folder: Path) -> str:
    """Which of MODEL_TYPES is in a folder.

    Raises:
        BadInput: none.
    """
    try:
        kind = str(json.loads((folder / "config.json").read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{folder}: expected the config.json of a SAM 2 model in the layout of Hugging Face, got {error!r}; "
            "take a folder that `hf download` or save_pretrained wrote"
        ) from error
    if kind not in MODEL_TYPES:
        raise BadInput(
            f"{folder}: expected a SAM 2 model (model_type {' or '.join(MODEL_TYPES)}), got {kind!r}; "
            "take one such as facebook/sam2.1-hiera-large"
        )
    return kind


def cached_folder(model_id: str) -> Path:
    """Where the cache of Hugging Face holds a model.

    Raises:
        BadInput: it does not.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model_id, "config.json")
    except HFValidationError:
        found = None
    if not isinstance(found, str):
        raise BadInput(
            "SAM 2.1 weights: expected a folder in the layout of Hugging Face, or a model id that its cache holds, got "
            f"{model_id!r}; fetch one with `hf download facebook/sam2.1-hiera-large`"
        )
    return Path(found).parent
