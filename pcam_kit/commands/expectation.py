"""What to expect of a CSV before it is sent: its validation score beside that of the best
submission so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pcam_kit.competitions import Competition
from pcam_kit.submissions import Entry


@dataclass(frozen=True)
class _Measured:
    """A validation score in the competition's own metric; `half` is half the width of its 95%
    interval, None without one.
    """

    score: float
    text: str
    half: float | None


def expectation(
    competition: Competition, entry: Entry | None, entries: Sequence[Entry]
) -> list[str]:
    """Sentences on the CSV of `entry` (None: the ledger does not know it), beside the best of
    `entries` by public score.

    A difference d of two validation scores is called noise when |d| <= sqrt(h1^2 + h2^2), h being
    half the width of a 95% interval: that is the 95% interval of a difference of independent
    measurements. Both were in fact measured on the same patches, mostly right and wrong on the same
    ones, so the true interval is narrower: what is called noise may be real, what is called more
    than noise hardly is not. A paired test would say more, but needs both predictions, and the
    ledger keeps none.
    """
    metric = "accuracy" if competition.metric == "accuracy" else "AUC"
    if entry is None or entry.valid_score is None:
        mine, told = (
            None,
            ["this CSV was not written by pcam predict: no validation score is known for it"],
        )
    else:
        mine = _measured(entry, competition)
        runs = f" of {', '.join(entry.runs)}" if entry.runs else ""
        other = (
            f"the validation score{runs} is not in {metric}, by which {competition.slug} is "
            "scored: measure it with pcam predict"
        )
        told = [f"validation {metric}{runs}: {mine.text}" if mine is not None else other]
    best = _best(competition, entries)
    if best is None:
        return [*told, f"no submission to {competition.slug} has a score in this ledger yet"]
    its = _measured(best, competition)
    line = f"best submission so far: {best.ref}, public {best.public_score}" + (
        f", validation {its.text}" if its is not None else ""
    )
    if entry is not None and entry.sha256 == best.sha256:
        line += "; it was of these same bytes"
    elif mine is not None and its is not None:
        line += f"; {_compared(mine, its)}"
    return [*told, line]


def _compared(mine: _Measured, its: _Measured) -> str:
    difference = mine.score - its.score
    if mine.half is None or its.half is None:
        return f"the validation scores differ by {difference:+.4f}"
    noise = math.hypot(mine.half, its.half)
    verdict = "within noise" if abs(difference) <= noise else "more than noise"
    return f"the difference of {difference:+.4f} in validation is {verdict} (±{noise:.4f})"


def _best(competition: Competition, entries: Sequence[Entry]) -> Entry | None:
    scored = [
        (entry.public_score, entry)
        for entry in entries
        if entry.competition == competition.slug and entry.public_score is not None
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _measured(entry: Entry, competition: Competition) -> _Measured | None:
    """The validation score; None when there is none, or when it is of another metric because the
    profile was changed since.
    """
    score = entry.valid_score
    if score is None or score != (
        entry.valid_accuracy if competition.metric == "accuracy" else entry.valid_auc
    ):
        return None
    if entry.valid_low is None or entry.valid_high is None:
        return _Measured(score, f"{score:.4f}", None)
    return _Measured(
        score,
        f"{score:.4f} ({entry.valid_low:.4f}-{entry.valid_high:.4f})",
        (entry.valid_high - entry.valid_low) / 2,
    )
