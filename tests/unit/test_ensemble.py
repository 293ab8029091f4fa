"""Combining members: against plain arithmetic, scipy's ranks and correlations, and a grid over all
weights.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats

from pcam_kit.errors import DataError
from pcam_kit.evaluation.ensemble import combine, correlations, cross_fitted, fit_weights, logits
from pcam_kit.metrics import log_loss, roc_auc


def made_up(n: int, noise: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and members that see the truth through noise of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-2 * truth))).astype(np.int8)
    return labels, np.stack(
        [1 / (1 + np.exp(-(2 * truth + sd * rng.normal(size=n)))) for sd in noise]
    )


def objective(w: np.ndarray, labels: np.ndarray, p: np.ndarray, shrinkage: float) -> float:
    z = w @ np.log(p / (1 - p))
    return float(
        np.mean(np.logaddexp(0, z) - labels * z)
        + shrinkage / len(labels) * np.sum((w - 1 / len(w)) ** 2)
    )


def test_each_mean_is_what_its_name_says() -> None:
    p = np.array([[0.5, 0.9, 0.2, 0.9], [0.1, 0.6, 0.3, 0.8]])
    np.testing.assert_allclose(combine(p, "probabilities"), [0.3, 0.75, 0.25, 0.85])
    odds = np.sqrt(np.prod(p / (1 - p), axis=0))
    np.testing.assert_allclose(combine(p, "logits"), odds / (1 + odds))
    ranks = np.array([[2, 3.5, 1, 3.5], [1, 3, 2, 4]])
    np.testing.assert_allclose(combine(p, "ranks"), ((ranks - 0.5) / 4).mean(axis=0))
    np.testing.assert_allclose(
        combine(p, "probabilities", [0.25, 0.75]), [0.2, 0.675, 0.275, 0.825]
    )


def test_ranks_are_those_of_scipy() -> None:
    p = np.random.default_rng(0).integers(0, 20, (3, 200)) / 20
    expected = np.mean([(stats.rankdata(one) - 0.5) / 200 for one in p], axis=0)
    np.testing.assert_allclose(combine(p, "ranks"), expected)


def test_zero_and_one_have_finite_logits_that_cancel() -> None:
    assert np.isfinite(logits(np.array([0.0, 1.0, 1e-300]))).all()
    np.testing.assert_allclose(
        combine([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], "logits"), [0.5, 0.5, 1.0], atol=1e-7
    )
    assert logits(np.array([np.nextafter(np.float32(1), np.float32(0))], np.float64))[
        0
    ] == pytest.approx(-logits(np.array([0.0]))[0])


@pytest.mark.parametrize("shrinkage", [0.0, 3.0, 50.0])
def test_fitted_weights_are_the_best_on_a_fine_grid(shrinkage: float) -> None:
    labels, p = made_up(400, (0.4, 1.0, 3.0))
    fitted = fit_weights(labels, p, shrinkage=shrinkage)
    best = min(
        (objective(np.array([a, b, 100 - a - b]) / 100, labels, p, shrinkage), a, b)
        for a, b in product(range(101), repeat=2)
        if a + b <= 100
    )
    assert objective(fitted, labels, p, shrinkage) <= best[0] + 1e-12
    np.testing.assert_allclose(fitted[:2], np.array(best[1:]) / 100, atol=0.011)
    assert fitted.sum() == pytest.approx(1)
    assert (fitted >= 0).all()


def test_fitted_weights_agree_with_scipys_solver() -> None:
    labels, p = made_up(300, (0.5, 0.7, 0.9, 2.0, 4.0), seed=3)
    found = optimize.minimize(
        objective,
        np.full(5, 0.2),
        args=(labels, p, 3.0),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(fit_weights(labels, p), found.x, atol=1e-4)


def test_fitting_repeats_and_follows_the_members_order() -> None:
    labels, p = made_up(300, (0.5, 1.0, 2.0))
    np.testing.assert_array_equal(fit_weights(labels, p), fit_weights(labels, p))
    np.testing.assert_allclose(
        fit_weights(labels, p[::-1]), fit_weights(labels, p)[::-1], atol=1e-7
    )


def test_equal_members_and_much_shrinkage_give_equal_weights() -> None:
    labels, p = made_up(100, (0.5, 2.0))
    np.testing.assert_allclose(fit_weights(labels, p, shrinkage=1e9), [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(fit_weights(labels, np.stack([p[0]] * 3)), [1 / 3] * 3)
    few, many = (abs(fit_weights(labels[:n], p[:, :n])[0] - 0.5) for n in (6, 100))
    assert few < many


def test_a_patch_is_never_weighted_by_its_own_label() -> None:
    labels, p = made_up(200, (0.5, 2.0))
    folds = np.arange(200) % 4
    out = cross_fitted(labels, p, "logits", folds)
    for fold in range(4):
        here = folds == fold
        np.testing.assert_allclose(
            out[here], combine(p[:, here], "logits", fit_weights(labels[~here], p[:, ~here]))
        )
        flipped = np.where(here, 1 - labels, labels)
        np.testing.assert_array_equal(cross_fitted(flipped, p, "logits", folds)[here], out[here])


def test_a_cross_fitted_score_is_not_above_chance_for_members_of_pure_noise() -> None:
    rng = np.random.default_rng(0)
    fitted, honest = [], []
    for _ in range(30):
        labels, p = (np.arange(40) % 2).astype(np.int8), rng.uniform(0.2, 0.8, (8, 40))
        fitted.append(log_loss(labels, combine(p, "logits", fit_weights(labels, p, shrinkage=0))))
        honest.append(log_loss(labels, cross_fitted(labels, p, "logits", np.arange(40) // 8)))
    assert np.mean(fitted) < np.log(2) < np.mean(honest)


def test_correlations_are_those_of_scipy() -> None:
    _, p = made_up(100, (0.5, 1.0, 2.0))
    p = np.round(p, 2)  # with ties
    pearson, spearman = correlations(p)
    x = logits(p)
    np.testing.assert_allclose(pearson, np.corrcoef(x), atol=1e-12)
    np.testing.assert_allclose(spearman, stats.spearmanr(x, axis=1).statistic, atol=1e-12)


def test_a_member_that_always_says_the_same_has_no_correlation() -> None:
    pearson, spearman = correlations([[0.3, 0.3, 0.3], [0.1, 0.2, 0.3]])
    for table in (pearson, spearman):
        np.testing.assert_array_equal(np.isnan(table), [[True, True], [True, False]])


def test_the_mean_of_independent_members_is_better_than_each() -> None:
    labels, p = made_up(2000, (2.0, 2.0, 2.0))
    for how in ("probabilities", "logits", "ranks"):
        assert roc_auc(labels, combine(p, how)) > max(roc_auc(labels, one) for one in p) + 0.01


@pytest.mark.parametrize(
    ("p", "weights", "words"),
    [
        ([0.1, 0.2], None, r"expected probabilities \[members, patches\], found \[2\]"),
        (np.zeros((2, 0)), None, r"found \[2, 0\]"),
        ([[0.1, 1.2]], None, "within .0, 1.: found 1.2 at position 1"),
        ([[0.1, float("nan")]], None, "finite"),
        ([[0.1], [0.2]], [1.0], r"expected 2 weights from 0 on with sum 1, found \[1.0\]"),
        ([[0.1], [0.2]], [1.5, -0.5], r"found \[1.5, -0.5\]"),
        ([[0.1], [0.2]], [0.5, 0.6], "sum 1"),
        ([[0.1], [0.2]], [float("nan"), 1.0], "sum 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    p: list[list[float]], weights: list[float] | None, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        combine(p, "logits", weights)


def test_weights_need_labels_of_both_classes() -> None:
    with pytest.raises(DataError, match="both classes"):
        fit_weights([1, 1], [[0.1, 0.2], [0.2, 0.3]])
    with pytest.raises(DataError, match="as many"):
        fit_weights([1, 0, 1], [[0.1, 0.2], [0.2, 0.3]])
    with pytest.raises(DataError, match="shrinkage"):
        fit_weights([1, 0], [[0.1, 0.2], [0.2, 0.3]], shrinkage=-1)
