"""Temperature, cross-fitting, and the cuts and priors that use no labels: checked against
scikit-learn, and on shifts made on purpose.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.evaluation.calibration import (
    apply_temperature,
    best_threshold,
    fit_temperature,
    threshold_for_rate,
)
from pcam_kit.evaluation.crossfit import cross_fit


def draw(
    n: int, seed: int, *, says_too_much: float = 1.0, share: float = 0.5, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities float32; calibrated at share 0.5 when `says_too_much` is 1 and
    `shift` 0.
    """
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(np.int8)
    # means ±1.5, variance 3: the log-odds of themselves
    log_odds = 2.0 * (y - 0.5) * 1.5 + 3.0**0.5 * rng.standard_normal(n)
    return y, (1 / (1 + np.exp(-(says_too_much * log_odds + shift)))).astype(np.float32)


@pytest.mark.parametrize("says_too_much", [0.3, 1.0, 2.5, 6.0])
def test_the_temperature_is_that_of_a_logistic_regression(says_too_much: float) -> None:
    y, p = draw(4000, 0, says_too_much=says_too_much)
    found = fit_temperature(y, p)
    log_odds = metrics.log_odds(p.astype(np.float64), metrics.machine_epsilon(p))
    plain = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=1e-12)
    # 40 halvings of the range leave 5e-12 of the logarithm
    expected = 1 / plain.fit(log_odds[:, None], y).coef_.item()
    assert found.value == pytest.approx(expected, rel=1e-11)
    assert found.value == pytest.approx(says_too_much, rel=0.1)
    assert found.log_loss_before == metrics.log_loss(y, p)
    assert found.log_loss_after == pytest.approx(
        metrics.log_loss(y, apply_temperature(p, found.value)), abs=1e-12
    )
    assert found.log_loss_after <= found.log_loss_before
    assert found.ece_before == metrics.expected_calibration_error(y, p)
    if says_too_much != 1:
        assert found.ece_after < found.ece_before / 2


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(0, 1, width=32)), min_size=2, max_size=30
    ).filter(lambda x: len({y for y, _ in x}) == 2)
)
@settings(max_examples=100, deadline=None)
def test_no_temperature_nearby_is_better(case: list[tuple[int, float]]) -> None:
    y, p = np.array([y for y, _ in case]), np.array([p for _, p in case], np.float32)
    found = fit_temperature(y, p)
    assert 1 / 20 <= found.value <= 20 * (1 + 1e-9)
    for other in (0.05, found.value * 0.98, found.value * 1.02, 1.0, 20.0):
        assert (
            found.log_loss_after
            <= metrics.log_loss(y, apply_temperature(p, float(np.clip(other, 0.05, 20)))) + 1e-7
        )


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.floats(0.05, 20))
@settings(max_examples=100, deadline=None)
def test_order_stays_and_temperatures_undo_one_another(
    values: list[float], temperature: float
) -> None:
    p = np.array(values, np.float32)
    after = apply_temperature(p, temperature)
    assert ((after >= 0) & (after <= 1)).all()
    assert (np.diff(after[np.argsort(p, kind="stable")]) >= 0).all()
    assert apply_temperature(p, 1.0) == pytest.approx(p, abs=2e-7)
    hot = apply_temperature(p, 20.0)
    assert apply_temperature(hot, 1 / 20) == pytest.approx(p, abs=1e-6)


def test_ends_of_the_range() -> None:
    assert fit_temperature([0, 0, 1, 1], [0.4, 0.45, 0.55, 0.6]).value == pytest.approx(0.05)
    assert fit_temperature([1, 1, 0, 0], [0.4, 0.45, 0.55, 0.6]).value == pytest.approx(20)
    sure = fit_temperature([0, 1, 0, 1, 1], np.array([0, 1, 1, 1, 1], np.float32))
    assert sure.value > 5
    assert sure.log_loss_after < sure.log_loss_before / 3


