"""The score to expect of a CSV before it is sent, beside that of the best submission so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pcam_kit.competitions import Competition
from pcam_kit.metrics import METRICS
from pcam_kit.submissions import Entry


@dataclass(frozen=True)
class _ValidScore:
    """A validation score in the competition's own metric.

    half_width: half the width of its 95% interval, None without one.
    """

    value: float
    text: str
    half_width: float | None


def expectation(
    competition: Competition, entry: Entry | None, entries: Sequence[Entry]
) -> list[str]:
    """Sentences on the CSV of `entry`, beside the best of `entries` by public score.

    entry: None where the ledger does not know the CSV.

    A difference d of two validation scores is called noise when |d| <= sqrt(h1^2 + h2^2), h being
    half the width of a 95% interval: that is the 95% interval of a difference of independent
    measurements. Both were in fact measured on the same patches, mostly right and wrong on the same
    ones, so the true interval is narrower: what is called noise may be real, what is called more
    than noise hardly is not. A paired test would say more, but needs both predictions, and the
    ledger keeps none.
    """
    score = None if entry is None else _valid_score(entry, competition)
    sentences = [_own_sentence(entry, score, competition)]
    best = _best(competition, entries)
    if best is None:
        return [*sentences, f"no submission to {competition.slug} has a score in this ledger yet"]
    best_score = _valid_score(best, competition)
    line = f"best submission so far: {best.ref}, public {best.public_score}"
    if best_score is not None:
        line += f", validation {best_score.text}"
    if entry is not None and entry.sha256 == best.sha256:
        line += "; it was of these same bytes"
    elif score is not None and best_score is not None:
        line += f"; {_compared(score, best_score)}"
    return [*sentences, line]


def _own_sentence(entry: Entry | None, score: _ValidScore | None, competition: Competition) -> str:
    if entry is None or entry.valid_score is None:
        return "this CSV was not written by pcam predict: no validation score is known for it"
    metric = METRICS[competition.metric].label
    runs = f" of {', '.join(entry.runs)}" if entry.runs else ""
    if score is not None:
        return f"validation {metric}{runs}: {score.text}"
    return (
        f"the validation score{runs} is not in {metric}, by which {competition.slug} is "
        "scored: measure it with pcam predict"
    )


def _compared(score: _ValidScore, best: _ValidScore) -> str:
    difference = score.value - best.value
    if score.half_width is None or best.half_width is None:
        return f"the validation scores differ by {difference:+.4f}"
    noise = math.hypot(score.half_width, best.half_width)
    verdict = "within noise" if abs(difference) <= noise else "more than noise"
    return f"the difference of {difference:+.4f} in validation is {verdict} (±{noise:.4f})"


def _best(competition: Competition, entries: Sequence[Entry]) -> Entry | None:
    """The entry with the best public score; the earliest of equals."""
    best: Entry | None = None
    sign = 1 if METRICS[competition.metric].higher_is_better else -1
    for entry in entries:
        if entry.competition != competition.slug or entry.public_score is None:
            continue
        if (
            best is None
            or best.public_score is None
            or sign * entry.public_score > sign * best.public_score
        ):
            best = entry
    return best


def _valid_score(entry: Entry, competition: Competition) -> _ValidScore | None:
    """None when there is none, or when it is of another metric than the profile names now."""
    value = entry.valid_score
    if value is None or not _is_of(entry, competition.metric):
        return None
    if entry.valid_low is None or entry.valid_high is None:
        return _ValidScore(value, f"{value:.4f}", None)
    text = f"{value:.4f} ({entry.valid_low:.4f}-{entry.valid_high:.4f})"
    return _ValidScore(value, text, (entry.valid_high - entry.valid_low) / 2)


def _is_of(entry: Entry, metric: str) -> bool:
    """Is the entry's validation score of this metric?"""
    if entry.metric is not None:
        return entry.metric == metric
    # version 0.1 recorded AUC and accuracy beside it, and not which of them it is
    recorded = {"roc_auc": entry.valid_auc, "accuracy": entry.valid_accuracy}
    return metric in recorded and recorded[metric] == entry.valid_score
