"""In how many views a prompt is answered within a time, by what answers took so far."""

from collections import deque
from statistics import median

# Answers of which the usual time is taken: enough for one slow one not to count.
KEPT = 9


class AnswerTimes:
    """What answers to prompts took for each of their views, once their set was embedded.

    All of an answer's time is taken to grow with its views, also what does not: after answers in many views, few are
    thought to be quicker than they are, and after answers in few, many slower.
    """

    def __init__(self) -> None:
        self._view_s: deque[float] = deque(maxlen=KEPT)

    def took(self, seconds: float, views: int) -> None:
        """An answer in so many views took so long."""
        self._view_s.append(seconds / views)

    def views_within(self, seconds: float, prompted: int, count: int) -> tuple[int, ...]:
        """The views of `count` that can be answered in the time that is left, in their order: the prompted one whatever
        it takes, then the first others. All, if no answer was timed yet."""
        if not self._view_s:
            return tuple(range(count))
        others = [view for view in range(count) if view != prompted]
        affordable = min(max(seconds / median(self._view_s), 1), count)
        return tuple(sorted([prompted, *others[: int(affordable) - 1]]))
