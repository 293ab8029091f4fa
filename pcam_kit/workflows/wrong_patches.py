"""`pcam errors`: the patches that a run gets wrong, the most confident error first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.files import check_replaceable, write_bytes
from pcam_kit.formatting import Summary
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.workflows.predictions import known_labels, predictions_of
from pcam_kit.workspace import Workspace

COLUMNS = ("id", "label", "probability", "slide")


@dataclass(frozen=True, eq=False, repr=False)
class WrongPatches(Summary):
    """Patches whose class at the run's threshold is not their label.

    ids, labels (0 or 1), probabilities, slides (-1 where unknown): [k], by how far the probability
    is from the label, the farthest first. indices: [k], their places among the patches of the
    split. n: patches of the split.
    """

    run: Run
    split: str
    n: int
    threshold: float
    ids: NDArray[np.str_] = field(repr=False)
    labels: NDArray[np.int8] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    slides: NDArray[np.int32] = field(repr=False)
    indices: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def summary(self) -> dict[str, str]:
        """How many there are of each kind."""
        positive = int((self.labels == 1).sum())
        return {
            "run": self.run.name,
            "split": f"{self.split}, {self.n:,} patches",
            "false positives": f"{len(self) - positive:,}",
            "false negatives": f"{positive:,}",
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each as {"id", "label", "probability", "slide"}; the slide is None where unknown."""
        columns = (self.ids, self.labels, self.probabilities, self.slides)
        for name, label, probability, slide in zip(*columns, strict=True):
            yield {
                "id": str(name),
                "label": int(label),
                "probability": float(str(probability)),  # the shortest text that reads back
                "slide": int(slide) if slide >= 0 else None,
            }

    def to_csv(self) -> str:
        """A line a patch, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(row.values() for row in self.rows())
        return text.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the CSV; returns its path. Raises UsageError where another file stands there."""
        target = Path(path)
        check_replaceable(target, f"{','.join(COLUMNS)}\n".encode())
        write_bytes(target, self.to_csv().encode())
        return target

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam errors`."""
        return {
            "run": str(self.run.path),
            "split": self.split,
            "n": self.n,
            "threshold": self.threshold,
            "errors": list(self.rows()),
        }


def find_wrong_patches(
    run: Run, split: str, workspace: Workspace, *, display: Display = SILENT
) -> WrongPatches:
    """Compare a run's classes with the labels. Raises RunError, UsageError."""
    result = run.outcome
    predictions = predictions_of(run, split, result.tta, workspace, display=display)
    labels = known_labels(predictions, split)
    p = predictions.probability(result.tta)
    # float64: a float32 array would round the threshold first
    wrong = np.flatnonzero((p.astype(np.float64) >= result.threshold) != (labels == 1))
    order = wrong[np.argsort(-np.abs(p[wrong] - labels[wrong]), kind="stable")]
    groups = predictions.groups
    slides = np.full(len(order), -1, np.int32) if groups is None else groups[order]
    return WrongPatches(
        run=run,
        split=split,
        n=len(labels),
        threshold=result.threshold,
        ids=predictions.ids[order],
        labels=labels[order],
        probabilities=p[order],
        slides=slides,
        indices=order,
    )
