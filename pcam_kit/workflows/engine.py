"""What computes the predictions of a whole split: Keras, or OpenVINO in bfloat16.

OpenVINO takes half the time of Keras on CPUs with bfloat16 (docs/speed.md). It is asked
only where the predictions are many, as its model must be written first, and taken only where its
validation AUC is that of Keras to four digits. `PCAM_ENGINE=keras` leaves it out.
"""

# pyright: basic

from __future__ import annotations

import logging
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pcam_kit.config.schema import Custom, Tta
from pcam_kit.data.store import Store
from pcam_kit.errors import UsageError
from pcam_kit.metrics import roc_auc
from pcam_kit.run_folders import Predictions, Run
from pcam_kit.training.backend import quiet_import
from pcam_kit.training.hardware import read_hardware
from pcam_kit.training.precision import fast_precision
from pcam_kit.views import VIEWS
from pcam_kit.workflows.plan import rows_of

if TYPE_CHECKING:
    from pcam_kit.inference import Answers

log = logging.getLogger(__name__)

VARIABLE, CHOICES = "PCAM_ENGINE", ("auto", "keras")
LEAST = 50_000  # patches times views; fewer take Keras a minute at most
SAMPLE = 2_000  # validation patches
TOLERANCE = 5e-5  # of the AUC: equal to four digits


def quick_answers(
    run: Run, model: Any, size: int, tta: Tta, store: Store, n: int
) -> Answers | None:
    """OpenVINO's answers to `n` patches of `size` pixels a side; None where Keras is to compute.

    What is decided here is the same on every machine with this hardware and these packages. Raises
    UsageError for a PCAM_ENGINE that there is not.
    """
    asked = os.environ.get(VARIABLE, "auto")
    if asked not in CHOICES:
        raise UsageError(
            f"{VARIABLE}: expected {' or '.join(CHOICES)}, found {asked!r}",
            hint=f"unset {VARIABLE}",
        )
    few = n * len(VIEWS[tta]) < LEAST
    if asked == "keras" or few or isinstance(run.experiment.model, Custom):
        return None
    if find_spec("openvino") is None or not _has_bfloat16():
        return None
    kept = run.load_predictions("valid")
    if kept is None or not kept.covers(tta):
        return None
    try:
        answers = _written(run, model, size)
        difference = _difference(answers, run, size, tta, store, kept)
    except Exception as error:  # of three libraries; Keras can do without them
        log.info(f"{run.name}: Keras computes, as OpenVINO cannot: {error}")
        return None
    if not difference < TOLERANCE:  # also where it is NaN
        log.info(
            f"{run.name}: Keras computes, as OpenVINO in bfloat16 has another validation AUC "
            f"(by {difference:.5f})"
        )
        return None
    log.info(
        f"{run.name}: OpenVINO computes in bfloat16; its validation AUC is Keras' to four digits "
        f"({VARIABLE}=keras leaves it out)"
    )
    return answers


def _has_bfloat16() -> bool:
    """Whether this is a CPU that TensorFlow computes on in bfloat16."""
    hardware = read_hardware()
    return not hardware.accelerators and fast_precision(hardware)[0] == "bfloat16"


def _written(run: Run, model: Any, size: int) -> Answers:
    """The model as OpenVINO has it, in memory."""
    with quiet_import():
        from pcam_kit.exports import openvino_file
        from pcam_kit.exports.format import Network

        # a file that OpenVINO still holds cannot be deleted on Windows
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "model.xml"
            openvino_file.write(Network(model, run.model_file, size), path)
            return openvino_file.load(path, precision="bf16")


def _difference(
    answers: Answers, run: Run, size: int, tta: Tta, store: Store, kept: Predictions
) -> float:
    """How far its AUC on validation patches is from that of the kept predictions."""
    from pcam_kit.inference import predict_with

    chosen = np.arange(len(kept.labels))
    if len(chosen) > SAMPLE:
        chosen = np.linspace(0, len(chosen) - 1, SAMPLE).astype(np.int64)
    rows = rows_of(run, store, "valid")[chosen]
    found = predict_with(answers, store.images, rows, crop=size, views=VIEWS[tta]).mean(axis=1)
    auc = partial(roc_auc, kept.labels[chosen])
    return abs(auc(found) - auc(kept.probability(tta)[chosen]))
