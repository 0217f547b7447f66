"""The worker: newest set wins, requests wait for their set, and nothing that the model does ends it."""

import time
from threading import Event

import pytest

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.synchronizer import SyncedSet
from geoseg_ros import worker
from geoseg_ros.worker import Arrival, Request, Worker


class Bench:
    def __init__(self):
        self.processed, self.failures = [], []
        self.gate, self.begun = Event(), Event()
        self.gate.set()
        self.woken = 0
        self.worker = Worker(self.process, lambda error, what: self.failures.append((str(error), what)), self.wake)

    def wake(self):
        self.woken += 1

    def process(self, arrival):
        self.begun.set()
        self.gate.wait(5)
        if arrival.synced.stamp_ns < 0:
            raise ZeroDivisionError("broken model")
        self.processed.append(arrival.synced.stamp_ns)

    def offer(self, stamp):
        return self.worker.offer(Arrival(SyncedSet(stamp, {}, ()), 0))

    def ask(self, attempt, patience_s=5.0):
        request = Request(attempt, time.monotonic() + patience_s, "too late")
        self.worker.ask(request)
        return request


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.gate.set()
    made.worker.stop()


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_newer_set_replaces_one_that_waits(bench):
    bench.gate.clear()
    assert not bench.offer(1)
    bench.begun.wait(5)
    assert [bench.offer(stamp) for stamp in (2, 3)] == [False, True]
    bench.gate.set()
    until(lambda: len(bench.processed) == 2)
    assert bench.processed == [1, 3]


def test_a_set_can_be_taken_back_until_it_is_begun(bench):
    bench.gate.clear()
    bench.offer(1)
    bench.begun.wait(5)
    bench.offer(2)
    assert bench.worker.withdraw() and not bench.worker.withdraw()
    bench.gate.set()
    bench.offer(3)
    until(lambda: 3 in bench.processed)
    assert 2 not in bench.processed


def test_an_exception_is_reported_and_the_next_set_is_processed(bench):
    bench.offer(-1)
    until(lambda: bench.failures)
    bench.offer(1)
    until(lambda: bench.processed)
    assert bench.failures == [("broken model", "a frame set")]


def test_a_request_waits_for_a_set_that_answers_it(bench):
    waited = []
    request = Request(lambda: bench.processed[-1] if 2 in bench.processed else None, time.monotonic() + 5, "too late")
    request.waiting = lambda: waited.append(True)
    bench.worker.ask(request)
    for stamp in (1, 2):
        bench.offer(stamp)
        until(lambda stamp=stamp: stamp in bench.processed)
    until(request.future.done)
    assert request.future.result() == 2 and waited
    assert bench.woken == 1


def test_a_request_is_refused_at_its_deadline_though_no_set_comes(bench):
    request = bench.ask(lambda: None, patience_s=0.05)
    until(request.future.done)
    with pytest.raises(GeosegError, match="too late"):
        request.future.result()


def test_errors_reach_the_one_who_asked(bench):
    def wrong():
        raise BadInput("outside the image")

    def broken():
        raise ZeroDivisionError("broken model")

    requests = [bench.ask(wrong), bench.ask(broken), bench.ask(lambda: "fine")]
    until(lambda: all(request.future.done() for request in requests))
    assert isinstance(requests[0].future.exception(), BadInput)
    assert "log says why" in str(requests[1].future.exception())
    assert requests[2].future.result() == "fine"
    assert bench.failures == [("broken model", "a request")]


@pytest.mark.parametrize(
    ("answering_s", "expected"),
    [(0.0, [1, "answer", 2, "answer", "answer"]), (60.0, [1, "answer", "answer", "answer", 2])],
)
def test_a_set_waits_for_one_answer_or_for_a_short_while(bench, monkeypatch, answering_s, expected):
    monkeypatch.setattr(worker, "ANSWERING_S", answering_s)
    order = bench.processed
    bench.gate.clear()
    bench.offer(1)
    bench.begun.wait(5)

    def answer():
        order.append("answer")
        if order.count("answer") == 1:
            bench.offer(2)
        return True

    requests = [bench.ask(answer) for _ in range(3)]
    bench.gate.set()
    until(lambda: all(request.future.done() for request in requests))
    until(lambda: len(order) == 5)
    assert order == expected


def test_a_cancelled_request_is_not_tried_again(bench):
    tries = []
    request = bench.ask(lambda: tries.append(1))
    until(lambda: tries)
    request.future.set_result("cancelled")
    bench.offer(1)
    until(lambda: bench.processed)
    bench.offer(2)
    until(lambda: len(bench.processed) == 2)
    assert len(tries) == 1


def test_tasks_run_before_the_next_set(bench):
    bench.gate.clear()
    bench.offer(1)
    bench.begun.wait(5)
    bench.worker.call(lambda: bench.processed.append("reset"))
    bench.offer(2)
    bench.gate.set()
    until(lambda: len(bench.processed) == 3)
    assert bench.processed == [1, "reset", 2]


def test_stopping_refuses_whoever_waits(bench):
    request = bench.ask(lambda: None)
    bench.worker.stop()
    with pytest.raises(GeosegError, match="deactivated"):
        request.future.result()
