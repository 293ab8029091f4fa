"""The Python interface: what the commands do, as functions. The commands call exactly these.

    import pcam_kit as pcam

    store = pcam.fetch("synthetic")
    run = pcam.train("demo", overrides={"training.epochs": 2})
    pcam.evaluate(run).scores.auc

Every function takes `workspace`: a folder with `data/`, `runs/` and `submissions/` below it, a
`Workspace`, or None for PCAM_DATA_DIR, PCAM_RUNS_DIR and PCAM_SUBMISSIONS_DIR, where unset the
working directory's. Those that take time have `display`: None shows the progress on a terminal and
in a notebook, `progress.SILENT` shows nothing. Messages go to the logger "pcam_kit". Errors are
`PcamError`s with a `hint`.
"""

from __future__ import annotations

from pcam_kit.api.arguments import (
    load_run,
)
from pcam_kit.api.benchmarks import benchmark
from pcam_kit.api.data import (
    colour_shift,
    download,
    fetch,
    find_copies,
    open_store,
    synthetic,
)
from pcam_kit.api.exports import (
    export,
)
from pcam_kit.api.features import embed, probe
from pcam_kit.api.kaggle_runs import kaggle_run
from pcam_kit.api.plots import plot, wrong_patches
from pcam_kit.api.reports import (
    report,
)
from pcam_kit.api.results import (
    ensemble,
    evaluate,
    predict,
    read_metrics,
    runs,
    show,
)
from pcam_kit.api.settings import (
    settings,
)
from pcam_kit.api.submissions import (
    list_submissions,
    refresh_submissions,
    submit,
)
from pcam_kit.api.sweeps import sweep
from pcam_kit.api.tissue import (
    apply,
)
from pcam_kit.api.training import (
    configs,
    import_predictions,
    load_config,
    train,
    train_node,
    train_series,
)
from pcam_kit.workspace import Workspace

__all__ = [
    "Workspace",
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
