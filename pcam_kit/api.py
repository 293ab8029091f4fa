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

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from pcam_kit.errors import ConfigError, RunError, UsageError
from pcam_kit.parsing import parsing
from pcam_kit.run_folders import (
    Run,
    RunOrder,
    State,
    find_run,
    list_runs,
    open_run,
    select_runs,
)
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:  # a command imports only what it needs
    from pcam_kit.config.schema import Experiment, StainMethod, Tta
    from pcam_kit.data.store import Store
    from pcam_kit.errors import KaggleError
    from pcam_kit.evaluation.ensemble import Averaging
    from pcam_kit.pipeline.augment import CustomAugmentation
    from pcam_kit.progress import Display
    from pcam_kit.submissions import Entry
    from pcam_kit.workflows.copies import CopiesReport
    from pcam_kit.workflows.ensemble import Ensemble, Weights
    from pcam_kit.workflows.evaluate import CustomMetric, RunEvaluation
    from pcam_kit.workflows.expected_time import ConfigTime
    from pcam_kit.workflows.external import Source
    from pcam_kit.workflows.predict import PredictionResult
    from pcam_kit.workflows.series import Series
    from pcam_kit.workflows.shift import ColourShift
    from pcam_kit.workflows.submit import SubmissionResult

__all__ = [
    "Workspace",
    "colour_shift",
    "configs",
    "download",
    "ensemble",
    "evaluate",
    "fetch",
    "find_copies",
    "import_predictions",
    "list_submissions",
    "load_config",
    "load_run",
    "open_store",
    "predict",
    "refresh_submissions",
    "runs",
    "submit",
    "synthetic",
    "train",
    "train_series",
]

log = logging.getLogger(__name__)

WorkspaceLike = Workspace | str | os.PathLike[str]
RunLike = Run | str | os.PathLike[str]
Overrides = Mapping[str, Any] | Sequence[str]


