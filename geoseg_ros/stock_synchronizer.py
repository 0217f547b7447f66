"""The synchroniser of ROS 2's own message_filters behind the interface of ours, for those who want to compare."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from geoseg_core.errors import GeosegError
from geoseg_core.synchronizer import IMAGE, SyncCounts, SyncedSet, SynchronizerConfig, TimeJump


class StockSynchronizer:
    """message_filters.ApproximateTimeSynchronizer over the image of each camera, and over the depth of those that
    have sent any. It knows no missing cameras and no jumps of time: it gives whole sets or none.

    Raises:
        GeosegError: message_filters is not installed.
    """

    def __init__(
        self, streams: Mapping[str, Sequence[str]], config: SynchronizerConfig, counts: SyncCounts | None = None
    ) -> None:
        try:
            import message_filters
        except ImportError as error:
            raise GeosegError(
                "synchronizer: expected the package message_filters (apt install ros-jazzy-message-filters), "
                "found none; install it, or set synchronizer to builtin"
            ) from error
        self._stock = message_filters
        self._cameras = tuple(streams)
        self._config = config
        self._filters: dict[tuple[str, str], Any] = {}
        self._sets: list[SyncedSet] = []
        self.counts = SyncCounts() if counts is None else counts
        self._listen({(camera, IMAGE) for camera in streams})

    def add(self, camera: str, kind: str, stamp_ns: int, item: Any, now_ns: int) -> list[SyncedSet]:
        """Take one message; return the sets that it completes."""
        stream = (camera, kind)
        self.counts.received[stream] += 1
        if stream not in self._filters:
            self._listen({*self._filters, stream})
        self._filters[stream].signalMessage(item)
        return self.poll(now_ns)

    def poll(self, now_ns: int) -> list[SyncedSet]:
        """Sets that are complete."""
        sets, self._sets = self._sets, []
        return sets

    def take_jump(self) -> TimeJump | None:
        """Never: message_filters does not notice."""
        return None

    def clear(self) -> None:
        """Begin anew with empty queues."""
        self._listen(set(self._filters))

    def missing(self) -> tuple[str, ...]:
        """Nobody is ever left out."""
        return ()

    def _listen(self, streams: set[tuple[str, str]]) -> None:
        order = sorted(streams)
        self._filters = {stream: self._stock.SimpleFilter() for stream in order}
        synchronizer = self._stock.ApproximateTimeSynchronizer(
            list(self._filters.values()), self._config.queue_size, self._config.slop_s
        )
        synchronizer.registerCallback(partial(self._matched, order))

    def _matched(self, order: list[tuple[str, str]], *messages: Any) -> None:
        items: dict[str, dict[str, Any]] = {camera: {} for camera in self._cameras}
        stamps = [each.header.stamp.sec * 1_000_000_000 + each.header.stamp.nanosec for each in messages]
        for (camera, kind), message in zip(order, messages, strict=True):
            items[camera][kind] = message
            self.counts.matched[camera, kind] += 1
        self.counts.sets += 1
        self._sets.append(SyncedSet(max(stamps), items, ()))
