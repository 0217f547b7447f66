"""What moves in the workplace: the head that carries the ego camera, and the arm that pushes and hides things."""

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np

from geoseg_core.rig.scene import FOREARM_M, ROBOT_BASE_M, TABLE_TOP_M, UPPER_ARM_M

TRAVEL_HEIGHT_M = 0.25
PUSH_HEIGHT_M = 0.012
HAND_LENGTH_M = 0.235
HAND_HALF_WIDTH_M = 0.09
FINGER_RADIUS_M = 0.03
TRAVEL_SPEED_M_S = 0.75
PUSH_SPEED_M_S = 0.13
PUSH_AREA_M = np.array([0.42, 0.25])


class HeadPath:
    """A smooth seeded walk round the near side of the table: where the ego camera is and what it looks at."""

    def __init__(self, seed: int) -> None:
        self._phase = np.random.default_rng([seed, 1]).uniform(0, 2 * np.pi, 6)

    def at(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Position and target, (3,) metres in the world, at a time."""

        def wave(index: int, period_s: float) -> float:
            return float(np.sin(2 * np.pi * time_s / period_s + self._phase[index]))

        azimuth = -np.pi / 2 + 0.75 * wave(0, 11.0)
        distance = 0.76 + 0.10 * wave(1, 7.0)
        height = 0.50 + 0.09 * wave(2, 9.0)
        target = np.array([0.20 * wave(3, 8.0), 0.02 + 0.07 * wave(4, 6.0), TABLE_TOP_M + 0.02])
        return np.array([distance * np.cos(azimuth), distance * np.sin(azimuth), TABLE_TOP_M + height]), target


@dataclass(frozen=True)
class Obstacle:
    """A thing on the table as the planner sees it: where it is and the radius of its footprint, metres."""

    centre: np.ndarray
    radius_m: float


@dataclass(frozen=True)
class Leg:
    """A straight move of the fingertips with a turn of the hand."""

    end: np.ndarray
    yaw: float
    duration_s: float


class ArmPath:
    """Endless seeded work: push a thing inwards, hold the hand before another, and so on.

    `advance` is called with the time step and what stands on the table; it plans when the last plan is done.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng([seed, 2])
        self._legs: deque[Leg] = deque()
        self._start = np.array([0.0, 0.2, TABLE_TOP_M + TRAVEL_HEIGHT_M])
        self._start_yaw = 0.0
        self._elapsed_s = 0.0
        self._last_pushed = -1
        self._plans = 0
        self.tip = self._start
        self.yaw = 0.0

    def needs_plan(self) -> bool:
        """True when there is nothing left to do."""
        return not self._legs

    def plan(self, things: list[Obstacle], cameras: list[np.ndarray]) -> None:
        """Queue the next piece of work, given what stands where and where the cameras are."""
        hide = self._plans % 2 == 1
        self._plans += 1
        if hide or not self._plan_push(things):
            self._plan_hide(things, cameras[self._plans // 2 % len(cameras)])

    def advance(self, step_s: float) -> None:
        """Move the fingertips along the plan, starting and stopping gently (minimum jerk)."""
        if not self._legs:
            return
        leg = self._legs[0]
        self._elapsed_s += step_s
        part = min(self._elapsed_s / leg.duration_s, 1.0)
        blend = part**3 * (10 - 15 * part + 6 * part**2)
        self.tip = self._start + blend * (leg.end - self._start)
        self.yaw = self._start_yaw + blend * (leg.yaw - self._start_yaw)
        if part >= 1.0:
            self._legs.popleft()
            self._start, self._start_yaw, self._elapsed_s = self.tip, self.yaw, 0.0

    def _plan_push(self, things: list[Obstacle]) -> bool:
        """Find a thing and a direction whose start, sweep and end are free; queue the push."""
        for index in self._generator.permutation(len(things)):
            if index == self._last_pushed:
                continue
            thing = things[index]
            others = [other for order, other in enumerate(things) if order != index]
            for angle in self._generator.uniform(-np.pi, np.pi, 24):
                direction = np.array([np.cos(angle), np.sin(angle)])
                start = thing.centre - direction * (thing.radius_m + 0.055)
                end = thing.centre + direction * 0.13
                if _push_is_free(thing, start, end, others):
                    self._last_pushed = int(index)
                    stop = start + direction * (0.055 - FINGER_RADIUS_M + 0.13)
                    self._queue_push(start, stop, angle - np.pi / 2)
                    return True
        return False

    def _queue_push(self, start: np.ndarray, stop: np.ndarray, yaw: float) -> None:
        low, high = TABLE_TOP_M + PUSH_HEIGHT_M, TABLE_TOP_M + TRAVEL_HEIGHT_M
        yaw = _half_turn_nearest(yaw, self._start_yaw)
        self._travel([*start, high], yaw)
        self._leg([*start, low], yaw, TRAVEL_SPEED_M_S)
        self._leg([*stop, low], yaw, PUSH_SPEED_M_S)
        back = stop - 0.04 * (stop - start) / np.linalg.norm(stop - start)
        self._leg([*back, low], yaw, PUSH_SPEED_M_S)
        self._leg([*back, high], yaw, TRAVEL_SPEED_M_S)

    def _plan_hide(self, things: list[Obstacle], camera: np.ndarray) -> None:
        """Hold the hand between a camera and a thing for a while."""
        thing = things[self._generator.integers(len(things))]
        seen = np.array([*thing.centre, TABLE_TOP_M + 0.05])
        hand = seen + 0.38 * (camera - seen)
        hand[1] = min(hand[1], 0.3)
        yaw = _half_turn_nearest(np.arctan2(*(camera - seen)[1::-1]) - np.pi / 2, self._start_yaw)
        high = TABLE_TOP_M + TRAVEL_HEIGHT_M
        below = [np.linalg.norm(hand[:2] - other.centre) - other.radius_m for other in things]
        low = max(hand[2] - 0.11, TABLE_TOP_M + 0.02) if min(below) > HAND_HALF_WIDTH_M + 0.02 else high
        self._travel([*hand[:2], high], yaw)
        self._leg([*hand[:2], low], yaw, TRAVEL_SPEED_M_S / 2)
        self._legs.append(Leg(np.array([*hand[:2], low]), yaw, 0.8))
        self._leg([*hand[:2], high], yaw, TRAVEL_SPEED_M_S)

    def _travel(self, end: list[float], yaw: float) -> None:
        self._leg(end, yaw, TRAVEL_SPEED_M_S)

    def _leg(self, end: list[float], yaw: float, speed_m_s: float) -> None:
        origin = self._legs[-1].end if self._legs else self._start
        distance = float(np.linalg.norm(np.array(end) - origin))
        self._legs.append(Leg(np.array(end), yaw, max(distance / speed_m_s, 0.15)))


def _push_is_free(thing: Obstacle, start: np.ndarray, end: np.ndarray, others: list[Obstacle]) -> bool:
    """Whether the thing ends well inside the table and neither the hand nor the thing meets another one."""
    inward = np.abs(end) <= np.maximum(PUSH_AREA_M, np.abs(thing.centre))
    if not (inward.all() and (np.abs(start) < [0.6, 0.38]).all()):
        return False
    for other in others:
        at_start = np.linalg.norm(start - other.centre) < other.radius_m + HAND_HALF_WIDTH_M
        swept = _segment_distance(other.centre, thing.centre, end) < other.radius_m + thing.radius_m + 0.01
        if at_start or swept:
            return False
    return True


def _segment_distance(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    along = np.clip((point - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    return float(np.linalg.norm(point - start - along * (end - start)))


def _half_turn_nearest(yaw: float, reference: float) -> float:
    """The yaw of a hand that looks the same after half a turn, nearest to `reference`."""
    return reference + (yaw - reference + np.pi / 2) % np.pi - np.pi / 2


def arm_poses(tip: np.ndarray, yaw: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inverse kinematics: position and quaternion (w x y z) of each moving robot body for a fingertip position."""
    base = np.array(ROBOT_BASE_M)
    wrist = tip + [0, 0, HAND_LENGTH_M]
    reach = wrist - base
    distance = min(float(np.linalg.norm(reach)), UPPER_ARM_M + FOREARM_M - 1e-3)
    along = reach / np.linalg.norm(reach)
    cosine = (UPPER_ARM_M**2 + distance**2 - FOREARM_M**2) / (2 * UPPER_ARM_M * distance)
    up = np.array([0.0, 0.0, 1.0]) - along * along[2]
    elbow = base + UPPER_ARM_M * (cosine * along + np.sqrt(max(1 - cosine**2, 0)) * up / np.linalg.norm(up))
    turn = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    poses = {"upper_arm": (base, _pointing(elbow - base)), "forearm": (elbow, _pointing(wrist - elbow))}
    return poses | {name: (tip, turn) for name in ("hand", "finger_left", "finger_right")}


def _pointing(direction: np.ndarray) -> np.ndarray:
    """Quaternion that turns z into `direction`."""
    quaternion = np.zeros(4)
    mujoco.mju_quatZ2Vec(quaternion, direction / np.linalg.norm(direction))
    return quaternion
