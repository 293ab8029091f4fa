"""The script that runs at Kaggle: unpack the wheels, fetch, train, predict, pack the runs.

It is the file `script.py` beside this one with a task put in. Nothing of pcam-kit can be imported
before the wheels are unpacked, so the script stands for itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pcam_kit.files import storage_error
from pcam_kit.workflows.kaggle_run.task import Task

OUTPUT = "pcam-runs.zip"  # what the script writes
SCRIPT = Path(__file__).with_name("script.py")
PLACE = 'TASK = json.loads("{}")'  # the line in it that is replaced


def script_text(task: Task) -> str:
    """The script that does a task. Raises StorageError."""
    try:
        text = SCRIPT.read_text(encoding="utf-8")
    except OSError as error:
        raise storage_error(error, SCRIPT, "read") from error
    told: dict[str, Any] = {
        "config": task.config,
        "competition": task.competition,
        "files": task.files,
        "several": task.several,
        "output": OUTPUT,
    }
    assert text.count(PLACE) == 1
    return text.replace(PLACE, f"TASK = json.loads({json.dumps(told)!r})")
