"""The faults of `make soak`, and the two processes that bring them to a running node.

    python -m faults.soak_faults cameras|peers HEIGHT WIDTH RATE_HZ

`cameras` publishes three RGB-D cameras at a rate and spoils their sets; `peers` is everybody else on the network: it
sends bytes that are no message, asks for what can't be, joins, leaves and changes the node's state. Orders come line
by line on standard input, e.g. {"fault": "moved camera", "seconds": 0.7}; the end of it ends the process. For every
set sent, a line goes to standard output: stamp and time of sending in nanoseconds.

A fault is a generator. Each step of it lasts as long as a set, a camera's step publishes one and gives its stamp; what
is to be undone in the end stands behind it in `finally`. What the node must answer is asserted: a fault that is
answered in another way ends the process.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from threading import Thread
from typing import Any

import cv2
import numpy as np
import rclpy
from faulty_node import MAGIC
from geometry_msgs.msg import PointStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live import Bench, LiveCameras, bench
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from scenes import render_set, tabletop
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from geoseg_core.views import View
from geoseg_ros import msg
from geoseg_ros.sensor_messages import header_to_msg, packed

NAMES = ("ego", "exo_left", "exo_right")
ROLLS = 3  # label of the ball that rolls to and fro in the scene
STEPS = 20
S = 1_000_000_000
BOX = [10.0, 10.0, 50.0, 40.0]


class Stage:
    """What a fault may use: the node of its process, answers to prompts that were heard, cameras where it has them."""

    def __init__(self, bench: Bench, answers: list[msg.PromptMasks]) -> None:
        self.bench = bench
        self.answers = answers
        self.cameras: LiveCameras
        self._pictures: Iterator[tuple[View, ...]] = itertools.repeat(())

    def show(self, pictures: list[tuple[View, ...]]) -> None:
        """Have cameras that see these sets, one after the other, over and over."""
        self.cameras = LiveCameras(self.bench.node, views=list(pictures[0]))
        self._pictures = itertools.cycle(pictures)

    def roll(self) -> None:
        """On to the next set; where the cameras stand and what they know of themselves stays."""
        for view in next(self._pictures):
            known = self.cameras.views[view.camera]
            self.cameras.views[view.camera] = replace(known, image=view.image, depth_m=view.depth_m)

    def changed(self, camera: str, topic: str, change: Callable[[Any], None]) -> int:
        """Publish a set of now with one message changed."""
        stamp_ns = time.time_ns()
        message = self.cameras.messages(camera, stamp_ns)[topic]
        change(message)
        return self.cameras.publish(stamp_ns, **{f"{camera}_{topic}": message})


def scene(size: tuple[int, int]) -> list[tuple[tuple[View, ...], np.ndarray]]:
    """The tabletop while a ball rolls to and fro, with the labels (H, W) of the ego view."""
    shifts = 0.03 * np.sin(2 * np.pi * np.arange(STEPS) / STEPS)
    found = []
    for shift in shifts:
        solids = [each.moved(dx=float(shift)) if each.label == ROLLS else each for each in tabletop()]
        frames, labels = render_set(solids, size=size, names=NAMES)
        found.append((frames.views, labels[0]))
    return found


def clean(stage: Stage) -> Iterator[int]:
    while True:
        yield stage.cameras.publish()


def lying_image(stage: Stage) -> Iterator[int]:
    while True:
        yield stage.changed("ego", "image", lambda image: setattr(image, "height", 2**31))


def truncated_jpeg(stage: Stage) -> Iterator[int]:
    with publisher(stage, CompressedImage, "ego/image/compressed") as compressed:
        while True:
            stamp_ns = stage.cameras.publish(names=NAMES[1:])
            jpeg = cv2.imencode(".jpg", stage.cameras.views["ego"].image)[1]
            header = header_to_msg(stamp_ns, "ego_optical_frame")
            compressed.publish(CompressedImage(header=header, format="jpeg", data=packed(jpeg[: jpeg.size // 2])))
            yield stamp_ns


def nan_depth(stage: Stage) -> Iterator[int]:
    def spoil(depth: Image) -> None:
        depth.data = packed(np.full(depth.height * depth.width, np.nan, np.float32).view(np.uint8))

    while True:
        yield stage.changed("ego", "depth", spoil)


def broken_model(stage: Stage) -> Iterator[int]:
    def spoil(image: Image) -> None:
        image.data[:3] = packed(np.array(MAGIC, np.uint8))

    while True:
        yield stage.changed("ego", "image", spoil)


def repeated_stamp(stage: Stage) -> Iterator[int]:
    stamp_ns = time.time_ns()
    while True:
        yield stage.cameras.publish(stamp_ns)


def zero_stamp(stage: Stage) -> Iterator[int]:
    while True:
        yield stage.cameras.publish(0)


def skewed_camera(stage: Stage) -> Iterator[int]:
    while True:
        stamp_ns = stage.cameras.publish(names=("ego", "exo_right"))
        stage.cameras.publish(stamp_ns - 3 * S // 10, names=("exo_left",))
        yield stamp_ns


def silent_camera(stage: Stage) -> Iterator[int]:
    while True:
        yield stage.cameras.publish(names=NAMES[:2])


def bag_loop(stage: Stage) -> Iterator[int]:
    begun_ns = time.time_ns()
    while True:
        yield stage.cameras.publish(1000 * S + time.time_ns() - begun_ns)


def clock_back(stage: Stage) -> Iterator[int]:
    while True:
        yield stage.cameras.publish(time.time_ns() - 60 * S)


def clock_ahead(stage: Stage) -> Iterator[int]:
    while True:
        yield stage.cameras.publish(time.time_ns() + 3600 * S)


def other_intrinsics(stage: Stage) -> Iterator[int]:
    views = stage.cameras.views
    home = views["ego"].intrinsics
    views["ego"] = replace(views["ego"], intrinsics=home * [[1.05], [1.05], [1.0]])
    try:
        yield from clean(stage)
    finally:
        views["ego"] = replace(views["ego"], intrinsics=home)


def moved_camera(stage: Stage) -> Iterator[int]:
    views = stage.cameras.views
    home = views["exo_left"].camera_to_world
    moved = home.copy()
    moved[0, 3] += 0.01
    try:
        _place(stage, moved)
        yield from clean(stage)
    finally:
        _place(stage, home)


def _place(stage: Stage, pose: np.ndarray) -> None:
    views = stage.cameras.views
    views["exo_left"] = replace(views["exo_left"], camera_to_world=pose)
    stage.cameras.publish_poses()


def malformed_bytes(stage: Stage) -> Iterator[None]:
    random = np.random.default_rng(time.time_ns())
    kinds = [(Image, "ego/image"), (Image, "ego/depth"), (CompressedImage, "ego/image/compressed"),
             (CameraInfo, "ego/camera_info"), (TFMessage, "/tf"), (msg.Prompt, "/geoseg/prompt"),
             (PointStamped, "/clicked_point")]  # fmt: skip
    kind, topic = kinds[random.integers(len(kinds))]
    with publisher(stage, kind, topic) as lies:
        whole = serialize_message(kind())
        for length in (0, 4, len(whole) - 1, len(whole)):
            noise = random.integers(0, 256, max(length - 4, 0), np.uint8).tobytes()
            for ending in (noise, b"\xff" * len(noise)):
                lies.publish((bytes(whole[:4]) + ending)[:length])
                yield


def huge_prompt(stage: Stage) -> Iterator[None]:
    points, labels = packed(np.full(2_000_000, 5, np.float32), "f"), packed(np.ones(1_000_000, np.uint8))
    return _refused(stage, [msg.Prompt(camera="ego", points_px=points, point_labels=labels)])


def wrong_prompts(stage: Stage) -> Iterator[None]:
    return _refused(stage, [
        msg.Prompt(camera="nobody", box_px=BOX), msg.Prompt(camera="ego"), msg.Prompt(camera="ego", text="a cup"),
        msg.Prompt(camera="ego", points_px=[float("nan"), 1.0], point_labels=[1]),
        msg.Prompt(camera="ego", box_px=BOX[::-1]), msg.Prompt(camera="ego", points_px=[-1e9, 0.0], point_labels=[1]),
    ])  # fmt: skip


def _refused(stage: Stage, prompts: list[msg.Prompt]) -> Iterator[None]:
    """Send prompts; each must be answered with an error."""
    with publisher(stage, msg.Prompt, "/geoseg/prompt") as sends:
        for prompt in prompts:
            prompt.request_id = f"wrong {time.time_ns()}"
            sends.publish(prompt)
            answer = stage.bench.until(lambda: _answer(stage, prompt.request_id))  # noqa: B023 (called at once)
            assert answer.error, prompt
            yield


def _answer(stage: Stage, request_id: str) -> msg.PromptMasks | None:
    return next((each for each in stage.answers if each.request_id == request_id), None)


def wrong_parameters(stage: Stage) -> Iterator[None]:
    values = {
        "sync.slop_s": ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=7.0),
        "pipeline.geometry.encoder": ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="nobody"),
        "tf_wait_s": ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="soon"),
    }
    for name, value in values.items():
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        (result,) = stage.bench.call(SetParameters, "/geoseg/set_parameters", request).results
        assert not result.successful and result.reason, name
        yield


def deactivated(stage: Stage) -> Iterator[None]:
    _change(stage, Transition.TRANSITION_DEACTIVATE)
    try:
        while True:
            yield
    finally:
        _change(stage, Transition.TRANSITION_ACTIVATE)


def _change(stage: Stage, step: int) -> None:
    request = ChangeState.Request(transition=Transition(id=step))
    assert stage.bench.call(ChangeState, "/geoseg/change_state", request).success, step


def slow_listener(stage: Stage) -> Iterator[None]:
    newest_only = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    with stranger("sleepy") as node:
        for kind, topic in ((msg.CrossViewMasks, "cross_view_masks"), (msg.InstanceCloud, "instances")):
            node.create_subscription(kind, f"/geoseg/{topic}", lambda _: time.sleep(0.3), newest_only)
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        try:
            while True:
                executor.spin_once(timeout_sec=0.01)
                yield
        finally:
            executor.shutdown()


def incompatible_peer(stage: Stage) -> Iterator[None]:
    demanding = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    volatile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    with stranger("picky") as node:
        node.create_subscription(msg.ObjectEvent, "/geoseg/events", print, demanding)
        node.create_publisher(TFMessage, "/tf_static", volatile)
        while True:
            yield


@contextmanager
def publisher(stage: Stage, kind: type, topic: str) -> Iterator[Any]:
    """A publisher that the node hears."""
    made = stage.bench.node.create_publisher(kind, topic, 10)
    try:
        while not made.get_subscription_count():
            time.sleep(0.01)
        yield made
    finally:
        stage.bench.node.destroy_publisher(made)


@contextmanager
def stranger(name: str) -> Iterator[Node]:
    """A node that joins the network and leaves it, as another process would."""
    context = rclpy.Context()
    context.init()
    node = Node(name, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.shutdown()


Faults = dict[str, Callable[[Stage], Iterator[Any]]]


def _table(*faults: Callable[[Stage], Iterator[Any]]) -> Faults:
    return {each.__name__.replace("_", " "): each for each in faults}


FAULTS = {
    "cameras": _table(
        lying_image, truncated_jpeg, nan_depth, broken_model, repeated_stamp, zero_stamp, skewed_camera, silent_camera,
        bag_loop, clock_back, clock_ahead, other_intrinsics, moved_camera,
    ),
    "peers": _table(
        malformed_bytes, huge_prompt, wrong_prompts, wrong_parameters, deactivated, slow_listener, incompatible_peer
    ),
}  # fmt: skip


def perform(stage: Stage, faults: Faults, idle: Iterator[Any], rate_hz: float) -> None:
    """Step by step at a rate: the faults that are ordered, and `idle` while there is none."""
    orders: SimpleQueue[str] = SimpleQueue()
    Thread(target=_read_orders, args=(orders,), daemon=True).start()
    steps, until_s, due_s = idle, 0.0, time.monotonic()
    while True:
        due_s = max(due_s + 1 / rate_hz, time.monotonic())
        time.sleep(max(due_s - time.monotonic(), 0))
        if steps is not idle and time.monotonic() > until_s:
            steps.close()
            steps = idle
        if steps is idle and not orders.empty():
            order = orders.get()
            if not order:
                return
            wanted = json.loads(order)
            steps, until_s = faults[wanted["fault"]](stage), time.monotonic() + wanted["seconds"]
        stage.roll()
        sent_ns = time.time_ns()
        stamp_ns = next(steps, None)
        if stamp_ns is not None:
            print(stamp_ns, sent_ns, flush=True)


def _read_orders(orders: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        orders.put(line)
    orders.put("")


def main(role: str, height: str, width: str, rate_hz: str) -> None:
    with bench(f"soak_{role}") as made:
        stage = Stage(made, made.listen(msg.PromptMasks, "/geoseg/prompt_masks") if role == "peers" else [])
        idle: Iterator[Any] = itertools.repeat(None)
        if role == "cameras":
            stage.show([views for views, _ in scene((int(height), int(width)))])
            idle = clean(stage)
        perform(stage, FAULTS[role], idle, float(rate_hz))


if __name__ == "__main__":
    main(*sys.argv[1:])
