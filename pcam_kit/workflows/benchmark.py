"""`pcam benchmark`: a config on a public test set, beside what others have published.

The test patches are used once, when every run is complete: their labels decide nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pcam_kit import mirrors
from pcam_kit.competitions import find_competition
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Experiment
from pcam_kit.data import mle_bench
from pcam_kit.data.raw import SPLITS
from pcam_kit.data.store import Store, build_store, open_store
from pcam_kit.data.store_reader import MLE_BENCH
from pcam_kit.errors import ConfigError, DataError, UsageError
from pcam_kit.evaluation.intervals import balanced_accuracy_interval
from pcam_kit.evaluation.published import Key
from pcam_kit.files import locked, write_json
from pcam_kit.formatting import counted
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.workflows.benchmark_result import Benchmark, BenchmarkName, Score
from pcam_kit.workflows.evaluate import RunEvaluation, evaluate_runs
from pcam_kit.workflows.plan import default_config
from pcam_kit.workflows.series import SeriesRequest, train_series
from pcam_kit.workflows.train import TrainRequest
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

NAMES = get_args(BenchmarkName)
GET_PCAM = "pcam fetch pcam --download; with the files on disk: pcam fetch pcam --from FOLDER"


@dataclass(frozen=True)
class BenchmarkRequest:
    """Which benchmark, what to train, and with how many seeds, from the config's on."""

    name: BenchmarkName
    training: TrainRequest
    seeds: int


def benchmark(
    request: BenchmarkRequest, workspace: Workspace, *, display: Display = SILENT
) -> Benchmark:
    """Train what is not complete yet, then measure every run once on the test patches.

    Raises DataError where the data are not there, or the labels of test are not known; Interrupted
    with runs that the same command resumes; else as `train`.
    """
    name, training = request.name, request.training
    if name not in NAMES:
        raise UsageError(f"no benchmark {name!r}: expected {' or '.join(NAMES)}")
    competition = find_competition("pcam" if name == "pcam" else mle_bench.SOURCE)
    config = training.config if training.config is not None else default_config(competition)
    experiment = load_experiment(config, training.overrides)
    _check_experiment(experiment, name)
    if name == "pcam":
        store = _pcam_store(workspace, experiment)
    else:
        store = _mle_bench_store(workspace, display)
    _check_test(store, competition.slug)
    overrides = (*training.overrides, f"competition={store.profile.slug}")
    several = SeriesRequest(replace(training, config=config, overrides=overrides), request.seeds)
    runs = train_series(several, workspace, display=display).runs
    log.info("the runs are complete and their thresholds chosen: now the test patches")
    evaluations = evaluate_runs(runs, "test", workspace, display=display)
    result = Benchmark(
        name=name,
        store=store,
        evaluations=evaluations,
        scores=[_scores(evaluation, name) for evaluation in evaluations],
        leaks=_leaks(store, runs[0]),
        notes=_notes(store, runs[0]),
        path=_path(name, runs, store, workspace),
    )
    write_json(result.path, result.to_dict())
    return result


def _check_experiment(experiment: Experiment, name: BenchmarkName) -> None:
    """Raises ConfigError where a config would train on other patches than the benchmark says."""
    if experiment.data.fold is not None:
        raise ConfigError(
            f"data.fold: the benchmark {name} has a train and a validation part of its own",
            hint="leave it out: --set data.fold=null",
        )
    if name == "mle-bench" and experiment.data.stain is not None:
        raise ConfigError(
            "data.stain: the benchmark mle-bench has patches as published",
            hint="leave it out: --set data.stain=null",
        )


def _pcam_store(workspace: Workspace, experiment: Experiment) -> Store:
    """PCam's store. Raises DataError unless it has PCam's own valid and the labels of test."""
    place = workspace.store_path("pcam", None)
    if not (place / "manifest.json").is_file():
        raise DataError(f"no PCam data: expected a store at {place}, found none", hint=GET_PCAM)
    store = workspace.store("pcam", experiment.data.stain)
    test = store.splits.get("test")
    lacking: list[str] = []
    if store.manifest["split"]["method"] != "given":
        lacking.append("validation patches (camelyonpatch_level_2_split_valid_*.h5)")
    if test is None or test.positive is None:
        lacking.append("labels of test (camelyonpatch_level_2_split_test_y.h5)")
    if lacking:
        raise DataError(
            f"{store.path}: the benchmark needs PCam's own {' and '.join(lacking)}, and the store "
            "was built without",
            hint=GET_PCAM,
        )
    return store


