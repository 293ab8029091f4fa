"""One submission, or one CSV never sent, as the ledger tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pcam_kit.config.schema import StainMethod

Status = Literal["written", "sending", "unknown", "pending", "complete", "error", "failed"]


@dataclass(frozen=True)
class Origin:
    """Where the values of a CSV come from.

    Scores are those on the validation split, of the mean of `runs`, at its threshold.

    `valid_score` is the one the competition is scored by, `valid_low` and `valid_high` its 95%
    interval. A score that was not measured, or is not finite, is None. `leaks`: what the runs'
    training patches share with other splits or competitions, e.g. "train~valid 12 exact 3 near";
    `test_seen`: the share of the test patches of which they were trained on an exact copy. `mean`
    and `weights`: how several runs were combined. `assumed_positive`: the share of positive patches
    that the cut was made for. `stain`: how the patches they see are normalised.
    """

    runs: list[str] = field(default_factory=list[str])
    configs: list[str] = field(default_factory=list[str])
    commit: str | None = None
    tta: str = "none"
    valid_auc: float | None = None
    valid_accuracy: float | None = None
    valid_score: float | None = None
    valid_low: float | None = None
    valid_high: float | None = None
    leaks: list[str] = field(default_factory=list[str])
    test_seen: float = 0.0
    mean: str | None = None
    weights: str | None = None
    assumed_positive: float | None = None
    stain: StainMethod | None = None


@dataclass(frozen=True)
class Entry(Origin):
    """One submission, or one CSV never sent, folded from its events. Times are UTC, ISO 8601.

    `csv` is its path, starting with the ledger's folder where it lies in it.
    `id`, `sent`, `file_name` and `message` belong to a submission: None or empty for a CSV never
    sent. `created` is when the CSV was written, or for a CSV from elsewhere when it was first sent.
    `again`: it was asked for as a repetition (`--again`). `alike`: the submissions that Kaggle
    listed under the same name and message before this one was sent; None when that was not
    recorded. `size` in bytes, 0 when not recorded.
    """

    csv: str = ""
    sha256: str = ""
    competition: str = ""
    created: str = ""
    status: Status = "written"
    id: str | None = None
    message: str = ""
    file_name: str = ""
    sent: str | None = None
    ref: int | None = None
    public_score: float | None = None
    private_score: float | None = None
    error: str | None = None
    again: bool = False
    alike: list[int] | None = None
    size: int = 0

    @property
    def is_lost(self) -> bool:
        """Was it about to be sent, and nothing more is known?"""
        return self.status in ("sending", "unknown")

    @property
    def is_open(self) -> bool:
        """May Kaggle still tell more: a score that is pending, or one that it does not show yet?"""
        return self.ref is not None and (
            self.status == "pending" or (self.status == "complete" and self.public_score is None)
        )

    @property
    def gap(self) -> float | None:
        """Public minus validation score, where there are both; at the five decimals of Kaggle's
        scores.
        """
        if self.public_score is None or self.valid_score is None:
            return None
        return round(self.public_score - self.valid_score, 5)
