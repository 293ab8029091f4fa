"""`pcam demo` and `pcam --help`: what a newcomer meets first."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import (
    EVALUATE_KEYS,
    PREDICT_KEYS,
    SUBMIT_KEYS,
    TRAIN_KEYS,
    Project,
    clean_env,
    command,
    tree,
)

HEAVY = ("tensorflow", "keras", "kaggle", "albumentations", "sklearn", "pydantic")


@pytest.mark.slow
def test_demo_goes_the_whole_road_without_account_or_network(empty: Project) -> None:
    began = time.monotonic()
    done = empty.pcam(
        "demo", "--json", http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"
    )
    assert time.monotonic() - began < 90
    # stdout holds the JSON object only, after which the tables of evaluate have no place
    result = json.loads(done.ok().out)
    assert set(result) == {"fetch", "train", "evaluate", "predict", "submit", "report"}
    assert set(result["train"]) == TRAIN_KEYS
    assert set(result["evaluate"]) == EVALUATE_KEYS
    assert set(result["predict"]) == PREDICT_KEYS
    assert set(result["submit"]) == SUBMIT_KEYS
    assert result["submit"]["status"] == "dry-run"
    assert 0.7 < result["evaluate"]["auc"] < 0.999, "learnable, not trivial"
    assert "synthetic" in done.err.lower()
    assert "pcam fetch" in done.err
    assert "needs no network" in done.err  # the report
    assert [path.name for path in empty.path.iterdir()] == ["demo"]
    left = {path.split("/")[0] for path in tree(Path(empty.env["HOME"]))}
    assert left <= {".keras", ".cache"}, (
        "in the home folder only what Keras and Matplotlib keep there on import"
    )
    (run,) = (empty.path / "demo" / "runs").iterdir()
    assert str(empty.path) not in (run / "meta.json").read_text(encoding="utf-8"), (
        "no path of the machine in what may be shown to others"
    )
    assert str(empty.path) not in (empty.path / "demo" / "submissions" / "ledger.jsonl").read_text(
        encoding="utf-8"
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pcam_kit.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_env(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "fetch" in done.stdout


def test_help_is_quick_beside_bare_python(tmp_path: Path) -> None:
    env = clean_env(tmp_path)

    def seconds(args: list[str]) -> float:
        began = time.perf_counter()
        subprocess.run(args, env=env, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    seconds(command("--help"))  # compiles what is not
    ours, bare = float("inf"), float("inf")
    for _ in range(8):  # in turn, so that both see the same neighbours
        ours = min(ours, seconds(command("--help")))
        bare = min(bare, seconds([sys.executable, "-c", "pass"]))
    assert ours < 16 * bare, f"pcam --help {ours:.3f} s, python -c pass {bare:.3f} s"
