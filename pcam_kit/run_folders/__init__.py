"""Run folders: one per training, complete once `result.json` exists.

runs/<utc time>-<config name>-<4 hex>/
    config.yaml            the experiment, with all values resolved
    meta.json              id, command line, git commit, versions, device, store, seed, times
    metrics.jsonl          one line per epoch (`epochs.py`)
    state.npz              the checkpoint for `--resume`; deleted when the run is complete
    model.keras            the best weights so far by validation AUC
    predictions/<split>.npz
    result.json            the scores; written last
    exports/<format>/      the model in other formats, by `pcam export`, each with its card

state.npz, model.keras and predictions carry the run's id and a checksum (`seal.py`, and
`models/saved.py`); meta.json has the checksum of the final model.keras.
"""

from pcam_kit.run_folders.epochs import read_metrics
from pcam_kit.run_folders.predictions import Predictions
from pcam_kit.run_folders.record import SCHEMA_VERSION, Result
from pcam_kit.run_folders.run import Run, create_run, open_run, update_meta
from pcam_kit.run_folders.search import (
    ORDER,
    RunOrder,
    State,
    find_run,
    list_runs,
    next_order,
    select_runs,
    state_of,
)

__all__ = [
    "ORDER",
    "SCHEMA_VERSION",
    "Predictions",
    "Result",
    "Run",
    "RunOrder",
    "State",
    "create_run",
    "find_run",
    "list_runs",
    "next_order",
    "open_run",
    "read_metrics",
    "select_runs",
    "state_of",
    "update_meta",
]
