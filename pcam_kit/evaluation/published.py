"""Published scores on the two public benchmarks of PCam, each with its source.

PCam's test split: Veeling et al., Rotation Equivariant CNNs for Digital Pathology, 2018
(arXiv:1806.03962; the figures are in the README of github.com/basveeling/pcam). The column
`patch_camelyon/test` of `tools/data/leaderboards/pathology.csv` in github.com/kaiko-ai/eva, commit
73b61a7: a linear layer on a frozen network, mean of 5 runs, balanced accuracy.

MLE-bench: `mlebench/grade_helpers.py` in github.com/openai/mle-bench gives the medal that the score
would have got on Kaggle's private leaderboard. Its `leaderboard.csv` lies in Git LFS and was not
read: the thresholds are those that another public project lists as computed from it by that rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Key = Literal["auc", "accuracy", "balanced_accuracy"]

PAPER, EVA, GRADER = "arXiv:1806.03962", "eva 73b61a7", "MLE-bench 783b15a"

HEADINGS: dict[Key, str] = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}


@dataclass(frozen=True)
class Published:
    """What someone else measured, with `digits` decimals; None where it was not published."""

    name: str
    source: str
    auc: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    digits: int = 3

    def value(self, key: Key) -> float | None:
        """The score, None where it was not published."""
        return {
            "auc": self.auc,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
        }[key]

    def text(self, key: Key) -> str:
        """The score as it was published, or `-`."""
        value = self.value(key)
        return "-" if value is None else f"{value:.{self.digits}f}"


# the encoders in the order of their scores
_EVA = (
    ("hibou-L", 0.955),
    ("UNI2-h", 0.950),
    ("Prov-GigaPath", 0.945),
    ("H-optimus-0", 0.943),
    ("Virchow2", 0.938),
    ("UNI", 0.937),
    ("kaiko Midnight-12k", 0.929),
    ("Phikon", 0.920),
    ("kaiko ViT-B8", 0.915),
    ("kaiko ViT-L14", 0.911),
    ("kaiko ViT-B16", 0.906),
    ("kaiko ViT-S16", 0.902),
    ("Lunit ViT-S16", 0.897),
    ("Phikon-v2", 0.894),
    ("kaiko ViT-S8", 0.886),
)
PCAM = (
    Published("P4M-DenseNet (Veeling 2018)", PAPER, auc=0.963, accuracy=0.898),
    *(Published(f"probe of {name}", EVA, balanced_accuracy=value) for name, value in _EVA),
)
# a medal from this AUC on; the median of all teams has to be exceeded
GOLD, SILVER, BRONZE, MEDIAN = 0.9835, 0.9798, 0.9738, 0.9477
MEDALS = (
    Published("gold medal", GRADER, auc=GOLD, digits=4),
    Published("silver medal", GRADER, auc=SILVER, digits=4),
    Published("bronze medal", GRADER, auc=BRONZE, digits=4),
    Published("median of all teams", GRADER, auc=MEDIAN, digits=4),
)


def medal_of(auc: float) -> str:
    """`gold`, `silver`, `bronze`, `above median` or `none`; rounded to 5 decimals, as MLE-bench."""
    score = round(auc, 5)
    for name, threshold in (("gold", GOLD), ("silver", SILVER), ("bronze", BRONZE)):
        if score >= threshold:
            return name
    return "above median" if score > MEDIAN else "none"
