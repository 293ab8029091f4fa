"""The script that runs at Kaggle: unpack the wheels, fetch, train, predict, pack the runs.

It is the file `script.py` beside this one with a task put in. Nothing of pcam-kit can be imported
before the wheels are unpacked, so the script stands for itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pcam_kit.files import storage_error

OUTPUT = "pcam-runs.zip"  # what the script writes
SCRIPT = Path(__file__).with_name("script.py")
PLACE = 'TASK = json.loads("{}")'  # the line in it that is replaced


def script_text(config: str, competition: str, files: Mapping[str, str]) -> str:
    """The script that trains `config` on a competition's files.

    files: YAML texts by their path in the folder `configs`. Raises StorageError.
    """
    try:
        text = SCRIPT.read_text(encoding="utf-8")
    except OSError as error:
        raise storage_error(error, SCRIPT, "read") from error
    task: dict[str, Any] = {
        "config": config,
        "competition": competition,
        "files": dict(files),
        "output": OUTPUT,
    }
    assert text.count(PLACE) == 1
    return text.replace(PLACE, f"TASK = json.loads({json.dumps(task)!r})")
