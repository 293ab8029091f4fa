"""Metrics: equal to scikit-learn's; intervals cover what they claim; bad input is refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn import metrics as reference

from pcam_kit import metrics
from pcam_kit.errors import DataError

EXACT = 1e-12


def predictions(
    n: int, seed: int, *, decimals: int | None = None, dtype: str = "float64"
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that are better than chance; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    p = 1 / (1 + np.exp(-(1.5 * labels - 0.5 + rng.standard_normal(n))))
    return labels, (p if decimals is None else p.round(decimals)).astype(dtype)


CASES = [
    (n, seed, decimals, dtype)
    for seed, n in enumerate((2, 3, 10, 137, 5000))
    for decimals in (None, 1, 2)
    for dtype in ("float64", "float32")
]


@pytest.mark.parametrize(("n", "seed", "decimals", "dtype"), CASES)
def test_agrees_with_scikit_learn(n: int, seed: int, decimals: int | None, dtype: str) -> None:
    y, p = predictions(n, seed, decimals=decimals, dtype=dtype)
    wide = p.astype(np.float64)  # the reference rounds float32 sums; the numbers are the same
    assert metrics.roc_auc(y, p) == pytest.approx(reference.roc_auc_score(y, wide), abs=EXACT)
    assert metrics.brier(y, p) == pytest.approx(reference.brier_score_loss(y, wide), abs=EXACT)
    assert metrics.log_loss(y, wide) == pytest.approx(
        reference.log_loss(y, wide, labels=[0, 1]), abs=EXACT
    )
    for threshold in (0.0, 0.3, 0.5, float(wide[0]), 1.0):
        said = wide >= threshold
        assert metrics.accuracy(y, p, threshold) == pytest.approx(
            reference.accuracy_score(y, said), abs=EXACT
        )
        found = metrics.confusion(y, p, threshold)
        assert [[found.tn, found.fp], [found.fn, found.tp]] == reference.confusion_matrix(
            y, said, labels=[0, 1]
        ).tolist()
        assert [found.sensitivity, found.specificity, found.f1] == pytest.approx(
            [
                reference.recall_score(y, said),
                reference.recall_score(y, said, pos_label=0),
                reference.f1_score(y, said),
            ],
            abs=EXACT,
        )
        assert found.precision == (
            pytest.approx(reference.precision_score(y, said), abs=EXACT) if said.any() else None
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certain_and_wrong_is_clipped_like_scikit_learn(dtype: str) -> None:
    y, p = np.array([0, 1, 1]), np.array([1.0, 0.0, 0.5], dtype)
    # float32 sums
    assert metrics.log_loss(y, p) == pytest.approx(
        reference.log_loss(y, p, labels=[0, 1]), rel=1e-6
    )
    assert metrics.log_loss(y, p) == pytest.approx(
        (-2 * np.log(float(np.finfo(dtype).eps)) + np.log(2)) / 3, rel=1e-12
    )


def test_auc_by_counting_every_pair() -> None:
    y, s = predictions(200, 5, decimals=1)
    pairs = s[y == 1][:, None] - s[y == 0][None, :]
    assert metrics.roc_auc(y, s) == ((pairs > 0).sum() + (pairs == 0).sum() / 2) / pairs.size


def test_a_threshold_between_two_float32_neighbours_is_not_rounded() -> None:
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    between = (float(low) + float(high)) / 2
    assert metrics.confusion([0, 1], np.array([low, high]), between) == metrics.Confusion(
        tn=1, fp=0, fn=0, tp=1
    )
    assert metrics.accuracy([0, 1], [0.4, 0.5], 0.5) == 1.0  # exactly the threshold is positive


def test_calibration_error_by_hand() -> None:
    y = [0, 1, 1, 1, 0]
    p = [0.1, 0.3, 0.6, 0.7, 1.0]
    # two bins: {0.1, 0.3}: |0.2 - 0.5| * 2/5; {0.6, 0.7, 1.0}: |2.3/3 - 2/3| * 3/5
    assert metrics.expected_calibration_error(y, p, bins=2) == pytest.approx(0.12 + 0.06)
    assert metrics.expected_calibration_error(y, p, bins=1) == pytest.approx(abs(2.7 / 5 - 3 / 5))
    assert metrics.expected_calibration_error([0, 1], [0.0, 1.0]) == 0
    assert metrics.expected_calibration_error([0, 1], [0.5, 0.5]) == 0  # one bin edge, one bin


def test_calibration_error_by_a_plain_loop() -> None:
    y, p = predictions(3000, 9)
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (p >= low) & (p < low + 1 / 15)
        expected += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    assert metrics.expected_calibration_error(y, p) == pytest.approx(expected, abs=1e-12)


def test_delong_variance_by_its_definition() -> None:
    y, s = predictions(120, 3, decimals=1)
    wins = np.heaviside(s[y == 1][:, None] - s[y == 0][None, :], 0.5)
    auc, (m, n) = wins.mean(), wins.shape
    variance = wins.mean(1).var(ddof=1) / m + wins.mean(0).var(ddof=1) / n
    margin = 1.959963984540054 * variance**0.5 / (auc * (1 - auc))
    expected = [1 / (1 + np.exp(-(np.log(auc / (1 - auc)) + sign * margin))) for sign in (-1, 1)]
    assert metrics.auc_interval(y, s) == pytest.approx(tuple(expected), abs=EXACT)


@pytest.mark.parametrize(
    ("shift", "positive", "negative", "least"),
    # the last: said to be narrow
    [(1.8, 150, 150, 0.93), (3.0, 1000, 1000, 0.93), (0.0, 100, 100, 0.93), (3.0, 60, 240, 0.90)],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(
    shift: float, positive: int, negative: int, least: float
) -> None:
    from scipy.stats import norm

    truth = norm.cdf(shift / 2**0.5)
    rng = np.random.default_rng(11)
    labels = np.repeat([1, 0], [positive, negative])
    trials = 1000
    covered = 0
    for _ in range(trials):
        low, high = metrics.auc_interval(labels, rng.standard_normal(labels.size) + shift * labels)
        covered += low <= truth <= high
    assert least <= covered / trials <= 0.975  # 0.95 ± 3 standard errors of 1000 trials


def test_a_perfect_score_has_a_sound_lower_bound() -> None:
    for k, bound in ((1, 0.05), (10, 0.05**0.1), (1000, 0.05**0.001)):
        labels = [0] * (k + 5) + [1] * k
        scores = np.arange(len(labels))
        assert metrics.auc_interval(labels, scores) == pytest.approx((bound, 1.0))
        assert metrics.auc_interval(labels, -scores) == pytest.approx((0.0, 1 - bound))


def test_the_bound_of_a_perfect_score_is_rarely_wrong() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 8)
    for shift in (2.0, 3.0):
        truth = norm.cdf(shift / 2**0.5)
        too_high = sum(
            metrics.auc_interval(labels, rng.standard_normal(16) + shift * labels)[0] > truth
            for _ in range(1000)
        )
        assert too_high <= 50 + 3 * 7  # the lower end errs in at most 5%


def test_where_delong_has_no_variance_the_interval_is_not_a_point() -> None:
    constant = metrics.auc_interval([0, 1] * 20, [0.7] * 40)
    assert constant[0] < 0.4 < 0.6 < constant[1]
    single = metrics.auc_interval([0, 0, 0, 1], [0.1, 0.2, 0.4, 0.3])
    assert 0 < single[0] < 2 / 3 < single[1] < 1
    # an AUC of 0.00001: the width must not overflow
    ends = metrics.auc_interval([0] * 100000 + [1], [0] + [2] * 99999 + [1])
    assert 0 <= ends[0] < 1e-5 < ends[1] <= 1


def test_a_higher_level_is_wider_and_a_level_must_be_one() -> None:
    y, s = predictions(300, 1)
    narrow, wide = metrics.auc_interval(y, s, 0.8), metrics.auc_interval(y, s, 0.99)
    assert wide[0] < narrow[0] < metrics.roc_auc(y, s) < narrow[1] < wide[1]
    for level in (0, 1, 95):
        with pytest.raises(DataError, match="confidence level"):
            metrics.auc_interval(y, s, level)


def test_evaluate_gathers_what_the_single_functions_say() -> None:
    y, p = predictions(900, 4, dtype="float32")
    found = metrics.evaluate(y, p, 0.4)
    assert (found.n, found.positive, found.threshold) == (900, int(y.sum()), 0.4)
    assert found.auc == metrics.roc_auc(y, p)
    assert (
        found.accuracy
        == metrics.accuracy(y, p, 0.4)
        != found.accuracy_at_half
        == metrics.accuracy(y, p, 0.5)
    )
    assert found.log_loss == metrics.log_loss(y, p)
    assert found.brier == metrics.brier(y, p)
    assert found.ece == metrics.expected_calibration_error(y, p)
    assert found.confusion == metrics.confusion(y, p, 0.4)
    assert metrics.evaluate([0, 1], np.array([1, 0], "float32"), 0.5).log_loss == metrics.log_loss(
        [0, 1], np.array([1, 0], "float32")
    )


def test_a_quarter_of_a_million_patches_take_no_time() -> None:
    y, p = predictions(262_144, 0, decimals=6)
    start = time.perf_counter()
    metrics.evaluate(y, p, 0.5)
    # 0.13 s alone on 2 cores; a pairwise AUC would take hours
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("labels", "probabilities", "says"),
    [
        ([0, 1, 2], [0.1, 0.2, 0.3], "0 or 1: found 2 at position 2"),
        ([0, 1, -1], [0.1, 0.2, 0.3], "0 or 1: found -1"),
        ([0.0, 1.0, np.nan], [0.1, 0.2, 0.3], "0 or 1: found nan"),
        ([0, 1, 1], [0.1, np.nan, np.inf], r"finite: found nan at position 1 \(2 of 3"),
        ([0, 1, 1], [0.1, 0.2, 1.5], r"within \[0, 1\]: found 1.5 at position 2"),
        ([0, 1, 1], [0.1, -0.1, 0.5], r"within \[0, 1\]: found -0.1"),
        ([0, 1, 1], [0.1, 0.2], r"labels \[3\] and probabilities \[2\]"),
        ([[0, 1]], [[0.1, 0.2]], r"labels \[1, 2\]"),
        ([], [], "nothing to score"),
        (["0", "1"], [0.1, 0.2], "expected numbers"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "both classes, found 3 labels that are all 1"),
        ([0, 0], [0.1, 0.2], "both classes, found 2 labels that are all 0"),
    ],
)
def test_bad_input_is_named(labels: list[float], probabilities: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        metrics.evaluate(labels, probabilities, 0.5)


def test_one_class_is_enough_where_no_auc_is_asked() -> None:
    assert metrics.accuracy([1, 1], [0.2, 0.9], 0.5) == 0.5
    assert metrics.brier([True, True], [0.5, 1.0]) == 0.125
    with pytest.raises(DataError, match="threshold"):
        metrics.accuracy([0, 1], [0.2, 0.9], float("nan"))
