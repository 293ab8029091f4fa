"""What `pcam doctor` reads off the machine, and how it looks: synthetic control groups, processes
that hang, narrow terminals.
"""

from __future__ import annotations

import logging
import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pcam_kit.cli import doctor
from pcam_kit.cli.console import MessageHandler
from pcam_kit.errors import DataError
from pcam_kit.workflows.doctor import Check, background_python, machine, packages, run_check

GIB = 1 << 30
MEMINFO = f"""\
MemTotal: {16 * GIB >> 10} kB
MemFree: {GIB >> 10} kB
MemAvailable: {8 * GIB >> 10} kB
Buffers: 0 kB
Cached: {7 * GIB >> 10} kB
Shmem: 0 kB
Active: {7 * GIB >> 10} kB
Inactive: {GIB >> 10} kB
"""


def lay(root: Path, **files: str) -> Path:
    """Files below `root`; in the names __ stands for / and DOT for a point."""
    for name, text in {"proc__meminfo": MEMINFO, **files}.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil reads /proc below `tmp_path`."""
    if not hasattr(psutil, "PROCFS_PATH"):
        pytest.skip("/proc and control groups are Linux's")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))


@pytest.mark.usefixtures("linux")
class TestMemory:
    def test_of_a_machine(self, tmp_path: Path) -> None:
        assert machine.read_memory(lay(tmp_path)) == machine.Memory(
            16 * GIB, 8 * GIB, limited=False
        )
        assert next(machine.memory(tmp_path)).status == "ok"

    def test_of_a_container(self, tmp_path: Path) -> None:
        """cgroup v2, seen from inside: its own group is the root. 1 GiB of the 3 used is cache."""
        group = {
            "memoryDOTmax": f"{4 * GIB}\n",
            "memoryDOTcurrent": f"{3 * GIB}\n",
            "memoryDOTstat": f"anon 1\ninactive_file {GIB}\n",
        }
        lay(
            tmp_path,
            proc__self__cgroup="0::/\n",
            **{f"sys__fs__cgroup__{name}": text for name, text in group.items()},
        )
        assert machine.read_memory(tmp_path) == machine.Memory(4 * GIB, 2 * GIB, limited=True)
        check = next(machine.memory(tmp_path))
        assert check.status == "warning"
        assert "the limit of this container" in check.message

    def test_of_a_group_with_a_limit_above_it(self, tmp_path: Path) -> None:
        files = {
            "a__memoryDOTmax": f"{5 * GIB}",
            "a__memoryDOTcurrent": "0",
            "a__b__memoryDOTmax": "max",
            "a__b__memoryDOTcurrent": "0",
        }
        lay(
            tmp_path,
            proc__self__cgroup="0::/a/b\n",
            **{f"sys__fs__cgroup__{name}": text for name, text in files.items()},
        )
        assert machine.read_memory(tmp_path) == machine.Memory(5 * GIB, 5 * GIB, limited=True)

    @pytest.mark.parametrize(
        ("limit", "expected"), [(2 * GIB, 2 * GIB), ((1 << 63) - 4096, 16 * GIB)]
    )
    def test_of_cgroup_v1(self, tmp_path: Path, limit: int, expected: int) -> None:
        base = "sys__fs__cgroup__memory__docker__x__memoryDOT"
        files = {f"{base}limit_in_bytes": f"{limit}", f"{base}usage_in_bytes": "0"}
        lay(tmp_path, proc__self__cgroup="4:cpu:/x\n3:memory:/docker/x\n", **files)
        assert machine.read_memory(tmp_path).total == expected


def test_memory_without_proc_and_control_groups(tmp_path: Path) -> None:
    memory = machine.read_memory(tmp_path)
    assert 0 < memory.available < memory.total
    assert not memory.limited


class TestBackgroundPython:
    def test_its_result(self) -> None:
        code = (
            "import sys, os; print(sys.argv[1], os.environ['MINE']); print('b', "
            "file=sys.stderr); sys.exit(3)"
        )
        with background_python(code, "a", seconds=20, MINE="c") as wait:
            assert wait() == (3, "a c\n", "b\n")

    def test_it_ends_with_the_block(self, tmp_path: Path) -> None:
        """Also when nobody waits for it, and when it takes too long."""
        code = (
            "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
        )
        began = time.monotonic()
        with (
            background_python(code, str(tmp_path / "pid"), seconds=1) as wait,
            pytest.raises(subprocess.TimeoutExpired),
        ):
            wait()
        assert time.monotonic() - began < 5
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text(encoding="utf-8")))

    def test_a_file_in_the_working_directory_is_no_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "json.py").write_text("raise ImportError", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        with background_python("import json, pcam_kit; print(1)", seconds=20) as wait:
            assert wait() == (0, "1\n", "")


def test_importing_keras_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keras.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with machine.backend_checks(seconds=1.0) as backend:
        (check,) = backend()
    assert (check.status, check.message[:37]) == ("problem", "importing Keras takes more than 1 s")


def test_what_a_check_raises_is_its_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger("pcam_kit"), "handlers", [MessageHandler()])

    def expected() -> list[Check]:
        raise DataError("it is broken", hint="mend it")

    def unexpected():
        yield Check("a", "ok", "so far")
        raise KeyError("b")

    assert [*run_check("a", expected, debug=False)] == [
        Check("a", "problem", "it is broken", "mend it")
    ]
    so_far, failed = run_check("a", unexpected, debug=False)
    assert (so_far.status, failed.status, failed.message) == (
        "ok",
        "problem",
        "this check failed: KeyError: 'b'",
    )
    assert capsys.readouterr().err == ""
    assert len([*run_check("a", unexpected, debug=True)]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_requirements_are_those_of_the_package() -> None:
    python, texts = packages.own_requirements()
    assert python.startswith((">=3.11", "<3.14"))
    assert any(text.startswith("tensorflow") for text in texts)


@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_is_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    command = (
        "pip uninstall albumentationsx && pip install --force-reinstall --no-deps "
        "albumentations==2.0.8"
    )
    checks = [
        Check("store", "ok", "word " * 40),
        Check("backend", "warning", "short", "a long sentence " * 12),
        Check("x", "problem", "y", command),
    ]
    assert doctor.show(checks) == checks
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert f"{' ' * doctor.INDENT}-> {command}" in lines, (
        "a command can be copied: the terminal wraps it"
    )
    lines.remove(f"{' ' * doctor.INDENT}-> {command}")
    assert max(map(len, lines)) <= columns
    starts = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert starts == ["ok", "warning", "problem"]
    assert all(line.startswith(" " * doctor.INDENT) for line in lines if line.startswith(" "))
