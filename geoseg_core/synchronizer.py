"""Group the streams of several cameras into sets of (about) one instant.

Pure logic: stamps and arrival times are given, nothing waits, no thread, no callback. The live node and the bag
reader feed the same class, so that a bag is grouped as it would be live.

The rule. Each stream (a camera's image or depth) keeps a short queue. The newest of all queue heads is the pivot;
heads older than it by more than the slop can find no partner any more and go. Once every expected stream has a
head within the slop, the heads make a set. A stream that keeps the others waiting longer than `missing_timeout_s`
is expected no more until it speaks again; its camera is then named as missing.

Time. A stamp further than `max_age_s` from the others belongs to another epoch: a straggler, a camera with a wrong
clock, or the world's time has jumped (a bag loops, a simulation resets). Its frame is set aside; when more
cameras are in the other epoch than are left in this one, time has jumped: all queues are emptied, the jump is
reported once, and the frames set aside begin the new epoch.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geoseg_core.config import setting
from geoseg_core.errors import BadInput

Stream = tuple[str, str]
IMAGE = "image"
DEPTH = "depth"


@dataclass(frozen=True)
class SynchronizerConfig:
    """How streams are grouped."""

    slop_s: float = setting(0.05, "stamps of one set lie within this", "s", 0.0, 1.0)
    missing_timeout_s: float = setting(
        0.5, "a camera that keeps a set waiting this long is left out until it speaks again", "s", 0.01, 10.0
    )
    max_age_s: float = setting(
        1.0, "stamps further than this from the others' are not used; if most are, time has jumped; nor are sets that "
        "have waited longer for the model", "s", 0.05, 60.0
    )
    queue_size: int = setting(20, "frames kept for each stream while partners are awaited", "frames", 2, 1000)


@dataclass(frozen=True)
class TimeJump:
    """The streams' time went from one stamp to another at once."""

    from_ns: int
    to_ns: int


@dataclass(frozen=True, eq=False)
class SyncedSet:
    """Frames of one instant: items[camera][kind]; every camera named has an image; `stamp_ns` is the newest stamp."""

    stamp_ns: int
    items: dict[str, dict[str, Any]]
    missing: tuple[str, ...]


@dataclass
class SyncCounts:
    """What came, and where it went; streams are (camera, kind)."""

    received: Counter[Stream] = field(default_factory=Counter)
    matched: Counter[Stream] = field(default_factory=Counter)
    dropped: Counter[tuple[Stream, str]] = field(default_factory=Counter)
    sets: int = 0
    partial_sets: int = 0
    time_jumps: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """One message in a queue: its own time, when it arrived, and whatever the caller gave."""

    stamp_ns: int
    arrived_ns: int
    item: Any


