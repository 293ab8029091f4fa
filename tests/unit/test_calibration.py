"""The threshold: right on clear cases, stable on noisy ones, never equal to a probability."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.evaluation.calibration import best_threshold


def draw(n: int, seed: int, shift: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """A model that says too much: its best cut is at sigmoid(shift), 0.69, not at one half."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, 1 / (1 + np.exp(-(2.0 * labels - 1 + shift + rng.standard_normal(n))))


def brute_force(labels: np.ndarray, p: np.ndarray) -> float:
    cuts = np.concatenate([[0.0], np.unique(p), [2.0]])
    return max(float(((p >= cut) == labels).mean()) for cut in cuts)


def test_two_separate_groups_are_cut_half_way() -> None:
    found = best_threshold([0, 0, 0, 1, 1, 1], [0.1, 0.15, 0.2, 0.6, 0.7, 0.9])
    assert (found.value, found.accuracy) == (pytest.approx(0.4), 1.0)
    # no error, so no other cut is within one standard error
    assert found.low == found.value == found.high


def test_reports_the_accuracy_at_its_own_cut() -> None:
    for seed in range(20):
        y, p = draw(300, seed)
        found = best_threshold(y, p)
        best = brute_force(y, p)
        assert found.accuracy == metrics.accuracy(y, p, found.value)
        assert best - (best * (1 - best) / 300) ** 0.5 <= found.accuracy <= best
        assert found.low <= found.value <= found.high


def test_low_and_high_are_the_outermost_cuts_within_one_standard_error() -> None:
    y, p = draw(200, 3)
    values = np.unique(p)
    cuts = np.concatenate([[values[0] / 2], (values[1:] + values[:-1]) / 2, [(values[-1] + 1) / 2]])
    share = np.array([((p >= cut) == y).mean() for cut in cuts])
    near = cuts[share >= share.max() - (share.max() * (1 - share.max()) / 200) ** 0.5]
    found = best_threshold(y, p)
    assert (found.low, found.high) == pytest.approx((near[0], near[-1]))


def test_loses_less_on_fresh_data_than_the_highest_step() -> None:
    fresh_y, fresh_p = draw(100_000, 10_000)
    ours, highest, half = [], [], metrics.accuracy(fresh_y, fresh_p, 0.5)
    for seed in range(60):
        y, p = draw(500, seed)
        values = np.sort(p)
        steps = [((p >= cut) == y).mean() for cut in values]
        highest.append(metrics.accuracy(fresh_y, fresh_p, values[int(np.argmax(steps))]))
        ours.append(metrics.accuracy(fresh_y, fresh_p, best_threshold(y, p).value))
    best = brute_force(fresh_y[:20_000], fresh_p[:20_000])
    assert np.mean(ours) > half + 0.03
    assert best - np.mean(ours) < 0.75 * (best - np.mean(highest))  # measured: about half


def test_a_dip_in_the_middle_is_not_chosen() -> None:
    # Two equal humps with a deep valley between: cutting half way would be wrong for 100 patches.
    labels = np.repeat([0, 1, 0, 1], [100, 100, 100, 100])
    p = np.linspace(0.01, 0.99, 400)
    found = best_threshold(labels, p)
    # within one standard error of the 0.75 of either hump; half way it is 0.5
    assert found.accuracy > 0.72
    assert min(abs(found.value - p[99]), abs(found.value - p[299])) < 0.03


@pytest.mark.parametrize("constant", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("positive", [1, 9])
def test_equal_probabilities_still_give_a_cut_inside(constant: float, positive: int) -> None:
    labels = [1] * positive + [0] * (10 - positive)
    found = best_threshold(labels, [constant] * 10)
    assert 0 < found.value < 1
    assert found.value != constant
    if 0 < constant < 1:
        assert found.accuracy == 0.9  # everything to the larger class


def test_neighbouring_floats_have_no_cut_between_and_float32_have() -> None:
    low = 0.5
    found = best_threshold([0, 1], [low, np.nextafter(low, 1)])
    assert found.value not in (low, np.nextafter(low, 1))
    low32 = np.float32(0.5)
    pair = np.array([low32, np.nextafter(low32, np.float32(1))])
    found = best_threshold([0, 1], pair)
    assert float(pair[0]) < found.value < float(pair[1])
    assert found.accuracy == 1.0


def test_it_is_fast() -> None:
    y, p = draw(200_000, 0)
    start = time.perf_counter()
    best_threshold(y, p)
    assert time.perf_counter() - start < 3  # 0.03 s alone; a loop over all cuts would take minutes


@pytest.mark.parametrize(
    ("labels", "p", "says"),
    [
        ([1, 1], [0.1, 0.2], "both classes, found 2 labels that are all 1"),
        ([0], [0.1], "all 0"),
        ([0, 1], [0.1, 1.2], r"within \[0, 1\]"),
        ([0, 1], [0.1, np.nan], "finite"),
        ([], [], "nothing"),
    ],
)
def test_bad_input_is_named(labels: list[int], p: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        best_threshold(labels, p)
