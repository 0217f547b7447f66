"""Serving callbacks until the end: one that breaks is logged and costs its message, not the node."""

import traceback

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger


def serve(executor: SingleThreadedExecutor) -> None:
    """Spin until the context is shut down.

    Raises:
        ExternalShutdownException, KeyboardInterrupt: the end, as from `spin`.
        Exception: whatever breaks while the context is already gone.
    """
    while True:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            raise
        except Exception as error:
            if not executor.context.ok():
                raise
            get_logger("geoseg").error(f"a callback failed: {''.join(traceback.format_exception(error))}")
