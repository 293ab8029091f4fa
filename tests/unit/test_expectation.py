"""What `pcam submit` says of a CSV beside the best submission so far."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcam_kit.competitions import find_competition
from pcam_kit.submissions import Entry
from pcam_kit.submissions.expected_score import expectation

LAB, HCD = find_competition("tnm112"), find_competition("hcd")
BEST = Entry(
    runs=["run-1"], valid_auc=0.9101, valid_accuracy=0.8,
    valid_score=0.9101, valid_low=0.8990, valid_high=0.9212,
    sha256="a", competition=HCD.slug, status="complete", ref=40000012, public_score=0.8911,
)  # fmt: skip
MINE = replace(
    BEST, runs=["run-2", "run-3"], valid_auc=0.9123,
    valid_score=0.9123, valid_low=0.9011, valid_high=0.9235, sha256="b", status="written",
    ref=None, public_score=None,
)  # fmt: skip
SAID = "validation AUC of run-2, run-3: 0.9123 (0.9011-0.9235)"
BESIDE = "best submission so far: 40000012, public 0.8911, validation 0.9101 (0.8990-0.9212)"


def test_a_difference_within_noise() -> None:
    # half widths 0.0112 and 0.0111: together sqrt(0.0112^2 + 0.0111^2) = 0.01577
    assert expectation(HCD, MINE, [MINE, BEST]) == [
        SAID,
        f"{BESIDE}; the difference of +0.0022 in validation is within noise (±0.0158)",
    ]


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.9258, "within noise"), (0.9260, "more than noise"), (0.8942, "more than noise")],
)
def test_where_noise_ends(score: float, verdict: str) -> None:
    mine = replace(
        MINE,
        valid_auc=score,
        valid_score=score,
        valid_low=score - 0.0112,
        valid_high=score + 0.0112,
    )
    assert (
        f"{score - 0.9101:+.4f} in validation is {verdict} (±0.0158)"
        in expectation(HCD, mine, [BEST])[1]
    )


def test_the_best_is_by_public_score_of_the_same_competition() -> None:
    worse = replace(BEST, ref=2, public_score=0.5, valid_score=0.99, valid_auc=0.99)
    elsewhere = replace(BEST, ref=3, competition=LAB.slug, public_score=0.999)
    unscored = replace(BEST, ref=4, status="error", public_score=None)
    zero = replace(BEST, ref=5, public_score=0.0)
    assert expectation(HCD, MINE, [worse, elsewhere, BEST, unscored])[1].startswith(BESIDE)
    assert "best submission so far: 5, public 0.0," in expectation(HCD, MINE, [elsewhere, zero])[1]
    assert expectation(HCD, MINE, [elsewhere, unscored]) == [
        SAID,
        f"no submission to {HCD.slug} has a score in this ledger yet",
    ]


def test_what_is_not_known_is_not_compared() -> None:
    unknown = "this CSV was not written by pcam predict: no validation score is known for it"
    assert expectation(HCD, None, [BEST]) == [unknown, BESIDE]
    assert expectation(HCD, replace(MINE, valid_score=None), [BEST]) == [unknown, BESIDE]
    assert expectation(HCD, MINE, [replace(BEST, valid_score=None)]) == [
        SAID,
        "best submission so far: 40000012, public 0.8911",
    ]
    without = expectation(HCD, replace(MINE, valid_low=None), [BEST])
    assert without == [
        "validation AUC of run-2, run-3: 0.9123",
        f"{BESIDE}; the validation scores differ by +0.0022",
    ]


def test_scores_of_another_metric_are_not_compared() -> None:
    """The profile was changed from AUC to accuracy meanwhile."""
    changed = HCD.model_copy(update={"metric": "accuracy"})
    first, second = expectation(changed, MINE, [BEST])
    assert "is not in accuracy" in first
    assert second == "best submission so far: 40000012, public 0.8911"
    measured = replace(MINE, valid_score=MINE.valid_accuracy, valid_low=0.75, valid_high=0.85)
    assert (
        expectation(changed, measured, [BEST])[0]
        == "validation accuracy of run-2, run-3: 0.8000 (0.7500-0.8500)"
    )


def test_the_same_bytes_once_more() -> None:
    assert (
        expectation(HCD, replace(MINE, sha256="a"), [BEST])[1]
        == f"{BESIDE}; it was of these same bytes"
    )
