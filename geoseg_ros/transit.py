"""How long messages waited on their way, among others in the queue of a node that was held up."""

WINDOW_NS = 10 * 10**9


class Transit:
    """Of one topic. The quickest message of the last ten to twenty seconds counts as one that did not wait, so that the
    clocks of two computers need not agree; after a step of one of them waiting is known again within that time."""

    def __init__(self) -> None:
        self._window = 0
        self._least_ns: list[int] = []  # of the window before, where there was one, and of this one

    def waited_ns(self, sent_ns: int, now_ns: int) -> int:
        """Nanoseconds beyond the quickest, for a message that was sent at `sent_ns` of its sender's clock and is taken
        at `now_ns` of ours; 0 where the middleware does not say when it was sent."""
        if sent_ns <= 0:
            return 0
        passed_ns, window = now_ns - sent_ns, now_ns // WINDOW_NS
        if window != self._window:
            self._least_ns = [*self._least_ns[-1:], passed_ns] if window == self._window + 1 else [passed_ns]
            self._window = window
        self._least_ns[-1] = min(self._least_ns[-1], passed_ns)
        return passed_ns - min(self._least_ns)
