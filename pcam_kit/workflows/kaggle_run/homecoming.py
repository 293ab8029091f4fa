"""Runs out of a zip that a notebook wrote, each as a folder that is complete or absent."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pcam_kit.data.sources.zips import unpack_zip
from pcam_kit.errors import KaggleError
from pcam_kit.files import move, storage_error, sync_folder
from pcam_kit.progress import Progress
from pcam_kit.run_folders import Run, open_run

log = logging.getLogger(__name__)


def unpack_runs(path: Path, runs: Path, progress: Progress) -> list[Run]:
    """The runs in a zip, in the order of their names; those that are in `runs` stay as they are.

    Raises DataError for a zip that is not safe to unpack, KaggleError for one without a run,
    RunError for a run that cannot be used, StorageError.
    """
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # of one that was stopped
    unpack_zip(path, folder, progress)
    try:
        found = sorted(child for child in folder.iterdir() if child.is_dir())
        if not found:
            raise KaggleError(f"{path.name} from Kaggle holds no run", hint="read the log there")
        for child in found:
            if (runs / child.name).exists():
                log.info(f"{child.name} is here already: it stays as it is")
                continue
            open_run(child)
            move(child, runs / child.name)
        sync_folder(runs)
    except OSError as error:
        raise storage_error(error, runs) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [open_run(runs / child.name) for child in found]
