"""`pcam runs`: what there is, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pcam_kit.commands.console import duration, print_table, say
from pcam_kit.runs import Run


def best_runs_first(runs: Sequence[Run]) -> list[Run]:
    """By validation AUC; unfinished runs last."""
    return sorted(
        runs, key=lambda run: run.result.valid_auc if run.result is not None else -1.0, reverse=True
    )


def describe_run(run: Run) -> dict[str, Any]:
    """One run as JSON."""
    return {
        "run": str(run.path),
        "config": run.experiment.name,
        "competition": run.meta["competition"]["slug"],
        "complete": run.result is not None,
        "seed": run.experiment.seed,
        "started": run.meta["started"],
        "result": asdict(run.result) if run.result is not None else None,
    }


def show_runs(runs: Sequence[Run]) -> None:
    """The runs as a table."""
    if not runs:
        say("no runs yet; train one: pcam train")
        return
    rows: list[list[str]] = []
    for run in best_runs_first(runs):
        slug = run.meta["competition"]["slug"]
        result = run.result
        if result is None:
            rows.append([run.name, slug, "-", "-", "-", "stopped (--resume)", "-"])
            continue
        rows.append(
            [
                run.name,
                slug,
                f"{result.valid_auc:.4f} ({result.valid_auc_low:.4f}-{result.valid_auc_high:.4f})",
                f"{result.valid_accuracy:.4f}",
                f"{result.threshold:.3f}",
                f"{result.best_epoch} of {result.epochs}",
                duration(result.seconds),
            ]
        )
    print_table(
        "",
        [
            "run",
            "competition",
            "validation AUC (95%)",
            "accuracy",
            "threshold",
            "best epoch",
            "time",
        ],
        rows,
    )
