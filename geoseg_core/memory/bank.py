"""The memory bank: what is remembered of every object, within a budget.

Each object keeps the newest memories of every view and those of prompted frames. A mask that is not trusted is not
stored, so an object that is hidden is remembered as it was seen last. When the budget is reached, the object that holds
most gives its oldest memory that was not prompted; when only prompted ones are left, the oldest of those. What was
added last always stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from geoseg_core.errors import BadInput, UnknownObject
from geoseg_core.memory.attention import Recalled
from geoseg_core.memory.config import BankConfig
from geoseg_core.memory.encoder import EncodedMemory

MIB = 2**20
MAGIC = "geoseg memory bank 1"


@dataclass(frozen=True, eq=False)
class Memory:
    """One object in one view of one frame.

    Attributes:
        view: name of the camera.
        frame: number of the frame, counted up.
        prompted: whether a user said so, rather than the network.
        spatial: (P, M); pointer: (C,).
        grid: rows and columns of the P cells.
    """

    view: str
    frame: int
    prompted: bool
    spatial: Tensor
    pointer: Tensor
    grid: tuple[int, int]

    @property
    def held_bytes(self) -> int:
        return sum(each.numel() * each.element_size() for each in (self.spatial, self.pointer))


def memories_of(
    encoded: EncodedMemory, views: Sequence[str], frame: int, prompted: Sequence[bool], dtype: torch.dtype
) -> list[Memory]:
    """The rows of an encoded batch, each with its own storage, in numbers of that type."""
    rows = zip(views, prompted, encoded.spatial.detach(), encoded.pointer.detach(), strict=True)
    return [
        Memory(view, frame, said, spatial.to(dtype, copy=True), pointer.to(dtype, copy=True), encoded.grid)
        for view, said, spatial, pointer in rows
    ]


class MemoryBank:
    """Memories of all objects. Nothing in it changes when a call is refused."""

    def __init__(self, config: BankConfig = BankConfig()) -> None:  # noqa: B008 (frozen)
        self.config = config
        self._held: dict[int, list[Memory]] = {}

    @property
    def objects(self) -> list[int]:
        """Ids of the objects of which something is remembered."""
        return sorted(self._held)

    @property
    def held_bytes(self) -> int:
        """Memory of all that is remembered."""
        return sum(memory.held_bytes for memories in self._held.values() for memory in memories)

    def memories(self, object_id: int) -> list[Memory]:
        """All memories of an object, oldest first.

        Raises:
            UnknownObject: nothing is remembered of it.
        """
        if object_id not in self._held:
            raise UnknownObject(object_id, self.objects)
        return list(self._held[object_id])

    def newest(self, object_id: int) -> int:
        """The newest frame in which an object is remembered; -1 if it is not."""
        return max((each.frame for each in self._held.get(object_id, ())), default=-1)

    def add(self, object_id: int, memory: Memory, score: float = 1.0) -> bool:
        """Store a memory; whether it was trusted enough for that.

        Args:
            score: how far the mask is trusted; prompted ones are stored in any case.

        Raises:
            BadInput: a memory larger than the whole budget, or older than the newest one of its view.
        """
        budget = int(self.config.budget_mib * MIB)
        if memory.held_bytes > budget:
            raise BadInput(
                f"expected a memory of at most {budget} bytes, got {memory.held_bytes}; raise budget_mib, or make the "
                "memory's cells larger"
            )
        of_view = [each for each in self._held.get(object_id, ()) if each.view == memory.view]
        if of_view and memory.frame < max(each.frame for each in of_view):
            raise BadInput(
                f"object {object_id}, view {memory.view!r}: expected a frame from {of_view[-1].frame} on, got "
                f"{memory.frame}; rewind the object first"
            )
        if not memory.prompted and score < self.config.least_score:
            return False
        kept = [
            each for each in self._held.get(object_id, ()) if (each.view, each.frame) != (memory.view, memory.frame)
        ]
        self._held[object_id] = self._within_counts([*kept, memory], memory.view)
        while self.held_bytes > budget:
            self._evict(memory)
        return True

    def forget(self, object_id: int) -> None:
        """Remember nothing of an object.

        Raises:
            UnknownObject: nothing is remembered of it.
        """
        self.memories(object_id)
        del self._held[object_id]

    def forget_view(self, view: str) -> None:
        """Remember nothing that a view saw."""
        for object_id in self.objects:
            self._keep(object_id, [each for each in self._held[object_id] if each.view != view])

    def clear(self) -> None:
        """Remember nothing."""
        self._held.clear()

    def shrink(self) -> None:
        """Memory is short: from now on hold at most half of what is held, but room for one memory."""
        if not self._held:
            return
        largest = max(memory.held_bytes for memories in self._held.values() for memory in memories)
        budget = max(self.held_bytes // 2, largest)
        self.config = replace(self.config, budget_mib=budget / MIB)
        while self.held_bytes > budget:
            self._evict()

    def rewind(self, object_id: int, frame: int) -> list[Memory]:
        """Take away what was remembered of an object from a frame on, and return it, oldest first.

        Raises:
            UnknownObject: nothing is remembered of it.
        """
        memories = self.memories(object_id)
        self._keep(object_id, [each for each in memories if each.frame < frame])
        return [each for each in memories if each.frame >= frame]

    def recall(self, object_ids: Sequence[int], view: str, frame: int, grid: tuple[int, int]) -> Recalled | None:
        """What a view shall look at to find objects; None if nothing is remembered of any of them.

        Memories of another grid are left out.
        """
        chosen = [self.chosen(object_id, view, grid) for object_id in object_ids]
        if not any(chosen):
            return None
        return padded(chosen, view, frame, self.config.pointers)

    def chosen(self, object_id: int, view: str, grid: tuple[int, int]) -> list[tuple[Memory, int]]:
        """Memories of an object for a view, each with its rank: prompted ones (-1), the newest of the view itself, and
        the newest of the other views; 0 is the newest of its view."""
        memories = [each for each in self._held.get(object_id, ()) if each.grid == grid]
        found = [(each, -1) for each in memories if each.prompted]
        views = [view, *sorted({each.view for each in memories} - {view})]
        for name in views:
            count = self.config.recent if name == view else self.config.others
            newest = [each for each in reversed(memories) if each.view == name and not each.prompted]
            found += [(each, rank) for rank, each in enumerate(newest[:count])]
        return found

    def save(self, path: Path | str) -> None:
        """Write all that is remembered to a safetensors file."""
        tensors: dict[str, Tensor] = {}
        words: dict[str, str] = {}
        for object_id, memories in self._held.items():
            for number, each in enumerate(memories):
                key = f"{object_id}.{number}"
                tensors |= {f"{key}.spatial": each.spatial.contiguous(), f"{key}.pointer": each.pointer.contiguous()}
                words[key] = f"{each.frame} {int(each.prompted)} {each.grid[0]} {each.grid[1]} {each.view}"
        save_file(tensors, str(path), {"format": MAGIC, **words})

    @classmethod
    def load(cls, path: Path | str, config: BankConfig = BankConfig()) -> "MemoryBank":  # noqa: B008 (frozen)
        """A bank as it was saved, within this configuration's budget.

        Raises:
            BadInput: no such file, or memories that do not fit their grid or each other.
        """
        bank, widths = cls(config), set()
        try:
            with safe_open(path, framework="pt") as file:
                words = file.metadata() or {}
                if words.get("format") != MAGIC:
                    raise BadInput(f"{path}: expected a saved memory bank, got another safetensors file")
                for object_id, number in sorted(numbers_of(key) for key in words if key != "format"):
                    key = f"{object_id}.{number}"
                    frame, prompted, rows, columns, view = words[key].split(" ", 4)
                    spatial, pointer = file.get_tensor(f"{key}.spatial"), file.get_tensor(f"{key}.pointer")
                    grid = (int(rows), int(columns))
                    widths.add((spatial.shape[1:], pointer.shape))
                    fits = spatial.ndim == 2 and pointer.ndim == 1 and len(spatial) == grid[0] * grid[1]
                    if not fits or len(widths) > 1:
                        found = f"{tuple(spatial.shape)} and {tuple(pointer.shape)} on {grid}"
                        raise BadInput(f"{path}: expected memories (P, M) and (C,) of one M, C on P cells, got {found}")
                    bank.add(object_id, Memory(view, int(frame), prompted == "1", spatial, pointer, grid))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise BadInput(f"{path}: expected a saved memory bank, got {error!r}") from error
        return bank

    def _within_counts(self, memories: list[Memory], view: str) -> list[Memory]:
        """Without the oldest of a view, or the oldest prompted ones, beyond what is kept. The first prompted one, which
        started the object, is kept longest."""
        plain = [each for each in memories if each.view == view and not each.prompted]
        said = [each for each in memories if each.prompted]
        gone = plain[: -self.config.recent]
        if len(said) > self.config.prompted:
            gone += said[1:2] if self.config.prompted > 1 else said[:-1]
        return [each for each in memories if not any(each is other for other in gone)]

    def _evict(self, newest: Memory | None = None) -> None:
        def weight(object_id: int) -> int:
            return sum(each.held_bytes for each in self._held[object_id] if each is not newest)

        def eldest(object_id: int) -> Memory:
            others = [each for each in self._held[object_id] if each is not newest]
            return min(others, key=lambda each: (each.prompted, each.frame))

        plain = [key for key, some in self._held.items() if any(not e.prompted and e is not newest for e in some)]
        loser = max(plain or [key for key in self._held if weight(key)], key=weight)
        gone = eldest(loser)
        self._keep(loser, [each for each in self._held[loser] if each is not gone])

    def _keep(self, object_id: int, memories: list[Memory]) -> None:
        if memories:
            self._held[object_id] = memories
        else:
            del self._held[object_id]


def numbers_of(key: str) -> tuple[int, int]:
    """Object and number of a memory in a file."""
    object_id, number = key.split(".")
    return int(object_id), int(number)


def padded(chosen: Sequence[Sequence[tuple[Memory, int]]], view: str, frame: int, most_pointers: int) -> Recalled:
    """Memories of B objects, of which at least one has some, padded to the same counts."""
    frames, batch = max(len(some) for some in chosen), len(chosen)
    memories = [each for some in chosen for each, _ in some]
    device = memories[0].spatial.device
    rows, columns = torch.tensor(
        [(row, column) for row, some in enumerate(chosen) for column in range(len(some))], device=device
    ).T

    def placed(values: Tensor, count: int) -> Tensor:
        """(N, ...) of all memories -> (B, count, ...)"""
        within = columns < count
        given = values.to(device)[within]
        return given.new_zeros(batch, count, *values.shape[1:]).index_put((rows[within], columns[within]), given)

    pointers = min(frames, most_pointers)
    known = torch.ones(len(memories), dtype=torch.bool)
    return Recalled(
        spatial=placed(torch.stack([each.spatial.float() for each in memories]), frames),
        ranks=placed(torch.tensor([rank for some in chosen for _, rank in some]), frames),
        same_view=placed(torch.tensor([each.view == view for each in memories]), frames),
        known=placed(known, frames),
        pointers=placed(torch.stack([each.pointer.float() for each in memories]), pointers),
        ages=placed(torch.tensor([float(frame - each.frame) for each in memories]), pointers),
        pointers_known=placed(known, pointers),
    )
