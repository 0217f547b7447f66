"""Temporal VGGT-S: masks carried between views in the light of what is remembered of each object.

For every frame the features of the target views first look at the memories of each object, in its own view and in the
others; then the head finds the mask, and mask and features become the next memory. The views are shown whole, so that a
cell of a memory keeps its place. A mask that is not trusted, such as that of a hidden object, is not stored.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from geoseg_core.cross_view.carrier import Sighting, in_network
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.looks import MatchedScene
from geoseg_core.cross_view.union_head.reminder import Reminder, Seen
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.errors import BadInput
from geoseg_core.memory.bank import MemoryBank
from geoseg_core.memory.networks import TemporalMemory


class TemporalTransfer:
    """Masks of a source view to masks in all views, frame after frame.

    With an empty bank the masks are exactly those of the head alone. All that lasts from call to call is in the bank,
    which can be saved, loaded, and rewound where an object went wrong: then its frames are shown again.

    Raises:
        BadConfig: memory networks made for other features than the head.
    """

    def __init__(self, transfer: UnionHeadTransfer, memory: TemporalMemory, bank: MemoryBank) -> None:
        whole = replace(transfer.config, look="whole")
        self.transfer = UnionHeadTransfer(transfer.head, whole, transfer.calibration)
        self.reminder, self.bank = Reminder(transfer.head, memory, bank, whole.views.points), bank

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
        self._check(masks, object_ids, frame)
        remind = partial(self.reminder.of_objects, object_ids=object_ids, frame=frame)
        found = self.transfer(scene, source, masks, remind)
        maps = scene.matching_maps(source).float()
        seen = []
        for row, object_id in enumerate(object_ids):
            for view, camera in enumerate(scene.frames.cameras):
                mask = in_network(found.masks[view][row], scene, view)
                sighting = Sighting(maps[view], mask, float(found.scores[view, row]))
                seen.append(Seen(object_id, camera, sighting, prompted and view == source))
        self.reminder.remember(seen, frame)
        return found

    def _check(self, masks: np.ndarray, object_ids: Sequence[int], frame: int) -> None:
        if len(set(object_ids)) != len(masks) or len(object_ids) != len(masks):
            raise BadInput(f"expected {len(masks)} different object ids, one for each mask, got {list(object_ids)}")
        for object_id in object_ids:
            if frame < (newest := self.bank.newest(object_id)):
                raise BadInput(f"object {object_id}: expected a frame from {newest} on, got {frame}; rewind it first")
