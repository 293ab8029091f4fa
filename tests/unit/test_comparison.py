"""Comparisons: equal to counting every pair, right as often as they say, and the same whichever run
comes first.
"""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.evaluation.comparison import Answers, compare, delong, mcnemar
from pcam_kit.evaluation.intervals import resample


def two_runs(n: int, seed: int, *, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and the probabilities of two runs that err on the same patches more often than not;
    with ties.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    y[:4] = 0, 1, 0, 1
    common = 1.2 * y - 0.6 + rng.standard_normal(n)
    one, two = (common + extra * (y - 0.5) + 0.6 * rng.standard_normal(n) for extra in (0.0, gain))
    return y, (1 / (1 + np.exp(-one))).round(2), (1 / (1 + np.exp(-two))).round(2)


def by_every_pair(
    y: np.ndarray, one: np.ndarray, two: np.ndarray
) -> tuple[float, float, float, float] | None:
    """DeLong's test from the m x n table of wins, and the covariance matrix of the paper; None
    where that has no variance.
    """
    wins = [np.heaviside(s[y == 1][:, None] - s[y == 0][None, :], 0.5) for s in (one, two)]
    m, n = wins[0].shape
    of_positive, of_negative = (
        np.cov([w.mean(axis=1) for w in wins]),
        np.cov([w.mean(axis=0) for w in wins]),
    )
    contrast = np.array([-1, 1])
    error = float(contrast @ (of_positive / m + of_negative / n) @ contrast) ** 0.5
    if error < 1e-9:
        return None
    value = float(wins[1].mean() - wins[0].mean())
    half = 1.959963984540054 * error
    return (
        value,
        max(-1.0, value - half),
        min(1.0, value + half),
        2 * float(stats.norm.sf(abs(value) / error)),
    )


@given(st.integers(8, 60), st.integers(0, 10_000), st.sampled_from([0.0, 1.0]))
@settings(max_examples=60, deadline=None)
def test_delong_by_counting_every_pair(n: int, seed: int, gain: float) -> None:
    y, one, two = two_runs(n, seed, gain=gain)
    expected = by_every_pair(y, one, two)
    if expected is None:  # see test_without_a_variance
        return
    assert astuple(delong(y, one, two)) == pytest.approx(expected, abs=1e-9)


def test_a_difference_turns_round_with_the_runs() -> None:
    y, one, two = two_runs(300, 5, gain=0.5)
    groups = np.repeat(np.arange(15), 20).astype(np.int32)
    for slides in (None, groups):
        there, back = (
            compare(y, *pair, slides)
            for pair in [
                (Answers(one, 0.4), Answers(two, 0.5)),
                (Answers(two, 0.5), Answers(one, 0.4)),
            ]
        )
        for here, other in ((there.auc, back.auc), (there.accuracy, back.accuracy)):
            assert (-here.value, -here.high, -here.low, here.p) == pytest.approx(
                astuple(other), abs=1e-9
            )
            assert here.low <= here.value <= here.high
    assert there.auc.value == metrics.roc_auc(y, two) - metrics.roc_auc(y, one)
    assert there.accuracy.value == metrics.accuracy(y, two, 0.5) - metrics.accuracy(y, one, 0.4)


def test_no_difference_is_found_in_five_of_a_hundred() -> None:
    auc = accuracy = covered = 0
    for seed in range(600):
        y, one, two = two_runs(200, seed)
        found = compare(y, Answers(one, 0.5), Answers(two, 0.5))
        assert found.auc.p is not None
        assert found.accuracy.p is not None
        auc += found.auc.p < 0.05
        accuracy += found.accuracy.p < 0.05
        covered += found.accuracy.low <= 0 <= found.accuracy.high
    assert 0.023 < auc / 600 < 0.077  # 0.05 ± 3 standard errors
    assert 0.015 < accuracy / 600 < 0.077  # mid-p errs on the safe side
    assert 0.923 < covered / 600 < 0.99


@pytest.mark.parametrize(
    ("worse", "better"), [(0, 0), (0, 1), (3, 3), (2, 9), (40, 25), (900, 1000)]
)
def test_mcnemar_by_the_binomial(worse: int, better: int) -> None:
    y = np.ones(worse + better + 50)
    one, two = np.ones(y.size), np.ones(y.size)
    two[:worse] = 0
    one[worse : worse + better] = 0
    found = mcnemar(y, Answers(one, 0.5), Answers(two, 0.5))
    coin = stats.binom(worse + better, 0.5)
    smaller = min(worse, better)
    assert found.p == pytest.approx(min(1.0, 2 * coin.cdf(smaller) - coin.pmf(smaller)), rel=1e-9)
    assert found.value == (better - worse) / y.size
    assert found.low <= found.value <= found.high


def test_the_same_run_twice_does_not_differ() -> None:
    y, one, _ = two_runs(100, 0)
    for groups in (None, np.repeat(np.arange(10), 10).astype(np.int32)):
        found = compare(y, Answers(one, 0.5), Answers(one, 0.5), groups)
        assert (found.auc.value, found.auc.low, found.auc.high, found.auc.p) == (0, 0, 0, 1)
        assert (found.accuracy.value, found.accuracy.p) == (0, 1)
        assert found.accuracy.low <= 0 <= found.accuracy.high


def test_without_a_variance_there_is_no_p_and_a_wide_interval() -> None:
    y = [0] * 10 + [1] * 10
    found = delong(y, np.arange(20), -np.arange(20))
    assert (found.value, found.p) == (-1.0, None)
    assert -1 <= found.low < -0.5 < found.high < 0
    single = delong([0, 0, 1], [1, 2, 3], [1, 3, 2])
    assert single.p is None
    assert single.low < single.value < single.high


def test_by_slide_the_same_slides_are_drawn_for_both() -> None:
    y, one, two = two_runs(400, 8, gain=0.8)
    groups = np.repeat(np.arange(20), 20).astype(np.int32)
    found = compare(y, Answers(one, 0.5), Answers(two, 0.5), groups)
    assert found.slides == 20
    apart = resample(y, two, 0.5, groups, seed=1).auc - resample(y, one, 0.5, groups, seed=2).auc
    assert found.auc.high - found.auc.low < 0.9 * (
        np.quantile(apart, 0.975) - np.quantile(apart, 0.025)
    )


def test_slides_that_differ_as_a_whole_are_not_taken_for_many_patches() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 100).astype(np.int32)
    y = np.tile([0, 1], 500)
    one = np.clip(0.5 + 0.2 * (y - 0.5) + 0.2 * rng.standard_normal(1000), 0, 1)
    two = np.where(
        groups < 6, np.clip(one + 0.2 * (y - 0.5), 0, 1), np.clip(one - 0.1 * (y - 0.5), 0, 1)
    )
    by_slide, by_patch = (
        compare(y, Answers(one, 0.5), Answers(two, 0.5), g) for g in (groups, None)
    )
    assert by_slide.auc.high - by_slide.auc.low > 2 * (by_patch.auc.high - by_patch.auc.low)
    assert by_slide.auc.p is not None
    assert by_patch.auc.p is not None
    assert by_slide.auc.p > by_patch.auc.p


def test_a_threshold_is_a_number() -> None:
    with pytest.raises(DataError, match=r"finite numbers, found nan and 0\.5"):
        mcnemar([0, 1], Answers([0.1, 0.9], math.nan), Answers([0.1, 0.9], 0.5))
    with pytest.raises(DataError, match=r"labels \[2\] and scores \[3\]"):
        delong([0, 1], [0.1, 0.9], [0.1, 0.9, 0.3])
