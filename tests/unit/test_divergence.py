"""Answers that show that a network learnt nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pcam_kit.errors import TrainingError
from pcam_kit.workflows.divergence import check_finite, find_divergence

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("probabilities", "auc", "words"),
    [
        (np.ones(100), 0.5, "all 100 probabilities are 1.0000"),
        (np.full(7, 0.533) + 1e-7 * RNG.random(7), 0.5, "all 7 probabilities are 0.5330"),
        (RNG.integers(2, size=1000), 0.52, "all 1,000 probabilities are 0 or 1, .* AUC of 0.52"),
    ],
)
def test_what_is_told(probabilities: np.ndarray, auc: float, words: str) -> None:
    assert re.search(words, find_divergence(probabilities.astype(np.float32), auc))


@pytest.mark.parametrize(
    ("probabilities", "auc"),
    [
        (RNG.random(1000), 0.5),  # nothing learnt, but not diverged
        (RNG.integers(2, size=1000), 0.9),  # a network that is sure, and good
        (0.5 + 1e-4 * RNG.random(1000), 0.7),
        ([0.3], 0.5),
        ([], 0.5),
    ],
)
def test_what_is_not(probabilities: np.ndarray, auc: float) -> None:
    assert find_divergence(probabilities, auc) == ""


def test_answers_that_are_no_numbers_stop_a_training() -> None:
    check_finite(np.zeros((3, 2)))
    with pytest.raises(TrainingError, match="answer to 2 of 3 validation patches is not a number"):
        check_finite([[0, np.nan], [0.5, 0.5], [np.inf, 0]])
