"""The unmodified official client, against the same faults: what it does alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from world import LAB, World

PATIENCE = 8.0  # seconds
CLOSES = """\
import sys
try:
    import kaggle
except BaseException as error:
    print(type(error).__name__)
print("sys.stdin is closed" if sys.stdin.closed else "sys.stdin is open")
"""


def download(name: str = "train.h5") -> Callable[[World], str]:
    """`kaggle competitions download -f NAME`: its exit code, its last words, and what lies in the
    folder then.
    """

    def act(world: World) -> str:
        folder = world.root / "official"
        folder.mkdir()
        ended = run(world, "competitions", "download", LAB, "-f", name, "-p", str(folder))
        found = [
            found_file(path, folder, world.remote / name)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return f"{ended}; on disk: {', '.join(found) or 'nothing'}"

    return act


def found_file(path: Path, folder: Path, right: Path) -> str:
    """A file that it left, compared with what it should be."""
    data, wanted = path.read_bytes(), right.read_bytes()
    name = path.relative_to(folder).as_posix()
    if name.endswith(".kaggle-partial"):
        return "its note of a part"
    if data == wanted:
        return f"right bytes, as {name}"
    if data.startswith(b"<?xml"):
        return f"an error page of {len(data):,} bytes, as {name}"
    wrong = sum(a != b for a, b in zip(data, wanted, strict=False))
    if len(data) == len(wanted):
        return f"{wrong:,} of {len(data):,} bytes wrong, as {name}"
    return f"{len(data):,} of {len(wanted):,} bytes, as {name}"


def submit(world: World) -> str:
    """`kaggle competitions submit`: its exit code, its last words, and how many submissions there
    are then.
    """
    ended = run(world, "competitions", "submit", LAB, "-f", "mine.csv", "-m", "alone")
    return f"{ended}; at Kaggle: {len(world.submissions()) or 'none'}"


def submissions(world: World) -> str:
    """The same, and then the list of submissions, which is where it tells scores."""
    submit(world)
    shown = run(world, "competitions", "submissions", LAB)
    told = "tells" if "does not score submissions" in shown else "does not tell"
    return f"`kaggle competitions submissions` {told} why it could not be scored"


def stdin(world: World) -> str:
    """Importing it without credentials."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSES],
        cwd=world.here,
        env=world.env,
        capture_output=True,
        text=True,
        input="x",
        encoding="utf-8",
    )
    return f"after `import kaggle`, {done.stdout.splitlines()[-1]}"


def run(world: World, *args: str) -> str:
    """How a command ended."""
    script = Path(sys.executable).with_name("kaggle")
    try:
        done = subprocess.run(
            [str(script), *args],
            cwd=world.here,
            env=world.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired:
        return f"still waiting after {PATIENCE:.0f} s"
    lines = [
        line.strip()
        for line in (done.stdout + done.stderr).replace("\r", "\n").splitlines()
        if line.strip()
    ]
    if args[1] == "submissions":
        return "\n".join(lines)
    return f"exit {done.returncode}" + (f', "{words}"' if (words := said(lines, world)) else "")


def said(lines: list[str], world: World) -> str:
    """The line that tells most, without progress."""
    words = [
        line
        for line in lines
        if not any(noise in line for noise in ("%|", "B/s]", "Downloading ", "Warning"))
    ]
    telling = [line for line in words if "required" in line or "does not match" in line] or words[
        -1:
    ]
    text = world.normal(telling[0].replace(world.kaggle.url, "")) if telling else ""
    text = re.sub(r"^HTTPConnectionPool.*?: (Max retries exceeded|Read timed out).*", r"\1", text)
    return text if len(text) <= 120 else text[:117] + "..."


def list_files(world: World) -> str:
    """`kaggle competitions files`."""
    ended = run(world, "competitions", "files", LAB)
    # else the last line of the list would be quoted
    return ended.split(",")[0] if ended.startswith("exit 0") else ended


OFFICIAL: dict[str, Callable[[World], str]] = {
    "short": download(),
    "no-length-cut": download(),
    "chunked-cut": download(),
    "corrupt": download(),
    "expired": download(),
    "stall": download(),
    "storage-503": download(),
    "403-rules": download(),
    "503-file": download(),
    "429": list_files,
    "503": list_files,
    "silent-list": list_files,
    "names": download("extra/été ß 組織.csv"),
    "upload-400-always": submit,
    "create-lost": submit,
    "ref-0": submit,
    "scored-error": submissions,
    "none-stdin": stdin,
    "token-stale": download(),
}
