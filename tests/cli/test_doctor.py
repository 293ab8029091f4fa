"""`pcam doctor`: what it finds wrong, how grave it takes that to be, and what it says to type; the
real command, the real Kaggle client.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, Project, tree
from loopback import KEY, USERNAME, Loopback

TINY = """\
slug: {slug}
title: Tiny tissue
layout: tif_folders
image_size: 96
target_column: class
target: class
metric: accuracy
counts: {{train: {train}}}
default_config: lab
"""
CV2 = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
FAKES = {
    "keras.py": """
from types import SimpleNamespace
__version__ = "3"
backend = SimpleNamespace(backend=lambda: "tensorflow")
""",
    "tensorflow.py": """
from types import SimpleNamespace
__version__ = "2"
config = SimpleNamespace(list_physical_devices=lambda kind: [])
""",
}


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH in which Keras is imported at once: three seconds less for each test
    that is about something else.
    """
    for name, code in FAKES.items():
        (tmp_path / "fakes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "fakes" / name).write_text(code, encoding="utf-8")
    return tmp_path / "fakes"


@pytest.fixture
def quick(fakes: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(fakes)}


def lines(done: Done, *, code: int = 0) -> dict[str, list[dict[str, str]]]:
    """The checks of `--json`, by name; the exit code and the tally fit them, and stdout holds
    nothing else.
    """
    assert done.code == code, f"exit {done.code}\n{done.out}{done.err}"
    assert "Traceback" not in done.err, done.err
    told: dict[str, Any] = json.loads(done.out)
    assert set(told) == {"checks", "problems", "warnings"}
    found: dict[str, list[dict[str, str]]] = {}
    for check in told["checks"]:
        assert set(check) == {"name", "status", "message", "fix"}
        found.setdefault(check["name"], []).append(check)
    for what, status in (("problems", "problem"), ("warnings", "warning")):
        assert told[what] == sum(check["status"] == status for check in told["checks"])
    assert (told["problems"] > 0) == (code == 1)
    return found


def one(
    found: dict[str, list[dict[str, str]]], name: str, status: str, *words: str, fix: str = ""
) -> dict[str, str]:
    """The one line called `name`, which has this status, these words and this in its fix."""
    (check,) = found[name]
    assert check["status"] == status, check
    for word in words:
        assert word in check["message"], check
    assert fix in check["fix"], check
    return check


def profile(project: Project, slug: str = "small", train: int = 10) -> None:
    """A competition that the project knows and has no files of."""
    (project.path / "configs" / "competitions").mkdir(parents=True, exist_ok=True)
    (project.path / "configs" / "competitions" / f"{slug}.yaml").write_text(
        TINY.format(slug=slug, train=train), encoding="utf-8"
    )


def key_in_file(account: dict[str, str], mode: int = 0o600) -> dict[str, str]:
    """The account with its key in kaggle.json instead of variables."""
    env = {
        name: value
        for name, value in account.items()
        if name not in {"KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"}
    }
    path = Path(env["HOME"]) / ".kaggle" / "kaggle.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"username": USERNAME, "key": KEY}), encoding="utf-8")
    path.chmod(mode)
    return env


def distribution(folder: Path, name: str, version: str) -> None:
    """The metadata of a package that is not there."""
    path = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    path.parent.mkdir(parents=True)
    path.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def run_called(project: Project, name: str) -> Path:
    return next(path for path in project.runs() if f"-{name}-" in path.name)


class TestWhole:
    def test_all_is_well_with_the_real_keras(
        self, project: Project, kaggle: Loopback, account: dict[str, str]
    ) -> None:
        kaggle.serve("tiny", project.path)
        before = tree(project.path)
        found = lines(project.pcam("doctor", "tiny", "--json", **account))
        one(found, "backend", "ok", "keras 3.", "tensorflow 2.", "CPU only", "trains in ")
        one(found, "packages", "ok", "tensorflow 2.", "h5py 3.")
        one(found, "store", "ok", "tiny is intact", "train 300")
        one(found, "runs", "ok", "2 finished")
        one(found, "credentials", "ok", "KAGGLE_USERNAME and KAGGLE_KEY")
        one(found, "kaggle", "ok", "takes the credentials")
        one(found, "rules", "ok", "rules of tiny are accepted")
        one(found, "limit", "ok", "5 submissions left today (0 of 5 made)")
        assert {"python", "memory", "disk", "ledger", "lookalikes"} <= set(found)
        assert len(kaggle.seen("GetCompetition")) == 1
        assert tree(project.path) == before
        home = Path(project.env["HOME"])
        assert [*home.iterdir()] == [], "nothing is left behind, not by Keras or matplotlib either"

    def test_a_newcomer_has_no_problem(
        self, empty: Project, kaggle: Loopback, quick: dict[str, str]
    ) -> None:
        done = empty.pcam("doctor", **quick)
        assert done.code == 0, done.out
        assert [*empty.path.iterdir()] == []
        statuses = {
            line.split()[1]: line.split()[0]
            for line in done.out.splitlines()
            if not line.startswith(" ")
        }
        assert statuses["credentials"] == "warning"
        assert set(statuses.values()) <= {"ok", "warning"}
        fixes = [line for line in done.out.splitlines() if line.startswith(" ")]
        assert any(
            line.strip().startswith("-> create a token at https://www.kaggle.com/settings")
            for line in fixes
        )
        assert "no problems, " in done.err
        assert kaggle.requests == []

    def test_an_unknown_competition_is_one_problem_among_the_lines(
        self, empty: Project, quick: dict[str, str]
    ) -> None:
        found = lines(empty.pcam("doctor", "nothing", "--json", **quick), code=1)
        one(
            found,
            "competition",
            "problem",
            "no profile for the competition 'nothing'",
            fix="known: ",
        )
        one(found, "disk", "ok")
        one(found, "credentials", "warning")

    def test_a_package_that_cannot_be_imported_stops_only_its_checks(
        self, empty: Project, fakes: Path, quick: dict[str, str]
    ) -> None:
        (fakes / "numpy.py").write_text("raise ImportError('numpy is broken')", encoding="utf-8")
        found = lines(empty.pcam("doctor", "--json", **quick), code=1)
        one(
            found,
            "pcam-kit",
            "problem",
            "this check failed: ImportError: numpy is broken",
            fix="--debug",
        )
        one(found, "lookalikes", "problem", "cv2 cannot be used: ImportError: numpy is broken")
        one(found, "packages", "ok")
        one(found, "backend", "ok")
        debugged = empty.pcam("doctor", "--json", "--debug", **quick)
        assert "Traceback" in debugged.err
        assert json.loads(debugged.out)["problems"] == 2


class TestPackages:
    def test_albumentationsx(self, empty: Project, fakes: Path, quick: dict[str, str]) -> None:
        distribution(fakes, "albumentationsx", "2.0.14")
        found = lines(empty.pcam("doctor", "--json", **quick), code=1)
        fix = (
            "pip uninstall albumentationsx && pip install --force-reinstall --no-deps "
            "albumentations==2.0.8"
        )
        # Colab's image has two versions of OpenCV, which get a line of their own
        found["lookalikes"] = [told for told in found["lookalikes"] if told["status"] != "ok"]
        one(found, "lookalikes", "problem", "albumentationsx 2.0.14", fix=fix)

    def test_versions_that_do_not_work_together(
        self, empty: Project, fakes: Path, quick: dict[str, str]
    ) -> None:
        for name in ("h5py", *CV2):
            distribution(fakes, name, "6.0.0")
        distribution(fakes, "tensorflow", "2.19.0")
        found = lines(empty.pcam("doctor", "--json", **quick), code=1)
        told = {check["message"]: check["fix"] for check in found["packages"]}
        assert "opencv-python-headless 6.0.0 is installed, pcam-kit needs <6,>=4.13" in told
        assert (
            told["tensorflow 2.19.0 is installed, pcam-kit needs <3,>=2.20"]
            == 'pip install "tensorflow<3,>=2.20"'
        )
        assert not any("h5py" in message for message in told), (
            "that TensorFlow's needs are not known"
        )

    def test_a_version_that_tensorflow_does_not_work_with(
        self, empty: Project, fakes: Path, quick: dict[str, str]
    ) -> None:
        distribution(fakes, "ml_dtypes", "0.1.0")
        (check,) = lines(empty.pcam("doctor", "--json", **quick), code=1)["packages"]
        assert "ml_dtypes 0.1.0 is installed, tensorflow 2." in check["message"]
        assert check["fix"].startswith('pip install "ml_dtypes<1')

    def test_any_package_with_cv2_does(
        self, empty: Project, fakes: Path, quick: dict[str, str]
    ) -> None:
        for name in CV2:
            distribution(fakes, name, "5.0.0" if name == "opencv-python" else "6.0.0")
        found = lines(empty.pcam("doctor", "--json", **quick))
        one(found, "packages", "ok", "tensorflow 2.")
        one(found, "lookalikes", "ok", "which fits; installed: ", "opencv-python 5.0.0")

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ('__version__ = "6.0.0"', "cv2 is OpenCV 6.0.0, pcam-kit needs <6,>=4.13"),
            ("", "cv2 cannot be used: AttributeError"),  # what uninstalling the other one leaves
            ("raise ImportError('libGL.so.1')", "cv2 cannot be used: ImportError: libGL.so.1"),
        ],
    )
    def test_another_package_spoils_cv2(
        self, code: str, words: str, empty: Project, fakes: Path, quick: dict[str, str]
    ) -> None:
        distribution(fakes, "opencv_contrib_python", "6.0.0.1")
        (fakes / "cv2.py").write_text(code, encoding="utf-8")
        found = lines(empty.pcam("doctor", "--json", **quick), code=1)
        told = one(found, "lookalikes", "problem", words, "opencv-contrib-python 6.0.0.1")
        assert told["fix"] == (
            'pip install --force-reinstall --no-deps "opencv-python-headless<6,>=4.13"'
        )

    @pytest.mark.parametrize(
        ("variable", "words"),
        [
            ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, ", in a Kaggle notebook (Batch)"),
            ({"COLAB_RELEASE_TAG": "release-7"}, ", in a Colab notebook (release-7)"),
        ],
    )
    def test_a_notebook_is_named(
        self, variable: dict[str, str], words: str, empty: Project, quick: dict[str, str]
    ) -> None:
        found = lines(empty.pcam("doctor", "--json", **quick, **variable))
        one(found, "python", "ok", words)

    def test_a_backend_that_cannot_be_imported(
        self, empty: Project, fakes: Path, quick: dict[str, str]
    ) -> None:
        (fakes / "keras.py").write_text(
            "import sys\nprint('noise', file=sys.stderr)\nraise ImportError('libnothing.so.1 is "
            "missing')",
            encoding="utf-8",
        )
        found = lines(empty.pcam("doctor", "--json", **quick), code=1)
        one(
            found,
            "backend",
            "problem",
            "ImportError: libnothing.so.1 is missing",
            fix="pip install",
        )
        assert "noise" not in found["backend"][0]["message"]
        found = lines(empty.pcam("doctor", "--json", KERAS_BACKEND="jaxx", **quick), code=1)
        one(found, "backend", "problem", "KERAS_BACKEND=jaxx", fix="unset KERAS_BACKEND")

    def test_a_gpu_that_only_the_driver_sees(
        self, empty: Project, tmp_path: Path, quick: dict[str, str]
    ) -> None:
        (tmp_path / "bin").mkdir()
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.write_text("#!/bin/sh\necho NVIDIA Example\n", encoding="utf-8")
        tool.chmod(0o755)
        path = f"{tool.parent}:{empty.env['PATH']}"
        hidden = lines(empty.pcam("doctor", "--json", PATH=path, **quick))
        one(hidden, "backend", "ok", "CUDA_VISIBLE_DEVICES hides NVIDIA Example")
        seen = lines(empty.pcam("doctor", "--json", PATH=path, CUDA_VISIBLE_DEVICES="0", **quick))
        one(
            seen,
            "backend",
            "warning",
            "the driver shows NVIDIA Example",
            fix='pip install "tensorflow[and-cuda]"',
        )


