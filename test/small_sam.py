"""A small SAM 2 with random weights, for tests that need no published numbers."""

from pathlib import Path

import torch
from small_models import stirred
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

SIDE = 64


def small_sam_config() -> Sam2Config:
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 2, 1],
        window_positional_embedding_background_size=[4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[SIDE // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=32,
    )
    return Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )


def small_sam() -> Sam2Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # for buffers, which `stirred` leaves as they are
        return stirred(Sam2Model(small_sam_config()))


def small_sam_folder(folder: Path) -> Path:
    """A folder with a small SAM 2 in the layout of Hugging Face."""
    small_sam().save_pretrained(folder)
    return folder
