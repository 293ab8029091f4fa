"""What holds of metrics and thresholds for any predictions, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pcam_kit import metrics
from pcam_kit.evaluation.calibration import best_threshold

few = settings(max_examples=100, deadline=None)
grid = st.integers(0, 8).map(lambda k: k / 8)  # exact in binary, many ties
anything = st.floats(0, 1, allow_subnormal=False)


@st.composite
def predictions(
    draw: st.DrawFn, values: st.SearchStrategy[float] = grid | anything
) -> tuple[np.ndarray, np.ndarray]:
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=40))]
    p = draw(st.lists(values, min_size=len(labels), max_size=len(labels)))
    return np.array(draw(st.permutations(labels))), np.array(p)


@given(predictions())
@few
def test_auc_sees_order_only(case: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = case
    auc = metrics.roc_auc(y, p)
    _, ranks = np.unique(p, return_inverse=True)
    assert metrics.roc_auc(y, ranks**3 - 1000) == auc
    assert metrics.roc_auc(y, np.exp(ranks / 10)) == auc
    assert metrics.roc_auc(y[::-1], p[::-1]) == auc
    assert auc == pytest.approx(roc_auc_score(y, p), abs=1e-12)


@given(predictions(grid))
@few
def test_flipping_labels_or_scores_mirrors_auc_and_its_interval(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    y, p = case
    auc, (low, high) = metrics.roc_auc(y, p), metrics.auc_interval(y, p)
    assert metrics.roc_auc(1 - y, p) == pytest.approx(1 - auc, abs=1e-12)
    assert metrics.roc_auc(1 - y, 1 - p) == pytest.approx(auc, abs=1e-12)
    assert metrics.auc_interval(1 - y, p) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert 0 <= low <= auc <= high <= 1
    assert low < high


@given(predictions(), st.floats(0, 1))
@few
def test_counts_add_up_and_flip(case: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    y, p = case
    found, flipped = metrics.confusion(y, p, threshold), metrics.confusion(1 - y, p, threshold)
    assert found.tn + found.fp + found.fn + found.tp == y.size
    assert found.fn + found.tp == y.sum()
    assert (flipped.tn, flipped.fp) == (found.fn, found.tp)
    assert metrics.accuracy(y, p, threshold) + metrics.accuracy(
        1 - y, p, threshold
    ) == pytest.approx(1)


@given(predictions(grid))
@few
def test_losses_are_symmetric_and_bounded(case: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = case
    for loss in (metrics.brier, metrics.log_loss):
        assert loss(y, p) == pytest.approx(loss(1 - y, 1 - p), abs=1e-12)
    assert 0 <= metrics.brier(y, p) <= 1
    assert 0 <= metrics.expected_calibration_error(y, p) <= 1
    assert metrics.brier(y, y) == metrics.expected_calibration_error(y, y) == 0
    assert metrics.log_loss(y, y) < 1e-15


@given(predictions())
@few
def test_a_threshold_lies_between_probabilities_and_is_near_the_best(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    y, p = case
    found = best_threshold(y, p)
    assert 0 < found.value < 1
    assert not np.isin(found.value, p)
    assert found.low <= found.value <= found.high
    assert found.accuracy == metrics.accuracy(y, p, found.value)
    inner = [
        (a + b) / 2
        for a, b in zip(np.unique(p)[:-1], np.unique(p)[1:], strict=True)
        if a < (a + b) / 2 < b
    ]
    best = max([metrics.accuracy(y, p, cut) for cut in inner], default=0.0)
    assert found.accuracy >= best - (best * (1 - best) / y.size) ** 0.5 - 1e-12
    again = best_threshold(y[::-1], p[::-1])
    assert again == found  # the order of the patches does not matter
