"""Runs one target on many inputs, each in a process of its own. Run as a script.

    python tests/fuzz/worker.py TARGET --first 0 --count 100 [--keep FOLDER]

One JSON line for each input that is a failure, and one with the counts of all verdicts:

    right       the commands ended well; for a target that is sealed, with the same result
    error       an error of pcam, with its line and exit code
    traceback   any other exception
    difference  sealed, but another result without a word
    hang        not done after SECONDS
    memory      more than MEGABYTES
    crash       the process died
    silent      an exit code without a line of error
    raw text    a control character reached the terminal
    outside     a file outside the working directory changed
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from targets import TARGETS, Target

SECONDS = 10
MEGABYTES = 1000
GUARD_BYTES = 6 << 30  # of address space on top: a bomb ends as MemoryError, not the machine
RAW = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="the inputs that failed are kept here")
    args = parser.parse_args()
    target = TARGETS[args.target]
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "100", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzz(target, range(args.first, args.first + args.count), Path(folder), args.keep)


def fuzz(target: Target, seeds: range, root: Path, keep: Path | None) -> None:
    """Print what came out of each seed that is a failure, and the counts."""
    os.environ["HOME"] = str(root / "home")
    (root / "home").mkdir()
    good = root / "good"
    good.mkdir()
    target.build(good)
    for name in ("pcam_kit.__main__", *target.preloaded):
        importlib.import_module(name)
    files = sorted(path for pattern in target.files for path in good.glob(pattern))
    assert files, f"{target.name}: nothing to change"
    verdict, detail, expected = run_input(target, root, good, None, None)
    if verdict != "right":
        print(json.dumps({"seed": None, "verdict": verdict, "detail": detail}), flush=True)
        return
    counts: Counter[str] = Counter()
    slowest = 0.0
    for seed in seeds:
        rng = random.Random(f"{target.name} {seed}")
        file = rng.choice(files)
        mutate, sealed = rng.choice(target.mutators)
        data = mutate(file.read_bytes(), rng)
        begin = time.monotonic()
        verdict, detail, result = run_input(target, root, good, file.relative_to(good), data)
        slowest = max(slowest, time.monotonic() - begin)
        if verdict == "right" and sealed and result != expected:
            verdict, detail = "difference", f"{result} instead of {expected}"
        counts[verdict] += 1
        if verdict not in ("right", "error"):
            where = f"{file.relative_to(good)} by {mutate.__name__}"
            failure = {"seed": seed, "verdict": verdict, "where": where, "detail": detail}
            print(json.dumps(failure), flush=True)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{target.name}-{seed}-{file.name}").write_bytes(data)
    print(json.dumps({"counts": counts, "slowest": round(slowest, 1)}), flush=True)


def run_input(
    target: Target, root: Path, good: Path, name: Path | None, data: bytes | None
) -> tuple[str, str, Any]:
    """(verdict, detail, result) of the good files with one of them changed to `data`."""
    work, outside = root / "work", root / "outside"
    for folder in (work, outside):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, work)
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    if name is not None and data is not None:
        (work / name).write_bytes(data)
    answer = root / "answer"
    answer.unlink(missing_ok=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if child == 0:
        run_commands(target, work, root)
    status, usage = wait(child)
    if status is None:
        return "hang", f"not done after {SECONDS} s", None
    if not answer.exists():
        return "crash", f"status {status}", None
    verdict, detail, result = json.loads(answer.read_text(encoding="utf-8"))
    grown = (usage.ru_maxrss - before) / 1024
    if verdict in ("right", "error") and grown > MEGABYTES:
        return "memory", f"{grown:.0f} MB", None
    if [(path.name, path.read_bytes()) for path in outside.iterdir()] != [
        ("precious", b"precious")
    ]:
        return "outside", f"{sorted(path.name for path in outside.iterdir())}", None
    return verdict, detail, result


def wait(child: int) -> tuple[int | None, Any]:
    """The status and usage of the process; None for one that had to be killed."""
    deadline = time.monotonic() + SECONDS
    pause = 0.001
    while time.monotonic() < deadline:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return status, usage
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)
    os.kill(child, 9)
    os.wait4(child, 0)
    return None, None


def run_commands(target: Target, work: Path, root: Path) -> None:
    """In the child: run the commands, write the answer, end the process."""
    verdict: tuple[str, str, Any] = ("right", "", None)
    out, err = root / "out", root / "err"
    try:
        os.chdir(work)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = size * resource.getpagesize() + GUARD_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for command in target.commands:
            verdict = run_command(list(command), err)
            if verdict[0] != "right":
                break
        else:
            if target.result is not None:
                verdict = ("right", "", target.result(work, out))
    except MemoryError:
        verdict = ("memory", "MemoryError", None)
    except BaseException as error:
        kind = "traceback"
        if type(error).__module__ == "pcam_kit.errors":
            kind = "error"
        verdict = (kind, traceback.format_exc(limit=-6), None)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            raw = RAW.search(out.read_bytes() + err.read_bytes())
            if raw is not None and verdict[0] in ("right", "error"):
                verdict = ("raw text", repr(raw.group()), None)
        (root / "answer.tmp").write_text(json.dumps(verdict), encoding="utf-8")
        (root / "answer.tmp").rename(root / "answer")
        os._exit(0)


def run_command(arguments: list[str], err: Path) -> tuple[str, str, Any]:
    """One command of pcam, as its process would run it. Exceptions pass through."""
    from pcam_kit.__main__ import main as pcam

    try:
        pcam(arguments)
    except SystemExit as stop:
        code = stop.code
    else:
        code = 0
    if not code:
        return "right", "", None
    sys.stderr.flush()
    said = err.read_bytes()
    if b"rror" not in said:
        return "silent", f"exit {code}: {said[-300:]!r}", None
    if b"out of memory" in said:
        return "memory", said[-300:].decode("utf-8", "replace"), None
    return "error", said[-300:].decode("utf-8", "replace"), None


if __name__ == "__main__":
    main()
