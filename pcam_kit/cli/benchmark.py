"""`pcam benchmark`: a config on a public test set, beside published scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcam_kit.cli.complete import config_names
from pcam_kit.cli.console import print_json, print_table, print_text, say
from pcam_kit.cli.options import DataDir, Debug, Json, Overrides, RunsDir, Seed, workspace_of
from pcam_kit.errors import UsageError

if TYPE_CHECKING:
    from pcam_kit.workflows.benchmark import Benchmark


def benchmark(
    name: Annotated[
        Literal["pcam", "mle-bench"],
        typer.Argument(help="pcam: PCam's own test split. mle-bench: that of MLE-bench."),
    ],
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="CONFIG",
            help="A .yaml file or a shipped config's name. [default: the one for these data]",
            show_default=False,
            autocompletion=config_names,
        ),
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", metavar="N", min=1, max=10_000, help="Runs, with seeds from the config's on."
        ),
    ] = 5,
    table: Annotated[
        Literal["markdown", "latex", "csv"] | None,
        typer.Option("--format", help="Print the table for a report.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a config and score it on a public test set.

    Epoch and threshold are chosen on validation patches; the test patches are scored once, at the
    end. Published scores stand beside. The same command uses finished runs again and resumes a
    stopped one. The result is also a file in the runs folder.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    if as_json and table is not None:
        raise UsageError("--json and --format exclude each other", hint="leave one of them out")
    result = api.benchmark(
        name,
        config,
        overrides=overrides or (),
        seed=seed,
        seeds=seeds,
        workspace=workspace_of(data_dir, runs_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(result.to_dict())
    elif table is not None:
        print_text(result.table().render(table))
    else:
        show(result)


def show(result: Benchmark) -> None:
    """The runs, then the published scores, on stdout; on stderr what has to be known with them."""
    first = result.evaluations[0]
    by = "patch" if first.intervals.slides is None else f"slide ({first.intervals.slides})"
    title = (
        f"{result.store.profile.title}: {first.scores.n:,} test patches "
        f"({first.scores.positive:,} positive), 95% intervals by {by}"
    )
    table, runs = result.table(), len(result.scores)
    # in one table the intervals would leave no room for the sources
    print_table(title, table.headings[:-1], [row[:-1] for row in table.texts[:runs]])
    print_table("beside published scores", table.headings, table.texts[runs:])
    for sentence in result.leaks:
        say(f"leak guard: {sentence}")
    for sentence in result.notes:
        say(sentence)
    say(f"written to {result.path}")
