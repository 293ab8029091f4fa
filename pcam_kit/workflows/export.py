"""`pcam export`: a finished run's network in another format, with a model card, and checked."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Custom, Tta
from pcam_kit.data.store import Store
from pcam_kit.data.synthetic import CENTRE, synthetic_parts
from pcam_kit.errors import (
    ConfigError,
    DataError,
    MismatchError,
    PcamError,
    RunError,
    StorageError,
    UsageError,
)
from pcam_kit.evaluation.calibration import best_threshold, fit_temperature
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.exports import FORMATS, Format, Network
from pcam_kit.exports.card import CardFacts, ViewScores, write_card
from pcam_kit.exports.check import Check, answers, compare
from pcam_kit.files import (
    PARTIAL,
    move,
    sha256_file,
    storage_error,
    sync_file,
    sync_folder,
    write_bytes,
    write_json,
)
from pcam_kit.formatting import Summary
from pcam_kit.metrics import evaluate
from pcam_kit.parsing import parsing, printable
from pcam_kit.pipeline.images import take
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.training.backend import backend_name, on_cpu, quiet_import
from pcam_kit.views import VIEWS
from pcam_kit.workflows.plan import rows_of
from pcam_kit.workflows.predictions import check_shapes
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

CARD, FACTS = "README.md", "export.json"
PATCHES = 2000  # that are compared: below 20 s for every shipped config, on two cores
SYNTHETIC = 500


@dataclass(frozen=True, repr=False)
class ExportResult(Summary):
    """An exported network: its folder, and how its answers compare with the run's.

    model: the file, or folder, in `path` that the runtime loads. bytes: of all model files. check:
    of one view of each patch. threshold, temperature: for one view, where the run still has its
    validation predictions; else those of the run.
    """

    run: Run
    format: str
    path: Path
    model: Path
    bytes: int
    size: int  # pixels a side of what it takes
    threshold: float
    temperature: float | None
    check: Check
    versions: dict[str, str]

    def summary(self) -> dict[str, str]:
        """Run, format, folder, size, and the check."""
        return {
            "run": self.run.name,
            "format": f"{FORMATS[self.format].title}, {self.bytes / 1e6:.1f} MB",
            "check": self.check.sentence,
            "path": str(self.path),
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam export`."""
        return {
            "run": str(self.run.path),
            "path": str(self.path),
            "model": str(self.model),
            **self.facts(),
        }

    def facts(self) -> dict[str, Any]:
        """What `export.json` in the folder holds: nothing of this machine."""
        return {
            "format": self.format,
            "bytes": self.bytes,
            "size": self.size,
            "threshold": self.threshold,
            "temperature": self.temperature,
            "check": asdict(self.check),
            "versions": self.versions,
        }


@dataclass(frozen=True, eq=False)
class _Sample:
    """Patches uint8 [n, size, size, 3] with labels [n]; `name` says what they are."""

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int8]


