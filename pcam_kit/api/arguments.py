"""What callers may give instead of a run, a workspace or a display, and what it stands for."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcam_kit.errors import ConfigError, RunError, UsageError
from pcam_kit.parsing import parsing
from pcam_kit.run_folders import Run, find_run, open_run
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.sweep.pools import Where

log = logging.getLogger(__name__)

WorkspaceLike = Workspace | str | os.PathLike[str]
RunLike = Run | str | os.PathLike[str]
Overrides = Mapping[str, Any] | Sequence[str]


def workspace_of(given: WorkspaceLike | None) -> Workspace:
    if isinstance(given, Workspace):
        return given
    if given is None:
        return Workspace.from_environment()
    return Workspace.below(given)


def display_of(given: Display | None) -> Display:
    from pcam_kit.display import default_display

    return given if given is not None else default_display()


def where_of(jobs: int | None, ray: str | None, cpus: int) -> Where | None:
    """Where jobs run side by side; None: all in this process."""
    if jobs is None and ray is None:
        return None
    from pcam_kit.workflows.sweep.pools import Where

    return Where(jobs, ray, cpus)


def path_of(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def config_of(given: str | os.PathLike[str] | None) -> str | None:
    return None if given is None else os.fspath(given)


def name_of(run: RunLike | None) -> str | None:
    if run is None:
        return None
    return str(run.path) if isinstance(run, Run) else os.fspath(run)


def is_run(given: RunLike | Sequence[RunLike]) -> bool:
    return isinstance(given, Run | str | os.PathLike)


def load_run(name: RunLike | None = None, *, workspace: WorkspaceLike | None = None) -> Run:
    """A finished run by its path, its name or a unique part of it; None: the newest one.

    Raises RunError.
    """
    place = workspace_of(workspace)
    if isinstance(name, Run):
        return open_run(name.path)
    if name is not None:
        run = find_run(place.runs, os.fspath(name))
        if run.members:
            log.info(f"{run.name} is the mean of {', '.join(run.members)}")
        return run
    run = find_run(place.runs, None)
    log.info(f"using {run.name}, the newest finished run")
    return run


def any_run(name: RunLike | None, workspace: Workspace) -> Run:
    """A run, complete or not, by its path, name or a unique part of it; None: the newest one."""
    if isinstance(name, Run):
        return open_run(name.path)
    return find_run(workspace.runs, None if name is None else os.fspath(name), complete=None)


def runs_of(
    given: RunLike | Sequence[RunLike] | None,
    workspace: Workspace,
    *,
    skip_unfinished: bool = False,
) -> list[Run]:
    """The runs that were named; the newest finished one where none was.

    skip_unfinished: of several, what exists and is no finished run is left out, with a warning.
    """
    if given is None:
        return [load_run(workspace=workspace)]
    names: list[RunLike] = [given] if is_run(given) else list(given)  # type: ignore[list-item]
    chosen: list[Run] = []
    for name in names:
        try:
            run = load_run(name, workspace=workspace)
            _ = run.outcome
        except RunError as error:
            if not skip_unfinished or len(names) == 1 or not _exists(name, workspace):
                raise
            log.warning(f"left out: {error.message}")
            continue
        chosen.append(run)
    if not chosen:
        raise UsageError("no finished run is given", hint="name at least one: pcam runs shows them")
    return chosen


def _exists(name: RunLike, workspace: Workspace) -> bool:
    """Whether a name stands for something on disk: it is no slip of the pen."""
    if isinstance(name, Run):
        return True
    try:
        find_run(workspace.runs, os.fspath(name), complete=None)
    except RunError:
        return os.path.lexists(name)
    return True


def overrides_of(given: Overrides, seed: int | None) -> tuple[str, ...]:
    """As the options of the command line: `key=value`, the value as YAML."""
    if isinstance(given, Mapping):
        with parsing(lambda reason: ConfigError(f"overrides: {reason}")):
            # not as \\u: YAML takes the two halves of a character beyond U+FFFF for two
            settings = [
                f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()
            ]
    else:
        settings = list(given)
    if seed is not None:
        settings.append(f"seed={seed}")
    return tuple(settings)
