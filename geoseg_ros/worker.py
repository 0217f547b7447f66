"""The thread in which the model runs: always on the newest set, with requests answered in between."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from rclpy.task import Future

from geoseg_core.errors import GeosegError
from geoseg_core.synchronizer import SyncedSet

# A set that has come waits no longer for answers than this, or for one. What is asked at once is answered on one set.
ANSWERING_S = 0.1


@dataclass(eq=False)
class Request:
    """Something asked of the model; `future` is completed in the worker, or by whoever cancels it.

    `attempt` gives the answer, or None while it needs another set; it is tried again after each one until the
    deadline. `waiting` is called after each attempt in vain.
    """

    attempt: Callable[[], Any]
    deadline_s: float
    too_late: str
    waiting: Callable[[], None] = lambda: None
    future: Future = field(default_factory=Future)
    is_running: bool = False


@dataclass(frozen=True, eq=False)
class Arrival:
    """A set and when it was complete, by time.monotonic_ns()."""

    synced: SyncedSet
    arrived_ns: int


class Worker:
    """One thread, one slot for the newest set, a list of requests. Nothing waits behind an old set, and no set behind
    more answers than take ANSWERING_S, or one.

    Args:
        process: called with each set that is taken.
        failed: called with an exception that escaped and what was being done; the next set is processed all the same.
        wake: called when a future was completed, so that the executor goes on with who awaits it.
    """

    def __init__(
        self, process: Callable[[Arrival], None], failed: Callable[[Exception, str], None], wake: Callable[[], None]
    ) -> None:
        self._process = process
        self._failed = failed
        self._wake = wake
        self._news = Condition()
        self._newest: Arrival | None = None
        self._tasks: list[Callable[[], None]] = []
        self._requests: list[Request] = []
        self._waiting: list[Request] = []
        self._is_stopping = False
        self._thread = Thread(target=self._run, name="geoseg model", daemon=True)
        self._thread.start()

    def offer(self, arrival: Arrival) -> bool:
        """Give the newest set; returns whether it replaced one that had not been begun."""
        with self._news:
            replaced, self._newest = self._newest is not None, arrival
            self._news.notify()
        return replaced

    def withdraw(self) -> bool:
        """Take back a set that has not been begun; returns whether there was one."""
        with self._news:
            had, self._newest = self._newest is not None, None
        return had

    def call(self, task: Callable[[], None]) -> None:
        """Run something before the next set."""
        with self._news:
            self._tasks.append(task)
            self._news.notify()

    def ask(self, request: Request) -> Future:
        """Have a request tried now, and again after each set until its deadline."""
        request.future.add_done_callback(lambda _: self._wake())
        with self._news:
            self._requests.append(request)
            self._news.notify()
        return request.future

    def stop(self) -> None:
        """End the thread after what it is doing; requests that still wait are refused."""
        with self._news:
            self._is_stopping = True
            self._news.notify()
        self._thread.join()
        for request in self._waiting + self._requests:
            self._refuse(
                request, GeosegError("expected an active node, but it was deactivated; activate it, ask again")
            )

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(self._has_news, self._patience_s())
                if self._is_stopping:
                    return
                tasks, self._tasks = self._tasks, []
                requests, self._requests = self._requests, []
                arrival, self._newest = self._newest, None
            for task in tasks:
                self._guarded(task, "a task")
            if arrival is not None:
                self._guarded(lambda arrival=arrival: self._process(arrival), "a frame set")
                requests = self._waiting + requests
                self._waiting = []
            self._answer(requests)
            self._expire()

    def _answer(self, requests: list[Request]) -> None:
        """Try them in turn for a while; once a set is here, those that are left come after it, one at least before."""
        begun_s = time.monotonic()
        for number, request in enumerate(requests, start=1):
            self._try(request)
            is_long = time.monotonic() - begun_s >= ANSWERING_S
            if request.future.done() and ((self._newest is not None and is_long) or self._is_stopping):
                with self._news:
                    self._requests = requests[number:] + self._requests
                return

    def _has_news(self) -> bool:
        return bool(self._is_stopping or self._tasks or self._requests or self._newest is not None)

    def _patience_s(self) -> float | None:
        deadlines = [request.deadline_s for request in self._waiting]
        return max(min(deadlines) - time.monotonic(), 0.0) if deadlines else None

    def _guarded(self, task: Callable[[], None], what: str) -> bool:
        """Every exception is caught here: whatever the model does, the node lives on and the next set is processed."""
        try:
            task()
        except Exception as error:
            self._failed(error, what)
            return False
        return True

    def _try(self, request: Request) -> None:
        if not request.future.done():
            request.is_running = True
            is_well = self._guarded(lambda: self._attempt(request), "a request")
            request.is_running = False
            if not is_well:
                self._refuse(request, GeosegError("expected an answer, the model failed; the node's log says why"))

    def _attempt(self, request: Request) -> None:
        try:
            answer = request.attempt()
        except GeosegError as error:  # what was asked for is wrong: the one who asked must know
            self._refuse(request, error)
            return
        if answer is None:
            self._waiting.append(request)
            request.waiting()
        elif not request.future.done():
            request.future.set_result(answer)

    def _expire(self) -> None:
        now_s = time.monotonic()
        late = [request for request in self._waiting if request.deadline_s <= now_s]
        self._waiting = [each for each in self._waiting if each not in late and not each.future.done()]
        for request in late:
            self._refuse(request, GeosegError(request.too_late))

    def _refuse(self, request: Request, error: GeosegError) -> None:
        if not request.future.done():
            request.future.set_exception(error)
