"""A tree of coordinate frames over time: what tf2's buffer does, without ROS.

Every edge is stored as child_to_parent: it maps coordinates in the child frame to the parent frame.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from geoseg_core.errors import BadInput, TransformError
from geoseg_core.shapes import check_shape

MAX_DEPTH = 64


@dataclass(frozen=True, eq=False)
class Pose:
    """A stamped rigid transform as translation (3,) and unit quaternion (4,) xyzw."""

    stamp_ns: int
    translation: np.ndarray
    quaternion: np.ndarray


@dataclass(eq=False)
class Edge:
    """All that is known of one child frame: its parent and its poses in the order of their stamps."""

    parent: str
    static: bool
    poses: list[Pose] = field(default_factory=list)


class TransformTree:
    """Frames connected by timed edges; static edges hold at any time.

    Args:
        history_ns: poses older than the newest of their edge by more than this are forgotten. A pose that comes
            that late says that time has gone back: its edge begins anew.
    """

    def __init__(self, history_ns: int = 10_000_000_000) -> None:
        self._history_ns = history_ns
        self._edges: dict[str, Edge] = {}

    def insert(
        self, parent: str, child: str, stamp_ns: int, child_to_parent: np.ndarray, static: bool = False
    ) -> None:
        """Remember where `child` is in `parent` at one time; a pose with the same stamp is replaced.

        Raises:
            BadInput: not a finite rigid (4, 4) transform, or a frame that would be its own parent.
        """
        translation, quaternion = pose_parts(child_to_parent)
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            raise BadInput(f"transform: expected two different frame names, got {parent!r} and {child!r}")
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = Edge(parent, static)
        pose = Pose(stamp_ns, translation, quaternion)
        if static or (edge.poses and stamp_ns < edge.poses[-1].stamp_ns - self._history_ns):
            edge.poses = [pose]
            return
        position = bisect_left(edge.poses, stamp_ns, key=attrgetter("stamp_ns"))
        if position < len(edge.poses) and edge.poses[position].stamp_ns == stamp_ns:
            edge.poses[position] = pose
        else:
            insort(edge.poses, pose, key=attrgetter("stamp_ns"))
        oldest_ns = edge.poses[-1].stamp_ns - self._history_ns
        del edge.poses[: bisect_left(edge.poses, oldest_ns, key=attrgetter("stamp_ns"))]

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """source_to_target (4, 4) at `stamp_ns`, interpolated between the two nearest poses of each edge.

        Raises:
            TransformError: names the missing link, or the frame whose poses do not reach that time.
        """
        source_part, target_part = self._path(target, source)
        return invert(self._compose(target_part, stamp_ns)) @ self._compose(source_part, stamp_ns)

    def is_static(self, target: str, source: str) -> bool:
        """Whether all edges between two frames are static.

        Raises:
            TransformError: the frames are not connected.
        """
        source_part, target_part = self._path(target, source)
        return all(self._edges[frame].static for frame in source_part + target_part)

    def clear(self) -> None:
        """Forget all poses that move; static ones stay."""
        self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    def forget_after(self, stamp_ns: int) -> None:
        """Forget moving poses later than this: after a jump back in time they belong to the past."""
        for child, edge in list(self._edges.items()):
            if not edge.static:
                del edge.poses[bisect_right(edge.poses, stamp_ns, key=attrgetter("stamp_ns")) :]
                if not edge.poses:
                    del self._edges[child]

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """The frames below the nearest common ancestor, on the source's side and on the target's."""
        target_chain, source_chain = self._chain(target.lstrip("/")), self._chain(source.lstrip("/"))
        common = next((frame for frame in source_chain if frame in target_chain), None)
        if common is None:
            raise TransformError(
                f"expected a chain from {source!r} to {target!r}, got {' -> '.join(source_chain)} and "
                f"{' -> '.join(target_chain)}; publish the missing link on /tf or /tf_static"
            )
        return source_chain[: source_chain.index(common)], target_chain[: target_chain.index(common)]

    def _chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        chain = [frame]
        while (edge := self._edges.get(chain[-1])) is not None:
            if edge.parent in chain or len(chain) > MAX_DEPTH:
                raise TransformError(f"expected a tree of frames, got the loop {' -> '.join([*chain, edge.parent])}")
            chain.append(edge.parent)
        return chain

    def _compose(self, chain: Sequence[str], stamp_ns: int) -> np.ndarray:
        """chain[0] to the parent of chain[-1]."""
        matrix = np.eye(4)
        for frame in chain:
            matrix = _pose_at(self._edges[frame], frame, stamp_ns) @ matrix
        return matrix


def _pose_at(edge: Edge, child: str, stamp_ns: int) -> np.ndarray:
    poses = edge.poses
    if edge.static:
        return pose_matrix(poses[0].translation, poses[0].quaternion)
    after = bisect_left(poses, stamp_ns, key=attrgetter("stamp_ns"))
    if after < len(poses) and poses[after].stamp_ns == stamp_ns:
        return pose_matrix(poses[after].translation, poses[after].quaternion)
    if after == 0 or after == len(poses):
        raise TransformError(
            f"expected a pose of {child!r} in {edge.parent!r} at {stamp_ns} ns, got poses from "
            f"{poses[0].stamp_ns} to {poses[-1].stamp_ns} ns"
        )
    first, second = poses[after - 1], poses[after]
    share = (stamp_ns - first.stamp_ns) / (second.stamp_ns - first.stamp_ns)
    translation = (1 - share) * first.translation + share * second.translation
    return pose_matrix(translation, slerp(first.quaternion, second.quaternion, share))


def slerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The unit quaternion (4,) at `share` of the shorter way from `first` to `second`."""
    cosine = float(first @ second)
    if cosine < 0:  # q and -q are the same rotation: take the near one
        second, cosine = -second, -cosine
    if cosine > 0.9995:  # nearly the same: sin(angle) would vanish
        mixed = (1 - share) * first + share * second
    else:
        angle = np.arccos(cosine)
        mixed = (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)
    return mixed / np.linalg.norm(mixed)


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a rigid (4, 4) transform."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def pose_matrix(
    translation_xyz: Sequence[float] | np.ndarray, quaternion_xyzw: Sequence[float] | np.ndarray
) -> np.ndarray:
    """(4, 4) float64 from translation (3,) and quaternion (4,) of any length but zero.

    Raises:
        BadInput: numbers that are not finite, or a zero quaternion.
    """
    translation = np.asarray(translation_xyz, np.float64)
    quaternion = np.asarray(quaternion_xyzw, np.float64)
    check_shape(translation, "3", "translation")
    check_shape(quaternion, "4", "quaternion")
    length = float(np.linalg.norm(quaternion))
    if not (np.isfinite(translation).all() and np.isfinite(length) and length > 1e-6):
        raise BadInput(f"pose: expected finite numbers and a unit quaternion, got {translation} and {quaternion}")
    x, y, z, w = quaternion / length
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def pose_parts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """translation (3,) and unit quaternion (4,) xyzw with w >= 0 of a rigid (4, 4) transform.

    Raises:
        BadInput: not finite, or the upper 3x3 is no rotation.
    """
    check_shape(matrix, "4 4", "pose")
    rotation = np.asarray(matrix, np.float64)[:3, :3]
    rigid = np.isfinite(matrix).all() and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-4
    if not rigid or np.linalg.det(rotation) < 0:
        raise BadInput(f"pose: expected a rigid transform, got {np.asarray(matrix).tolist()}")
    # Shepperd's method: start from the largest of the four squares, which never divides by about zero.
    m, trace = rotation, np.trace(rotation)
    squares = np.array([*(2 * np.diag(m) - trace), trace])
    largest = int(np.argmax(squares))
    pairs = np.array([
        [1 + squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
        [m[0, 1] + m[1, 0], 1 + squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
        [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 + squares[2], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 1 + squares[3]],
    ])
    quaternion = pairs[largest] / np.linalg.norm(pairs[largest])
    translation = np.asarray(matrix, np.float64)[:3, 3].copy()
    return translation, quaternion if quaternion[3] >= 0 else -quaternion
