"""Write docs/cli.md from `pcam COMMAND --help`; with --check, fail when it is not what would be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
COMMANDS = ("demo", "fetch", "train", "evaluate", "predict", "submit", "runs", "submissions")


def shown(*arguments: str) -> str:
    """The help text, 100 columns wide whatever the terminal."""
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "pcam_kit", *arguments, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    return result.stdout.strip()


def page() -> str:
    """The whole page."""
    parts = ["# Commands", "Written by `make docs` from `--help`; change the help texts in `pcam_kit/cli.py`.", f"```text\n{shown()}\n```"]
    for command in COMMANDS:
        parts += [f"## pcam {command}", f"```text\n{shown(command)}\n```"]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write or check."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/cli.md is not what --help says; run: make docs")


if __name__ == "__main__":
    main()
