"""The sweeps that trained some runs, as their summaries have them: for a report."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pcam_kit.errors import PcamError, RunError
from pcam_kit.files import read_json_object
from pcam_kit.html_report.contents import Search
from pcam_kit.parsing import parsing
from pcam_kit.workflows.sweep.result import SCHEMA_VERSION, SUMMARY, as_table, points_of, ranked
from pcam_kit.workflows.sweep.study import Trial

log = logging.getLogger(__name__)

SHOWN = 10  # trials in the table, besides those of the runs


def find_searches(runs: Collection[str], folder: Path) -> list[Search]:
    """The sweeps in `folder` with a trial of one of `runs`, by name.

    One that cannot be read is left out with a warning.
    """
    found: list[Search] = []
    for path in sorted(folder.glob(f"*/{SUMMARY}")):
        try:
            with parsing(lambda reason, path=path: RunError(f"cannot read {path}: {reason}")):
                summary = read_json_object(path)
                if summary.get("schema_version") != SCHEMA_VERSION:
                    raise RunError(f"{path} is not of this version of pcam-kit")
                search = _search(summary, runs)
        except PcamError as error:
            log.warning(f"a sweep is left out: {error.message}")
            continue
        if search is not None:
            found.append(search)
    return found


def _search(summary: dict[str, Any], runs: Collection[str]) -> Search | None:
    trials = [Trial.from_dict(values) for values in summary["trials"]]
    own = {trial.number for trial in trials if set(trial.runs) & set(runs)}
    if not own:
        return None
    best = ranked(trials)
    shown = [t for place, t in enumerate(best) if place < SHOWN or t.number in own]
    columns, rows = as_table(shown, list(summary["scales"]))
    return Search(
        name=summary["sweep"],
        config=summary["config"],
        sentences=summary["sentences"],
        columns=columns,
        rows=rows,
        own=[place for place, trial in enumerate(shown) if trial.number in own],
        total=len(trials),
        points=points_of(trials),
        scales=summary["scales"],
    )
