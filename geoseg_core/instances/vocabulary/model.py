"""CLIP and SigLIP: images and texts in one space, as the package transformers has them.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (ICML 2021): a softmax over the
texts. Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (ICCV 2023): each pair of image and text by itself.
Nothing is downloaded.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from geoseg_core.errors import BadInput, MissingExtra

MODEL_TYPES = ("clip", "siglip")
BATCH = 64


class ImageTextModel:
    """Embeddings of pictures and texts, and how well they agree. The model and its processor are taken over."""

    def __init__(self, model: Any, processor: Any, precision: str = "fp32") -> None:
        self.model, self.processor, self.precision = model.eval(), processor, precision
        sizes = model.config
        # Whether the score of a text depends on the other texts.
        self.compares_texts = sizes.model_type == "clip"
        self.side = int(sizes.vision_config.image_size)
        self.tokens = int(sizes.text_config.max_position_embeddings)
        self.width = int(sizes.projection_dim if self.compares_texts else sizes.vision_config.hidden_size)
        self.grey = np.rint(255 * np.array(processor.image_processor.image_mean))

    @torch.inference_mode()
    def embed_images(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Unit vectors (N, C) float32, on the CPU, of N pictures (side, side, 3) uint8 RGB."""
        parts = []
        for start in range(0, len(pictures), BATCH):
            prepared = self.processor.image_processor(images=list(pictures[start : start + BATCH]), return_tensors="pt")
            with self._types():
                found = self.model.get_image_features(pixel_values=prepared["pixel_values"].to(self.model.device))
            parts.append(unit_vectors(found))
        return torch.cat(parts)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (L, C) float32, on the CPU, of L texts; what is longer than the model reads is cut off.

        All these models were trained on lower case; not every tokenizer sees to that (SigLIP 2 before transformers 5).
        """
        parts = [torch.zeros(0, self.width)]
        for start in range(0, len(texts), BATCH):
            # Filled up to the full length, as SigLIP was trained; CLIP's mask lets the filling go unseen.
            tokens = self.processor.tokenizer(
                [text.lower() for text in texts[start : start + BATCH]], padding="max_length", truncation=True,
                max_length=self.tokens, return_tensors="pt",
            )  # fmt: skip
            given = {"input_ids": tokens["input_ids"].to(self.model.device)}
            if self.compares_texts:
                given["attention_mask"] = tokens["attention_mask"].to(self.model.device)
            with self._types():
                parts.append(unit_vectors(self.model.get_text_features(**given)))
        return torch.cat(parts)

    @torch.inference_mode()
    def scores(self, images: Tensor, texts: Tensor) -> np.ndarray:
        """How well each of K images (K, C) is described by each of L texts (L, C), unit vectors: (K, L) in [0, 1].

        CLIP: probabilities of the texts, which add up to 1. SigLIP: the probability of each text by itself.
        """
        logits = self.model.logit_scale.detach().float().exp().cpu() * images @ texts.T
        if self.compares_texts:
            return logits.softmax(dim=1).numpy()
        return (logits + self.model.logit_bias.detach().float().cpu()).sigmoid().numpy()

    def _types(self) -> AbstractContextManager:
        autocast = self.precision == "autocast"
        return torch.autocast(self.model.device.type, torch.bfloat16) if autocast else nullcontext()


def unit_vectors(features: Any) -> Tensor:
    """Features (N, C) of either generation of transformers: a tensor, or (from 5 on) an output that holds one."""
    vectors = features if isinstance(features, Tensor) else features.pooler_output
    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu()


_shared: WeakValueDictionary[tuple[str, str, str], ImageTextModel] = WeakValueDictionary()


def load_model(weights: str, device: torch.device, precision: str) -> ImageTextModel:
    """The model of a folder or of an id in the cache of Hugging Face; one for all who ask for the same at a time.

    Raises:
        MissingExtra: the extra [vocabulary] is not installed.
        BadInput: nothing of that name is here, or it is no whole CLIP or SigLIP model.
    """
    key = (weights, str(device), precision)
    model = _shared.get(key)
    if model is None:
        network, processor = read_model(weights)
        model = _shared[key] = ImageTextModel(network.to(device), processor, precision)
    return model


def read_model(weights: str) -> tuple[Any, Any]:
    """A model in float32 on the CPU and its processor; see `load_model` for what is refused."""
    try:
        from transformers import AutoConfig, AutoModel, AutoProcessor
    except ImportError as error:
        raise MissingExtra("instances.vocabulary.model (CLIP or SigLIP of transformers)", "vocabulary") from error
    folder = Path(weights).expanduser()
    name = str(folder) if folder.is_dir() else weights
    try:
        kind = AutoConfig.from_pretrained(name, local_files_only=True).model_type
        if kind not in MODEL_TYPES:
            raise ValueError(f"a model of the type {kind!r}")
        processor = AutoProcessor.from_pretrained(name, local_files_only=True)
        model, report = AutoModel.from_pretrained(
            name, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except ImportError as error:  # the tokenizer of the first SigLIP needs sentencepiece
        raise MissingExtra(f"the vocabulary model {weights!r}", "vocabulary") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise BadInput(
            f"instances.vocabulary.model: expected a CLIP or SigLIP model (model_type {' or '.join(MODEL_TYPES)}): a "
            f"folder in the layout of Hugging Face with model, tokenizer and image processor, or a model id that its "
            f"cache holds; got {weights!r}: {str(error).splitlines()[0]:.200}; fetch one with `hf download "
            "openai/clip-vit-base-patch32`"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadInput(
            f"{name}: expected all tensors of a {kind} model, got none for {len(missing)} ({', '.join(missing[:5])} "
            "...); download it again"
        )
    return model, processor
