"""What every keeper of identities does: ids that are never given twice, events, and how long things are remembered."""

from dataclasses import dataclass

from geoseg_core.config import setting
from geoseg_core.instances.tracks import Track
from geoseg_core.results import EventKind, ObjectEvent

LAST_ID = 65535


@dataclass(frozen=True)
class IdentityConfig:
    """How long things are remembered and when they count as the same."""

    confirm_sets: int = setting(3, "a thing seen by one camera only gets its id after so many sets", "", 1, 100)
    lost_after_s: float = setting(1.0, "a thing unseen for so long is reported lost", "s", 0.0, 60.0)
    remember_s: float = setting(30.0, "a thing unseen for so long is forgotten, if not followed", "s", 0.1, 3600.0)
    jump_m: float = setting(0.4, "an unseen thing is searched for within this distance", "m", 0.0, 10.0)
    colour_gate: float = setting(25.0, "and with a mean colour no farther than this (CIE Lab)", "", 0.0, 200.0)
    split_gap_voxels: float = setting(
        3.0, "parts farther apart than this with free space between are two things", "voxels", 1.0, 100.0
    )


class Keeper:
    """All tracks of one workplace. `events` collects what happened until somebody takes it."""

    def __init__(self, config: IdentityConfig) -> None:
        self.config = config
        self.tracks: list[Track] = []
        self.events: list[ObjectEvent] = []
        self.next_id = 1
        self._started = False

    def clear(self) -> None:
        """Forget all tracks and events; ids go on."""
        self.tracks, self.events, self._started = [], [], False

    def replace(self, tracks: list[Track], next_id: int) -> None:
        """Take over remembered tracks; ids go on from `next_id`."""
        self.tracks, self.next_id = tracks, next_id

    def take_events(self) -> tuple[ObjectEvent, ...]:
        """The events since the last call."""
        events, self.events = tuple(self.events), []
        return events

    def new_id(self) -> int:
        """An id that was never given before; 0 when all are used up."""
        self.next_id += 1
        return self.next_id - 1 if self.next_id - 1 <= LAST_ID else 0

    def confirm(self, number: int) -> None:
        """Give a candidate its id at once."""
        if self.tracks[number].object_id == 0:
            self.tracks[number].object_id = self.new_id()

    def rename(self, track: Track, object_id: int, stamp_ns: int) -> None:
        """A track is the thing that is followed under an id: it carries that one from now on, its own is not used
        again. Not while another track that is seen carries it."""
        holders = [each for each in self.tracks if each.object_id == object_id]
        if any(each.seen_by for each in holders):
            return
        self.tracks = [each for each in self.tracks if each not in holders]
        before, track.object_id = track.object_id, object_id
        if before:
            self._tell(EventKind.MERGED, track, stamp_ns, "is the object that is followed", before)

    def _tell(self, kind: EventKind, track: Track, stamp_ns: int, reason: str, partner: int = 0) -> None:
        """Note an event of a track that has an id; `partner` is another's id, 0 = none has part in it."""
        if track.object_id:
            related = (partner,) if partner else ()
            self.events.append(ObjectEvent(kind, track.object_id, stamp_ns, reason, related))

    def _see(self, track: Track, seen_by: tuple[str, ...], stamp_ns: int) -> None:
        """A track was seen; one that was lost is found."""
        elapsed_s = (stamp_ns - track.last_seen_ns) / 1e9
        track.seen_by = seen_by
        track.sets_seen += 1
        if track.lost:
            self._tell(EventKind.FOUND, track, stamp_ns, f"seen again after {elapsed_s:.1f} s by {', '.join(seen_by)}")
        track.lost, track.last_seen_ns = False, stamp_ns

    def _name(self, track: Track, stamp_ns: int) -> None:
        """Give a track its id."""
        track.object_id = self.new_id()
        self._tell(EventKind.FOUND, track, stamp_ns, f"new, seen by {', '.join(track.seen_by)}")

    def _is_newly_lost(self, track: Track, stamp_ns: int) -> bool:
        """Whether a track that is not seen is to be reported lost."""
        unseen_s = (stamp_ns - track.last_seen_ns) / 1e9
        return bool(track.object_id and not track.lost and unseen_s > self.config.lost_after_s)

    def _lose(self, track: Track, stamp_ns: int, reason: str) -> None:
        track.lost = True
        unseen_s = (stamp_ns - track.last_seen_ns) / 1e9
        self._tell(EventKind.LOST, track, stamp_ns, f"{reason}, unseen for {unseen_s:.1f} s")

    def _is_remembered(self, track: Track, stamp_ns: int) -> bool:
        """Whether a track is kept: candidates for a short while, things for long, followed ones for ever."""
        limit_s = self.config.remember_s if track.object_id else self.config.lost_after_s
        return track.followed or (stamp_ns - track.last_seen_ns) / 1e9 <= limit_s
