"""How many requests are let in: none of those who ask can keep the model from its frame sets, or fill the memory."""

import time

from geoseg_core.errors import TooManyRequests
from geoseg_ros.parameters import LimitsConfig
from geoseg_ros.worker import Request


class Gate:
    """One way in: a service, the action, or a topic.

    Args:
        name: what it is called in refusals.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._spent = 0.0  # requests of the last second, as far as time has not made up for them
        self._spent_s = time.monotonic()
        self._open: list[Request] = []

    def admit(self, limits: LimitsConfig) -> None:
        """Let one more in.

        Raises:
            TooManyRequests: one of the limits is reached.
        """
        self._open = [each for each in self._open if not each.future.done()]
        if len(self._open) >= limits.waiting_requests:
            raise TooManyRequests(
                f"too many waiting requests: expected at most {limits.waiting_requests} on {self.name} without an "
                "answer yet; wait for some, or raise limits.waiting_requests"
            )
        now_s = time.monotonic()
        self._spent = max(self._spent - (now_s - self._spent_s) * limits.requests_per_s, 0.0)
        self._spent_s = now_s
        if self._spent + 1.0 > limits.requests_per_s:
            raise TooManyRequests(
                f"too many requests: expected at most {limits.requests_per_s:g} a second on {self.name}; ask again "
                "later and less often, or raise limits.requests_per_s"
            )
        self._spent += 1.0

    def opened(self, request: Request) -> None:
        """Count a request that was let in until it is answered."""
        self._open.append(request)
