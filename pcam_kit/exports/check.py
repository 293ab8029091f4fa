"""Does an exported model answer as the run's own? Compared on patches, in the format's runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.exports.format import Predict
from pcam_kit.metrics import roc_auc

BATCH = 256
# Of a probability. Float32 in another order of summation changed at most 6e-7 in every format, for
# three trained networks (1,000 to 2,000 patches each) and all others with random weights.
TOLERANCE = 1e-4
AUC_TOLERANCE = 5e-5  # equal to 4 digits
# Differences as small as this only change the order of near ties, which moves the AUC of few
# patches by more than AUC_TOLERANCE.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Check:
    """How an exported model's probabilities compare with those of the run's own model.

    patches: what they were computed for, in words. auc_run, auc_export: of one view; None where the
    patches have one class only. max_difference: the largest, of a probability.
    """

    patches: str
    n: int
    max_difference: float
    auc_run: float | None
    auc_export: float | None

    @property
    def fault(self) -> str:
        """Why the exported model cannot be used, in words; "" when it can."""
        if not self.max_difference <= TOLERANCE:  # also where it is NaN
            return (
                f"probabilities differ by up to {self.max_difference:.1e}, expected at most "
                f"{TOLERANCE:.0e}"
            )
        if self.auc_run is None or self.auc_export is None or self.max_difference <= ROUNDING:
            return ""
        if abs(self.auc_run - self.auc_export) >= AUC_TOLERANCE:
            return f"AUC {self.auc_export:.5f}, expected {self.auc_run:.5f}"
        return ""

    @property
    def sentence(self) -> str:
        """The result for a person."""
        scores = ""
        if self.auc_export is not None:
            scores = f"AUC {self.auc_export:.4f} as the run's own model, "
        return (
            f"{self.n:,} {self.patches}: {scores}largest difference of a probability "
            f"{self.max_difference:.1g}"
        )


def answers(
    predict: Predict, patches: NDArray[np.uint8], progress: Callable[[int], None]
) -> NDArray[np.float32]:
    """Probabilities float32 [n] of all patches, in batches. Raises ValueError for other shapes."""
    parts: list[Any] = []
    for start in range(0, len(patches), BATCH):
        batch = patches[start : start + BATCH]
        part = np.asarray(predict(batch))
        if part.shape != (len(batch),):
            raise ValueError(f"expected {len(batch)} probabilities, found {list(part.shape)}")
        parts.append(part)
        progress(start + len(batch))
    return np.concatenate(parts)


def compare(
    patches: str,
    labels: NDArray[np.int8],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
) -> Check:
    """Compare probabilities [n] of the run's model and of the exported one.

    labels: [n], -1 where unknown. patches: what they are, in words.
    """
    scores: list[float | None] = [None, None]
    if (labels == 0).any() and (labels == 1).any() and np.isfinite(found).all():
        known = labels >= 0
        scores = [roc_auc(labels[known], values[known]) for values in (expected, found)]
    difference = float(np.abs(expected.astype(np.float64) - found.astype(np.float64)).max())
    return Check(patches, len(labels), difference, *scores)
