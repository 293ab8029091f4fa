"""Build the site of docs/ with Zensical: `make docs-site`; `make docs-serve` shows it as you write.

The pages are written for GitHub. Here they are copied into build/docs/pages, and links that lead
out of docs/ go to a copy of what they name. A link to a file that is not there fails here, one to a
heading that is not there fails in Zensical's strict build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "docs"
FROM_ROOT = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "EXPERIMENTS.md", "LICENSE")
NOT_SEARCHED = {"CHANGELOG.md", "EXPERIMENTS.md", "structure.md"}  # they have every word
SHOWN_AS_TEXT = {".py", ".yaml", ".toml", ""}  # a browser would download these
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
BEFORE_LIST = re.compile(r"^(?![ ]*[-*|>#]|[ ]*\d+\. )(\S.*)\n(?=- |1\. )", re.MULTILINE)
FENCE = re.compile(r"^(```.*?^```[ ]*$)", re.DOTALL | re.MULTILINE)


def pages() -> dict[str, Path]:
    """Every page of the site: its name there, and the file it comes from."""
    found = {path.name: path for path in sorted((ROOT / "docs").glob("*.md"))}
    return found | {name: ROOT / name for name in FROM_ROOT if name.endswith(".md")}


def stage(build: Path = BUILD) -> list[str]:
    """Copy the configuration, the pages and what they link to into `build`.

    Returns the links that lead nowhere.
    """
    folder = build / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "pictures", folder / "pictures")
    shutil.copytree(ROOT / "docs" / "site", folder / "site")
    (folder / "site" / "zensical.toml").replace(build / "zensical.toml")
    broken: list[str] = []
    for name, path in pages().items():
        text = as_markdown(path.read_text(encoding="utf-8"), path, folder, broken)
        if name in NOT_SEARCHED:
            text = f"---\nsearch:\n  exclude: true\n---\n\n{text}"
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return broken


def as_markdown(text: str, path: Path, folder: Path, broken: list[str]) -> str:
    """A page as the site needs it; the text of its code blocks stays. Adds to `broken`."""

    def follow(link: re.Match[str]) -> str:
        before, target, anchor, after = link.groups(default="")
        if re.match(r"[a-z]+:", target):
            return link.group()
        place = placed((path.parent / target).resolve(), folder)
        if place is None:
            broken.append(f"{path.relative_to(ROOT).as_posix()}: {target}")
        return f"{before}{place or target}{anchor}{after}"

    parts = FENCE.split(text)  # every second part is a code block
    for index in range(0, len(parts), 2):
        # GitHub begins a list below a line of text, Python-Markdown wants an empty line before
        parts[index] = LINK.sub(follow, BEFORE_LIST.sub(r"\1\n\n", parts[index]))
    return "".join(parts)


def placed(target: Path, folder: Path) -> str | None:
    """Where a file of the repository is on the site, copied there if it is no page; else None."""
    for name, path in pages().items():
        if path == target:
            return name
    if target.is_relative_to(ROOT / "docs" / "pictures"):
        return target.relative_to(ROOT / "docs").as_posix()
    if not target.is_file() or not target.is_relative_to(ROOT):
        return None
    name = target.relative_to(ROOT).as_posix()
    copy = folder / "files" / (f"{name}.txt" if target.suffix in SHOWN_AS_TEXT else name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(target, copy)
    return copy.relative_to(folder).as_posix()


def run(*arguments: str, build: Path = BUILD) -> int:
    """Zensical, in `build`; its exit code."""
    command = [sys.executable, "-m", "zensical", *arguments]
    return subprocess.run(command, cwd=build, check=False).returncode


def stage_when_changed() -> None:
    """Copy again, every time a page was saved."""
    seen = newest = time.time()
    while True:
        files = [*pages().values(), *(ROOT / "docs" / "site").iterdir()]
        newest = max(path.stat().st_mtime for path in files)
        if newest > seen:
            seen = newest
            stage()
        time.sleep(0.5)


def main() -> None:
    """Build, or with --serve show it on this machine."""
    broken = stage()
    if broken:
        sys.exit("\n".join(["links to files that are not there:", *broken]))
    if "--serve" in sys.argv[1:]:
        threading.Thread(target=stage_when_changed, daemon=True).start()
        with suppress(KeyboardInterrupt):
            sys.exit(run("serve"))
        return
    code = run("build", "--clean", "--strict")
    if code == 0:
        print(f"the site is there: {BUILD / 'site' / 'index.html'}")
    sys.exit(code)


if __name__ == "__main__":
    main()
