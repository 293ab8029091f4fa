"""Thousands of damaged, foreign and hostile files: each is refused in one line, or read rightly.

A few hundred inputs here; `make fuzz` runs thousands. The inputs follow from a number, so a failure
can be run again: the message says how.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from targets import ALL, Target

WORKER = Path(__file__).with_name("worker.py")
IS_FULL = os.environ.get("PCAM_FUZZ") == "full"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs fork and the memory limits of Linux"
)


@pytest.mark.parametrize("target", ALL, ids=[target.name for target in ALL])
def test_is_refused_or_right(target: Target) -> None:
    count = target.full if IS_FULL else target.quick
    done = subprocess.run(
        [sys.executable, WORKER, target.name, "--count", str(count)],
        cwd=WORKER.parents[2],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *failures, counts = (json.loads(line) for line in done.stdout.splitlines())
    again = f"python tests/fuzz/worker.py {target.name} --keep inputs --count 1 --first SEED"
    assert failures == [], f"{again}\n{done.stdout}"
    assert sum(counts["counts"].values()) == count, done.stdout
    # else the changes are none; a bad record is ignored, and so is a bad line of a ledger
    assert counts["counts"].get("error", 0) > 0 or target.name in {"ledger", "record"}
    print(target.name, counts)