def test_cross_fitting_is_fitting_on_the_other_folds() -> None:
    y, p = draw(600, 1, says_too_much=3.0, shift=1.0)
    # five slides, five folds: each slide is one
    groups = np.repeat(np.arange(5), 120).astype(np.int32)
    said, tempered = np.empty(600), np.empty(600)
    for rest, here in KFold(5).split(y):
        said[here] = p[here] >= best_threshold(y[rest], p[rest]).value
        tempered[here] = apply_temperature(p[here], fit_temperature(y[rest], p[rest]).value)
    found = cross_fit(y, p, groups)
    assert found is not None
    assert (found.by, found.accuracy) == ("slides", (said == y).mean())
    assert found.log_loss == pytest.approx(metrics.log_loss(y, tempered), abs=1e-12)
    assert found.ece == pytest.approx(metrics.expected_calibration_error(y, tempered), abs=1e-12)


def test_cross_fitting_flatters_less_than_choosing_and_measuring_at_once() -> None:
    same, others, truth = [], [], []
    fresh_y, fresh_p = draw(50_000, 999, shift=0.7)
    for seed in range(150):
        y, p = draw(100, seed, shift=0.7)
        chosen = best_threshold(y, p)
        found = cross_fit(y, p)
        assert found is not None
        same.append(chosen.accuracy)
        others.append(found.accuracy)
        truth.append(metrics.accuracy(fresh_y, fresh_p, chosen.value))
    assert abs(np.mean(others) - np.mean(truth)) < np.mean(same) - np.mean(truth)


@pytest.mark.parametrize(
    ("labels", "groups", "by"),
    [
        ([0, 1] * 10, None, "patches"),
        ([0, 1] * 10, [-1] * 20, "patches"),
        ([0, 1] * 10, [0] * 20, "patches"),
        ([0, 1] * 10, [0, 0, 1, 1] * 5, "slides"),
        # a slide a class: without it the other class is alone
        ([0, 1] * 10, [0, 1] * 10, "patches"),
        ([1] * 5 + [0] * 15, [0] * 5 + [1, 2, 3] * 5, "patches"),  # all tumour in one slide
        ([0, 0, 0, 1, 1], None, "patches"),
    ],
)
def test_folds_hold_whole_slides_where_both_classes_allow_it(
    labels: list[int], groups: list[int] | None, by: str
) -> None:
    p = np.random.default_rng(0).random(len(labels))
    found = cross_fit(labels, p, None if groups is None else np.array(groups, np.int32))
    assert found is not None
    assert found.by == by


def test_a_single_patch_of_a_class_leaves_nothing_to_fit() -> None:
    assert cross_fit([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_no_cut_comes_nearer_to_the_rate(values: list[float], rate: float) -> None:
    p = np.array(values)
    cut = threshold_for_rate(p, rate)
    assert 0 < cut < 1
    assert not np.isin(cut, p)
    edges = np.unique(np.concatenate([[0.0], p, [1.0]]))
    others = [low + (high - low) / 2 for low, high in pairwise(edges)]
    nearest = min(
        abs((p >= other).mean() - rate)
        for other in others
        if 0 < other < 1 and not np.isin(other, p)
    )
    assert abs((p >= cut).mean() - rate) == pytest.approx(nearest, abs=1e-12)


def test_the_rate_cut_undoes_a_shift_and_hurts_with_a_wrong_rate() -> None:
    y, p = draw(20_000, 3)
    right = metrics.accuracy(y, p, 0.5)
    y, moved = draw(20_000, 3, shift=2.0)  # the same patches, every one stained towards tumour
    assert metrics.accuracy(y, moved, 0.5) < right - 0.1
    assert metrics.accuracy(y, moved, threshold_for_rate(moved, 0.5)) == pytest.approx(
        right, abs=0.005
    )
    y, rare = draw(20_000, 4, share=0.1)
    assert (
        metrics.accuracy(y, rare, threshold_for_rate(rare, 0.5))
        < metrics.accuracy(y, rare, 0.5) - 0.2
    )


def test_bad_input_is_named() -> None:
    with pytest.raises(
        DataError, match="a temperature needs both classes, found 2 labels that are all 1"
    ):
        fit_temperature([1, 1], [0.2, 0.3])
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="a finite number above 0"):
            apply_temperature([0.5], temperature)
    with pytest.raises(DataError, match=r"a rate lies within \[0, 1\], found 50"):
        threshold_for_rate([0.5], 50)
    with pytest.raises(DataError, match="nothing"):
        threshold_for_rate([], 0.5)
