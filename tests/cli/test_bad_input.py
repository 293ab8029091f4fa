"""What goes wrong at the command line: one clear error with its own exit code, and what was there
before stays as it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Project, tree
from loopback import Loopback

ROWS = 60


@pytest.fixture
def untouched(project: Project) -> Project:
    """`project`, compared before and after: the test may change nothing that was there."""
    return project


def run_called(project: Project, name: str) -> Path:
    """The run folder of `tiny0`, `tiny1` or `faint0`."""
    return next(path for path in project.runs() if f"-{name}-" in path.name)


class TestConfig:
    def test_unknown_config_suggests_the_nearest(self, untouched: Project) -> None:
        before = tree(untouched.path)
        untouched.quick("train", "quik").refused(
            2, "no config called 'quik'", "did you mean 'quick'", "demo", "lab"
        )
        untouched.quick("train", "missing.yaml").refused(2, "no config called 'missing.yaml'")
        assert tree(untouched.path) == before

    def test_every_fault_of_a_file_is_told_at_once(self, untouched: Project) -> None:
        (untouched.path / "bad.yaml").write_text(
            "model: {name: lab_cnn, filter: [4]}\n"
            "training: {epochs: '3', batch_size: 0, learning_rate: fast, optimiser: sgd}\n"
            "augment: {transforms: [{p: 2.0}]}\n"
            "seeds: 1\n",
            encoding="utf-8",
        )
        before = tree(untouched.path)
        done = untouched.quick("train", "bad.yaml").refused(
            2,
            "bad.yaml: 8 faults",
            "model.filter: unknown key; did you mean 'filters'?",
            "training.epochs",
            "found '3'",
            "training.batch_size",
            "found 0",
            "training.learning_rate",
            "found 'fast'",
            "training.optimiser: unknown key; did you mean 'optimizer'?",
            "augment.transforms.0.name: missing",
            "augment.transforms.0.p",
            "seeds: unknown key; did you mean 'seed'?",
            "--print-config",
        )
        assert done.err.count("\n  ") >= 8
        assert tree(untouched.path) == before

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("model: {name: lab_cnn}\nseed: 1\nseed: 2\n", ("line 3", "seed", "second time")),
            ("model: {name: lab_cnn\n", ("not valid YAML",)),
            ("- model\n", ("expected a mapping", "found list")),
            ("", ("expected a mapping",)),
            ("seed: 1\n", ("model: missing",)),
            (
                "model: {name: lab_cm}\n",
                ("model.name", "lab_cnn, resnet", "'lab_cm'", "did you mean 'lab_cnn'"),
            ),
            (
                "model: {name: lab_cnn}\ntraining: {learning_rate: .inf}\n",
                ("training.learning_rate", "finite", "found inf"),
            ),
        ],
        ids=["duplicate key", "broken", "list", "empty", "no model", "unknown model", "infinite"],
    )
    def test_one_fault_in_a_file(self, empty: Project, text: str, words: tuple[str, ...]) -> None:
        (empty.path / "bad.yaml").write_text(text, encoding="utf-8")
        empty.pcam("train", "bad.yaml", "--print-config").refused(2, "bad.yaml", *words)

    def test_a_file_that_is_no_text(self, empty: Project) -> None:
        (empty.path / "bad.yaml").write_bytes(b"seed: \xff\n")
        empty.pcam("train", "bad.yaml", "--print-config").refused(2, "bad.yaml", "0xff")

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("training.epoch=3", ("training.epoch: unknown key; did you mean 'epochs'?",)),
            ("training.epochs", ("expected key=value",)),
            ("=3", ("expected key=value",)),
            ("training.epochs=many", ("training.epochs", "integer", "found 'many'")),
            ("training.epochs=", ("training.epochs", "found None")),
            ("training=3", ("training", "found 3")),
            ("training.epochs=[1", ("not valid YAML",)),
            ("training.learning_rate.peak=1", ("training.learning_rate", "number")),
            ("data.crop=-1", ("data.crop", "found -1")),
            ("name=../x", ("name", "'../x'")),
        ],
    )
    def test_faults_of_set(self, empty: Project, override: str, words: tuple[str, ...]) -> None:
        empty.pcam("train", "demo", "--set", override, "--print-config").refused(2, *words)

    def test_crop_larger_than_the_patches(self, untouched: Project) -> None:
        before = tree(untouched.path)
        untouched.quick("train", "quick", "--set", "data.crop=48").refused(
            2, "data.crop: 48", "32x32"
        )
        assert tree(untouched.path) == before


class TestNothingThere:
    @pytest.mark.parametrize(
        ("args", "code", "words"),
        [
            (("train",), 2, ("no competition's data in data", "pcam fetch")),
            (("train", "lab"), 2, ("no competition's data in data", "pcam fetch")),
            (
                ("train", "demo", "--set", "competition=synthetic"),
                3,
                ("data/synthetic/store", "pcam fetch synthetic"),
            ),
            (
                ("train", "demo", "--set", "competition=tnm-112-lab-2-2024"),
                3,
                ("data/tnm-112-lab-2-2024/store", "pcam fetch tnm"),
            ),
            (("train", "--resume"), 4, ("no unfinished run in runs",)),
            (("evaluate",), 4, ("no finished run in runs", "pcam train")),
            (("predict",), 4, ("no finished run in runs", "pcam train")),
            (("predict", "mine"), 4, ("no run called 'mine' in runs", "pcam runs")),
            (("submit",), 2, ("no CSV was written yet", "pcam predict")),
            (("fetch", "synthetic", "--from", "nowhere"), 3, ("nowhere",)),
            (("fetch", "tnm112", "--from", "nowhere"), 3, ("nowhere", "--from")),
            (("fetch", "tnm-113"), 2, ("no profile", "'tnm-113'", "tnm-112-lab-2-2024")),
            (
                ("fetch", "https://www.kaggle.com/c/my-own/data"),
                2,
                ("'my-own'", "configs/competitions/my-own.yaml"),
            ),
            (("fetch", "own.yaml"), 2, ("own.yaml",)),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
    )
    def test_says_what_to_type(
        self, empty: Project, warm: object, args: tuple[str, ...], code: int, words: tuple[str, ...]
    ) -> None:
        before = tree(empty.path)
        run = Project(empty.path, empty.env, warm).quick if "train" in args else empty.pcam  # type: ignore[arg-type]
        run(*args).refused(code, *words)
        assert tree(empty.path) == before

    def test_empty_lists_are_no_error(self, empty: Project) -> None:
        assert empty.pcam("runs", "--json").json == {"runs": []}
        assert empty.pcam("submissions", "--json").json == {"submissions": []}
        assert "no runs yet" in empty.pcam("runs").ok().err
        assert list(empty.path.iterdir()) == []


class TestPackages:
    def test_a_package_that_cannot_be_imported(self, empty: Project, tmp_path: Path) -> None:
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "cv2.py").write_text(
            "raise ImportError('libGL.so.1 is missing')", encoding="utf-8"
        )
        told = {"PYTHONPATH": str(tmp_path / "broken")}
        empty.pcam("fetch", "synthetic", **told).refused(
            1, "a package cannot be imported: libGL.so.1 is missing", "-> see which: pcam doctor"
        )
        assert "Traceback" in empty.pcam("fetch", "synthetic", "--debug", **told).err


class TestRuns:
    def test_ambiguous_name(self, untouched: Project) -> None:
        year = untouched.runs()[0].name[:4]
        untouched.pcam("evaluate", year).refused(4, "3 runs", repr(year), "pcam runs")

    def test_unknown_name_suggests_the_nearest(self, untouched: Project) -> None:
        name = run_called(untouched, "tiny0").name
        untouched.pcam("evaluate", name[:-1] + "x").refused(
            4, "no run called", f"did you mean '{name[:-5]}"
        )

    def test_another_schema(self, untouched: Project) -> None:
        run = run_called(untouched, "tiny0")
        for name in ("meta.json", "result.json"):
            kept = (run / name).read_text(encoding="utf-8")
            (run / name).write_text(
                json.dumps(json.loads(kept) | {"schema_version": 0}), encoding="utf-8"
            )
            before = tree(untouched.path)
            for command in ("evaluate", "predict"):
                untouched.pcam(command, run.name).refused(
                    4, f"{run.name}/{name}", "schema version 0", "version 1"
                )
            assert tree(untouched.path) == before
            (run / name).write_text(kept, encoding="utf-8")
        (run / "meta.json").write_text("{}", encoding="utf-8")
        listed = untouched.pcam("runs", "--json")
        assert len(listed.json["runs"]) == 2
        assert run.name in listed.err, "it is said why one is left out"

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda run: (run / "meta.json").write_text("{", encoding="utf-8"), ("meta.json",)),
            (
                lambda run: (run / "meta.json").write_text(
                    '{"schema_version": 1}', encoding="utf-8"
                ),
                ("meta.json", "competition"),
            ),
            (lambda run: (run / "meta.json").unlink(), ("no run called",)),
            (lambda run: (run / "config.yaml").unlink(), ("config.yaml",)),
            (
                lambda run: (run / "config.yaml").write_text("model: 1\n", encoding="utf-8"),
                ("config.yaml", "model"),
            ),
            (
                lambda run: (run / "result.json").write_text(
                    '{"schema_version": 1}', encoding="utf-8"
                ),
                ("result.json", "keys"),
            ),
            (lambda run: truncate(run / "predictions" / "valid.npz"), ("valid.npz", "delete ")),
        ],
        ids=[
            "meta cut",
            "meta without keys",
            "no meta",
            "no config",
            "bad config",
            "result without keys",
            "predictions cut",
        ],
    )
    def test_damaged(
        self, untouched: Project, damage: Callable[[Path], object], words: tuple[str, ...]
    ) -> None:
        run = run_called(untouched, "tiny0")
        damage(run)
        before = tree(untouched.path)
        untouched.pcam("evaluate", run.name).refused(4, *words)
        untouched.pcam("runs", "--json").ok()
        untouched.pcam("evaluate", run_called(untouched, "tiny1").name, "--json").ok()
        assert tree(untouched.path) == before

    def test_damaged_model(self, untouched: Project) -> None:
        run = run_called(untouched, "tiny0")
        truncate(run / "model.keras")
        (run / "predictions" / "test.npz").unlink()
        before = tree(untouched.path)
        untouched.quick("predict", run.name).refused(4, "model.keras", "train again")
        assert tree(untouched.path) == before

    def test_unfinished(self, untouched: Project) -> None:
        run = run_called(untouched, "tiny0")
        (run / "result.json").unlink()
        before = tree(untouched.path)
        for command in ("predict", "evaluate"):
            untouched.pcam(command, run.name).refused(
                4, run.name, "not complete", f"pcam train --resume {run.name}"
            )
        assert tree(untouched.path) == before

    def test_two_stores_are_not_averaged(self, untouched: Project) -> None:
        before = tree(untouched.path)
        names = [run_called(untouched, name).name for name in ("tiny0", "faint0")]
        untouched.pcam("predict", *names).refused(2, "different stores", "(tiny)", "(faint)")
        assert tree(untouched.path) == before

    @pytest.mark.parametrize("cached", [False, True])
    def test_another_store_than_the_run_was_trained_on(
        self, untouched: Project, cached: bool
    ) -> None:
        run = run_called(untouched, "tiny0")
        if not cached:
            for path in (run / "predictions").iterdir():
                path.unlink()
        profile = untouched.path / "configs" / "competitions" / "tiny.yaml"
        profile.write_text(
            profile.read_text(encoding="utf-8").replace("300", "280"), encoding="utf-8"
        )
        untouched.pcam("fetch", "tiny", "--data-dir", "other").ok()
        before = tree(untouched.path)
        for command in ("evaluate", "predict"):
            untouched.quick(command, run.name, "--data-dir", "other").refused(
                4, run.name, "fingerprint", "--data-dir"
            )
        assert tree(untouched.path) == before

    def test_predictions_that_somebody_edited(self, with_edited_predictions: Project) -> None:
        for command in (["evaluate", "--split", "test"], ["predict"]):
            with_edited_predictions.pcam(*command).refused(4, "test.npz", "changed", "delete")

    def test_resume_with_set(self, untouched: Project) -> None:
        before = tree(untouched.path)
        untouched.quick("train", "--resume", "--set", "training.epochs=9").refused(
            2, "--resume", "leave out CONFIG, --set"
        )
        untouched.quick("train", "quick", "--resume").refused(2, "--resume", "leave out CONFIG")
        assert tree(untouched.path) == before

    def test_a_loss_that_is_not_finite_names_the_step(self, untouched: Project) -> None:
        explode = (
            "--set",
            "training.optimizer=sgd",
            "--set",
            "training.learning_rate=1e38",
            "--set",
            "training.schedule=constant",
        )
        done = untouched.quick("train", "quick", *explode).refused(
            5, "the loss became", "epoch 1, step", "of 9", "learning rate"
        )
        assert "nan" in done.err or "inf" in done.err
        assert untouched.quick("runs", "--json").json["runs"][-1]["complete"] is False


@pytest.fixture
def with_edited_predictions(project: Project) -> Project:
    """The newest run's test predictions with other labels."""
    path = run_called(project, "tiny0") / "predictions" / "test.npz"
    with np.load(path) as arrays:
        kept = dict(arrays)
    kept["labels"] = np.full_like(kept["labels"], -1)
    np.savez(path, **kept)
    return project


