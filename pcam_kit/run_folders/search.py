"""Find run folders: all of them, the best, or one by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pcam_kit.config.faults import suggestion
from pcam_kit.errors import PcamError, RunError
from pcam_kit.run_folders.run import Run, open_run

LIST_HINT = "see what there is: pcam runs"


def list_runs(
    runs_dir: Path, report_unreadable: Callable[[str], None] = lambda _: None
) -> list[Run]:
    """All readable runs, oldest first.

    Damaged ones and those of another schema are left out; `report_unreadable` is called with the
    reason.
    """
    if not runs_dir.is_dir():
        return []
    runs: list[Run] = []
    for path in sorted(runs_dir.iterdir()):
        try:
            if _is_run(path):
                runs.append(open_run(path))
        except PcamError as error:
            report_unreadable(error.message)
    return sorted(runs, key=lambda run: str(run.meta["started"]))


def best_first(runs: Sequence[Run]) -> list[Run]:
    """The runs by validation AUC, highest first; unfinished runs last."""

    def auc(run: Run) -> float:
        return run.result.valid_auc if run.result is not None else -1.0

    return sorted(runs, key=auc, reverse=True)


def find_run(
    runs_dir: Path,
    name: str | None,
    *,
    complete: bool | None = True,
    competition: str | None = None,
) -> Run:
    """The run called `name`, or without a name the newest one that fits.

    name: a path, a folder's name, or a unique prefix or suffix of it. complete: True for finished
    runs, False for unfinished ones, None for either. competition: a slug; used only without a name.
    Raises RunError when no run fits.
    """
    if name is not None:
        run = open_run(_locate(runs_dir, name))
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
            f"no {kind} in {runs_dir}",
            hint="train one: pcam train" if complete is not False else "start one: pcam train",
        )
    return candidates[-1]


def _locate(runs_dir: Path, name: str) -> Path:
    for path in (Path(name), runs_dir / name):
        if path.is_dir() and _is_run(path):
            return path
    names: list[str] = []
    if runs_dir.is_dir():
        names = sorted(path.name for path in runs_dir.iterdir() if _is_run(path))
    matches: list[str] = []
    if name:
        matches = [run for run in names if run.startswith(name) or run.endswith(name)]
    if len(matches) == 1:
        return runs_dir / matches[0]
    if name and Path(name).is_dir():
        raise RunError(f"{name} is not a run folder: it has no meta.json", hint=LIST_HINT)
    count = f"{len(matches)} runs" if matches else "no run"
    raise RunError(
        f"{count} called {name!r} in {runs_dir}{suggestion(name, names)}", hint=LIST_HINT
    )


def _is_run(path: Path) -> bool:
    return (path / "meta.json").is_file()
