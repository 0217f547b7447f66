"""Progress for people: a bar in a terminal, a line now and then in a file."""

import contextlib
import importlib.util
import sys
import time
from datetime import timedelta
from typing import Any

LINE_SECONDS = 30.0
BAR_SECONDS = 0.2
TICKS = 1_000


class Progress:
    """Part done, speed, loss and time left; only the main process speaks."""

    def __init__(self, main: bool = True) -> None:
        self.main = main
        self._bar: Any = None
        self._last = time.monotonic() - LINE_SECONDS

    def start(self) -> None:
        """Show a bar where there is a terminal."""
        if self.main and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(total=TICKS, bar_format="{percentage:3.0f}% |{bar}| {postfix}", dynamic_ncols=True)

    def update(self, part: float, step: int, samples_per_s: float, loss: float, left_s: float) -> None:
        """Show where the training stands; `part` of it, 0 to 1, is done."""
        left = timedelta(seconds=round(left_s))
        text = f"step {step}, {samples_per_s:.1f} samples/s, loss {loss:.4f}, {left} left"
        if self._bar is not None:
            self._bar.n = min(round(part * TICKS), TICKS)
            self.note(text)
        else:
            self.note(f"{part:4.0%} {text}")

    def note(self, text: str) -> None:
        """Words beside the bar, or a line of their own; nothing if the last ones came just before."""
        interval = LINE_SECONDS if self._bar is None else BAR_SECONDS
        if time.monotonic() - self._last < interval:
            return
        self._last = time.monotonic()
        if self._bar is None:
            self.say(text)
        else:
            with contextlib.suppress(OSError):
                self._bar.set_postfix_str(text)

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.main:
            return
        # A terminal that was closed is no reason to end.
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.write(text, file=sys.stderr)
            else:
                print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it should be."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
            self._bar = None
