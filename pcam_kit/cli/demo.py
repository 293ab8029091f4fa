"""`pcam demo`: the whole road on synthetic tissue, in about a minute."""

from __future__ import annotations

import time
from pathlib import Path

from pcam_kit.cli import evaluate as evaluate_command
from pcam_kit.cli.console import print_json, say
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, SubmissionsDir, workspace_of

NEXT = (
    ("pcam runs --runs-dir {runs}", "what was trained"),
    ("pcam fetch tnm-112-lab-2-2024", "the lab's patches (a Kaggle account is needed)"),
    ("pcam fetch histopathologic-cancer-detection --from FOLDER", "files you already have"),
    ("pcam --help", "all commands"),
)


def demo(
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The whole road on synthetic tissue, in a minute.

    No account, no download. Writes into demo/ unless told otherwise.
    """
    from pcam_kit import api, mirrors
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.formatting import duration
    from pcam_kit.names import shell_word

    began = time.monotonic()
    workspace = workspace_of(data_dir, runs_dir, submissions_dir, base=Path("demo"))
    display = ConsoleDisplay()
    _step("pcam fetch synthetic", "draws patches of synthetic tissue and builds the store")
    store = api.fetch("synthetic", workspace=workspace, display=display)
    _step("pcam train demo", "trains a small network on them")
    run = api.train("demo", workspace=workspace, display=display)
    _step("pcam evaluate", "scores it on the validation split")
    evaluations = api.evaluate([run], workspace=workspace, display=display)
    evaluate_command.show(evaluations, stderr=True)  # stdout is for --json
    _step("pcam predict", "writes the CSV for the test split")
    prediction = api.predict(run, workspace=workspace, display=display)
    _step("pcam submit --dry-run", "checks the CSV as a submission; nothing is sent")
    submission = api.submit(prediction.csv.path, dry_run=True, workspace=workspace)
    _step("pcam report", "puts all of it on one page: curves, thresholds, patches")
    report = api.report(run, workspace=workspace, display=display)
    say(
        f"\ndone in {duration(time.monotonic() - began)}. It was all synthetic tissue: it shows "
        "that things work, not how well on patients."
    )
    say("Open in a browser:", style="bold")
    say(f"  {report.path}")
    say("What to type next:", style="bold")
    runs = mirrors.address_of(workspace.runs) or shell_word(workspace.runs)
    commands = [command.format(runs=runs) for command, _ in NEXT]
    for command, (_, what) in zip(commands, NEXT, strict=True):
        say(f"  {command:<{max(map(len, commands))}}  {what}")
    if as_json:
        print_json(
            {
                "fetch": store.to_dict(),
                "train": run.training_dict(),
                "evaluate": evaluations[0].to_dict(),
                "predict": prediction.to_dict(),
                "submit": submission.to_dict(),
                "report": report.to_dict(),
            }
        )


def _step(command: str, what: str) -> None:
    """Announce a step."""
    say(f"\n$ {command}", style="bold")
    say(f"  {what}")
