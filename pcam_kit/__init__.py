"""A toolkit for PatchCamelyon: fetch, train, evaluate, predict, submit.

`import pcam_kit as pcam` gives the functions of `pcam_kit.api`; see docs/python.md. They are
imported when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcam_kit.api import (
        Workspace,
        apply,
        benchmark,
        colour_shift,
        configs,
        download,
        embed,
        ensemble,
        evaluate,
        export,
        fetch,
        find_copies,
        import_predictions,
        kaggle_run,
        list_submissions,
        load_config,
        load_run,
        open_store,
        plot,
        predict,
        probe,
        read_metrics,
        refresh_submissions,
        report,
        runs,
        settings,
        show,
        submit,
        sweep,
        synthetic,
        train,
        train_node,
        train_series,
        wrong_patches,
    )
    from pcam_kit.errors import PcamError

__version__ = "0.2.0"

__all__ = [
    "PcamError",
    "Workspace",
    "__version__",
    "apply",
    "benchmark",
    "colour_shift",
    "configs",
    "download",
    "embed",
    "ensemble",
    "evaluate",
    "export",
    "fetch",
    "find_copies",
    "import_predictions",
    "kaggle_run",
    "list_submissions",
    "load_config",
    "load_run",
    "open_store",
    "plot",
    "predict",
    "probe",
    "read_metrics",
    "refresh_submissions",
    "report",
    "runs",
    "settings",
    "show",
    "submit",
    "sweep",
    "synthetic",
    "train",
    "train_node",
    "train_series",
    "wrong_patches",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent unless the caller listens


def __getattr__(name: str) -> Any:
    """Import a name of the Python interface when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "errors" if name == "PcamError" else "api"
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
