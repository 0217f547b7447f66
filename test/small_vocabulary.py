"""A small CLIP and a small SigLIP with random weights and real processors, for tests that need no published numbers."""

import string
from pathlib import Path

import torch
from small_models import stirred
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

SIDE, TOKENS = 32, 48
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = SIZES | {"image_size": SIDE, "patch_size": 8}
LETTERS = string.ascii_lowercase + string.digits


def small_vocabulary_folder(folder: Path, kind: str) -> Path:
    """A folder with a small model of the kind "clip" or "siglip" in the layout of Hugging Face."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # for buffers and scales, which `stirred` leaves as they are or must not choose
        model, processor = {"clip": small_clip, "siglip": small_siglip}[kind]()
    stirred(model)
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
        if kind == "siglip":
            model.logit_bias.fill_(-2.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def small_clip() -> tuple[CLIPModel, CLIPProcessor]:
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    tokenizer = CLIPTokenizer({word: number for number, word in enumerate(words)}, [])
    text = SIZES | {"vocab_size": len(words), "max_position_embeddings": TOKENS, "bos_token_id": 0, "eos_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12))
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    return model, CLIPProcessor(CLIPImageProcessor(**sizes), tokenizer)


def small_siglip() -> tuple[SiglipModel, SiglipProcessor]:
    words = {word: number for number, word in enumerate(["<unk>", "</s>", " ", *LETTERS])}
    letters = Tokenizer(WordLevel(words, unk_token="<unk>"))
    letters.pre_tokenizer = Split(Regex("."), "isolated")
    letters.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_input_names=["input_ids"]
    )
    text = SIZES | {"vocab_size": len(words), "max_position_embeddings": TOKENS}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    return model, SiglipProcessor(SiglipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer)