class Synchronizer:
    """Groups frames by stamp; not thread-safe: one caller.

    Args:
        streams: kinds of each camera, e.g. {"ego": ("image", "depth"), "exo": ("image",)}.
        counts: goes on counting there; from zero where there are none.
    """

    def __init__(
        self, streams: Mapping[str, Sequence[str]], config: SynchronizerConfig, counts: SyncCounts | None = None
    ) -> None:
        if not streams or any(IMAGE not in kinds for kinds in streams.values()):
            raise BadInput(f"synchronizer: expected at least one camera, each with an image, got {dict(streams)}")
        self._cameras = tuple(streams)
        self._slop_ns = round(config.slop_s * 1e9)
        self._timeout_ns = round(config.missing_timeout_s * 1e9)
        self._max_age_ns = round(config.max_age_s * 1e9)
        self._queue_size = config.queue_size
        self._queues: dict[Stream, deque[Frame]] = {
            (camera, kind): deque() for camera, kinds in streams.items() for kind in kinds
        }
        self.counts = SyncCounts() if counts is None else counts
        self._jump: TimeJump | None = None
        self._start_epoch()

    def add(self, camera: str, kind: str, stamp_ns: int, item: Any, now_ns: int) -> list[SyncedSet]:
        """Take one message that arrived at `now_ns` (any steady clock); return the sets that it completes.

        Raises:
            BadInput: a stream that was not announced.
        """
        stream = (camera, kind)
        if stream not in self._queues:
            raise BadInput(f"synchronizer: expected one of {list(self._queues)}, got {stream}")
        self.counts.received[stream] += 1
        frame = Frame(stamp_ns, now_ns, item)
        if stamp_ns <= 0:
            self._drop(stream, "zero_stamp")
        elif self._is_elsewhere(frame):
            self._set_aside(stream, frame)
        else:
            self._accept(stream, frame)
        return self.poll(now_ns)

    def poll(self, now_ns: int) -> list[SyncedSet]:
        """Sets that are complete now, in time order; call it also when nothing arrives, to notice silence."""
        sets = []
        while (group := self._next_set(now_ns)) is not None:
            sets.append(group)
        return sets

    def finish(self) -> list[SyncedSet]:
        """What is left at the end of the streams: nothing is awaited any more."""
        self._expected.clear()
        return self.poll(self._newest_arrival_ns)

    def take_jump(self) -> TimeJump | None:
        """The jump of time since the last call, once. Sets returned together with it are of the new epoch."""
        jump, self._jump = self._jump, None
        return jump

    def clear(self) -> None:
        """Begin anew, as after a jump of time that somebody else noticed."""
        for stream, queue in self._queues.items():
            if queue:
                self.counts.dropped[stream, "time_jump"] += len(queue)
                queue.clear()
        self._start_epoch()

    def missing(self) -> tuple[str, ...]:
        """Cameras whose images are not waited for now."""
        return tuple(camera for camera in self._cameras if (camera, IMAGE) not in self._expected)

    def _start_epoch(self) -> None:
        self._expected = set(self._queues)
        self._heard_ns: dict[Stream, int] = {}
        self._last_stamp_ns: dict[Stream, int] = {}
        self._aside: dict[Stream, Frame] = {}
        self._newest: Frame | None = None
        self._newest_arrival_ns = 0
        self._closed_ns = 0  # stamp of the newest set

    def _drop(self, stream: Stream, reason: str) -> None:
        self.counts.dropped[stream, reason] += 1

    def _is_elsewhere(self, frame: Frame) -> bool:
        """Too far from this epoch's newest stamp; the time that passed since then is allowed forward."""
        if self._newest is None:
            return False
        ahead_ns = frame.stamp_ns - self._newest.stamp_ns
        passed_ns = max(frame.arrived_ns - self._newest.arrived_ns, 0)
        return not -self._max_age_ns <= ahead_ns <= self._max_age_ns + passed_ns

    def _set_aside(self, stream: Stream, frame: Frame) -> None:
        if stream in self._aside:
            self._drop(stream, "stale")
        self._aside[stream] = frame
        there = {
            other[0] for other, held in self._aside.items() if abs(held.stamp_ns - frame.stamp_ns) <= self._max_age_ns
        }
        here = {
            other[0]
            for other, heard_ns in self._heard_ns.items()
            if frame.arrived_ns - heard_ns <= self._timeout_ns and other[0] not in there
        }
        if len(there) > len(here):
            self._jump_to(frame)

    def _jump_to(self, frame: Frame) -> None:
        assert self._newest is not None
        self.counts.time_jumps += 1
        self._jump = TimeJump(self._newest.stamp_ns, frame.stamp_ns)
        aside = self._aside
        self.clear()
        for stream, held in sorted(aside.items(), key=lambda entry: entry[1].stamp_ns):
            if abs(held.stamp_ns - frame.stamp_ns) <= self._max_age_ns:
                self._accept(stream, held)
            else:
                self._drop(stream, "stale")

    def _accept(self, stream: Stream, frame: Frame) -> None:
        if self._aside.pop(stream, None) is not None:
            self._drop(stream, "stale")
        last_ns = self._last_stamp_ns.get(stream, 0)
        if frame.stamp_ns <= last_ns:
            self._drop(stream, "duplicate" if frame.stamp_ns == last_ns else "out_of_order")
            return
        self._last_stamp_ns[stream] = frame.stamp_ns
        if self._newest is None or frame.stamp_ns > self._newest.stamp_ns:
            self._newest = frame
        self._newest_arrival_ns = frame.arrived_ns
        # A stream that is later than the patience for it is not waited for: it would hold up all others for nothing.
        if self._closed_ns - frame.stamp_ns < self._timeout_ns:
            self._heard_ns[stream] = frame.arrived_ns
            self._expected.add(stream)
        if frame.stamp_ns <= self._closed_ns:
            self._drop(stream, "late")
            return
        self._queues[stream].append(frame)

    def _next_set(self, now_ns: int) -> SyncedSet | None:
        while True:
            heads = {stream: queue[0] for stream, queue in self._queues.items() if queue}
            if not heads:
                return None
            pivot_ns = max(frame.stamp_ns for frame in heads.values())
            if self._drop_unmatched(heads, pivot_ns) or self._drop_farther(pivot_ns):
                continue
            if not self._stop_waiting(heads, now_ns):
                return None
            group = self._take(heads, pivot_ns)
            if group is not None:
                return group

    def _drop_unmatched(self, heads: dict[Stream, Frame], pivot_ns: int) -> bool:
        unmatched = [stream for stream, frame in heads.items() if frame.stamp_ns < pivot_ns - self._slop_ns]
        for stream in unmatched:
            self._queues[stream].popleft()
            self._drop(stream, "no_partner")
        return bool(unmatched)

    def _drop_farther(self, pivot_ns: int) -> bool:
        """Where the next frame of a fast stream is as near to the pivot as its head, the head goes."""
        dropped = False
        for stream, queue in self._queues.items():
            while len(queue) > 1 and abs(queue[1].stamp_ns - pivot_ns) <= abs(queue[0].stamp_ns - pivot_ns):
                queue.popleft()
                self._drop(stream, "superseded")
                dropped = True
        return dropped

    def _stop_waiting(self, heads: dict[Stream, Frame], now_ns: int) -> bool:
        """Whether nothing that is still expected is absent; whoever was awaited too long is expected no more."""
        absent = [stream for stream in self._expected if stream not in heads]
        waited_since_ns = min(frame.arrived_ns for frame in heads.values())
        # A full queue ends the waiting too: else a slow stream would push the others' frames out unused, for ever.
        is_full = any(len(queue) >= self._queue_size for queue in self._queues.values())
        if is_full or now_ns - waited_since_ns > self._timeout_ns:
            self._expected.difference_update(absent)
            return True
        return not absent

    def _take(self, heads: dict[Stream, Frame], pivot_ns: int) -> SyncedSet | None:
        """Make a set of all heads; a depth image whose camera gave no image goes alone and counts as unmatched."""
        items: dict[str, dict[str, Any]] = {}
        stamp_ns = 0
        for (camera, kind), frame in heads.items():
            self._queues[camera, kind].popleft()
            if (camera, IMAGE) in heads:
                items.setdefault(camera, {})[kind] = frame.item
                stamp_ns = max(stamp_ns, frame.stamp_ns)
                self.counts.matched[camera, kind] += 1
            else:
                self._drop((camera, kind), "no_partner")
        if not items:
            return None
        self._closed_ns = pivot_ns
        missing = tuple(camera for camera in self._cameras if camera not in items)
        self.counts.sets += 1
        self.counts.partial_sets += bool(missing)
        return SyncedSet(stamp_ns, {camera: items[camera] for camera in self._cameras if camera in items}, missing)
