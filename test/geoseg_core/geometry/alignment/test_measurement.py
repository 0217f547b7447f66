"""Scales out of depth and sizes, fused over sources and over time, and the drift alarm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.drift import DriftAlarm, DriftConfig, scale_problem
from geoseg_core.geometry.alignment.estimator import ScaleConfig, ScaleEstimator
from geoseg_core.geometry.alignment.measurement import ScaleMeasurement, fit_depth, fuse, known_size
from geoseg_core.results import ScaleStatus

SLOPED = np.linspace(0.5, 2.0, 64 * 64, dtype=np.float32).reshape(64, 64)


def test_depth_that_is_three_times_the_predicted() -> None:
    fit = fit_depth([SLOPED], [3 * SLOPED])
    assert fit is not None and fit.scale == pytest.approx(3.0) and fit.tiles == 64
    assert fit.deviation < 1e-6 and fit.residual < 1e-6 and fit.agreeing == 1.0


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20.0))
@settings(max_examples=25, deadline=None)
def test_noise_holes_and_a_wrong_fifth_do_not_matter(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    measured = SLOPED * scale * (1 + 0.02 * random.normal(size=SLOPED.shape)).astype(np.float32)
    measured[:12] *= 2.5  # a hand before the depth camera
    measured[random.random(SLOPED.shape) < 0.3] = 0
    measured[random.random(SLOPED.shape) < 0.02] = np.nan
    fit = fit_depth([SLOPED, SLOPED], [measured, np.zeros_like(SLOPED)])
    assert fit is not None and fit.scale == pytest.approx(scale, rel=0.01)
    assert 0.7 < fit.agreeing < 0.85 and fit.deviation < 0.01


def test_the_claimed_deviation_of_depth_is_that_of_the_scale() -> None:
    random = np.random.default_rng(1)
    scales, deviations = [], []
    for _ in range(100):
        bent = np.kron(1 + 0.05 * random.normal(size=(8, 8)), np.ones((8, 8)))  # a network errs by regions
        fit = fit_depth([SLOPED], [SLOPED * bent.astype(np.float32)])
        scales.append(fit.scale)
        deviations.append(fit.deviation)
    assert 0.8 * np.std(scales) < np.mean(deviations) < 1.25 * np.std(scales)
    assert np.mean(scales) == pytest.approx(1.0, abs=0.005)


def test_too_little_depth_says_nothing() -> None:
    few = np.zeros_like(SLOPED)
    few[:16, :16] = 1
    assert fit_depth([SLOPED], [few * 0]) is None
    assert fit_depth([SLOPED], [few[:, ::-1] * (few > 2)]) is None
    assert fit_depth([], []) is None
    with pytest.raises(BadInput, match="one size"):
        fit_depth([SLOPED], [SLOPED[:10]])


def test_a_mug_of_twelve_centimetres() -> None:
    measured = known_size(0.12, 0.03, 0.05)
    assert (measured.source, measured.scale) == ("known_size", pytest.approx(4.0))
    assert measured.variance == pytest.approx(2 * 0.05**2)
    for size, extent in [(0.0, 1.0), (1.0, 0.0), (1.0, float("nan")), (float("inf"), 1.0)]:
        with pytest.raises(BadInput, match="positive lengths"):
            known_size(size, extent, 0.05)


def test_sources_are_weighted_by_what_they_know() -> None:
    sharp, blunt = ScaleMeasurement("depth_camera", 2.0, 0.01), ScaleMeasurement("tf_baseline", 2.2, 0.03)
    both = fuse([blunt, sharp])
    assert both.source == "depth_camera"
    assert np.log(both.scale) == pytest.approx(np.log(2.0) + 0.1 * np.log(1.1))  # weights 9 to 1
    assert both.deviation == pytest.approx(np.hypot(0.9 * 0.01, 0.1 * 0.03))


def measured(scale: float = 2.0, deviation: float = 0.02, source: str = "tf_baseline", systematic: float = 0.01):
    return ScaleMeasurement(source, scale, deviation, systematic)


def test_unknown_estimated_locked_and_back() -> None:
    estimator = ScaleEstimator(ScaleConfig(change=0.01, usable_deviation=0.1, lock_deviation=0.025, lock_sets=3))
    assert estimator.state().status is ScaleStatus.UNKNOWN
    statuses = []
    for _ in range(6):
        assert estimator.update(measured()) == ""
        statuses.append(estimator.state().status.name)
    assert statuses == ["ESTIMATED"] * 2 + ["LOCKED"] * 4
    state = estimator.state()
    assert state.source == "tf_baseline" and estimator.scale == pytest.approx(2.0)
    # Never surer than what is wrong in every set alike.
    assert 0.01 < state.standard_deviation < 0.025
    fading = []
    for _ in range(120):
        estimator.update(None)
        fading.append(estimator.state().status)
    assert fading[0] is ScaleStatus.LOCKED and fading[10] is ScaleStatus.ESTIMATED
    assert fading[-1] is ScaleStatus.UNKNOWN
    assert fading == sorted(fading, reverse=True)
    assert estimator.state().source == "" and np.isinf(estimator.state().standard_deviation)


def test_a_blunt_measurement_leaves_the_scale_unknown() -> None:
    estimator = ScaleEstimator(ScaleConfig(usable_deviation=0.3))
    estimator.update(measured(deviation=0.5))
    assert estimator.state().status is ScaleStatus.UNKNOWN


def test_what_is_systematic_keeps_a_scale_from_being_locked() -> None:
    estimator = ScaleEstimator()
    for _ in range(50):
        estimator.update(measured(1.0, 0.0, "metric_encoder", 0.1))
    state = estimator.state()
    assert state.status is ScaleStatus.ESTIMATED and state.standard_deviation == pytest.approx(0.1, rel=0.02)
    estimator.update(measured(1.15, 0.005, "depth_camera", 0.01))
    assert estimator.scale == pytest.approx(1.15, abs=0.01) and estimator.state().source == "depth_camera"
    assert estimator.deviation < 0.03
    # The metric guess of a set without depth does not undo it.
    estimator.update(measured(1.0, 0.0, "metric_encoder", 0.1))
    assert estimator.scale == pytest.approx(1.15, abs=0.02) and estimator.state().source == "depth_camera"


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_truth_lies_within_the_claimed_deviation(seed: int) -> None:
    random = np.random.default_rng(seed)
    estimator, errors = ScaleEstimator(), []
    for _ in range(60):
        estimator.update(measured(float(np.exp(0.03 * random.normal())), 0.03, systematic=0.0))
        errors.append(np.log(estimator.scale) / estimator.deviation)
    assert np.max(np.abs(errors[10:])) < 4.5
    assert estimator.state().status is ScaleStatus.LOCKED


def test_a_measurement_far_off_is_not_believed_until_it_stays() -> None:
    estimator = ScaleEstimator(ScaleConfig(restart_sets=3))
    for _ in range(10):
        estimator.update(measured(2.0))
    problems = [estimator.update(measured(3.0)) for _ in range(3)]
    assert all("tf_baseline gives a scale of 3 where 2 was known" in each for each in problems)
    assert estimator.scale == pytest.approx(2.0) and estimator.restarts == 0
    estimator.update(measured(2.0))
    assert [bool(estimator.update(measured(3.0))) for _ in range(5)] == [True] * 4 + [False]
    assert estimator.scale == pytest.approx(3.0) and estimator.restarts == 1
    assert estimator.state().status is ScaleStatus.ESTIMATED


def test_the_alarm_takes_several_sets_to_go_on_and_off() -> None:
    alarm = DriftAlarm(DriftConfig(sets=3))
    heard = []
    for problem in ["a", "", "a", "a", "b", "c", "", "c", "", "", ""]:
        alarm.update(problem)
        heard.append(alarm.reason)
    assert heard == ["", "", "", "", "b", "c", "c", "c", "c", "c", ""]


def test_an_alarm_unlocks_the_scale() -> None:
    estimator = ScaleEstimator()
    for _ in range(20):
        estimator.update(measured(deviation=0.01))
    assert estimator.state().status is ScaleStatus.LOCKED
    state = estimator.state("exo is turned")
    assert (state.status, state.drift) == (ScaleStatus.ESTIMATED, "exo is turned")


def test_sources_that_contradict_each_other() -> None:
    config = DriftConfig(scale=0.1)
    near = [measured(2.0), measured(2.1, source="depth_camera")]
    far = [measured(2.0), measured(2.6, source="depth_camera")]
    vague = [measured(2.0), measured(2.6, 0.5, source="depth_camera")]
    assert scale_problem(near, config) == scale_problem(vague, config) == ""
    assert scale_problem(far, config) == "tf_baseline gives a scale of 2, depth_camera of 2.6"