def _mle_bench_store(workspace: Workspace, display: Display) -> Store:
    """The store of MLE-bench's split; built where it is not there, or of another Kaggle store."""
    place = workspace.store_path(MLE_BENCH, None)
    source = workspace.store_path(mle_bench.SOURCE, None)
    mirrors.refresh(workspace.data)
    mirrors.bring(place)
    is_there, has_source = (mirrors.exists(path / "manifest.json") for path in (place, source))
    if is_there and not has_source:
        return open_store(place)
    kaggle = workspace.store(mle_bench.SOURCE)
    with locked(place.parent / ".lock", f"building {MLE_BENCH}"), display.work() as progress:
        try:
            existing = open_store(place)
            if mle_bench.is_made_from(existing, kaggle):
                return existing
            del existing  # closes its memory map: Windows renames no folder with an open file
        except DataError as error:
            if is_there:
                log.warning(f"{error}; it is built anew")
        raw = mle_bench.as_mle_bench(kaggle)
        log.info(f"{kaggle.path}: split as MLE-bench does, into {place}")
        return build_store(raw, place, progress=progress)


def _check_test(store: Store, slug: str) -> None:
    """Raises DataError unless both classes are among the test patches."""
    test = store.splits["test"]
    if test.positive in (0, test.n):
        raise DataError(
            f"{store.path}: AUC needs test patches of both classes, found {test.positive:,} "
            f"positive of {test.n:,}",
            hint=f"get more of the data: pcam fetch {slug}",
        )


def _scores(evaluation: RunEvaluation, name: BenchmarkName) -> dict[Key, Score]:
    """MLE-bench scores AUC alone."""
    scores: dict[Key, Score] = {"auc": Score(evaluation.scores.auc, *evaluation.intervals.auc)}
    balanced = evaluation.scores.confusion.balanced_accuracy
    if name == "mle-bench" or balanced is None:
        return scores
    ends = balanced_accuracy_interval(
        evaluation.labels,
        evaluation.probabilities,
        evaluation.scores.threshold,
        evaluation.groups,
    )
    scores["accuracy"] = Score(evaluation.scores.accuracy, *evaluation.intervals.accuracy)
    scores["balanced_accuracy"] = Score(balanced, *ends)
    return scores


def _leaks(store: Store, run: Run) -> list[str]:
    """What the leak guard says: patches and slides that parts of the data have in common."""
    if store.copies is None:
        return ["copies are not known: an earlier version built this store"]
    sentences = [
        f"of the {copies['there']} patches {copies['exact']:,} are exact and {copies['near']:,} "
        f"near copies of {copies['here']} patches"
        for copies in store.copies
    ] or ["no patch is a copy of one in another part"]
    if any(copies["exact"] for copies in store.copies if copies["here"] == "train"):
        what = "left out" if run.experiment.data.drop_copies else "was also on"
        sentences.append(f"training {what} the train patches with exact copies in other parts")
    if (store.groups < 0).any():
        return [*sentences, "the slides are not known: one may be in several parts"]
    slides = [set(store.groups[store.rows(split)].tolist()) for split in store.splits]
    shared = sum(map(len, slides)) - len(set[int]().union(*slides))
    text = f"{counted(shared, 'slide')} in several parts" if shared else "no slide in two parts"
    return [*sentences, text]


def _notes(store: Store, run: Run) -> list[str]:
    """What a reader needs to know before comparing the scores with published ones."""
    notes: list[str] = []
    if store.synthetic:
        notes.append("synthetic tissue: these scores say nothing about real patients")
    counts = {split: int((store.index.parts == SPLITS.index(split)).sum()) for split in SPLITS}
    lacking = [
        f"{counts[split]:,} of {expected:,} {split}"
        for split, expected in store.profile.counts.items()
        if counts[split] != expected
    ]
    if lacking:
        notes.append(
            f"not the data as published ({', '.join(lacking)}): these scores cannot be compared "
            "with published ones"
        )
    if run.experiment.data.limit is not None:
        notes.append(f"trained on at most {run.experiment.data.limit:,} patches (data.limit)")
    if store.profile.slug != MLE_BENCH:
        return notes
    if mle_bench.is_published_split(store):
        notes.append("ids and labels of both parts have MLE-bench's own checksums")
    elif not lacking:
        notes.append(
            "ids and labels do not have MLE-bench's checksums: the labels of this Kaggle store are "
            "not those of train_labels.csv, or in another order"
        )
    notes.append(
        "MLE-bench draws patches, not whole slides; its medals are places on Kaggle's leaderboard, "
        "which was scored on other patches"
    )
    return notes


def _path(name: BenchmarkName, runs: Sequence[Run], store: Store, workspace: Workspace) -> Path:
    """The same for the same config, seeds and data: the same command writes the same file."""
    seeds = [run.experiment.seed for run in runs]
    key = json.dumps([store.fingerprint, runs[0].experiment.recipe().model_dump_json(), seeds])
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return workspace.runs / f"benchmark-{name}-{runs[0].experiment.name}-{digest}.json"