def export(
    run: Run,
    format: str,
    out: Path | None,
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> ExportResult:
    """Write the network of a finished run into a new folder, and compare it with the run's own.

    Raises UsageError, RunError, StorageError; MismatchError when it answers otherwise: then nothing
    is left in place.
    """
    if format not in FORMATS:
        raise UsageError(f"format: expected one of {', '.join(FORMATS)}, found {printable(format)}")
    form = FORMATS[format]
    _ = run.outcome
    run.check_network()
    form.check_installed()
    target = out if out is not None else run.path / "exports" / form.name
    _refuse_content(target)
    network = _network(run, form)
    store = _store(run, workspace)
    sample = _sample(run, store, network.size)
    with _new_folder(target) as folder:
        log.info(f"{run.name}: writing {form.title}")
        predict = _write(network, form, folder, run)
        check = _check(network, form, predict, sample, display)
        del predict  # Windows deletes no open file
        if check.fault:
            raise MismatchError(
                f"{form.title} of {run.name} does not answer as its model on {check.n:,} "
                f"{check.patches}: {check.fault}. Nothing was kept",
                hint=f"try another format, or other versions than {_list(form.versions())}",
                result=check,
            )
        scores, unit = _scores(run)
        model_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        facts = CardFacts(run, form, network.size, scores, unit, check, store)
        write_bytes(folder / CARD, write_card(facts).encode())
        result = ExportResult(
            run=run,
            format=form.name,
            path=target,
            model=target / form.file,
            bytes=model_bytes,
            size=network.size,
            threshold=scores[0].threshold,
            temperature=scores[0].temperature,
            check=check,
            versions=form.versions(),
        )
        origin = {"run": run.name, "run_id": run.id, "model_sha256": sha256_file(run.model_file)}
        write_json(folder / FACTS, origin | result.facts())
    log.info(f"{model_bytes / 1e6:.1f} MB; {check.sentence}")
    return result


def _list(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _refuse_content(target: Path) -> None:
    """Raises UsageError unless nothing, or an empty folder, is there."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    what = "an export" if (target / FACTS).is_file() else "something else"
    raise UsageError(
        f"{target} is there already, and holds {what}",
        hint="move it away, or give another folder: --out FOLDER",
    )


@contextmanager
def _new_folder(target: Path) -> Generator[Path]:
    """A folder beside `target` that takes its place when the block succeeds, else is deleted."""
    partial = target.with_name(f"{PARTIAL}{secrets.token_hex(4)}.{target.name}")
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                sync_file(path)
        _refuse_content(target)  # another process may have been faster
        if target.is_dir():
            target.rmdir()
        move(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, PcamError):
            raise
        message = storage_error(error, target).message
        raise StorageError(message, hint="give another folder: --out FOLDER") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _network(run: Run, form: Format) -> Network:
    """The run's network. Raises RunError, and UsageError where Keras' backend cannot convert it."""
    with quiet_import():
        from pcam_kit.inference import load_trained
    backend = backend_name()
    if form.by_tensorflow and backend != "tensorflow":
        raise UsageError(
            f"{form.title} is written by TensorFlow's converters, and Keras computes on {backend} "
            "here",
            hint="the run need not change: set KERAS_BACKEND=tensorflow, then run the same command "
            "again",
        )
    model = load_trained(run)
    crop = run.experiment.data.crop
    side = run.competition.image_size if crop is None else crop
    check_shapes(run, model, side)
    return Network(model, run.model_file, side, isinstance(run.experiment.model, Custom))


def _store(run: Run, workspace: Workspace) -> Store | None:
    """The run's store; None, with a warning, where it is gone, damaged or another."""
    try:
        store = workspace.store_of(run)
        rows_of(run, store, "valid")
    except (ConfigError, DataError, RunError) as error:
        log.warning(f"{error.message}: the check is on synthetic tissue instead")
        return None
    return store


def _sample(run: Run, store: Store | None, side: int) -> _Sample:
    """Validation patches, evenly chosen where there are many; without a store synthetic ones."""
    if store is None:
        (part,) = synthetic_parts({"valid": SYNTHETIC}, max(side, CENTRE), seed=0)
        pixels = np.concatenate(list(part.blocks()))
        chosen = take(pixels, np.arange(part.n), side)
        return _Sample(
            "patches of synthetic tissue, as the run's store is gone", chosen, part.labels
        )
    rows = rows_of(run, store, "valid")
    name = "validation patches of the run"
    if len(rows) > PATCHES:
        name = f"of the run's {len(rows):,} validation patches"
        rows = rows[np.linspace(0, len(rows) - 1, PATCHES).astype(np.int64)]
    return _Sample(name, take(store.images, rows, side), store.labels[rows])


def _write(network: Network, form: Format, folder: Path, run: Run) -> Any:
    """Write the model and load it again in its runtime."""

    def failed(reason: str) -> RunError:
        return RunError(
            f"{run.name} cannot be exported to {form.title}: {reason}",
            hint=f"other formats: {', '.join(name for name in FORMATS if name != form.name)}",
        )

    path = folder / form.file
    with quiet_import(), parsing(failed):
        form.write(network, path)
        predict = form.load(path)
        # runtimes prepare themselves, and tell about it on stderr, at the first patch
        predict(np.zeros((1, network.size, network.size, 3), np.uint8))
        return predict


def _check(
    network: Network, form: Format, predict: Any, sample: _Sample, display: Display
) -> Check:
    """Predict the sample with both, and compare."""
    from pcam_kit.inference import predict as predict_with_keras

    n = len(sample.pixels)
    with display.work() as progress:
        with on_cpu():  # a GPU may round its products to 10 bits
            expected = predict_with_keras(
                network.model,
                sample.pixels,
                np.arange(n),
                crop=network.size,
                progress=lambda done: progress("predicting with Keras", done, n),
            )[:, 0]
        what = f"predicting with {form.title}"
        with parsing(lambda reason: MismatchError(f"{form.title} does not predict: {reason}")):
            found = answers(predict, sample.pixels, lambda done: progress(what, done, n))
    return compare(sample.name, sample.labels, expected, found)


def _scores(run: Run) -> tuple[list[ViewScores], str]:
    """Validation scores of one view and of the run's average; and what the intervals resample.

    Without the run's validation predictions, those in its result alone.
    """
    result = run.outcome
    kept = run.load_predictions("valid")
    if kept is None:
        scores = ViewScores(
            views=len(VIEWS[result.tta]),
            auc_value=result.valid_auc,
            auc_low=result.valid_auc_low,
            auc_high=result.valid_auc_high,
            accuracy_value=result.valid_accuracy,
            threshold=result.threshold,
            temperature=result.temperature,
        )
        return [scores], ""
    found: list[ViewScores] = []
    unit = ""
    kinds: list[Tta] = ["none"] if result.tta == "none" else ["none", result.tta]
    for tta in kinds:
        if not kept.covers(tta):
            continue
        labels, probabilities = kept.labels, kept.probability(tta)
        threshold = best_threshold(labels, probabilities).value
        around = intervals(labels, probabilities, threshold, kept.groups)
        measured = evaluate(labels, probabilities, threshold)
        unit = "patch" if around.slides is None else f"slide ({around.slides})"
        temperature = fit_temperature(labels, probabilities).value
        found.append(
            ViewScores(
                views=len(VIEWS[tta]),
                auc_value=measured.auc,
                auc_low=around.auc[0],
                auc_high=around.auc[1],
                accuracy_value=measured.accuracy,
                threshold=threshold,
                temperature=temperature,
            )
        )
    return found, unit
