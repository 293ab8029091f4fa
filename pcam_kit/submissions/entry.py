"""One submission, or one CSV never sent, as the ledger records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pcam_kit.config.schema import StainMethod
from pcam_kit.formatting import Summary

_NOT_LISTED = (
    "alike",
    "again",
    "size",
    "content_sha256",
    "test_seen",
    "metric",
    "submitting",
    "kaggle_time",
    "missing",
)

SubmissionStatus = Literal[
    "written", "sending", "unknown", "pending", "complete", "error", "failed"
]


@dataclass(frozen=True)
class Origin:
    """Where the values of a CSV come from.

    Scores are those of the mean of `runs` on the validation split, at its threshold. A score that
    was not measured, or is not finite, is None.

    valid_score: the score in the competition's metric. valid_low, valid_high: its 95% interval.
    leaks: what the runs' training patches share with other splits or competitions, e.g.
    "train~valid 12 exact 3 near". test_seen: the share of the test patches of which the runs were
    trained on an exact copy. mean, weights: how several runs were combined. assumed_positive: the
    share of positive patches that the threshold was chosen for. stain: how the patches were
    normalised. metric: that of `valid_score`; None where not recorded, as in version 0.1.
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
    metric: str | None = None


@dataclass(frozen=True, repr=False)
class Entry(Summary, Origin):
    """One submission, or one CSV never sent, built from its events.

    csv: its path, below the ledger's folder if it is there. created: when the CSV was written, or
    when it was first sent, for a CSV from elsewhere. id, sent, file_name, message: of a submission;
    None or empty for a CSV never sent. again: it was sent as a repetition (`--again`). alike: the
    submissions that Kaggle listed with the same name and message before this one was sent; None
    where not recorded. size: in bytes, 0 where not recorded. content_sha256: of the CSV in a packed
    file, else "". submitting: the request that submits it was begun, so it may have arrived; True
    where not recorded. kaggle_time: then, by Kaggle's clock. missing: Kaggle's list
    did not show it when it should have. Times are UTC, ISO 8601.
    """

    csv: str = ""
    sha256: str = ""
    competition: str = ""
    created: str = ""
    status: SubmissionStatus = "written"
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
    content_sha256: str = ""
    submitting: bool = True
    kaggle_time: str | None = None
    missing: bool = False

    @property
    def is_lost(self) -> bool:
        """Was it about to be sent, and its outcome is not known?"""
        return self.status in ("sending", "unknown")

    @property
    def is_open(self) -> bool:
        """May Kaggle still report a score: one that is pending, or not shown yet?"""
        return self.ref is not None and (
            self.status == "pending" or (self.status == "complete" and self.public_score is None)
        )

    @property
    def gap(self) -> float | None:
        """Public minus validation score, to five decimals as Kaggle's scores; None without both."""
        if self.public_score is None or self.valid_score is None:
            return None
        return round(self.public_score - self.valid_score, 5)

    def summary(self) -> dict[str, str]:
        """The file, its competition and status, and its scores so far."""
        scores = {
            "validation": self.valid_score,
            "public score": self.public_score,
            "private score": self.private_score,
        }
        values = {"csv": self.csv, "competition": self.competition, "status": self.status}
        return values | {
            name: f"{value:.5f}" for name, value in scores.items() if value is not None
        }

    @property
    def time(self) -> str:
        """When it was sent; where it was not, when the CSV was written."""
        return self.sent or self.created

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam submissions`."""
        values = asdict(self) | {"gap": self.gap}
        # only `pcam submit` needs these
        for name in _NOT_LISTED:
            del values[name]
        return values


def best_first(entries: Sequence[Entry]) -> list[Entry]:
    """Entries by public score, then by validation score; newest first among equals."""

    def key(entry: Entry) -> tuple[float, float, str]:
        public = entry.public_score if entry.public_score is not None else -1.0
        valid = entry.valid_score if entry.valid_score is not None else -1.0
        return public, valid, entry.time

    return sorted(entries, key=key, reverse=True)