def fetch(
    competition: str | None = None,
    *,
    files: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    stain: StainMethod | None = None,
    keep_raw: bool = False,
    allow_missing: bool = False,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Store:
    """Get a competition's files and build its store, or verify the one that is there.

    competition: a slug, alias, Kaggle URL or a profile's .yaml; "synthetic" needs no account; None,
    with `stain`: the one fetched last. files: take these from disk, a folder or an archive; None:
    download from Kaggle. dataset: OWNER/SLUG of a Kaggle dataset in the competition's role. stain:
    also build, and return, a second store with the stain normalised. keep_raw: unpack a downloaded
    zip, too. allow_missing: leave out rows without an image and images without a row. Raises
    ConfigError, UsageError, DataError, KaggleError, StorageError; what was there before stays
    whole.
    """
    from pcam_kit.workflows import fetch as workflow

    place, shown = _workspace(workspace), _display(display)
    if competition is None and stain is not None and files is None and dataset is None:
        competition = place.last_fetched()
    request = workflow.fetch_request(
        competition, _path(files), dataset, keep_raw=keep_raw, allow_missing=allow_missing
    )
    store = workflow.fetch(request, place, display=shown)
    return store if stain is None else workflow.normalise(store, stain, place, display=shown)


def download(
    competition: str | None,
    patterns: Sequence[str],
    *,
    files: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> list[Path]:
    """Download single files, e.g. ["*.csv"], and build nothing. Raises as `fetch`."""
    from pcam_kit.workflows import fetch as workflow

    request = workflow.fetch_request(competition, _path(files), dataset, keep_raw=False)
    return workflow.fetch_some(request, patterns, _workspace(workspace), display=_display(display))


def synthetic(
    *,
    size: int = 32,
    train: int = 3000,
    valid: int = 1000,
    test: int = 1000,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Store:
    """Draw patches of synthetic tissue and build their store: no account, no download.

    size: pixels a side, at least 32. train, valid, test: patches of each split. The same numbers
    give the same patches; other ones replace the store, and the one before is kept beside it.
    Raises DataError, StorageError.
    """
    from pcam_kit.competitions import find_competition
    from pcam_kit.workflows import fetch as workflow

    counts = {"train": train, "valid": valid, "test": test}
    changes = {"image_size": size, "counts": counts}
    profile = find_competition("synthetic").model_copy(update=changes)
    return workflow.fetch(
        workflow.FetchRequest("synthetic"),
        _workspace(workspace),
        profile=profile,
        display=_display(display),
    )


def open_store(
    competition: str | None = None,
    *,
    stain: StainMethod | None = None,
    workspace: WorkspaceLike | None = None,
) -> Store:
    """The store of a competition that was fetched; None: the one fetched last.

    Raises DataError, UsageError.
    """
    place = _workspace(workspace)
    return place.store(competition if competition is not None else place.last_fetched(), stain)


def load_config(
    config: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    *,
    seed: int | None = None,
    workspace: WorkspaceLike | None = None,
) -> Experiment:
    """The experiment of a config with overrides, as `train` would take it. Raises ConfigError."""
    from pcam_kit.workflows.plan import resolve_config

    return resolve_config(_config(config), _overrides(overrides, seed), _workspace(workspace))


def configs(*, workspace: WorkspaceLike | None = None) -> list[ConfigTime]:
    """The shipped configs: purpose, measured score, measured time and time to expect here.

    For the training patches of the competition fetched last, or else 19,171.
    """
    from pcam_kit.workflows.expected_time import list_config_times

    return list_config_times(_workspace(workspace))


def train(
    config: str | os.PathLike[str] | None = None,
    *,
    overrides: Overrides = (),
    seed: int | None = None,
    resume: RunLike | None = None,
    model: Any = None,
    augmentation: CustomAugmentation | None = None,
    workers: int = 2,
    devices: int | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Run:
    """Train a network, or resume a stopped run, until the run is complete.

    config: a .yaml file or a shipped config's name; None: the default of the competition fetched
    last. overrides: {"training.epochs": 3}, or ["training.epochs=3"]. resume: a run; "" the newest
    unfinished one. model: a `keras.Model`, or a function of the pixels a side that returns one,
    instead of the config's network: pixels 0-255 [n, size, size, 3] in, logits [n, 1] out.
    augmentation: a function (patches uint8 [n, h, w, 3], numpy Generator) -> patches, applied after
    the config's. workers: threads that prepare batches. devices: GPUs that share each batch (Keras
    on JAX only); None: one. Raises Interrupted with a run that can be resumed; ConfigError,
    DataError, RunError, TrainingError, UsageError.
    """
    from pcam_kit.workflows import train as workflow
    from pcam_kit.workflows.compute import Resources

    request = workflow.TrainRequest(
        config=_config(config),
        overrides=_overrides(overrides, seed),
        resume=_name(resume),
        resources=Resources(workers, devices),
        model=model,
        augmentation=augmentation,
    )
    return workflow.train(request, _workspace(workspace), display=_display(display))


def train_series(
    config: str | os.PathLike[str] | None = None,
    *,
    seeds: int | None = None,
    folds: int | None = None,
    overrides: Overrides = (),
    seed: int | None = None,
    resume: RunLike | None = None,
    workers: int = 2,
    devices: int | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Series:
    """Train one config with several seeds, or once for each of several folds.

    Complete runs are used again, a stopped one is resumed. Raises as `train`.
    """
    from pcam_kit.workflows import series as workflow
    from pcam_kit.workflows.compute import Resources
    from pcam_kit.workflows.train import TrainRequest

    training = TrainRequest(
        _config(config), _overrides(overrides, seed), _name(resume), Resources(workers, devices)
    )
    request = workflow.SeriesRequest(training, seeds, folds)
    return workflow.train_series(request, _workspace(workspace), display=_display(display))


def import_predictions(
    valid: Source,
    test: Source | None = None,
    *,
    name: str = "external",
    competition: str | None = None,
    workspace: WorkspaceLike | None = None,
) -> Run:
    """Make a run of predictions from elsewhere, e.g. from PyTorch.

    valid, test: probabilities of the positive class for every patch of the split: a .csv (header,
    then id and probability), an .npz (arrays ids and probabilities) or {id: probability}. Raises
    DataError, UsageError, ConfigError.
    """
    from pcam_kit.workflows import external as workflow

    place = _workspace(workspace)
    return workflow.import_predictions(valid, test, name, place, competition=competition)


@overload
def evaluate(
    runs: RunLike | None = None,
    split: str = "valid",
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> RunEvaluation: ...


@overload
def evaluate(
    runs: Sequence[RunLike],
    split: str = "valid",
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> list[RunEvaluation]: ...


def evaluate(
    runs: RunLike | Sequence[RunLike] | None = None,
    split: str = "valid",
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> RunEvaluation | list[RunEvaluation]:
    """Score a run, or several, on patches with known labels.

    runs: one, or None for the newest finished one, gives its evaluation; a list gives a list, each
    run compared with the first. In a list of several, folders that are no finished run are left
    out, with a warning: `runs/*` has them all. metrics: further ones by name, (labels [n],
    probabilities [n]) -> a number. Raises RunError, UsageError.
    """
    from pcam_kit.workflows.evaluate import evaluate_runs

    place = _workspace(workspace)
    chosen = _runs(runs, place, skip_unfinished=True)
    evaluations = evaluate_runs(chosen, split, place, metrics=metrics, display=_display(display))
    return evaluations[0] if runs is None or _is_run(runs) else evaluations


def predict(
    runs: RunLike | Sequence[RunLike] | None = None,
    split: str = "test",
    *,
    tta: Tta | None = None,
    averaging: Averaging | None = None,
    weights: Weights | None = None,
    out: str | os.PathLike[str] | None = None,
    assume_positive: float | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> PredictionResult:
    """Write and check the CSV of a run, or of several combined, in the competition's format.

    runs None: the newest finished one. tta None: as each run was measured. averaging, weights: how
    several are combined; None: the mean of logits, equal weights. out None: a file in the
    submissions folder. assume_positive: the share of positive patches, where it is known. Raises
    UsageError, RunError, DataError.
    """
    from pcam_kit.workflows import predict as workflow

    place = _workspace(workspace)
    request = workflow.PredictRequest(split, tta, averaging, weights, _path(out), assume_positive)
    return workflow.predict(_runs(runs, place), request, place, display=_display(display))


def ensemble(
    runs: Sequence[RunLike],
    *,
    averaging: Averaging = "logits",
    weights: Weights = "equal",
    tta: Tta | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Ensemble:
    """Combine runs on their validation patches, without writing a CSV.

    Raises UsageError, RunError.
    """
    from pcam_kit.workflows.ensemble import Combination, measure_ensemble

    place = _workspace(workspace)
    combination = Combination(averaging, weights, tta)
    return measure_ensemble(_runs(runs, place), combination, place, display=_display(display))


def submit(
    csv: str | os.PathLike[str] | None = None,
    *,
    competition: str | None = None,
    message: str = "",
    wait: bool = True,
    dry_run: bool = False,
    again: bool = False,
    timeout: float = 900.0,
    allow_leak: bool = False,
    confirm: Callable[[str], bool] | None = None,
    workspace: WorkspaceLike | None = None,
) -> SubmissionResult:
    """Check a CSV, send it to Kaggle and wait for its score.

    csv None: the one written last. dry_run: check everything, send nothing. again: send bytes that
    were sent before. timeout: seconds to wait for the score. confirm: given a question, says
    whether to send; None sends. Raises SubmissionError, KaggleError, UsageError, DataError.
    """
    from pcam_kit.workflows import submit as workflow

    request = workflow.SubmitRequest(
        _path(csv), competition, message, wait, dry_run, again, timeout, allow_leak
    )
    return workflow.submit(request, _workspace(workspace), confirm or _always)


def list_submissions(*, workspace: WorkspaceLike | None = None) -> list[Entry]:
    """All CSVs and submissions of the ledger, best public score first."""
    from pcam_kit.submissions import best_first

    return best_first(_workspace(workspace).ledger.entries())


def refresh_submissions(*, workspace: WorkspaceLike | None = None) -> KaggleError | None:
    """Ask Kaggle for what the ledger lacks: scores, and unknown outcomes.

    The first error is returned, so that it does not keep the others from it. Raises
    CredentialsError, StorageError.
    """
    from pcam_kit.workflows.outcomes import refresh

    return refresh(_workspace(workspace).ledger)


def runs(
    *,
    sort: RunOrder = "auc",
    state: State | None = None,
    competition: str | None = None,
    name: str | None = None,
    workspace: WorkspaceLike | None = None,
) -> list[Run]:
    """All runs, best validation AUC first; damaged ones are left out, and logged.

    sort: "auc", "accuracy", "newest" or "name". state, competition (its slug), name (a part of it):
    those runs only.
    """
    listed = list_runs(_workspace(workspace).runs, log.warning)
    return select_runs(listed, sort=sort, state=state, competition=competition, name=name)


def load_run(name: RunLike | None = None, *, workspace: WorkspaceLike | None = None) -> Run:
    """A finished run by its path, its name or a unique part of it; None: the newest one.

    Raises RunError.
    """
    place = _workspace(workspace)
    if isinstance(name, Run):
        return open_run(name.path)
    if name is not None:
        return find_run(place.runs, os.fspath(name))
    run = find_run(place.runs, None)
    log.info(f"using {run.name}, the newest finished run")
    return run


def find_copies(
    competitions: Sequence[str] = (),
    *,
    centre: int | None = None,
    examples: int = 0,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> CopiesReport:
    """Find patches that are there twice, within and across splits and stores.

    competitions: slugs or store folders; empty: all in the data folder. centre: compare so many
    pixels a side. examples: pairs of ids to list for each two splits. Raises DataError, UsageError.
    """
    from pcam_kit.workflows import copies as workflow

    return workflow.find_copies(
        competitions, centre, examples, _workspace(workspace), display=_display(display)
    )


def colour_shift(
    competition: str | None = None,
    *,
    stain: StainMethod | None = None,
    workspace: WorkspaceLike | None = None,
) -> ColourShift:
    """Compare the colours of a store's splits. Raises DataError, UsageError."""
    from pcam_kit.workflows import shift as workflow

    return workflow.colour_shift(competition, stain, _workspace(workspace))


def _workspace(given: WorkspaceLike | None) -> Workspace:
    if isinstance(given, Workspace):
        return given
    if given is None:
        return Workspace.from_environment()
    return Workspace.below(Path(given))


def _display(given: Display | None) -> Display:
    from pcam_kit.display import default_display

    return given if given is not None else default_display()


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def _config(given: str | os.PathLike[str] | None) -> str | None:
    return None if given is None else os.fspath(given)


def _name(run: RunLike | None) -> str | None:
    if run is None:
        return None
    return str(run.path) if isinstance(run, Run) else os.fspath(run)


def _is_run(given: RunLike | Sequence[RunLike]) -> bool:
    return isinstance(given, Run | str | os.PathLike)


def _runs(
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
    names: list[RunLike] = [given] if _is_run(given) else list(given)  # type: ignore[list-item]
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


def _overrides(given: Overrides, seed: int | None) -> tuple[str, ...]:
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


def _always(_question: str) -> bool:
    return True
