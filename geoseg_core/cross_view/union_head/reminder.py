"""What objects look like is remembered, and the features in which they are looked for are reminded of it.

For the head alone nothing changes: before it decodes, the features of each target look at the memories of the object in
its own view and in the others; afterwards the masks that are trusted become memories, with the features from before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from geoseg_core.cross_view.carrier import Sighting
from geoseg_core.cross_view.union_head.looks import Pair
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.remembering import check_memory, encoded_masks
from geoseg_core.memory.bank import MemoryBank, memories_of
from geoseg_core.memory.networks import TemporalMemory

# Memories are kept in half the bytes.
KEPT_TYPE = torch.bfloat16


@dataclass(frozen=True, eq=False)
class Seen:
    """How a camera saw an object, and whether a user said so."""

    object_id: int
    camera: str
    sighting: Sighting
    prompted: bool = False


class Reminder:
    """Memory networks and the bank of one head. All that lasts from call to call is in the bank.

    Args:
        anchors: points that stand for a mask where it is remembered.

    Raises:
        BadConfig: memory networks made for other features than the head.
    """

    def __init__(self, head: UnionHead, memory: TemporalMemory, bank: MemoryBank, anchors: int) -> None:
        check_memory(head.config, memory.config)
        self.head, self.memory, self.bank, self.anchors = head, memory.eval(), bank, anchors

    @torch.inference_mode()
    def reminded(
        self, pairs: Sequence[Pair], object_ids: Sequence[int], cameras: Sequence[str], frame: int
    ) -> list[Pair]:
        """The pairs with target features that have looked at the memories, all objects at once for each camera; exactly
        as they are where nothing is remembered.

        Args:
            object_ids, cameras: of each pair its object, and the camera of its target.
        """
        found = list(pairs)
        for camera in sorted(set(cameras)):
            rows = [row for row, each in enumerate(cameras) if each == camera]
            maps = torch.stack([pairs[row].maps[1] for row in rows])
            stride = self.memory.config.stride
            grid = (maps.shape[2] // stride, maps.shape[3] // stride)
            recalled = self.bank.recall([object_ids[row] for row in rows], camera, frame, grid)
            for row, each in zip(rows, self.memory.attention(maps, recalled), strict=True):
                found[row] = replace(pairs[row], maps=torch.stack((pairs[row].maps[0], each)))
        return found

    def of_objects(self, pairs: list[Pair], cameras: list[str], object_ids: Sequence[int], frame: int) -> list[Pair]:
        """`reminded` for pairs of every object, in turn, with every camera."""
        return self.reminded(pairs, [each for each in object_ids for _ in cameras], cameras * len(object_ids), frame)

    @torch.inference_mode()
    def remember(self, seen: Sequence[Seen], frame: int) -> None:
        """Store what was seen in a frame; the bank leaves out what is trusted too little, and what was seen by other
        features than the head's has no place in it.

        Raises:
            BadInput: a memory larger than the bank's budget, or a frame before the newest of an object in a view.
        """
        known = [each for each in seen if self._fits(each.sighting)]
        for size in sorted({each.sighting.mask.shape for each in known}):
            self._store([each for each in known if each.sighting.mask.shape == size], frame)

    def _store(self, seen: Sequence[Seen], frame: int) -> None:
        device = self.head.mask_decoder.mask_tokens.weight.device
        maps = torch.stack([each.sighting.maps.float().to(device) for each in seen])
        masks = torch.from_numpy(np.stack([each.sighting.mask for each in seen])).to(device)
        encoded = encoded_masks(self.head, self.memory.encoder, maps, masks, self.anchors)
        cameras, prompted = [each.camera for each in seen], [each.prompted for each in seen]
        for each, memory in zip(seen, memories_of(encoded, cameras, frame, prompted, KEPT_TYPE), strict=True):
            self.bank.add(each.object_id, memory, each.sighting.score)

    def _fits(self, sighting: Sighting) -> bool:
        config, (width, *cells) = self.memory.config, sighting.maps.shape
        size = tuple(config.map_stride * side for side in cells)
        whole = not any(side % config.stride for side in cells)
        return width == config.map_width and whole and sighting.mask.shape == size
