"""Write what can be read off the code: docs/cli.md from `pcam COMMAND --help`, the tree in
README.md from docstrings.

With --check it writes nothing and fails when something is not what would be written.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    *(
        "demo",
        "fetch",
        "shift",
        "leaks",
        "train",
        "evaluate",
        "predict",
        "submit",
        "runs",
        "submissions",
        "doctor",
    ),
    *("lab", "lab layers", "lab mnist", "lab pcam"),
)
BEGIN, END = "<!-- tree: written by `make docs` -->", "<!-- end of tree -->"
OTHERS = {
    "configs/*.yaml": "experiments, each with its command, time and expected score",
    "configs/mnist/*.yaml": "recipes for few digits, likewise",
    "configs/competitions/*.yaml": "competitions: where data comes from and where predictions go",
    "submissions/": "CSVs and ledger.jsonl, the record of what was sent",
    "tests/": "unit, property, framework (Keras), kaggle (real client, loopback server), faults "
    "(the fault table), cli, e2e",
    "benchmarks/": "measurements that take too long for a test",
    "docs/": "quality.md (how well the networks do); lab.md (the lab's tasks) with its pictures; "
    "faults.md; cli.md, and what writes it",
    "Makefile": "demo, test, check, faults, fmt, lint, types, imports, docs, bench; installs "
    "into .venv by itself",
    "pyproject.toml": "the package, its dependencies, the layers import-linter checks, tool "
    "settings",
    ".ci/run": "what must be green on a clean checkout: make check",
}


def help_text(*arguments: str) -> str:
    """The help text, 100 columns wide whatever the terminal."""
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "pcam_kit", *arguments, "--help"]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    ).stdout.strip()


def cli_page() -> str:
    """docs/cli.md."""
    parts = [
        "# Commands",
        "Written by `make docs` from `--help`; change the help texts in `pcam_kit/cli.py` and "
        "`cli_lab.py`.",
        f"```text\n{help_text()}\n```",
    ]
    for command in COMMANDS:
        parts += [f"## pcam {command}", f"```text\n{help_text(*command.split())}\n```"]
    return "\n\n".join(parts) + "\n"


def tree() -> str:
    """A line a file: the first sentence of its docstring."""
    lines: dict[str, str] = {}
    for path in sorted((ROOT / "pcam_kit").rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines[path.relative_to(ROOT).as_posix()] = (
            " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        )
    lines |= OTHERS
    width = max(map(len, lines)) + 2
    return "\n".join(
        ["```text", *(f"{name:<{width}}{text}" for name, text in lines.items()), "```"]
    )


def readme() -> str:
    """README.md with its tree as it should be."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tree()}\n{END}{after}"


def main() -> None:
    """Write or check."""
    stale: list[str] = []
    for path, text in ((ROOT / "docs" / "cli.md", cli_page()), (ROOT / "README.md", readme())):
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; run: make docs")


if __name__ == "__main__":
    main()
