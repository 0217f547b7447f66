"""`synchronizer: message_filters`: named where it is missing, and used as ROS 2 documents it where it is there."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from live import live_node
from sensor_msgs.msg import Image

from geoseg_core.errors import GeosegError
from geoseg_core.synchronizer import SynchronizerConfig
from geoseg_ros.sensor_messages import header_to_msg, image_to_msg
from geoseg_ros.stock_synchronizer import StockSynchronizer

MS = 1_000_000
IS_INSTALLED = importlib.util.find_spec("message_filters") is not None


class SimpleFilter:
    """The documented part of message_filters.SimpleFilter, for machines without it."""

    def __init__(self):
        self.callbacks = []

    def registerCallback(self, callback):  # noqa: N802
        self.callbacks.append(callback)

    def signalMessage(self, message):  # noqa: N802
        for callback in self.callbacks:
            callback(message)


class ApproximateTimeSynchronizer(SimpleFilter):
    """The same of ApproximateTimeSynchronizer, as far as messages in order without gaps go."""

    def __init__(self, filters, queue_size, slop):
        super().__init__()
        self.queues = [[] for _ in filters]
        for queue, each in zip(self.queues, filters, strict=True):
            each.registerCallback(lambda message, queue=queue: self.add(queue, message))

    def add(self, queue, message):
        queue.append(message)
        if all(self.queues):
            messages = [each.pop(0) for each in self.queues]
            for callback in self.callbacks:
                callback(*messages)


@pytest.fixture
def message_filters(monkeypatch):
    if not IS_INSTALLED:
        stand_in = SimpleNamespace(SimpleFilter=SimpleFilter, ApproximateTimeSynchronizer=ApproximateTimeSynchronizer)
        monkeypatch.setitem(sys.modules, "message_filters", stand_in)


def image(stamp_ms: int) -> Image:
    return image_to_msg(np.zeros((2, 2), np.uint8), "mono8", header_to_msg(stamp_ms * MS, ""))


def test_it_groups_images_and_takes_depth_in_from_its_first_message_on(message_filters):
    stock = StockSynchronizer({"ego": ("image", "depth"), "exo": ("image", "depth")}, SynchronizerConfig())
    assert stock.add("ego", "image", 1000 * MS, image(1000), 0) == []
    (first,) = stock.add("exo", "image", 1010 * MS, image(1010), 0)
    assert (first.stamp_ns, set(first.items), first.missing) == (1010 * MS, {"ego", "exo"}, ())
    stock.add("ego", "depth", 1100 * MS, image(1100), 0)
    stock.add("ego", "image", 1100 * MS, image(1100), 0)
    (second,) = stock.add("exo", "image", 1110 * MS, image(1110), 0)
    assert set(second.items["ego"]) == {"image", "depth"} and set(second.items["exo"]) == {"image"}
    assert stock.counts.sets == 2 and stock.counts.received["ego", "image"] == 2
    assert stock.take_jump() is None and stock.missing() == ()


def test_clear_empties_its_queues(message_filters):
    stock = StockSynchronizer({"ego": ("image",), "exo": ("image",)}, SynchronizerConfig())
    stock.add("ego", "image", 1000 * MS, image(1000), 0)
    stock.clear()
    assert stock.add("exo", "image", 1000 * MS, image(1000), 0) == []


@pytest.mark.skipif(IS_INSTALLED, reason="message_filters is installed here")
def test_where_it_is_missing_the_error_names_the_package(tmp_path):
    with pytest.raises(GeosegError, match="apt install ros-jazzy-message-filters"):
        StockSynchronizer({"ego": ("image",)}, SynchronizerConfig())
    with live_node(tmp_path, synchronizer="message_filters") as running:
        running.bench.until(lambda: "not activated" in running.log.read_text())
        assert "ros-jazzy-message-filters" in running.log.read_text()
