"""Temporal VGGT-S: masks carried between views in the light of what is remembered of each object.

For every frame the features of the target views first look at the memories of each object, in its own view and in the
others; then the head finds the mask, and mask and features become the next memory. The views are shown whole, so that a
cell of a memory keeps its place. A mask that is not trusted, such as that of a hidden object, is not stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks, no_masks
from geoseg_core.cross_view.union_head.looks import MatchedScene, Pair, coarse_points, whole_pairs
from geoseg_core.cross_view.union_head.transfer import (
    Decoded,
    UnionHeadTransfer,
    network_mask,
)
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.memory.attention import MemoryAttention
from geoseg_core.memory.bank import MemoryBank, memories_of
from geoseg_core.memory.encoder import MemoryEncoder

# Memories are kept in half the bytes.
KEPT_TYPE = torch.bfloat16


@dataclass(frozen=True, eq=False)
class Found:
    """N masks that may be remembered: features (N, C, h, w), logits (N, H, W), mask tokens (N, C), and for each the
    object, the camera and how far the mask is trusted."""

    maps: Tensor
    logits: Tensor
    tokens: Tensor
    owners: list[int]
    cameras: list[str]
    scores: list[float]


class TemporalTransfer:
    """Masks of a source view to masks in all views, frame after frame.

    With an empty bank the masks are exactly those of the head alone. All that lasts from call to call is in the bank,
    which can be saved, loaded, and rewound where an object went wrong: then its frames are shown again.

    Raises:
        BadConfig: memory networks made for other features than the head.
    """

    def __init__(
        self, transfer: UnionHeadTransfer, encoder: MemoryEncoder, attention: MemoryAttention, bank: MemoryBank
    ) -> None:
        head, memory = transfer.head.config, encoder.config
        wanted = (head.given_width, head.width, head.given_stride)
        if (memory.map_width, memory.token_width, memory.map_stride) != wanted or attention.config != memory:
            raise BadConfig(
                f"expected memory networks of one configuration with map_width, token_width and map_stride {wanted}, "
                f"got {memory} and {attention.config}"
            )
        self.transfer, self.encoder, self.attention, self.bank = transfer, encoder.eval(), attention.eval(), bank

    @torch.inference_mode()
    def __call__(
        self,
        scene: MatchedScene,
        source: int,
        masks: np.ndarray,
        object_ids: Sequence[int],
        frame: int,
        prompted: bool = False,
    ) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source` into all views, and remember what was found.

        Args:
            object_ids: whose masks these are.
            frame: number of the frame; of an object it never goes back, unless its memory was rewound.
            prompted: whether a user marked the objects here.

        Raises:
            BadInput: as for `UnionHeadTransfer`, other ids than masks, or a frame before the newest of an object; the
                memory is unchanged then.
        """
        masks = checked_masks(scene.frames, source, masks)
        self._check(masks, object_ids, frame)
        marked = [network_mask(mask, scene.placements[source], row) for row, mask in enumerate(masks)]
        if not marked:
            return no_masks(scene.frames)
        config = self.transfer.config.views
        coarse = coarse_points(scene, source, marked, config, whole=True)
        pairs = whole_pairs(scene, source, marked, coarse, config)
        cameras = [scene.frames.views[target].camera for target in coarse.targets]
        decoded = self.transfer.decode(self._reminded(pairs, cameras, object_ids, frame))
        step = len(cameras)
        self._remember(self._of_source(pairs[::step], decoded[::step], object_ids, scene, source), frame, prompted)
        scores = [self.transfer.score(each) for each in decoded]
        self._remember(of_targets(pairs, decoded, scores, object_ids, cameras), frame, False)
        return self.transfer.gathered(scene, source, masks, coarse, decoded)

    def _check(self, masks: np.ndarray, object_ids: Sequence[int], frame: int) -> None:
        if len(set(object_ids)) != len(masks) or len(object_ids) != len(masks):
            raise BadInput(f"expected {len(masks)} different object ids, one for each mask, got {list(object_ids)}")
        for object_id in object_ids:
            if frame < (newest := self.bank.newest(object_id)):
                raise BadInput(f"object {object_id}: expected a frame from {newest} on, got {frame}; rewind it first")

    def _reminded(
        self, pairs: Sequence[Pair], cameras: Sequence[str], object_ids: Sequence[int], frame: int
    ) -> list[Pair]:
        """The pairs, with target features that have looked at the memories: all objects at once for each target."""
        found = list(pairs)
        for row, camera in enumerate(cameras):
            rows = range(row, len(pairs), len(cameras))
            maps = torch.stack([pairs[number].maps[1] for number in rows])
            grid = (maps.shape[2] // self.encoder.config.stride, maps.shape[3] // self.encoder.config.stride)
            enhanced = self.attention(maps, self.bank.recall(object_ids, camera, frame, grid))
            for number, each in zip(rows, enhanced, strict=True):
                found[number] = replace(pairs[number], maps=torch.stack((pairs[number].maps[0], each)))
        return found

    def _of_source(
        self,
        pairs: Sequence[Pair],
        decoded: Sequence[Decoded],
        object_ids: Sequence[int],
        scene: MatchedScene,
        source: int,
    ) -> Found:
        """The given masks, with one pair of each object."""
        limit = self.transfer.head.config.mask_logit
        given = torch.from_numpy(np.stack([pair.mask for pair in pairs])).to(pairs[0].maps.device)
        return Found(
            torch.stack([pair.maps[0] for pair in pairs]),
            torch.where(given, limit, -limit),
            torch.stack([each.token for each in decoded]),
            list(object_ids),
            [scene.frames.views[source].camera] * len(pairs),
            [1.0] * len(pairs),
        )

    def _remember(self, found: Found, frame: int, prompted: bool) -> None:
        present = (found.logits > 0).any(dim=(1, 2))
        encoded = self.encoder(found.maps, found.logits, found.tokens, present)
        memories = memories_of(encoded, found.cameras, frame, [prompted] * len(found.owners), KEPT_TYPE)
        for owner, memory, score in zip(found.owners, memories, found.scores, strict=True):
            self.bank.add(owner, memory, score)


def of_targets(
    pairs: Sequence[Pair],
    decoded: Sequence[Decoded],
    scores: list[float],
    object_ids: Sequence[int],
    cameras: Sequence[str],
) -> Found:
    """The masks that were found; features are those from before a memory was looked at."""
    logits = torch.stack([each.seen for each in decoded])
    return Found(
        torch.stack([pair.maps[1] for pair in pairs]),
        logits,
        torch.stack([each.token for each in decoded]),
        [object_id for object_id in object_ids for _ in cameras],
        [*cameras] * len(object_ids),
        scores,
    )
