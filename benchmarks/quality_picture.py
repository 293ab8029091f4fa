"""Draw docs/pictures/quality.png from the tables of docs/quality.md: AUC against training time.

python benchmarks/quality_picture.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
# config: its label's distance from the dot in points, to the right and up
SHOWN = {
    "lab-notebook": (8, -4),
    "lab-report": (8, -4),
    "lab": (8, -4),
    "lab-p4m": (-8, -8),
    "lab-distilled": (-8, 6),
    "pcam96": (8, -4),
    "pcam96-p4m": (-8, -8),
    "pcam96-p4m-wide": (-8, 20),
}


@dataclass(frozen=True)
class Row:
    """One network: AUC mean and sd, training time in minutes."""

    config: str
    auc: float
    sd: float
    minutes: float


def read_tables(text: str) -> list[tuple[str, list[Row]]]:
    """The sections of the page: heading, and its rows of shipped configs."""
    sections: list[tuple[str, list[Row]]] = []
    for section in text.split("\n## ")[1:]:
        rows: list[Row] = []
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            names = [name for name in re.findall(r"`([\w-]+)`", cells[0]) if name in SHOWN]
            score = re.fullmatch(r"([\d.]+) ± ([\d.]+)", cells[2]) if len(cells) == 7 else None
            if names and score is not None and "plain network" not in cells[0]:
                minutes = to_minutes(cells[6])
                rows.append(Row(names[0], float(score[1]), float(score[2]), minutes))
        if rows:  # not those of benchmarks/growth.py
            sections.append((section.split(":")[0], rows))
    return sections


def to_minutes(text: str) -> float:
    """`1h05m`, `17m53s` or `20s` in minutes."""
    units = {"h": 60.0, "m": 1.0, "s": 1 / 60}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


def main() -> None:
    """Draw both sections side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sections = read_tables((DOCS / "quality.md").read_text(encoding="utf-8"))
    figure, axes = plt.subplots(1, len(sections), figsize=(9, 3.4), layout="constrained")
    for axis, (title, rows) in zip(axes, sections, strict=True):
        for row in rows:
            color = "#b2395e" if "p4m" in row.config or "distilled" in row.config else "#33658a"
            axis.errorbar(row.minutes, row.auc, row.sd, fmt="o", color=color, capsize=3)
            right, up = SHOWN[row.config]
            axis.annotate(
                row.config,
                (row.minutes, row.auc),
                (right, up),
                textcoords="offset points",
                horizontalalignment="left" if right > 0 else "right",
                fontsize=9,
                color=color,
            )
        axis.set_xscale("log")
        axis.set_xticks([1, 5, 10, 30, 60], ["1 min", "5", "10", "30", "1 h"])
        axis.set_xlim(0.25, 150)
        axis.minorticks_off()
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("training time on CPU", fontsize=9)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("validation AUC (mean ± sd, 3 seeds)", fontsize=9)
    figure.savefig(DOCS / "pictures" / "quality.png", dpi=130)


if __name__ == "__main__":
    main()
