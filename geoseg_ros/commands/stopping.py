"""Stopping: SIGINT and SIGTERM as a question that a loop asks, so that files and publishers are closed in order."""

import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """While the `with` block lasts, a signal only ends `goes_on`; SIGINT after that interrupts as usual."""

    def __init__(self) -> None:
        self._stopped = False
        self._before: dict[signal.Signals, Any] = {}

    def goes_on(self) -> bool:
        """False after a signal."""
        return not self._stopped

    def __enter__(self) -> "Stopping":
        self._before = {each: signal.signal(each, self._stop) for each in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stopped = True