class TestKaggle:
    def test_only_a_competition_asked_for_and_not_here_is_out_of_reach(
        self, project: Project, quick: dict[str, str]
    ) -> None:
        profile(project)
        missing = lines(project.pcam("doctor", "small", "--json", **quick), code=1)
        one(
            missing,
            "credentials",
            "problem",
            "no Kaggle credentials found",
            fix="https://www.kaggle.com/settings",
        )
        one(missing, "store", "ok", "small: not fetched yet", fix="pcam fetch small")
        here = lines(project.pcam("doctor", "tiny", "--json", **quick))
        one(here, "credentials", "warning", "no Kaggle credentials found")

    @pytest.mark.parametrize("slug", ["synthetic", "pcam"])
    def test_what_is_no_competition_is_not_asked_about(
        self,
        empty: Project,
        kaggle: Loopback,
        account: dict[str, str],
        quick: dict[str, str],
        slug: str,
    ) -> None:
        one(lines(empty.pcam("doctor", slug, "--json", **quick)), "credentials", "warning")
        kaggle.fail("ListCompetitions", body=b'{"competitions": []}')
        found = lines(empty.pcam("doctor", slug, "--json", **account, **quick))
        one(found, "kaggle", "ok", "takes the credentials")
        one(
            found,
            "store",
            "ok",
            "not fetched yet",
            fix="pcam fetch synthetic" if slug == "synthetic" else "zenodo.org",
        )
        assert not {"rules", "limit"} & set(found)
        assert {seen.what for seen in kaggle.requests} == {"ListCompetitions"}

    def test_no_network(
        self, empty: Project, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        profile(empty)
        dead = (
            account
            | {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
            | quick
        )
        began = time.monotonic()
        one(
            lines(empty.pcam("doctor", "--json", **dead)),
            "kaggle",
            "warning",
            "cannot reach Kaggle",
            fix="proxy",
        )
        assert time.monotonic() - began < 10, "one attempt, not six"
        one(
            lines(empty.pcam("doctor", "small", "--json", **dead), code=1),
            "kaggle",
            "problem",
            "cannot reach Kaggle",
        )

    def test_offline_asks_nothing(
        self, empty: Project, kaggle: Loopback, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        profile(empty)
        found = lines(empty.pcam("doctor", "small", "--offline", "--json", **account, **quick))
        one(found, "kaggle", "ok", "not asked")
        assert kaggle.requests == []

    def test_a_stale_token_that_hides_a_good_key(
        self, empty: Project, kaggle: Loopback, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        env = key_in_file(account) | {"KAGGLE_API_TOKEN": "KGAT_stale"}
        done = empty.pcam("doctor", "--json", **env, **quick)
        found = lines(done, code=1)
        one(found, "credentials", "ok", "KAGGLE_API_TOKEN is used; it hides ~/.kaggle/kaggle.json")
        fix = "remove KAGGLE_API_TOKEN, so that ~/.kaggle/kaggle.json is used"
        one(
            found,
            "kaggle",
            "problem",
            "Kaggle refused the credentials in KAGGLE_API_TOKEN",
            fix=fix,
        )
        assert "KGAT_stale" not in done.out + done.err
        assert KEY not in done.out + done.err
        kaggle.fail("ListCompetitions", body=b"{}")
        del env["KAGGLE_API_TOKEN"]
        one(lines(empty.pcam("doctor", "--json", **env, **quick)), "kaggle", "ok")

    def test_a_file_that_others_may_read(
        self, empty: Project, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        env = key_in_file(account, 0o644)
        found = lines(empty.pcam("doctor", "--offline", "--json", **env, **quick))
        assert [check["status"] for check in found["credentials"]] == ["ok", "warning"]
        assert found["credentials"][1]["fix"] == "chmod 600 ~/.kaggle/kaggle.json"
        (Path(env["HOME"]) / ".kaggle" / "kaggle.json").chmod(0o600)
        one(lines(empty.pcam("doctor", "--offline", "--json", **env, **quick)), "credentials", "ok")

    def test_rules_count_as_accepted_when_files_are_handed_out(
        self, project: Project, kaggle: Loopback, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        """Kaggle does not tell of every competition that one has entered it."""
        kaggle.serve("tiny", project.path)
        kaggle.fail("GetCompetition", patch={"userHasEntered": False})
        one(
            lines(project.pcam("doctor", "tiny", "--json", **account, **quick)),
            "rules",
            "ok",
            "rules of tiny are accepted",
        )
        assert kaggle.seen("storage") == [], "no byte of a file is fetched for it"

    def test_rules_that_are_not_accepted(
        self, project: Project, kaggle: Loopback, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        profile(project)
        for slug in ("small", "tiny"):
            kaggle.serve(slug, project.path, rules_accepted=False)
        url = "https://www.kaggle.com/competitions/{}/rules"
        found = lines(project.pcam("doctor", "small", "--json", **account, **quick), code=1)
        one(found, "rules", "problem", "rules of small are not accepted", fix=url.format("small"))
        assert "limit" not in found
        # tiny was fetched last; its data are here
        found = lines(project.pcam("doctor", "--json", **account, **quick))
        one(found, "rules", "warning", "rules of tiny are not accepted", fix=url.format("tiny"))

    def test_a_competition_that_kaggle_does_not_know(
        self, empty: Project, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        profile(empty)
        found = lines(empty.pcam("doctor", "small", "--json", **account, **quick), code=1)
        one(found, "kaggle", "ok")
        one(
            found,
            "rules",
            "problem",
            "Kaggle does not know the competition small",
            fix="check the slug",
        )

    def test_no_submissions_left(
        self, empty: Project, kaggle: Loopback, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        profile(empty)
        served = kaggle.serve("small", empty.path, daily_limit=2)
        served.submissions += [{}, {}]
        found = lines(empty.pcam("doctor", "small", "--json", **account, **quick))
        one(found, "limit", "warning", "no submissions left today (2 of 2 made)", fix="00:00 UTC")

    @pytest.mark.parametrize(
        ("told", "name", "words"),
        [
            (
                {"deadline": "2019-03-30T23:59:00Z"},
                "rules",
                "its deadline was 2019-03-30 23:59 UTC",
            ),
            ({"submissionsDisabled": True}, "limit", "takes no submissions"),
            ({"isKernelsSubmissionsOnly": True}, "limit", "takes notebooks only"),
        ],
    )
    def test_what_kaggle_tells_of_a_competition(
        self,
        empty: Project,
        kaggle: Loopback,
        account: dict[str, str],
        quick: dict[str, str],
        told: dict[str, Any],
        name: str,
        words: str,
    ) -> None:
        profile(empty)
        kaggle.serve("small", empty.path)
        kaggle.fail("GetCompetition", body=json.dumps({"userHasEntered": True} | told).encode())
        found = lines(empty.pcam("doctor", "small", "--json", **account, **quick))
        one(found, name, "ok" if name == "rules" else "warning", words)

    def test_a_clock_that_is_off(
        self, empty: Project, kaggle: Loopback, account: dict[str, str], quick: dict[str, str]
    ) -> None:
        profile(empty)
        kaggle.serve("small", empty.path)
        kaggle.clock = 3630.0
        found = lines(empty.pcam("doctor", "small", "--json", **account, **quick))
        one(found, "clock", "warning", "clock is 1h00m behind Kaggle's", fix="set the clock")
        kaggle.clock = 120.0
        assert "clock" not in lines(empty.pcam("doctor", "small", "--json", **account, **quick))


class TestFiles:
    def test_a_disk_too_small(self, empty: Project, quick: dict[str, str]) -> None:
        profile(empty, train=10**8)
        found = lines(empty.pcam("doctor", "small", "--offline", "--json", **quick), code=1)
        one(
            found,
            "disk",
            "problem",
            "small needs 2790.4 GB for its store",
            fix="free some space",
        )

    def test_a_damaged_store(self, project: Project, quick: dict[str, str]) -> None:
        with open(project.path / "data" / "tiny" / "store" / "images.npy", "r+b") as images:
            images.seek(5000)
            byte = images.read(1)
            images.seek(5000)
            images.write(bytes([byte[0] ^ 1]))
        found = lines(project.pcam("doctor", "--json", **quick), code=1)
        by_status = {check["status"]: check for check in found["store"]}
        assert "images.npy is damaged" in by_status["problem"]["message"]
        assert by_status["problem"]["fix"] == "pcam fetch tiny"
        assert "faint is intact" in by_status["ok"]["message"]
        one(
            lines(project.pcam("doctor", "faint", "--json", **quick)),
            "store",
            "ok",
            "faint is intact",
        )

    def test_a_half_built_store(self, project: Project, quick: dict[str, str]) -> None:
        (project.path / "data" / "tiny" / "store" / "manifest.json").unlink()
        found = lines(project.pcam("doctor", "tiny", "--offline", "--json", **quick), code=1)
        one(found, "store", "problem", "half-built", fix="pcam fetch tiny")

    def test_damaged_and_stopped_runs(self, project: Project, quick: dict[str, str]) -> None:
        first, second, third = (run_called(project, name) for name in ("faint0", "tiny0", "tiny1"))
        data = bytearray((first / "model.keras").read_bytes())
        with zipfile.ZipFile(first / "model.keras") as archive:
            at = max(archive.infolist(), key=lambda member: member.compress_size)
        data[at.header_offset + 200 + at.compress_size // 2] ^= 255
        (first / "model.keras").write_bytes(data)
        (second / "predictions" / "valid.npz").write_bytes(b"PK no zip")
        (third / "config.yaml").write_text("model: 3\n", encoding="utf-8")
        shutil.copytree(first, copy := first.with_name("20200101T000000-halted-beef"))
        (copy / "result.json").unlink()
        found = lines(project.pcam("doctor", "--offline", "--json", **quick))
        *warnings, summary = found["runs"]
        assert {check["status"] for check in warnings} == {"warning"}
        for run in (first, second, third):
            assert sum(run.name in check["message"] for check in warnings) == 1, warnings
        assert len(warnings) == 3
        assert (summary["status"], summary["message"], summary["fix"]) == (
            "ok",
            "2 finished, 1 stopped",
            "pcam train --resume",
        )
        with open(copy / ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            summary = lines(project.pcam("doctor", "--offline", "--json", **quick))["runs"][-1]
        assert (summary["message"], summary["fix"]) == ("2 finished, 1 under way", "")

    def test_runs_whose_store_is_gone_or_another(
        self, project: Project, quick: dict[str, str]
    ) -> None:
        shutil.rmtree(project.path / "data" / "faint")
        meta = run_called(project, "tiny0") / "meta.json"
        meta.write_text(
            json.dumps(
                json.loads(meta.read_text(encoding="utf-8")) | {"store_fingerprint": "0" * 64}
            ),
            encoding="utf-8",
        )
        warnings = [
            check["message"]
            for check in lines(project.pcam("doctor", "--offline", "--json", **quick))["runs"][:-1]
        ]
        assert len(warnings) == 2
        assert "trained on a store that cannot be opened" in warnings[0]
        assert run_called(project, "faint0").name in warnings[0]
        assert (
            warnings[1] == "trained on another store than the one in data now: "
            f"{run_called(project, 'tiny0').name}"
        )

    def test_submissions_with_an_open_outcome(self, empty: Project, quick: dict[str, str]) -> None:
        (empty.path / "submissions").mkdir()
        ledger = empty.path / "submissions" / "ledger.jsonl"
        event = {
            "schema_version": 1,
            "event": "intent",
            "time": "2026-01-02T03:04:05Z",
            "competition": "tiny",
            "message": "",
        }
        events = [
            event | {"id": name, "csv": f"{name}.csv", "file_name": f"{name}.csv", "sha256": name}
            for name in ("lost", "waiting")
        ]
        events.append(
            {
                "schema_version": 1,
                "event": "sent",
                "time": "2026-01-02T03:04:06Z",
                "id": "waiting",
                "ref": 7,
            }
        )
        ledger.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
        lost, waiting = lines(empty.pcam("doctor", "--offline", "--json", **quick))["ledger"]
        assert (
            (lost["status"], lost["fix"])
            == (waiting["status"], waiting["fix"])
            == ("warning", "pcam submissions --refresh")
        )
        assert "lost.csv" in lost["message"]
        assert "waiting.csv" in waiting["message"]
