"""What earlier frame sets left for the global attention: keys, values and camera tokens, in memory fixed at the start.

A slot holds one set. There is one for each anchor, for each set of the window, and for the set being encoded; none is
added later, and nothing is copied when the window moves on: a new set is written over the oldest one that is no anchor.
Slots are filled from the first on, so what is held is always one block, and attention does not ask for its order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.errors import BadInput

MIB = 2**20


@dataclass(frozen=True)
class SetSizes:
    """Sizes of what one frame set leaves.

    Attributes:
        layers: global attention blocks.
        heads, head_dim: of their attention.
        views: views of a set.
        tokens: tokens of a view.
        camera_width: channels of the camera tokens that the camera head reads.
        dtype: type of keys and values; camera tokens are kept in that of the token layers, `camera_dtype`.
    """

    layers: int
    heads: int
    head_dim: int
    views: int
    tokens: int
    camera_width: int
    dtype: torch.dtype
    camera_dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of a slot."""
        keys_and_values = 2 * self.layers * self.heads * self.head_dim * self.views * self.tokens
        return keys_and_values * self.dtype.itemsize + self.views * self.camera_width * self.camera_dtype.itemsize

    def slots(self, anchors: int, window: int, budget_mib: int) -> int:
        """Slots for that many anchors and a new set, and for as much of the window as the budget has room for.

        Raises:
            BadInput: no room for the anchors and the new set.
        """
        fitting = budget_mib * MIB // self.nbytes
        if fitting <= anchors:
            least = -(-(anchors + 1) * self.nbytes // MIB)
            raise BadInput(
                f"expected budget_mib of at least {least} to keep {anchors} anchors beside a new set of {self.views} "
                f"views with {self.tokens} tokens each, got {budget_mib}; raise it, or take smaller or fewer images"
            )
        return min(anchors + window + 1, fitting)


class KeyValueCache:
    """Slots of one sequence. Sets are numbered from 0 in the order in which they came.

    A set is encoded between `begin` and `commit`; one that never gets to its `commit` is as if it had not come.
    """

    def __init__(self, sizes: SetSizes, slots: int, anchors: int, device: torch.device) -> None:
        self.sizes, self.slots, self.anchors = sizes, slots, anchors
        rows = slots * sizes.views * sizes.tokens
        shape = (sizes.layers, 2, sizes.heads, rows, sizes.head_dim)
        self._store = torch.empty(shape, dtype=sizes.dtype, device=device)
        cameras = (1, slots * sizes.views, sizes.camera_width)
        self._cameras = torch.empty(cameras, dtype=sizes.camera_dtype, device=device)
        self._held: list[tuple[int, int]] = []  # number and slot of each set, by age
        self._current, self._next = 0, 0

    @property
    def started(self) -> bool:
        """Whether a set was kept, so that the next one is not the first."""
        return bool(self._held)

    @property
    def held(self) -> tuple[int, ...]:
        """Numbers of the sets that are kept, by age: the anchors, then the newest ones."""
        return tuple(number for number, _ in self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return self._store.nbytes + self._cameras.nbytes

    def begin(self) -> None:
        """Give the next set a slot: the first free one, or that of the oldest set that is no anchor."""
        if len(self._held) == self.slots:
            del self._held[self.anchors]
        self._current = min(set(range(self.slots)) - {slot for _, slot in self._held})

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values (1, heads, N, D) that global block `layer` made of the new set.

        Returns:
            those of all sets that are held and of the new one.
        """
        store = self._store[layer]
        own, seen = self._rows(self.sizes.views * self.sizes.tokens)
        store[0, :, own], store[1, :, own] = keys[0], values[0]
        return store[0, None, :, seen], store[1, None, :, seen]

    def remember_cameras(self, tokens: Tensor) -> tuple[Tensor, slice]:
        """Keep the camera tokens (1, V, 2C) of the new set.

        Returns:
            those of all sets that are held and of the new one, first of all that of the sequence's first view; and
            which of them are the new ones.
        """
        own, seen = self._rows(self.sizes.views)
        self._cameras[:, own] = tokens
        return self._cameras[:, seen], own

    def commit(self) -> None:
        """The new set is complete: from now on it is held."""
        self._held.append((self._next, self._current))
        self._next += 1

    def _rows(self, each: int) -> tuple[slice, slice]:
        """Rows of the new set and of all that it sees, where a slot has `each` rows."""
        return slice(self._current * each, (self._current + 1) * each), slice(0, (len(self._held) + 1) * each)
