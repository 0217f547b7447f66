"""The camera head of VGGT: a pose encoding refined a few times from the camera tokens.

Departure from the paper (as released): the encoding holds translation, quaternion and fields of view, and each
refinement adds to it through adaptive modulation. The encoding that is fed back is the raw one; the rectified
fields of view are for the output alone.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.vggt.config import CameraHeadConfig
from geoseg_core.layers.attention import Block, LayerNorm, Mlp

ENCODING = 9
FIELDS_OF_VIEW = 2
MODULATION_EPS = 1e-6


class CameraHead(nn.Module):
    """Camera tokens (B, S, 2C) to the pose encodings (B, S, 9) after each refinement."""

    def __init__(self, config: CameraHeadConfig, width: int) -> None:
        super().__init__()
        self.iterations = config.iterations
        self.trunk = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.token_norm = LayerNorm(width)
        self.trunk_norm = LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, ENCODING))
        self.embed_pose = nn.Linear(ENCODING, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.pose_branch = Mlp(width, width // 2, ENCODING)

    def forward(self, camera_tokens: Tensor) -> list[Tensor]:
        tokens = self.token_norm(camera_tokens)
        normal = F.layer_norm(tokens, tokens.shape[-1:], eps=MODULATION_EPS)
        encoding: Tensor | None = None
        encodings = []
        for _ in range(self.iterations):
            known = self.empty_pose_tokens.expand(*tokens.shape[:2], -1) if encoding is None else encoding
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(known)).chunk(3, dim=-1)
            x = tokens + gate * (normal * (1 + scale) + shift)
            for block in self.trunk:
                x = block(x)
            step = self.pose_branch(self.trunk_norm(x))
            encoding = step if encoding is None else encoding + step
            pose, fields = encoding.split((ENCODING - FIELDS_OF_VIEW, FIELDS_OF_VIEW), dim=-1)
            encodings.append(torch.cat((pose, F.relu(fields)), dim=-1))
        return encodings
