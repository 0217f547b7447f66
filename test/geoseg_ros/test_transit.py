"""How long messages waited on their way."""

from geoseg_ros.transit import Transit

MS, S = 10**6, 10**9
HOUR = 3600 * S
NOON = 10**6 * S


def test_the_quickest_message_did_not_wait_whatever_the_clocks_say():
    for ahead_ns in (-HOUR, 0, HOUR):
        transit = Transit()
        sent = [NOON + number * 100 * MS for number in range(4)]
        took = [3 * MS, 5 * MS, 2 * MS, 2 * S]
        waited = [transit.waited_ns(at + ahead_ns, at + each) for at, each in zip(sent, took, strict=True)]
        assert waited == [0, 2 * MS, 0, 2 * S - 2 * MS]


def test_a_clock_that_was_put_back_is_forgotten_within_twenty_seconds():
    transit = Transit()
    assert transit.waited_ns(NOON, NOON + MS) == 0
    assert transit.waited_ns(NOON + 1 * S - HOUR, NOON + 1 * S) == HOUR - MS
    assert transit.waited_ns(NOON + 12 * S - HOUR, NOON + 12 * S) == HOUR - MS
    assert transit.waited_ns(NOON + 23 * S - HOUR, NOON + 23 * S) == 0


def test_a_camera_that_was_silent_begins_anew():
    transit = Transit()
    transit.waited_ns(NOON, NOON + MS)
    assert transit.waited_ns(NOON + 100 * S, NOON + 100 * S + 5 * MS) == 0


def test_nothing_is_known_where_the_middleware_does_not_say_when():
    assert Transit().waited_ns(0, NOON) == 0
