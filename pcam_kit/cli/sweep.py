"""`pcam sweep`: search values of a config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_json, print_lines, print_table, say
from pcam_kit.cli.options import (
    Cpus,
    DataDir,
    Debug,
    Jobs,
    Json,
    Ray,
    RunsDir,
    Workers,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.workflows.sweep.result import SweepResult

SHOWN = 20  # trials in the table; trials.csv has all


def sweep(
    path: Annotated[
        Path, typer.Argument(metavar="SWEEP.yaml", help="What is searched: docs/scale.md.")
    ],
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", min=1, help="Instead of the file's.", show_default=False
        ),
    ] = None,
    jobs: Jobs = None,
    ray: Ray = None,
    cpus: Cpus = 1,
    workers: Workers = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The sweep's folder. [default: sweeps/NAME]", show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search values of a config: many trainings, some of them stopped early.

    Every training is an ordinary run. Trials that fall behind are stopped. The summary says how far
    the best one flatters itself, and draws the search. Without --jobs there is one training for
    each GPU; without one, for every two processors.

    Stopped at any moment, the same command resumes; with more --trials it goes further.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    result = api.sweep(
        path,
        out=out,
        jobs=jobs,
        ray=ray,
        trials=trials,
        cpus=cpus,
        workers=workers,
        workspace=workspace_of(data_dir, runs_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: SweepResult) -> None:
    """The best trials as a table; on stdout the run of the best one."""
    from pcam_kit.workflows.sweep.result import as_table, ranked

    best = ranked(result.trials)[:SHOWN]
    columns, rows = as_table(best, list(best[0].values) if best else [])
    title = f"{result.name}: {result.count('complete')} complete, "
    title += f"{result.count('stopped')} stopped early, {result.count('failed')} failed"
    print_table(title, columns, rows, stderr=True)
    for line in result.sentences():
        say(line)
    if result.best is not None:
        print_lines(*result.best.runs[:1])
