"""How the score grows with the number of training patches: python benchmarks/growth.py CONFIG...
--data-dir DIR [--runs-dir DIR] [--competition SLUG] [--patches N...] [--seeds N]

Trains each config on N patches for each N, and on all, `--seeds` times each; runs that are finished
are used again. Then writes the last section of docs/quality.md, and docs/pictures/growth.png.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pcam_kit as pcam
from pcam_kit.cli.console import show_messages
from pcam_kit.data.store import Store
from pcam_kit.display import ConsoleDisplay
from pcam_kit.files import write_bytes
from pcam_kit.formatting import as_markdown, mean_sd
from pcam_kit.plots.style import colour_of, drawing, new_axes, to_bytes
from pcam_kit.run_folders import Run
from pcam_kit.workspace import Workspace

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "quality.md", DOCS / "pictures" / "growth.png"
TITLE = "## Fewer training patches"
VERDICT = """\
The fewer patches there are, the more ImageNet's features are worth. With them 1,000 patches do
nearly as well as 19,171 with a plain network from scratch."""
HEADINGS = ("config", "training patches", "AUC", "accuracy, threshold from other patches", "runs")


@dataclass(frozen=True)
class Point:
    """The finished runs of a config on so many training patches."""

    config: str
    patches: int
    runs: tuple[Run, ...]

    @property
    def aucs(self) -> list[float]:
        """The validation AUC of each run."""
        return [run.outcome.valid_auc for run in self.runs]


def main() -> None:
    """Train what is missing, then write section and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--competition", default="tnm-112-lab-2-2024")
    parser.add_argument("--patches", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    show_messages()
    workspace = Workspace(data=arguments.data_dir, runs=arguments.runs_dir)
    store = workspace.store(arguments.competition)
    there = store.splits["train"].n
    sizes = sorted({n for n in arguments.patches if n < there} | {there})
    points: list[Point] = []
    for config in arguments.configs:
        for n in sizes:
            limit = f"data.limit={n if n < there else 'null'}"
            series = pcam.train_series(
                config,
                seeds=arguments.seeds,
                overrides=[f"competition={store.profile.slug}", limit],
                seed=0,
                workspace=workspace,
                display=ConsoleDisplay(),
            )
            points.append(Point(series.runs[0].experiment.name, n, tuple(series.runs)))
    write_bytes(PICTURE, draw(points))
    before = PAGE.read_text(encoding="utf-8").split(f"\n{TITLE}\n")[0].rstrip("\n")
    page = f"{before}\n\n{section(store, points, workspace)}"
    write_bytes(PAGE, page.encode())
    print(PAGE, PICTURE, sep="\n")


def section(store: Store, points: list[Point], workspace: Workspace) -> str:
    """The section of the page: what was measured, the table, the picture."""
    size, valid = store.patch_size, store.splits["valid"].n
    rows: list[list[str]] = []
    for point in points:
        scores = [pcam.evaluate(run, workspace=workspace) for run in point.runs]
        accuracies = [x.calibrated.accuracy for x in scores if x.calibrated.accuracy is not None]
        cells = [mean_sd(point.aucs), mean_sd(accuracies), str(len(scores))]
        rows.append([f"`{point.config}`", f"{point.patches:,}", *cells])
    return f"""{TITLE}

{VERDICT}

Written by `python benchmarks/growth.py`. {size}x{size} pixels, {valid:,} validation patches,
mean ± sd over seeds. Each seed draws its own patches at random (`data.limit`). Where a config has a
`training.least_patches`, few patches are seen as often as that says.

{as_markdown(HEADINGS, rows).rstrip()}

![AUC of each config against the number of its training patches](pictures/growth.png)
"""


def draw(points: list[Point]) -> bytes:
    """AUC against training patches, a line a config: mean ± sd over seeds; a PNG."""
    with drawing():
        figure, axes = new_axes(5.2, 3.4)
        for i, config in enumerate(dict.fromkeys(point.config for point in points)):
            own = [point for point in points if point.config == config]
            means = [statistics.fmean(point.aucs) for point in own]
            spreads = [statistics.stdev(p.aucs) if len(p.aucs) > 1 else 0.0 for p in own]
            patches = [point.patches for point in own]
            style = {"color": colour_of(i), "marker": "o", "capsize": 3}
            axes.errorbar(patches, means, spreads, label=config, **style)
        sizes = sorted({point.patches for point in points})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.minorticks_off()
        axes.set_xlabel("training patches")
        axes.set_ylabel("validation AUC (mean ± sd over seeds)")
        axes.legend(loc="lower right")
        return to_bytes(figure, "png")


if __name__ == "__main__":
    main()
