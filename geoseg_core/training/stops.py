"""Ctrl-C, SIGTERM and the end of the terminal end a training after the step that is running."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stop:
    """The signal that came, 0 while there was none."""

    number = 0


@contextmanager
def caught_signals() -> Iterator[Stop]:
    """Note the first signal instead of ending; the second one ends the program at once."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _: FrameType | None) -> None:
        stop.number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
