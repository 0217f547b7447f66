"""MV-SAM at its published size: the image embeddings of SAM 2 or EdgeTAM, which stay as they are, and the points of any
geometry encoder, or measured ones.

Points are told in the axes of the mean camera, from the middle of the cameras. So masks depend neither on the order of
the views nor on where the world is, as long as the encoder's geometry does not; and one view alone is seen as it was in
training, in its own frame. Cameras that look in opposite directions all around leave the mean one open.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.sam2 import Sam2
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.alignment.similarity import nearest_rotation
from geoseg_core.geometry.encoder import EncodedScene, ViewGeometry
from geoseg_core.geometry.network_input import Placement
from geoseg_core.geometry.tiny.point_map import PointMaps
from geoseg_core.prompting.mv_sam.asking import PromptableScene
from geoseg_core.prompting.mv_sam.config import MvSamConfig, sam2_decoder
from geoseg_core.prompting.mv_sam.model import MvSam, SceneEmbedding
from geoseg_core.prompting.mv_sam.prompter import Prompter
from geoseg_core.weights.chosen import stored_config
from geoseg_core.weights.loading import load_checkpoint

# Images that SAM embeds together.
AT_A_TIME = 4


class Sam2Prompter(Prompter):
    """On the image embeddings of SAM 2, for scenes of any encoder. Both models are taken over, on one device.

    Raises:
        BadConfig: a decoder for other embeddings.
    """

    def __init__(self, decoder: MvSam, sam: Sam2) -> None:
        check_sizes(decoder.config, sam)
        self.decoder, self.sam = decoder.eval(), sam

    @classmethod
    def from_weights(
        cls, weights: Path, sam: str, device: torch.device | str = "cpu", precision: str = "fp32"
    ) -> Self:
        """With the weights of the recipe mv-sam.

        Args:
            sam: SAM 2 or EdgeTAM, a folder or an id; see `load_sam2` for what is refused.
            precision: of SAM: fp32, or autocast: products in bf16.

        Raises:
            BadInput: no weights of this network.
        """
        decoder = MvSam(stored_config(weights, sam2_decoder()))
        load_checkpoint(decoder, weights, torch.float32)
        return cls(decoder.to(device), Sam2.from_pretrained(sam, device, precision))

    @torch.inference_mode()
    def embed(self, scene: EncodedScene) -> PromptableScene:
        """All that no prompt changes."""
        frames, side = scene.frames, self.sam.side
        inputs = torch.cat([self.sam.prepared(view.image) for view in frames.views])
        maps = square_maps(scene.views, side, inputs.device)
        prepared = self.decoder.prepare(scene_embedding(self.sam, inputs[None], maps))
        return PromptableScene(frames, [square(view.size, side) for view in frames.views], prepared)


def check_sizes(config: MvSamConfig, sam: Sam2) -> None:
    """Refuse a decoder that was not made for the embeddings of a SAM 2.

    Raises:
        BadConfig: it was not.
    """
    channels, finest = sam.model.config.mask_decoder_config.hidden_size, sam.side // sam.mask_side
    wanted = (channels, 4 * finest, channels // 8, finest)
    got = (config.image, config.stride, config.fine, config.fine_stride)
    if got != wanted:
        raise BadConfig(f"decoder: expected image, stride, fine and fine_stride {wanted}, got {got}; set them")


def square(size: tuple[int, int], side: int) -> Placement:
    """How an image (height, width) stands in SAM's input, as released: stretched to a square."""
    return Placement(size, (side, side), (0, 0), (side, side))


def scene_embedding(sam: Sam2, inputs: Tensor, maps: PointMaps) -> SceneEmbedding:
    """What is known of B scenes of which SAM gets the inputs (B, V, 3, s, s)."""
    parts = [sam.embeddings(each) for each in inputs.flatten(0, 1).split(AT_A_TIME)]
    fine, _, image = (torch.cat(level).float().unflatten(0, inputs.shape[:2]) for level in zip(*parts, strict=True))
    return SceneEmbedding(image, fine, maps.points, maps.confidence, maps.projections)


def square_maps(views: Sequence[ViewGeometry], side: int, device: torch.device) -> PointMaps:
    """The points of one scene at the pixels of SAM's input, in the frame of the mean camera: each is one that a
    view has."""
    mean = mean_camera(np.stack([view.camera_to_world for view in views]))
    centre, axes = (torch.from_numpy(each).to(device) for each in (mean[:3, 3], mean[:3, :3]))
    points, confidence, projections = [], [], []
    for view in views:
        moved = (torch.from_numpy(view.points).to(device).double() - centre) @ axes
        points.append(at_square(moved.float().movedim(-1, 0), side).movedim(0, -1))
        confidence.append(at_square(torch.from_numpy(view.confidence).to(device)[None], side)[0])
        height, width = view.depth_m.shape
        # Pixel centres are whole numbers, places go from edge to edge.
        shares = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
        into = shares @ view.intrinsics @ (np.linalg.inv(view.camera_to_world) @ mean)[:3]
        projections.append(torch.from_numpy(into).to(device).float())
    return PointMaps(*(torch.stack(each)[None] for each in (points, confidence, projections)))


def mean_camera(poses: np.ndarray) -> np.ndarray:
    """The pose (4, 4) in the middle of poses (V, 4, 4), whatever their order."""
    mean = np.eye(4)
    mean[:3, :3] = nearest_rotation(poses[:, :3, :3].sum(0))
    mean[:3, 3] = poses[:, :3, 3].mean(0)
    return mean


def at_square(values: Tensor, side: int) -> Tensor:
    """Maps (..., H, W) at the pixels of a square (..., side, side): the nearest value."""
    rows, columns = (
        (((torch.arange(side, device=values.device) + 0.5) * length / side - 0.5).round().long().clamp(0, length - 1))
        for length in values.shape[-2:]
    )
    return values[..., rows[:, None], columns]
