"""Sweeps: what a file may say, which trials there are, who is stopped, what a resume does. Jobs are
stand-ins that write what real ones would.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna", reason="the extra sweep")

from pcam_kit.config.load import dump_yaml
from pcam_kit.config.sweep import Range, Sweep, read_sweep
from pcam_kit.errors import (
    ConfigError,
    Interrupted,
    PcamError,
    RunError,
    StorageError,
    TrainingError,
    UsageError,
)
from pcam_kit.evaluation.selection import optimism
from pcam_kit.files import append_json_line, write_json
from pcam_kit.progress import SILENT
from pcam_kit.workflows.sweep import job as one_job
from pcam_kit.workflows.sweep import pools
from pcam_kit.workflows.sweep.job import Outcome, TrainingJob
from pcam_kit.workflows.sweep.pools import _check_reachable
from pcam_kit.workflows.sweep.result import summarise
from pcam_kit.workflows.sweep.run import _check_same, _Loop
from pcam_kit.workflows.sweep.study import Study
from pcam_kit.workspace import Workspace

CONFIG = "model: {name: lab_cnn}\ntraining: {epochs: 9}\n"
SEARCH = """\
config: small
search:
  training.learning_rate: {low: 1e-4, high: 1e-1, log: true}
  training.batch_size: [16, 32]
