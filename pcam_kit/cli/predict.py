"""`pcam predict`: write and check the CSV of a run, or of several combined."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines, print_table, say
from pcam_kit.cli.options import (
    Cpus,
    DataDir,
    Debug,
    Jobs,
    Json,
    Ray,
    Runs,
    RunsDir,
    SubmissionsDir,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.workflows.predict import PredictionResult


def predict(
    runs: Runs = None,
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option("--split", help="The patches to predict.")
    ] = "test",
    tta: Annotated[
        # schema.Tta, which would import pydantic for --help
        Literal["none", "d4", "shifts", "d4-shifts", "turns", "d4-turns"] | None,
        typer.Option(
            "--tta",
            help="Average over symmetries, shifts or turns. [default: as each run was measured]",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        Literal["probabilities", "logits", "ranks"] | None,
        typer.Option(
            "--mean",
            help="What is averaged over several runs. [default: logits]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Literal["equal", "fitted"] | None,
        typer.Option(
            "--weights",
            help="What each of several runs counts for. [default: equal]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="CSV",
            help="The file to write. [default: in the submissions folder]",
            show_default=False,
        ),
    ] = None,
    assume_positive: Annotated[
        float | None,
        typer.Option(
            "--assume-positive",
            metavar="SHARE",
            help="Choose the threshold so that this share is positive, e.g. 0.5.",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Write probabilities also where the competition wants classes.",
        ),
    ] = False,
    calibrated: Annotated[
        bool,
        typer.Option("--calibrated", help="Apply the temperature of the validation patches."),
    ] = False,
    jobs: Jobs = None,
    ray: Ray = None,
    cpus: Cpus = 1,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write and check the CSV of a run, or of several combined.

    It has the competition's own format. Fitted weights have the lowest log loss on the validation
    patches, held near equal ones where these are few.

    With --jobs or --ray each process predicts a part of the patches; what is done is kept when
    the command is stopped.

    --assume-positive is for test patches whose share of positives is known, e.g. balanced by
    construction, when their stain moved all probabilities. It uses no labels, but all the patches
    at once.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    result = api.predict(
        runs if runs else None,
        split,
        tta=tta,
        averaging=mean,
        weights=weights,
        out=out,
        assume_positive=assume_positive,
        probabilities=probabilities,
        calibrated=calibrated,
        jobs=jobs,
        ray=ray,
        cpus=cpus,
        workspace=workspace_of(data_dir, runs_dir, submissions_dir),
        display=ConsoleDisplay(),
    )
    if len(result.ensemble.runs) > 1:
        show_members(result)
    if as_json:
        print_json(result.to_dict())
    else:
        print_lines(result.csv.path)


def show_members(result: PredictionResult) -> None:
    """A row a member and one for all together, on stderr, and what to know about them."""
    import numpy as np

    from pcam_kit.workflows.ensemble import PARTS

    ensemble, combination = result.ensemble, result.ensemble.combination
    k = len(ensemble.runs)
    pearson, spearman = result.correlations
    correlations = np.where(np.tri(k, k=-1, dtype=bool), pearson, spearman)
    rows: list[list[str]] = []
    members = zip(ensemble.runs, ensemble.aucs, ensemble.weights, strict=True)
    for i, (run, auc, weight) in enumerate(members):
        cells = ["" if i == j else _number(correlations[i, j]) for j in range(k)]
        rows.append([str(i + 1), run.name, f"{auc:.4f}", f"{weight:.3f}", *cells])
    mean = [f"mean of {combination.averaging}", f"{result.valid.auc:.4f}"]
    rows.append(["", *mean, *[""] * (k + 1)])
    columns = ["", "run", "validation AUC", "weight", *(str(i + 1) for i in range(k))]
    title = f"{k} runs as one, {result.valid.n:,} validation patches"
    print_table(title, columns, rows, stderr=True)
    say(
        f"On the right the correlation of their logits on the {result.split} split: Pearson below "
        "the diagonal, Spearman above."
    )
    if ensemble.folds > 1:
        say(
            f"Runs of {ensemble.folds} folds: a validation patch is scored by those not trained on "
            f"it, a patch of {result.split} by all {k}."
        )
    if combination.weights == "fitted":
        say(
            f"Fitted weights: the AUC of the mean is cross-fitted, each of {PARTS} parts with "
            "weights fitted on the others."
        )
    if combination.averaging != "ranks":
        return
    if ensemble.runs[0].competition.target == "class":
        say(
            "Ranks are those within a split: the threshold assumes that as large a share of "
            f"{result.split} is positive as of validation."
        )
    else:
        say(
            "Ranks are no probabilities: the CSV orders the patches, and only ROC AUC "
            "understands it."
        )


def _number(r: float) -> str:
    return f"{r:.3f}" if r == r else "-"  # NaN is not equal to itself
