"""The perception node: camera images in; masks, labelled clouds, instances and answers to prompts out.

Hears, for each camera C of the parameter `cameras`: C/image (or C/image/compressed), C/camera_info, C/depth (or
C/depth/compressedDepth); /tf, /tf_static; ~/prompt, /clicked_point (RViz), ~/C/overlay_mouse_left (rqt_image_view).
Says ~/cross_view_masks, ~/instances, ~/instances/cloud, ~/instances/boxes, ~/prompt_masks, ~/events, ~/C/labels,
~/C/overlay, /diagnostics. Services and the action are in services.py.
Frames: each image in its own optical frame; everything in 3-D in the parameter `world_frame`.

One thread (the executor's) receives and groups; one other (the worker's) decodes, computes and publishes.
"""

import sys
import traceback
from functools import partial

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.clock import TimeJump as ClockJump
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Header

from geoseg_core.errors import GeosegError
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.process_memory import return_freed
from geoseg_core.synchronizer import TimeJump
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.diagnostics import Statistics, diagnostics_to_msg, not_ready_to_msg
from geoseg_ros.environment import set_ros_environment
from geoseg_ros.frames import FrameBuilder
from geoseg_ros.inputs import Inputs
from geoseg_ros.model_maker import ModelMaker
from geoseg_ros.parameters import NodeParameters
from geoseg_ros.publishers import Outputs
from geoseg_ros.qos_peers import QosPeers
from geoseg_ros.scene import Scene
from geoseg_ros.services import Services
from geoseg_ros.serving import serve
from geoseg_ros.shared_memory import prepare_shared_memory
from geoseg_ros.worker import Arrival, Worker