"""
Script = Callable[[TrainingJob, int], Outcome | str]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pools, "POLL", 0.0)
    Path("configs").mkdir()
    Path("configs/small.yaml").write_text(CONFIG, encoding="utf-8")


def sweep_of(text: str = SEARCH, **changes: Any) -> Sweep:
    Path("s.yaml").write_text(text, encoding="utf-8")
    return read_sweep(Path("s.yaml")).model_copy(update=changes)


class Pool:
    """Jobs that take one look: `script(job, attempt)` says how each ends, or why it died."""

    def __init__(self, script: Script, size: int = 1) -> None:
        self.script, self.most = script, size
        self.started: list[TrainingJob] = []
        self.running: list[TrainingJob] = []
        self.together = 0

    def size(self) -> int:
        return self.most

    def start(self, job: TrainingJob) -> None:
        assert not job.path(".outcome.json").exists(), "of an earlier attempt"
        self.started.append(job)
        self.running.append(job)
        self.together = max(self.together, len(self.running))

    def ended(self) -> list[tuple[TrainingJob, str]]:
        ended = []
        for job in self.running:
            attempt = sum(other.name == job.name for other in self.started)
            outcome = self.script(job, attempt)
            if isinstance(outcome, Outcome):
                write_json(job.path(".outcome.json"), asdict(outcome))
            ended.append((job, outcome if isinstance(outcome, str) else ""))
        self.running = []
        return ended

    def close(self) -> None: ...


def run(plan: Sweep, pool: Pool, folder: Path) -> Study:
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    study = Study(plan, folder)
    with SILENT.table() as table:
        _Loop(plan, study, folder, Workspace(), "tiny", 2).run(pool, table, pause=lambda _: None)
    return study


def complete(job: TrainingJob, _attempt: int = 1) -> Outcome:
    return Outcome("complete", f"run-{job.name}", 0.9 - 0.001 * job.trial + 0.01 * job.seed)


class TestTheFile:
    def test_a_sweep(self) -> None:
        plan = sweep_of()
        assert (plan.name, plan.count, plan.method) == ("s", 20, "tpe")
        assert plan.overrides({"training.learning_rate": 0.01}) == ("training.learning_rate=0.01",)
        assert plan.overrides({"seed": 4}, seed=2) == ("seed=4", "seed=6")

    def test_what_is_written_is_read_back(self) -> None:
        plan = sweep_of()
        Path("again.yaml").write_text(dump_yaml(plan), encoding="utf-8")
        assert read_sweep(Path("again.yaml")) == plan

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (SEARCH.replace("learning_rate", "learning_rat"), "learning_rate"),
            (SEARCH.replace("[16, 32]", "[16, -1]"), "batch_size"),
            (SEARCH.replace("[16, 32]", "[]"), "an empty list"),
            (SEARCH.replace("high: 1e-1", "high: 1e-5"), "should be below high"),
            (SEARCH.replace("low: 1e-4", "low: 0.0"), "above 0"),
            (SEARCH.replace("high: 1e-1", "hihg: 1e-1"), "hihg"),
            (SEARCH.replace("high: 1e-1", "high: 1e99"), "learning_rate"),
            (f"{SEARCH}method: grid\n", "a grid needs a list"),
            (f"{SEARCH}method: hyperopt\n", "method"),
            (f"{SEARCH}trials: 0\n", "trials"),
            (f"{SEARCH}set: {{training.batch_size: 8}}\n", "in both set and search"),
            (SEARCH.replace("config: small", "config: smal"), "no config called"),
            (SEARCH.replace("config: small", "config: best32"), "is an ensemble"),
            ("config: small\n", "search"),
        ],
    )
    def test_a_fault_in_it(self, text: str, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            sweep_of(text)

    def test_whole_numbers(self) -> None:
        assert Range(low=1, high=4, integer=True).ends == (1, 4)
        with pytest.raises(ValueError, match="whole"):
            Range(low=1.5, high=4, integer=True)


class TestTheTrials:
    def test_as_many_as_asked_for_side_by_side(self, tmp_path: Path) -> None:
        pool = Pool(complete, size=3)
        study = run(sweep_of(trials=7), pool, tmp_path / "out")
        assert [t.state for t in study.trials()] == ["complete"] * 7
        assert pool.together == 3
        rates = [t.values["training.learning_rate"] for t in study.trials()]
        assert len(set(rates)) == 7
        assert all(1e-4 <= rate <= 1e-1 for rate in rates)
        assert all(float(f"{rate:.4g}") == rate for rate in rates), "which people can type"
        job = pool.started[0]
        assert f"training.learning_rate={json.dumps(rates[0])}" in job.overrides
        assert "competition=tiny" in job.overrides

    def test_a_grid_has_each_combination_once(self, tmp_path: Path) -> None:
        text = (
            "config: small\nmethod: grid\nsearch:\n"
            "  training.batch_size: [16, 32, 64]\n  augment.d4: [true, false]\n"
        )
        study = run(sweep_of(text), Pool(complete), tmp_path / "out")
        found = [tuple(t.values.values()) for t in study.trials()]
        assert sorted(found) == sorted((b, d) for b in (16, 32, 64) for d in (False, True))

    def test_a_grid_is_taken_in_parts(self, tmp_path: Path) -> None:
        text = "config: small\nmethod: grid\nsearch: {training.batch_size: [16, 32, 64, 128]}\n"
        plan, folder = sweep_of(text), tmp_path / "out"
        for trials in (1, 3, None):
            study = run(plan.model_copy(update={"trials": trials}), Pool(complete), folder)
        found = [t.values["training.batch_size"] for t in study.trials()]
        assert found == [16, 32, 64, 128]

    def test_several_seeds_count_by_their_mean(self, tmp_path: Path) -> None:
        pool = Pool(complete)
        study = run(sweep_of(trials=2, seeds=3), pool, tmp_path / "out")
        assert [t.auc for t in study.trials()] == pytest.approx([0.91, 0.909])
        assert study.trials()[1].runs == ("run-00001-0", "run-00001-1", "run-00001-2")
        assert [job.overrides[-2] for job in pool.started[1:3]] == ["seed=1", "seed=2"]

    def test_those_that_fall_behind_are_stopped(self, tmp_path: Path) -> None:
        def epochs(job: TrainingJob, attempt: int) -> Outcome:
            for epoch in range(1, 4):
                auc = 0.9 if job.trial < 3 else 0.6
                append_json_line(job.path(".epochs.jsonl"), {"epoch": epoch, "auc": auc})
                pool_loop._listen(pool_loop._under_way[job.trial], job)
                if job.path(".stop").exists():
                    return Outcome("stopped", "half")
            return complete(job)

        plan, folder = sweep_of(trials=6), tmp_path / "out"
        (folder / "trials").mkdir(parents=True)
        study = Study(plan, folder)
        pool_loop = _Loop(plan, study, folder, Workspace(), "tiny", 2)
        with SILENT.table() as table:
            pool_loop.run(Pool(epochs), table, pause=lambda _: None)
        states = [t.state for t in study.trials()]
        assert states == ["complete"] * 3 + ["stopped"] * 3
        last = study.trials()[-1]
        assert (last.auc, last.epochs, last.runs) == (0.6, 1, ("half",))


class TestWhatFails:
    def test_a_process_that_dies_is_tried_again(self, tmp_path: Path) -> None:
        def script(job: TrainingJob, attempt: int) -> Outcome | str:
            return "killed by signal 9" if attempt < 3 else complete(job)

        pool = Pool(script)
        study = run(sweep_of(trials=2), pool, tmp_path / "out")
        assert [t.state for t in study.trials()] == ["complete"] * 2
        assert len(pool.started) == 6

    def test_three_times_is_enough(self, tmp_path: Path) -> None:
        def script(job: TrainingJob, attempt: int) -> Outcome | str:
            return "killed by signal 9" if job.trial == 1 else complete(job)

        study = run(sweep_of(trials=3), Pool(script), tmp_path / "out")
        assert [t.state for t in study.trials()] == ["complete", "failed", "complete"]
        assert study.trials()[1].error == "died 3 times; killed by signal 9"

    def test_a_loss_that_is_not_finite_costs_one_trial(self, tmp_path: Path) -> None:
        def script(job: TrainingJob, attempt: int) -> Outcome:
            return (
                Outcome("failed", error="the loss became nan") if job.trial == 0 else complete(job)
            )

        pool = Pool(script)
        study = run(sweep_of(trials=3), pool, tmp_path / "out")
        assert [t.state for t in study.trials()] == ["failed", "complete", "complete"]
        assert len(pool.started) == 3, "it is not tried again"

    def test_when_all_fail_it_ends(self, tmp_path: Path) -> None:
        pool = Pool(lambda *_: Outcome("failed", error="the loss became nan"))
        with pytest.raises(RunError, match=r"all of the first 3 trials failed.*nan"):
            run(sweep_of(trials=9), pool, tmp_path / "out")
        assert len(pool.started) == 3

    def test_what_no_trial_can_overcome_ends_it_and_the_trial_stays(self, tmp_path: Path) -> None:
        def script(job: TrainingJob, attempt: int) -> Outcome:
            return Outcome("unusable", error="no space left") if job.trial == 1 else complete(job)

        plan, folder = sweep_of(trials=3), tmp_path / "out"
        with pytest.raises(RunError, match="no space left"):
            run(plan, Pool(script), folder)
        study = run(plan, Pool(complete), folder)
        assert [t.state for t in study.trials()] == ["complete"] * 3


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "no Ray cluster can be reached at 127.0.0.1:9"),
        ("somewhere", "expected local, auto or HOST:PORT"),
        ("ray://a:b", "expected local, auto or HOST:PORT"),
    ],
)
def test_where_no_cluster_is(address: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        _check_reachable(address)
    assert "ray start --head" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (ConfigError("32 pixels a side, the patches have 16", hint="larger"), "failed"),
        (TrainingError("the loss became nan"), "failed"),
        (StorageError("no space left on the disk"), "unusable"),
        (Interrupted("stopped"), "interrupted"),
    ],
)
def test_how_a_job_ends(
    error: PcamError, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: TrainingJob) -> None:
        raise error

    monkeypatch.setattr(one_job, "_train", fail)
    monkeypatch.setattr(one_job, "_stopped_run", lambda _: "half")
    folder = str(tmp_path)
    job = TrainingJob(0, 0, "small", (), folder, data=folder, runs=folder, place=folder)
    job.path("").parent.mkdir()
    one_job.run_job(job)
    outcome = one_job.read_outcome(job)
    assert outcome is not None
    assert outcome.ending == ending
    assert error.message in outcome.error


class TestResume:
    def test_it_goes_on_where_it_was(self, tmp_path: Path) -> None:
        def script(job: TrainingJob, attempt: int) -> Outcome:
            if job.trial == 2:
                raise KeyboardInterrupt
            return complete(job)

        plan, folder = sweep_of(trials=5), tmp_path / "out"
        with pytest.raises(KeyboardInterrupt):
            run(plan, Pool(script), folder)
        before = Study(plan, folder).trials()
        assert [t.state for t in before] == ["complete", "complete", "running"]
        pool = Pool(complete)
        study = run(plan, pool, folder)
        assert [job.trial for job in pool.started] == [2, 3, 4]
        assert [t.values for t in study.trials()][:3] == [t.values for t in before]
        rates = [t.values["training.learning_rate"] for t in study.trials()]
        assert len(set(rates)) == 5, "not the first ones once more"

    def test_more_trials_are_added(self, tmp_path: Path) -> None:
        plan, folder = sweep_of(trials=2), tmp_path / "out"
        run(plan, Pool(complete), folder)
        pool = Pool(complete)
        run(plan.model_copy(update={"trials": 4}), pool, folder)
        assert [job.trial for job in pool.started] == [2, 3]

    def test_another_sweep_in_the_folder(self, tmp_path: Path) -> None:
        plan = sweep_of()
        _check_same(plan, tmp_path)
        _check_same(plan.model_copy(update={"trials": 99}), tmp_path)
        with pytest.raises(ConfigError, match="has another sweep: seeds differ"):
            _check_same(plan.model_copy(update={"seeds": 2}), tmp_path)

    def test_a_damaged_journal(self, tmp_path: Path) -> None:
        plan, folder = sweep_of(trials=2), tmp_path / "out"
        run(plan, Pool(complete), folder)
        (folder / "journal.log").write_bytes(b"\x00\xff not a journal\n" * 3)
        with pytest.raises(RunError, match=r"cannot read .*journal\.log"):
            Study(plan, folder)


def test_the_summary_without_the_runs(tmp_path: Path) -> None:
    plan, folder = sweep_of(trials=3), tmp_path / "out"
    trials = run(plan, Pool(complete), folder).trials()
    result = summarise(plan, trials, folder, Workspace())
    assert result.best == trials[0]
    assert (result.interval, result.optimism) == (None, None)
    assert result.command.startswith("pcam train small --set training.learning_rate=")
    lines = (folder / "trials.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        "trial,state,valid_auc,epochs,training.learning_rate,training.batch_size,runs,error"
    )
    assert len(lines) == 4
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")
    failed = [replace(t, state="failed", auc=None) for t in trials]
    assert summarise(plan, failed, folder, Workspace()).sentences() == ["no trial is complete"]


class TestOptimism:
    labels = (np.arange(400) % 2).astype(np.int8)

    def outputs(self, count: int, signal: float) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(3)
        for _ in range(count):
            yield (signal * self.labels + rng.normal(size=400)).astype(np.float32)

    def test_the_best_of_many_guesses_is_worth_nothing(self) -> None:
        """Independent guesses: the best seems better than 0.5, by just what is reported."""
        guesses = list(self.outputs(20, 0.0))
        from pcam_kit.metrics import roc_auc

        best = max(roc_auc(self.labels, guess) for guess in guesses)
        found = optimism(self.labels, guesses)
        assert found is not None
        assert best - found == pytest.approx(0.5, abs=0.03)
        assert found > 0.02

    def test_one_that_is_far_better_is_not_flattered(self) -> None:
        outputs = [*self.outputs(5, 0.2), *self.outputs(1, 4.0)]
        found = optimism(self.labels, outputs)
        assert found is not None
        assert math.isclose(found, 0.0, abs_tol=0.002)

    def test_where_it_cannot_be_told(self) -> None:
        one = list(self.outputs(1, 1.0))
        assert optimism(self.labels, one) is None
        groups = np.zeros(400, np.int32)  # one slide: nothing is left when it is drawn
        assert optimism(self.labels, one * 2, groups) is None
