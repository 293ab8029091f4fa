"""What holds for every ensemble."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pcam_kit.evaluation.ensemble import combine, correlations, fit_weights

P = st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 1))
)
HOW = st.sampled_from(["probabilities", "logits", "ranks"])
RAW = st.lists(st.floats(0.01, 1), min_size=4, max_size=4)


@settings(deadline=None)
@given(P, HOW, RAW)
def test_between_the_members_and_blind_to_their_order(p: np.ndarray, how, raw: list[float]) -> None:
    w = np.array(raw[: len(p)]) / sum(raw[: len(p)])
    out = combine(p, how, w)
    assert out.shape == (p.shape[1],)
    alone = np.stack([combine(one[None], how) for one in p])
    assert (alone.min(axis=0) - 1e-9 <= out).all()
    assert (out <= alone.max(axis=0) + 1e-9).all()
    assert ((out >= 0) & (out <= 1)).all()
    np.testing.assert_allclose(combine(p[::-1], how, w[::-1]), out, atol=1e-12)


@settings(deadline=None)
@given(P, st.sampled_from(["probabilities", "logits"]))
def test_the_other_class_gets_the_rest(p: np.ndarray, how) -> None:
    np.testing.assert_allclose(combine(1 - p, how), 1 - combine(p, how), atol=1e-6)


@settings(deadline=None)
@given(P.filter(lambda p: p.shape[1] > 1), st.floats(0, 100))
def test_fitted_weights_are_weights_and_correlations_are_correlations(
    p: np.ndarray, shrinkage: float
) -> None:
    labels = (np.arange(p.shape[1]) % 2).astype(np.int8)
    w = fit_weights(labels, p, shrinkage=shrinkage)
    assert (w >= 0).all()
    assert abs(w.sum() - 1) < 1e-9
    for table in correlations(p):
        known = ~np.isnan(table)
        np.testing.assert_allclose(table[known], table.T[known])
        assert (np.abs(table[known]) <= 1).all()
        np.testing.assert_allclose(np.diag(table)[np.diag(known)], 1)
