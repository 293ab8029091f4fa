"""Find run folders: all of them, the best, or one by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from pcam_kit import mirrors
from pcam_kit.clock import behind
from pcam_kit.config.faults import suggestion
from pcam_kit.config.folders import list_configs
from pcam_kit.errors import PcamError, RunError
from pcam_kit.files import is_locked, read_json_object
from pcam_kit.parsing import parsing, printable
from pcam_kit.run_folders.record import DAMAGED
from pcam_kit.run_folders.run import Run, open_run

LIST_HINT = "see what there is: pcam runs"
LISTED = 20  # of the names that fit a part, in a message
STAMP, HEX = "20260131T235959-", "-3f2a"  # around the config's name in that of a run folder
ORDER = "order"  # the key of meta.json by which runs are in order; `started` in older ones

State = Literal["complete", "running", "stopped"]
RunOrder = Literal["auc", "accuracy", "newest", "name"]


def state_of(run: Run) -> State:
    """Whether a run is complete, trained by a process at this moment, or was stopped."""
    if run.result is not None:
        return "complete"
    return "running" if is_locked(run.lock_file) else "stopped"


def list_runs(
    runs_dir: Path, report_unreadable: Callable[[str], None] = lambda _: None
) -> list[Run]:
    """All readable runs, oldest first.

    Damaged ones and those of another schema are left out; `report_unreadable` is called with the
    reason.
    """
    mirrors.refresh(runs_dir)
    return _read(sorted(runs_dir.iterdir()), report_unreadable) if runs_dir.is_dir() else []


def _read(paths: Sequence[Path], report_unreadable: Callable[[str], None]) -> list[Run]:
    runs: list[Run] = []
    for path in paths:
        try:
            if _is_run(path):
                runs.append(_open(path))
        except PcamError as error:
            report_unreadable(error.message)
    return sorted(runs, key=lambda run: str(run.meta.get(ORDER, run.meta["started"])))


def next_order(runs_dir: Path, started: str) -> str:
    """The place of a run that begins now behind all others: `ORDER` of its meta.json.

    started: the time, ISO 8601 in UTC with milliseconds. It is the place, unless the clock was set
    back: then it is just after the latest one.
    """
    mirrors.refresh(runs_dir)
    metas = [read_json_object(path) for path in runs_dir.glob("*/meta.json")]
    return behind((str(meta.get(ORDER, meta.get("started", ""))) for meta in metas), started)


def select_runs(
    runs: Sequence[Run],
    *,
    sort: RunOrder = "auc",
    state: State | None = None,
    competition: str | None = None,
    name: str | None = None,
) -> list[Run]:
    """Those of `runs`, oldest first, that fit, in another order.

    By score the highest come first and unfinished runs last. competition: a slug. name: a part of
    the run's.
    """
    chosen = [
        run
        for run in runs
        if (state is None or state_of(run) == state)
        and competition in (None, run.meta["competition"]["slug"])
        and (name is None or name in run.name)
    ]
    match sort:
        case "newest":
            return chosen[::-1]
        case "name":
            return sorted(chosen, key=lambda run: run.name)
        case "auc":
            return sorted(chosen, key=_auc, reverse=True)
        case "accuracy":
            return sorted(chosen, key=_accuracy, reverse=True)


def _auc(run: Run) -> float:
    return run.result.valid_auc if run.result is not None else -1.0


def _accuracy(run: Run) -> float:
    return run.result.valid_accuracy if run.result is not None else -1.0


def find_run(
    runs_dir: Path,
    name: str | None,
    *,
    complete: bool | None = True,
    competition: str | None = None,
) -> Run:
    """The run called `name`, or without a name the newest one that fits.

    name: a path, a folder's name, or a unique part of it; the name of an ensemble's config stands
    for its newest run. complete: True for finished runs, False for unfinished ones, None for
    either. competition: a slug; used only without a name. Of the unfinished ones those that no
    process trains come first. Raises RunError when no run fits.
    """
    if name is not None:
        mirrors.refresh(runs_dir)
        run = _newest_ensemble(runs_dir, name) or _open(_locate(runs_dir, name))
        if complete is True:
            _ = run.outcome
        return run
    candidates = [
        run
        for run in list_runs(runs_dir)
        if (complete is None or (run.result is not None) == complete)
        and (competition is None or run.meta["competition"]["slug"] == competition)
    ]
    if not candidates:
        kind = {True: "finished run", False: "unfinished run", None: "run"}[complete]
        raise RunError(
            f"no {kind} in {printable(str(runs_dir))}",
            hint="train one: pcam train" if complete is not False else "start one: pcam train",
        )
    if complete is False:
        stopped = [run for run in candidates if state_of(run) == "stopped"]
        return [*candidates, *stopped][-1]
    return candidates[-1]


def _newest_ensemble(runs_dir: Path, config: str) -> Run | None:
    """The newest run of an ensemble whose config has that name, a complete one if there is any."""
    if not runs_dir.is_dir():
        return None
    # by the folders' names first: reading all configs would take long
    paths = [path for path in runs_dir.iterdir() if path.name[len(STAMP) : -len(HEX)] == config]
    runs = [run for run in _read(paths, lambda _: None) if run.members]
    complete = [run for run in runs if run.result is not None]
    return [None, *runs, *complete][-1]


def _open(path: Path) -> Run:
    """Read a run folder. Raises RunError, whatever is wrong with it."""
    where = printable(str(path))
    with parsing(lambda reason: RunError(f"cannot read {where}: {reason}", hint=DAMAGED)):
        return open_run(path)


def _locate(runs_dir: Path, name: str) -> Path:
    """The folder that `name` means: a path, a name, or the part of one. Raises RunError."""
    for path in (Path(name), runs_dir / name):
        if name and _is_run(path):
            return path
    names: list[str] = []
    if runs_dir.is_dir():
        names = sorted(path.name for path in runs_dir.iterdir() if _is_run(path))
    matches = _matches(name, names)
    if len(matches) == 1:
        return runs_dir / matches[0]
    where, shown = printable(str(runs_dir)), printable(repr(name))
    if matches:
        listed = [printable(match) for match in matches[:LISTED]]
        if len(matches) > LISTED:
            listed.append(f"and {len(matches) - LISTED:,} more")
        raise RunError(
            "\n  ".join([f"{len(matches)} runs called {shown} in {where}:", *listed]),
            hint="give a longer part of the name; see what there is: pcam runs",
        )
    if name and _is_folder(Path(name)):
        raise RunError(
            f"{printable(name)} is not a run folder: it has no meta.json", hint=LIST_HINT
        )
    hint = f"train it: pcam train {name}" if name in list_configs() else LIST_HINT
    raise RunError(f"no run called {shown} in {where}{suggestion(name, names)}", hint=hint)


def _matches(name: str, names: Collection[str]) -> list[str]:
    """Those that begin or end with `name` where that is one, else all that contain it."""
    if not name:
        return []
    ends = [run for run in names if run.startswith(name) or run.endswith(name)]
    return ends if len(ends) == 1 else [run for run in names if name in run]


def _is_run(path: Path) -> bool:
    return _is_folder(path) and (path / "meta.json").is_file()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
