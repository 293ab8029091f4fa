"""Intervals: equal to resampling by hand, honest where patches of a slide look alike, and a word
where there is little to say.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.evaluation import intervals


def slides(
    count: int, seed: int, *, each: int = 40, effect: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and slide numbers; `effect` moves all patches of a slide together.

    Few decimals make ties.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(
        rng.permutation(count) * 3 + 7, rng.integers(each // 2, 2 * each, count)
    ).astype(np.int32)
    _, slide = np.unique(groups, return_inverse=True)
    labels = (rng.random(groups.size) < rng.beta(1, 1, count)[slide]).astype(np.int8)
    scores = (
        1.5 * labels + rng.normal(0, effect, count)[slide] + rng.standard_normal(groups.size) - 0.75
    )
    order = rng.permutation(groups.size)
    return labels[order], (1 / (1 + np.exp(-scores))).round(2)[order], groups[order]


@pytest.mark.parametrize("draws", [50, 3])  # more draws than slides, or fewer: two ways of counting
def test_every_draw_is_what_copying_the_patches_gives(draws: int) -> None:
    y, p, groups = slides(6, 0)
    found = intervals.resample(y, p, 0.45, groups, draws=draws, seed=3)
    rng = np.random.default_rng(3)
    numbers = np.unique(groups)
    for i in range(draws):
        rows = np.concatenate([np.flatnonzero(groups == numbers[k]) for k in rng.integers(0, 6, 6)])
        assert found.auc[i] == pytest.approx(roc_auc_score(y[rows], p[rows]), abs=1e-12)
        assert found.accuracy[i] == pytest.approx(((p[rows] >= 0.45) == y[rows]).mean(), abs=1e-12)


def test_neither_the_order_of_patches_nor_the_numbers_of_slides_matter() -> None:
    y, p, groups = slides(8, 1)
    order = np.random.default_rng(0).permutation(y.size)
    found = intervals.intervals(y, p, 0.5, groups)
    assert intervals.intervals(y[order], p[order], 0.5, groups[order] * 5) == found
    assert found.slides == 8
    assert found.auc[0] < metrics.roc_auc(y, p) < found.auc[1]
    assert found.accuracy[0] < metrics.accuracy(y, p, 0.5) < found.accuracy[1]


def test_patches_that_look_alike_make_the_interval_wider_and_single_ones_do_not() -> None:
    y, p, groups = slides(30, 2, effect=1.5)
    low, high = intervals.intervals(y, p, 0.5, groups).auc
    alone = metrics.auc_interval(y, p)
    assert high - low > 2 * (alone[1] - alone[0])
    y, p, _ = slides(30, 3, effect=0.0)
    each = intervals.intervals(y, p, 0.5, np.arange(y.size, dtype=np.int32))
    # DeLong's, on its logit scale
    assert each.auc == pytest.approx(metrics.auc_interval(y, p), abs=0.004)
    right = int(((p >= 0.5) == y).sum())
    assert each.accuracy == pytest.approx(intervals.wilson_interval(right, y.size), abs=0.004)


def test_it_holds_the_truth_more_often_than_an_interval_by_patch() -> None:
    y, p, _ = slides(4000, 99)  # as good as all slides
    truth = metrics.accuracy(y, p, 0.5)
    by_slide = by_patch = 0
    for seed in range(100):
        y, p, groups = slides(25, seed)
        low, high = intervals.percentile_interval(
            intervals.resample(y, p, 0.5, groups, draws=300).accuracy, 25
        )
        by_slide += low <= truth <= high
        low, high = intervals.wilson_interval(int(((p >= 0.5) == y).sum()), y.size)
        by_patch += low <= truth <= high
    assert by_slide >= 87
    assert by_patch < by_slide - 10


def test_draws_of_one_class_are_counted_and_left_out() -> None:
    # one of six slides has all the tumour: drawn in 1 - (5/6)^6 of the draws
    y = np.repeat([1, 0], [10, 50])
    p = np.random.default_rng(0).random(60)
    groups = np.repeat(np.arange(6), 10).astype(np.int32)
    found = intervals.intervals(y, p, 0.5, groups)
    assert found.one_class / intervals.DRAWS == pytest.approx((5 / 6) ** 6, abs=0.03)
    assert np.isfinite(found.auc).all()


@pytest.mark.parametrize(
    "groups", [None, [-1] * 60, [0] * 30 + [-1] * 30, [0] * 30 + [1] * 30, list(range(4)) * 15]
)
def test_unknown_or_too_few_slides_give_intervals_by_patch(groups: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    y, p = np.arange(60) % 2, rng.random(60)
    found = intervals.intervals(y, p, 0.5, None if groups is None else np.array(groups, np.int32))
    assert found.slides is None
    assert intervals.sampling_unit(found.slides) == "patches"
    assert found.auc == metrics.auc_interval(y, p)
    assert found.accuracy == intervals.wilson_interval(int(((p >= 0.5) == y).sum()), 60)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 40), (40, 40), (17, 40), (30_000, 32_768)])
def test_wilson_by_its_definition(right: int, n: int) -> None:
    found = intervals.wilson_interval(right, n)
    reference = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert 0 <= found[0] <= right / n <= found[1] <= 1
    assert found[0] < found[1]


@pytest.mark.parametrize("count", [5, 10, 54])
def test_percentiles_are_expanded_as_far_as_students(count: int) -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    low, high = intervals.percentile_interval(np.append(values, np.nan), count)
    expected = stats.t.ppf(0.975, count - 1) * (count / (count - 1)) ** 0.5
    assert (-low, high) == pytest.approx((expected, expected), rel=0.02)


@pytest.mark.parametrize("count", [5, 20, 200])
@pytest.mark.parametrize("shift", [0.0, 1.0, -2.0, 2.6])
def test_p_belongs_to_the_interval(count: int, shift: float) -> None:
    values = np.random.default_rng(1).normal(shift, 1, 20_000)
    p = intervals.two_sided_p(values, count)
    expected = 2 * stats.t.sf(abs(shift) * ((count - 1) / count) ** 0.5, count - 1)
    assert p == pytest.approx(expected, abs=0.02)
    low, high = intervals.percentile_interval(values, count, 1 - p) if p < 1 else (0.0, 0.0)
    assert min(abs(low), abs(high)) < 0.02, "the interval of level 1 - p just reaches 0"


def test_as_many_groups_as_labels() -> None:
    with pytest.raises(DataError, match=r"as many groups as labels.* found \[3\] and \[4\]"):
        intervals.resample([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], 0.5, np.zeros(3, np.int32))


def test_the_validation_split_of_pcam_takes_seconds_at_most() -> None:
    rng = np.random.default_rng(0)
    y, p, groups = (
        rng.integers(0, 2, 32_768),
        rng.random(32_768),
        rng.integers(0, 54, 32_768).astype(np.int32),
    )
    began = time.perf_counter()
    intervals.intervals(y, p, 0.5, groups)
    seconds = time.perf_counter() - began
    print(f"{seconds:.2f} s")
    assert seconds < 6