POLL_S = 0.1
# Freed memory is kept for so long at most: a large message or set must not leave the node larger.
KEEP_FREED_S = 5.0
# While the model computes, a message that comes in waits this long for Python's lock, several times; 5 ms by default.
SWITCH_INTERVAL_S = 0.0005
STEADY = Clock(clock_type=ClockType.STEADY_TIME)  # timers must go on while the simulation's time stands still
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """See the module's docstring.

    Raises:
        BadConfig: a parameter given at start is refused.
    """

    def __init__(self, name: str = "geoseg", **options) -> None:
        super().__init__(name, **options)
        self._configuration = NodeParameters(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._worker: Worker | None = None
        self._inputs: Inputs | None = None
        period_s = self._configuration.config.diagnostics.period_s
        self.create_timer(period_s, self._diagnose, clock=STEADY)
        self.create_timer(KEEP_FREED_S, return_freed, clock=STEADY)

    @property
    def autostart(self) -> bool:
        return self._configuration.config.autostart

    def make_pipeline(self, config: PipelineConfig) -> ScenePipeline:
        """The model; the seam where another one is put in."""
        return ScenePipeline(config)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, build the model, announce outputs and services."""
        log = self.get_logger()
        maker = ModelMaker(self.make_pipeline, self._configuration.config, log.info)
        try:
            pipeline = maker.first()
        except GeosegError as error:
            log.error(f"not configured: {error}")
            return FAILURE
        config = maker.config
        model = {"encoder": config.pipeline.geometry.encoder}
        for part, (words, weights) in pipeline.networks.items():
            log.info(f"{words}, {weights}")
            prefix = f"{part}_" if part else ""
            model |= {f"{prefix}weights": weights.name, f"{prefix}licence": weights.licence}
        if vocabulary := config.pipeline.instances.vocabulary.model:
            log.info(f"vocabulary {vocabulary}, classes: {', '.join(pipeline.classes) or 'none'}")
            model |= {"vocabulary": vocabulary}
        self._statistics = Statistics(log.warning, model)
        self._rig = CameraRig(config.cameras, config.world_frame)
        self._outputs = Outputs(
            self, config.cameras, config.world_frame, pipeline.instances_by, pipeline.masks_by, pipeline.prompts_by
        )
        builder = FrameBuilder(self._rig, config, self._statistics)
        self._scene = Scene(
            pipeline, maker.again, self._rig, builder, self._outputs, self._statistics, config, self.get_clock(),
            log.info,
        )  # fmt: skip
        self._answering = Services(self, self._configuration, self._scene, self._outputs, self._statistics)
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the model where it was let go, start the worker, then listen."""
        config = self._configuration.config
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            self._scene.load()
            self._statistics.restart()
            self._worker = self._answering.worker = Worker(self._scene.process, self._failed, self._wake)
            self._inputs = Inputs(
                self, config, self._rig, self._statistics, self._offer, self._time_jumped, self._camera_changed
            )
        except GeosegError as error:
            self.get_logger().error(f"not activated: {error}")
            self._stop()
            return FAILURE
        self._peers = QosPeers(self, lambda: [*self._inputs.subscriptions, *self._outputs.publishers])
        self._poll_timer = self.create_timer(POLL_S, self._poll, clock=STEADY)
        back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-config.sync.max_age_s))
        self._clock_watch = self.get_clock().create_jump_callback(back, post_callback=self._clock_jumped)
        self.get_logger().info(f"active: cameras {' '.join(config.cameras)}, tasks {' '.join(config.pipeline.tasks)}")
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and computing, let go of the model with its weights; what it remembers stays."""
        self._stop()
        self._scene.unload()
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model, the outputs and the services."""
        self._answering.close()
        self._outputs.close()
        del self._answering, self._outputs, self._scene, self._rig
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self._stop()
        return SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker first: it publishes through this node."""
        self._stop()
        super().destroy_node()

    def _stop(self) -> None:
        if self._inputs is not None:
            self.destroy_timer(self._poll_timer)
            self._clock_watch.unregister()
            self._inputs.close()
            self._inputs = None
        if self._worker is not None:
            self._answering.worker = None
            self._worker.stop()
            self._worker = None

    def _offer(self, arrival: Arrival) -> None:
        if self._worker.offer(arrival):
            self._statistics.count_set("superseded")

    def _camera_changed(self, camera: str, why: str) -> None:
        self._worker.call(partial(self._scene.flush, camera, why))

    def _time_jumped(self, jump: TimeJump) -> None:
        self._begin_anew(jump.to_ns, f"time jumped from {jump.from_ns / 1e9:.3f} s to {jump.to_ns / 1e9:.3f} s")

    def _clock_jumped(self, jump: ClockJump) -> None:
        self._inputs.clear()
        self._begin_anew(
            self.get_clock().now().nanoseconds, f"the clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s"
        )

    def _begin_anew(self, to_ns: int, why: str) -> None:
        if self._worker.withdraw():
            self._statistics.count_set("time_jump")
        self._rig.forget_after(to_ns + round(self._configuration.config.sync.max_age_s * 1e9))
        self._worker.call(partial(self._scene.reset, why))

    def _failed(self, error: Exception, what: str) -> None:
        if not self.context.ok():
            return  # Ctrl-C: the middleware ends first, and a set that was being published can't be any more
        self._statistics.count_set("failed")
        self.get_logger().error(f"{what} failed: {''.join(traceback.format_exception(error))}")

    def _wake(self) -> None:
        if self.executor is not None:
            self.executor.wake()

    def _poll(self) -> None:
        self._inputs.poll()
        found = self._peers.look()
        for peer in sorted(found - self._statistics.incompatible):
            self.get_logger().warning(f"incompatible QoS, nothing comes through: {peer}")
        self._statistics.incompatible = found

    def _diagnose(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg())
        if self._inputs is None:
            self._diagnostics.publish(not_ready_to_msg(header))
            return
        self._diagnostics.publish(
            diagnostics_to_msg(header, self._configuration.config, self._statistics, self._inputs.synchronizer)
        )


def create_node(kind: type[PerceptionNode] = PerceptionNode) -> PerceptionNode:
    """The node, started as its parameter `autostart` says.

    Raises:
        BadConfig: a parameter is refused.
    """
    node = kind()
    if node.autostart and node.trigger_configure() == SUCCESS:
        node.trigger_activate()
    return node


def main(kind: type[PerceptionNode] = PerceptionNode) -> None:
    """Run the node alone in its process until SIGINT or SIGTERM."""
    set_ros_environment()
    prepare_shared_memory()
    rclpy.init()
    try:
        node = create_node(kind)
    except GeosegError as error:
        sys.exit(f"geoseg perception: {error}")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        serve(executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
