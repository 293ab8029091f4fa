"""`pcam demo`: the whole road on made-up tissue, in about a minute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pcam_kit.commands import evaluate, fetch, predict, submit, train
from pcam_kit.commands.console import duration, say
from pcam_kit.commands.evaluate import Scored
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.predict import Predicted
from pcam_kit.commands.submit import Submitted
from pcam_kit.data.store import Store
from pcam_kit.runs import Run


@dataclass(frozen=True)
class Demo:
    """What each step made."""

    store: Store
    run: Run
    scored: Scored
    predicted: Predicted
    submitted: Submitted


def demo(folders: Folders) -> Demo:
    """Fetch, train, evaluate, predict and submit (dry run), telling each step as the command that
    does it.
    """
    began = time.monotonic()
    step("pcam fetch synthetic", "draws patches of made-up tissue and builds the store")
    store = fetch.fetch(fetch.Request("synthetic"), folders)
    step("pcam train demo", "trains a small network on them")
    run = train.train(train.Request(config="demo"), folders)
    step("pcam evaluate", "scores it on the validation split")
    scored = evaluate.score([run], "valid", folders)
    evaluate.show(scored, stderr=True)  # stdout is for --json
    step("pcam predict", "writes the CSV for the test split")
    predicted = predict.predict([run], predict.Request(), folders)
    step("pcam submit --dry-run", "checks the CSV as a submission; nothing is sent")
    submitted = submit.submit(
        submit.Request(csv=predicted.csv.path, dry_run=True), folders, lambda _: True
    )
    say(
        f"\ndone in {duration(time.monotonic() - began)}. It was all made-up tissue: it shows "
        "that things work, not how well on patients."
    )
    here = folders.runs.parent
    say("What to type next:", style="bold")
    say(f"  cd {here} && pcam runs                      what was trained")
    say(
        "  pcam fetch tnm-112-lab-2-2024              the lab's patches (a Kaggle account is "
        "needed)"
    )
    say("  pcam fetch histopathologic-cancer-detection --from FOLDER    files you already have")
    say("  pcam --help                                all commands")
    return Demo(store, run, scored[0], predicted, submitted)


def step(command: str, what: str) -> None:
    """Announce a step."""
    say(f"\n$ {command}", style="bold")
    say(f"  {what}")


def describe(result: Demo) -> dict[str, Any]:
    """The JSON object of `pcam demo`: that of each step under the step's name."""
    return {
        "fetch": fetch.describe(result.store),
        "train": train.describe(result.run),
        "evaluate": evaluate.describe(result.scored),
        "predict": predict.describe(result.predicted),
        "submit": submit.describe(result.submitted),
    }
