"""Services, the action, the topics of prompts. All are awaited, so that images come in while the model answers."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from geoseg_core.errors import BadInput, GeosegError, TooManyRequests
from geoseg_core.prompts import Prompt
from geoseg_ros import action, conversions, msg, srv
from geoseg_ros.admission import Gate
from geoseg_ros.diagnostics import REQUEST, Statistics
from geoseg_ros.parameters import LONGEST_WAIT_S, NodeParameters
from geoseg_ros.publishers import Outputs
from geoseg_ros.scene import Answer, Scene
from geoseg_ros.sensor_messages import time_to_msg
from geoseg_ros.worker import Request, Worker


class Services:
    """What can be asked of the node; refuses everything while `worker` is None (the node is not active)."""

    def __init__(
        self, node: Node, parameters: NodeParameters, scene: Scene, outputs: Outputs, statistics: Statistics
    ) -> None:
        self._node = node
        self._parameters = parameters
        self._scene = scene
        self._outputs = outputs
        self._statistics = statistics
        self.worker: Worker | None = None
        # A callback that awaits keeps its group busy: in the node's own group it would hold up all subscriptions.
        self._group = ReentrantCallbackGroup()
        self._goals: dict[bytes, Request] = {}
        offers: list[tuple[type, str, Callable[..., Any]]] = [
            (srv.Segment, "~/segment", self._segment),
            (srv.TrackObject, "~/track_object", self._track_object),
            (srv.ForgetObject, "~/forget_object", self._forget_object),
            (srv.ListObjects, "~/list_objects", self._list_objects),
            (srv.ResetMemory, "~/reset_memory", self._reset_memory),
            (srv.SaveMemory, "~/save_memory", partial(self._use_file, scene.save_memory)),
            (srv.LoadMemory, "~/load_memory", partial(self._use_file, scene.load_memory)),
            (srv.SetClasses, "~/set_classes", self._set_classes),
            (srv.QueryInstances, "~/query_instances", self._query_instances),
        ]
        # Each has a gate of its own: a flood at one leaves the others open.
        self._services = [
            node.create_service(kind, name, partial(callback, Gate(name)), callback_group=self._group)
            for kind, name, callback in offers
        ]
        topics: list[tuple[type, str, Callable[..., Any]]] = [
            (msg.Prompt, "~/prompt", self._answer_topic),
            (PointStamped, "/clicked_point", self._answer_point),
            *(
                (Point, f"~/{camera}/overlay_mouse_left", partial(self._answer_pixel, camera))
                for camera in parameters.config.cameras
            ),
        ]
        self._topics = [
            node.create_subscription(kind, name, partial(callback, Gate(name)), 10, callback_group=self._group)
            for kind, name, callback in topics
        ]
        self._action = ActionServer(
            node, action.AcquireObject, "~/acquire_object", partial(self._acquire, Gate("~/acquire_object")),
            callback_group=self._group, cancel_callback=self._cancel,
        )  # fmt: skip

    def close(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)
        for topic in self._topics:
            self._node.destroy_subscription(topic)
        self._action.destroy()

    def _admit(self, gate: Gate) -> None:
        """Comes before anything else is done for a request.

        Raises:
            GeosegError: the node is not active.
            TooManyRequests: more than the node takes.
        """
        if self.worker is None:
            raise GeosegError("expected an active node, but it is inactive; activate it and ask again")
        try:
            gate.admit(self._parameters.config.limits)
        except TooManyRequests as error:
            self._statistics.refuse(gate.name, REQUEST, error)
            raise

    def _request(self, gate: Gate, attempt: Callable[[], Any], timeout_s: float = 0.0, camera: str = "") -> Request:
        """A request for the worker, once it is admitted.

        Raises:
            BadInput: a time to wait that is none.
        """
        if not 0 <= timeout_s <= LONGEST_WAIT_S:
            raise BadInput(f"timeout_s: expected 0 (the node's default) to {LONGEST_WAIT_S:g} s, got {timeout_s}")
        patience_s = timeout_s if timeout_s > 0 else self._parameters.config.prompt_timeout_s
        wanted = f"a frame set with camera {camera!r}" if camera else "a frame set"
        too_late = f"expected {wanted} within {patience_s:g} s, none came; is it publishing?"
        request = Request(attempt, time.monotonic() + patience_s, too_late)
        gate.opened(request)
        return request

    async def _ask(self, gate: Gate, attempt: Callable[[], Any]) -> Any:
        self._admit(gate)
        request = self._request(gate, attempt)
        return await self.worker.ask(request)

    def _prompt_request(
        self, gate: Gate, message: msg.Prompt, timeout_s: float, is_tracked: bool, budget_s: float = 0.0
    ) -> Request:
        """The request for a prompt.

        Raises:
            GeosegError: the prompt can't be right for any set, is one too many, or the node is not active.
        """
        self._admit(gate)
        prompt = conversions.prompt_from_msg(message)
        if prompt.camera not in self._parameters.config.cameras:
            raise BadInput(
                f"prompt: expected a camera of {list(self._parameters.config.cameras)}, got {prompt.camera!r:.80}"
            )
        if is_tracked:
            object_id, label = message.object_id, message.label
            attempt = partial(self._track, prompt, object_id, label, message.request_id, budget_s)
        else:
            attempt = partial(self._scene.segment, prompt, message.request_id)
        return self._request(gate, partial(self._publish_too, attempt), timeout_s, prompt.camera)

    def _track(
        self, prompt: Prompt, object_id: int, label: str, request_id: str, budget_s: float = 0.0
    ) -> Answer | None:
        most = self._parameters.config.limits.objects
        if not object_id and len(self._scene.pipeline.objects()) >= most:
            raise GeosegError(
                f"too many objects: expected at most {most} to be followed at once; forget one first, or raise "
                "limits.objects"
            )
        return self._scene.track(prompt, object_id, label, request_id, budget_s)

    def _publish_too(self, attempt: Callable[[], Answer | None]) -> Answer | None:
        answer = attempt()
        if answer is not None:
            self._outputs.publish_answer(answer.masks)
        return answer

    async def _segment(self, gate: Gate, request: Any, response: Any) -> Any:
        return await self._answer_service(gate, request, response, is_tracked=False)

    async def _track_object(self, gate: Gate, request: Any, response: Any) -> Any:
        response = await self._answer_service(gate, request, response, is_tracked=True)
        response.object_id = response.result.object_id
        return response

    async def _answer_service(self, gate: Gate, request: Any, response: Any, is_tracked: bool) -> Any:
        try:
            asked = self._prompt_request(gate, request.prompt, request.timeout_s, is_tracked)
            answer = await self.worker.ask(asked)
            response.success, response.message, response.result = True, answer.words, answer.masks
        except GeosegError as error:
            response.message = str(error)
        return response

    async def _forget_object(self, gate: Gate, request: Any, response: Any) -> Any:
        return await self._do(gate, partial(self._scene.forget_object, request.object_id), response)

    async def _reset_memory(self, gate: Gate, request: Any, response: Any) -> Any:
        return await self._do(gate, self._scene.reset_now, response)

    async def _do(self, gate: Gate, task: Callable[[], str], response: Any) -> Any:
        try:
            response.message = await self._ask(gate, task)
            response.success = True
        except GeosegError as error:
            response.message = str(error)
        return response

    async def _list_objects(self, gate: Gate, request: Any, response: Any) -> Any:
        try:
            objects = await self._ask(gate, self._scene.objects)
        except GeosegError as error:
            if not isinstance(error, TooManyRequests):  # which is said, now and then
                self._node.get_logger().warning(f"list_objects: {error}")
            return response
        response.object_ids = [each.object_id for each in objects]
        response.labels = [each.label for each in objects]
        response.last_seen = [time_to_msg(each.last_seen_ns) for each in objects]
        return response

    async def _use_file(self, use: Callable[[str], tuple[int, ...]], gate: Gate, request: Any, response: Any) -> Any:
        try:
            response.object_ids = list(await self._ask(gate, partial(use, request.path)))
            response.success = True
            response.message = f"{len(response.object_ids)} objects, {request.path}"
        except GeosegError as error:
            response.message = str(error)
        return response

    async def _set_classes(self, gate: Gate, request: Any, response: Any) -> Any:
        response = await self._do(gate, partial(self._scene.set_classes, tuple(request.classes)), response)
        response.classes_now = list(self._scene.classes())
        return response

    async def _query_instances(self, gate: Gate, request: Any, response: Any) -> Any:
        try:
            found = await self._ask(gate, partial(self._scene.query_instances, request.text))
        except GeosegError as error:
            response.message = str(error)
            return response
        response.success = True
        response.message = f"{len(found)} instances were looked at so far"
        response.ids = [number for number, _ in found]
        response.scores = [score for _, score in found]
        return response

    async def _answer_topic(self, gate: Gate, message: msg.Prompt) -> None:
        request = partial(self._prompt_request, gate, message, 0.0, is_tracked=message.object_id != 0)
        await self._answer_openly(request, message.request_id)

    async def _answer_point(self, gate: Gate, message: PointStamped) -> None:
        point = np.array([message.point.x, message.point.y, message.point.z])
        pointed = partial(self._scene.click_at, point, message.header.frame_id)
        await self._answer_click(gate, pointed, "clicked_point")

    async def _answer_pixel(self, camera: str, gate: Gate, message: Point) -> None:
        pointed = partial(Prompt.click, camera, message.x, message.y)
        await self._answer_click(gate, pointed, "overlay_mouse_left", camera)

    async def _answer_click(
        self, gate: Gate, pointed: Callable[[], Prompt | None], request_id: str, camera: str = ""
    ) -> None:
        if self._parameters.config.clicked_point != "ignore":
            request = partial(self._click_request, gate, partial(self._clicked, pointed, request_id), camera)
            await self._answer_openly(request, request_id)

    def _click_request(self, gate: Gate, attempt: Callable[[], Answer | None], camera: str) -> Request:
        self._admit(gate)
        return self._request(gate, partial(self._publish_too, attempt), camera=camera)

    def _clicked(self, pointed: Callable[[], Prompt | None], request_id: str) -> Answer | None:
        prompt = pointed()
        if prompt is None:
            return None
        if self._parameters.config.clicked_point == "track":
            return self._track(prompt, 0, "", request_id)
        return self._scene.segment(prompt, request_id)

    async def _answer_openly(self, make: Callable[[], Request], request_id: str) -> None:
        """Answer on ~/prompt_masks, a refusal too."""
        try:
            request = make()
            await self.worker.ask(request)
        except GeosegError as error:
            if not isinstance(error, TooManyRequests):  # which is said, now and then
                self._node.get_logger().warning(f"refused prompt {request_id!r:.80}: {error}")
            self._outputs.publish_answer(msg.PromptMasks(request_id=request_id, error=str(error)))

    async def _acquire(self, gate: Gate, goal: ServerGoalHandle) -> action.AcquireObject.Result:
        result = action.AcquireObject.Result()
        key = bytes(goal.goal_id.uuid)
        try:
            wanted = goal.request
            asked = self._prompt_request(gate, wanted.prompt, wanted.timeout_s, True, wanted.budget_s)
            asked.waiting = partial(self._feedback, goal, "waiting_for_images", 0.1)
            self._goals[key] = asked
            is_seen = wanted.prompt.camera in self._scene.cameras()
            self._feedback(goal, "segmenting" if is_seen else "waiting_for_images", 0.1)
            answer = await self.worker.ask(asked)
        except GeosegError as error:
            result.message = str(error)
            goal.abort()
            return result
        finally:
            self._goals.pop(key, None)
        if answer is None:
            result.message = "cancelled"
            goal.canceled()
            return result
        result.success, result.result = True, answer.masks
        result.message = f"object {answer.masks.object_id} is followed, {answer.words}"
        self._feedback(goal, "done", 1.0, answer.masks.cameras)
        goal.succeed()
        return result

    def _feedback(
        self, goal: ServerGoalHandle, stage: str, progress: float, cameras: Sequence[str] | None = None
    ) -> None:
        cameras = list(self._scene.cameras() if cameras is None else cameras)
        goal.publish_feedback(action.AcquireObject.Feedback(stage=stage, cameras=cameras, progress=progress))

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        asked = self._goals.get(bytes(goal.goal_id.uuid))
        if asked is None or asked.is_running or asked.future.done():
            return CancelResponse.REJECT
        asked.future.set_result(None)
        return CancelResponse.ACCEPT