def truncate(path: Path) -> None:
    """Leave the first half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def rows_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


class TestCsv:
    FAULTS: tuple[tuple[str, str, Callable[[list[str]], list[str]], tuple[str, ...]], ...] = (
        ("missing id", "tiny", lambda rows: [*rows[:5], *rows[6:]], ("missing: id '4'",)),
        ("extra id", "tiny", lambda rows: [*rows, "60,1"], ("line 62", "'60' is not a test id")),
        (
            "repeated id",
            "tiny",
            lambda rows: [*rows, rows[3]],
            ("line 62", "id '2' again, first on line 4"),
        ),
        (
            "NaN",
            "tiny",
            lambda rows: [*rows[:2], "1,NaN", *rows[3:]],
            ("line 3", "'NaN'", "expected 0 or 1"),
        ),
        (
            "probability for a class",
            "tiny",
            lambda rows: [*rows[:2], "1,0.7", *rows[3:]],
            ("line 3", "'0.7'", "not a probability"),
        ),
        (
            "class 2",
            "tiny",
            lambda rows: [*rows[:2], "1,2", *rows[3:]],
            ("line 3", "'2'", "expected 0 or 1"),
        ),
        ("no value", "tiny", lambda rows: [*rows[:2], "1,", *rows[3:]], ("line 3", "no value")),
        (
            "wrong header",
            "tiny",
            lambda rows: ["id,label", *rows[1:]],
            ("wrong header", "'id,label'", "'id,class'"),
        ),
        ("no header", "tiny", lambda rows: rows[1:], ("wrong header", "the header is missing")),
        ("empty", "tiny", lambda _: [], ("empty",)),
        (
            "NaN",
            "faint",
            lambda rows: [*rows[:2], "1,nan", *rows[3:]],
            ("line 3", "'nan'", "a finite number"),
        ),
    )

    @pytest.mark.parametrize(
        ("slug", "change", "words"),
        [fault[1:] for fault in FAULTS],
        ids=[f"{f[1]}, {f[0]}" for f in FAULTS],
    )
    def test_refused(
        self,
        untouched: Project,
        slug: str,
        change: Callable[[list[str]], list[str]],
        words: tuple[str, ...],
    ) -> None:
        rows = change(rows_of(untouched.path / "submissions" / f"{slug}0.csv"))
        (untouched.path / "mine.csv").write_text(
            "".join(f"{row}\n" for row in rows), encoding="utf-8"
        )
        before = tree(untouched.path)
        untouched.pcam("submit", "mine.csv", "--competition", slug, "--dry-run", "--json").refused(
            6, "mine.csv", *words
        )
        assert tree(untouched.path) == before

    @pytest.mark.parametrize(
        ("slug", "change", "note"),
        [
            ("tiny", lambda rows: [rows[0], *rows[:0:-1]], "rows are in another order"),
            (
                "tiny",
                lambda rows: [",".join(row.split(",")[::-1]) for row in rows],
                "columns are in another order",
            ),
            ("faint", lambda rows: [*rows[:2], "1,1.01", *rows[3:]], "to 1.01; for AUC"),
            ("faint", lambda rows: [*rows[:2], "1,-0.1", *rows[3:]], "scores go from -0.1"),
        ],
        ids=["rows", "columns", "above one", "below zero"],
    )
    def test_what_kaggle_takes_is_a_note(
        self, untouched: Project, slug: str, change: Callable[[list[str]], list[str]], note: str
    ) -> None:
        rows = change(rows_of(untouched.path / "submissions" / f"{slug}0.csv"))
        (untouched.path / "mine.csv").write_text(
            "".join(f"{row}\n" for row in rows), encoding="utf-8"
        )
        done = untouched.pcam("submit", "mine.csv", "--competition", slug, "--dry-run").ok()
        assert note in done.err

    def test_windows_line_ends_and_bom_are_accepted(self, untouched: Project) -> None:
        text = (untouched.path / "submissions" / "tiny0.csv").read_text(encoding="utf-8")
        (untouched.path / "mine.csv").write_bytes(
            b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
        )
        done = untouched.pcam("submit", "mine.csv", "--competition", "tiny", "--dry-run", "--json")
        assert done.json["status"] == "dry-run"

    def test_no_such_file(self, untouched: Project) -> None:
        untouched.pcam("submit", "gone.csv", "--dry-run").refused(6, "gone.csv")
        untouched.pcam("submit", "submissions", "--dry-run").refused(6, "is a folder")

    def test_written_for_another_competition(self, untouched: Project) -> None:
        before = tree(untouched.path)
        done = untouched.pcam(
            "submit", "submissions/tiny0.csv", "--competition", "faint", "--dry-run"
        )
        done.refused(6, "submissions/tiny0.csv", "tiny", "faint", "pcam runs")
        assert tree(untouched.path) == before

    def test_csv_of_the_ledger_that_is_gone(self, untouched: Project) -> None:
        for path in untouched.csvs():
            path.unlink()
        untouched.pcam("submit", "--dry-run").refused(2, "the file is gone", "pcam predict")


class TestKaggle:
    def test_no_credentials(self, project: Project) -> None:
        before = tree(project.path)
        done = project.pcam("submit", "submissions/tiny0.csv", "--yes").refused(
            7, "no Kaggle credentials"
        )
        assert "kaggle.com/settings" in done.err
        project.pcam("fetch", "hcd").refused(7, "no Kaggle credentials")
        assert tree(project.path) == before

    def test_refused_credentials(
        self, project: Project, kaggle: Loopback, account: dict[str, str]
    ) -> None:
        kaggle.users.clear()
        kaggle.serve("tiny", project.path)
        before = tree(project.path)
        project.pcam("submit", "submissions/tiny0.csv", **account).refused(
            7, "KAGGLE_USERNAME and KAGGLE_KEY"
        )
        project.pcam("fetch", "tnm112", **account).refused(7, "KAGGLE_USERNAME and KAGGLE_KEY")
        assert tree(project.path) == before
        assert kaggle.seen("CreateSubmission") == []

    def test_rules_not_accepted(
        self, project: Project, kaggle: Loopback, account: dict[str, str]
    ) -> None:
        for slug in ("tiny", "tnm-112-lab-2-2024"):
            kaggle.serve(slug, project.path / "configs", rules_accepted=False)
        done = project.pcam("fetch", "tnm112", **account).refused(7, "rules")
        assert "https://www.kaggle.com/competitions/tnm-112-lab-2-2024/rules" in done.err
        assert not (project.path / "data" / "tnm-112-lab-2-2024" / "store").exists()
        project.pcam("submit", "submissions/tiny0.csv", **account).refused(
            7, "rules", "competitions/tiny/rules"
        )
        statuses = {
            entry["status"] for entry in project.pcam("submissions", "--json").json["submissions"]
        }
        assert statuses <= {"written", "failed"}, "nothing was sent, so nothing is open"

    def test_competition_that_kaggle_does_not_know(
        self, project: Project, account: dict[str, str]
    ) -> None:
        before = tree(project.path)
        project.pcam("fetch", "tnm112", **account).refused(7, "tnm-112-lab-2-2024")
        project.pcam("submit", "submissions/tiny0.csv", **account).refused(7, "tiny")
        done = project.pcam("fetch", "pcam", **account).refused(2, "pcam fetch pcam --download")
        assert "zenodo.org" in done.err, "PCam itself lies elsewhere"
        assert tree(project.path) == before

    def test_a_full_url_is_a_name_too(self, project: Project) -> None:
        args = ("submit", "submissions/tiny0.csv", "--dry-run", "--json", "--competition")
        for name in (
            "https://www.kaggle.com/competitions/tiny/overview",
            "kaggle.com/c/tiny",
            "very-small",
            "TINY",
        ):
            assert project.pcam(*args, name).json["status"] == "dry-run"

    def test_daily_limit(self, project: Project, kaggle: Loopback, account: dict[str, str]) -> None:
        kaggle.serve("tiny", project.path, daily_limit=0)
        project.pcam("submit", "submissions/tiny0.csv", **account).refused(
            6, "no submission to tiny is left today", "UTC"
        )

    def test_scoring_that_fails(
        self, project: Project, kaggle: Loopback, account: dict[str, str]
    ) -> None:
        (project.path / "solution.csv").write_text("id,class\n1,0\n", encoding="utf-8")
        kaggle.serve("tiny", project.path, project.path / "solution.csv", pending_polls=0)
        project.pcam("submit", "submissions/tiny0.csv", **account).refused(
            6, "could not score", "values for id must match"
        )
        entry = next(
            e for e in project.pcam("submissions", "--json").json["submissions"] if e["ref"]
        )
        assert (entry["status"], entry["public_score"]) == ("error", None)


class TestFolders:
    def test_a_folder_below_a_plain_file(self, project: Project) -> None:
        (project.path / "plain").write_text("a file", encoding="utf-8")
        before = tree(project.path)
        run = run_called(project, "tiny0").name
        project.quick("train", "quick", "--runs-dir", "plain/runs").refused(
            8, "plain/runs", "Not a directory"
        )
        project.pcam("fetch", "tiny", "--data-dir", "plain/data").refused(8, "plain/data")
        project.pcam("predict", run, "--submissions-dir", "plain/x").refused(8, "plain/x")
        project.pcam("predict", run, "--out", "plain/x.csv").refused(8, "plain/x.csv")
        assert tree(project.path) == before

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
    def test_read_only_folders(self, project: Project) -> None:
        (project.path / "locked").mkdir(mode=0o555)
        project.quick("train", "quick", "--runs-dir", "locked/runs").refused(
            8, "locked/runs", "--runs-dir"
        )
        project.pcam("fetch", "tiny", "--data-dir", "locked/data").refused(
            8, "locked/data", "--data-dir"
        )

    def test_a_folder_that_is_in_use(self, project: Project) -> None:
        import fcntl

        with open(project.path / "data" / "tiny" / ".lock", "ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            project.pcam("fetch", "tiny").refused(8, "another process is fetching tiny", "wait")

    def test_folders_from_the_environment(self, project: Project, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        shutil.move(project.path / "runs", elsewhere / "runs")
        shutil.move(project.path / "data", elsewhere / "data")
        run = next(path.name for path in (elsewhere / "runs").iterdir() if "-tiny0-" in path.name)
        done = project.quick(
            "predict",
            run,
            "--json",
            PCAM_RUNS_DIR=f"{elsewhere}/runs",
            PCAM_DATA_DIR=f"{elsewhere}/data",
            PCAM_SUBMISSIONS_DIR="sent",
        )
        assert done.json["csv"].startswith("sent/")
        assert (project.path / done.json["csv"]).is_file()
        assert (project.path / "sent" / "ledger.jsonl").is_file()
