"""The commands that deal with Kaggle as Typer sees them: fetch, submit, submissions, doctor.

`cli.py` gives them their places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pcam_kit.options import DataDir, Debug, Json, RunsDir, SubmissionsDir, folders, print_json


def fetch(
    competition: Annotated[
        str | None,
        typer.Argument(
            help="Slug, Kaggle URL, or a profile's .yaml; `synthetic` is made-up tissue.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Take files on disk: a folder or a .zip.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="OWNER/SLUG",
            help="Take the files of this Kaggle dataset; needs --as.",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="COMPETITION",
            help="What the dataset stands in for, e.g. pcam.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PATTERN",
            help="Download just these files, e.g. '*.csv'; build nothing.",
            show_default=False,
        ),
    ] = None,
    stain: Annotated[
        Literal["reinhard", "macenko"] | None,
        typer.Option(
            help="Also build a second store with the stain normalised, for data.stain.",
            show_default=False,
        ),
    ] = None,
    keep_raw: Annotated[
        bool, typer.Option("--keep-raw", help="Also unpack a downloaded zip, beside it.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Get a competition's files and build the store.

    Downloads them from Kaggle, or takes them from disk (--from), and verifies them.

    Again, it goes on where it stopped, verifies what is there and does nothing if all is intact.
    """
    from pcam_kit.commands import fetch as command
    from pcam_kit.errors import UsageError

    request = command.request(competition, role, source, dataset, keep_raw=keep_raw)
    if only:
        if stain is not None:
            raise UsageError(
                "--only builds no store, and --stain normalises one", hint="leave one away"
            )
        paths = command.fetch_some(request, only, folders(data_dir))
        if as_json:
            print_json(command.describe_some(paths))
        else:
            print(*paths, sep="\n")
        return
    store = command.fetch(request, folders(data_dir))
    if stain is not None:
        store = command.normalise(store, stain, folders(data_dir))
    if as_json:
        print_json(command.describe(store))
    else:
        command.show(store)


def submit(
    csv: Annotated[
        Path | None,
        typer.Argument(help="The CSV to send. [default: the one written last]", show_default=False),
    ] = None,
    message: Annotated[
        str,
        typer.Option(
            "-m",
            "--message",
            help="What Kaggle shows beside it. [default: runs and commit]",
            show_default=False,
        ),
    ] = "",
    competition: Annotated[
        str | None,
        typer.Option(
            "--competition",
            help="Where it goes. [default: the competition it was written for]",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the score.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds to wait for the score.")
    ] = 900.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, send nothing; needs no account.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Send bytes that were sent before.")
    ] = False,
    allow_leak: Annotated[
        bool,
        typer.Option("--allow-leak", help="Send it although its run was trained on test patches."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")] = False,
    data_dir: DataDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a CSV, send it, wait for its score.

    Each step is recorded in the ledger; the same bytes are not sent twice without --again.

    Stopped at any moment, the same command goes on: it asks Kaggle what had arrived.
    """
    from pcam_kit.commands import submit as command

    request = command.Request(csv, competition, message, wait, dry_run, again, timeout, allow_leak)
    submitted = command.submit(
        request, folders(data_dir, None, submissions_dir), (lambda _: True) if yes else command.ask
    )
    if as_json:
        print_json(command.describe(submitted))
    else:
        command.show(submitted)
    command.raise_if_refused(submitted)


def submissions(
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Ask Kaggle for what is missing: scores, and unknown outcomes."
        ),
    ] = False,
    submissions_dir: SubmissionsDir = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV on stdout, one row a submission.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """All CSVs and submissions, best first.

    gap is the public minus the validation score.
    """
    from pcam_kit.commands import submission_list
    from pcam_kit.errors import UsageError

    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be printed", hint="choose one of them")
    ledger = folders(None, None, submissions_dir).ledger
    problem = None
    if refresh:
        from pcam_kit.commands.outcomes import refresh as ask_kaggle

        problem = ask_kaggle(ledger)
    entries = ledger.entries()
    if as_json:
        best_first = submission_list.best_submissions_first(entries)
        print_json(
            {"submissions": [submission_list.describe_submission(entry) for entry in best_first]}
        )
    elif as_csv:
        submission_list.write_csv(entries)
    else:
        submission_list.show_submissions(entries)
    if problem is not None:
        raise problem


def doctor(
    competition: Annotated[
        str | None,
        typer.Argument(
            help="What you want to work on. [default: the competition fetched last, if any]",
            show_default=False,
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask Kaggle nothing.")] = False,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Is everything as it should be? Says what mends what is not.

    Python, packages, Keras, memory, disk, stores, runs, the account on Kaggle. Exit code 1 for a
    problem, 0 for warnings.
    """
    from pcam_kit.commands import doctor as command

    request = command.Request(competition, offline, debug)
    checks = command.diagnose(request, lambda: folders(data_dir, runs_dir, submissions_dir))
    told = command.describe([*checks] if as_json else command.show(checks))
    if as_json:
        print_json(told)
    if told["problems"] > 0:
        raise typer.Exit(1)
