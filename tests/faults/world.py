"""Where a row happens: a server, a home with canary credentials, a working folder; and what must
hold in it whatever happens.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_line import Done, Warm, command
from loopback import USERNAME, Loopback, Seen

LAB, TIFS = "tiny-lab", "tiny-tifs"
SIZE = 300_000  # bytes of train.h5
ROWS = 40  # test patches of tiny-lab
CANARY_KEY, CANARY_TOKEN = "c4na4yc4na4yc4na4yc4na4yc4na4y00", "KGAT_c4na4yt0k3nc4na4yt0k3n"
CANARIES = (
    CANARY_KEY,
    CANARY_TOKEN,
    base64.b64encode(f"{USERNAME}:{CANARY_KEY}".encode()).decode(),
    "X-Goog-Signature",
    "signature=secret",
)
FAST = {  # both commands of every row wait this much less
    "pcam_kit.downloads.retry.FIRST_DELAY": 0.002,
    "pcam_kit.workflows.outcomes.FIRST_POLL": 0.01,
}
LONGEST = 40.0  # seconds; a command that takes longer hangs
ROUTINE = (
    "no sample submission: ",
    "next: pcam train",
    "the validation part was cut from train",
    "unpacked ",
)


@dataclass
class World:
    """One working folder (`here`), one home, one server.

    `remote` is what the server hands out as `slug`.
    """

    root: Path
    slug: str
    remote: Path
    whole: Path  # the competition's folder as an undisturbed fetch leaves it
    kaggle: Loopback
    warm: Warm
    env: dict[str, str]
    set: dict[str, float] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def here(self) -> Path:
        return self.root / "work"

    @property
    def home(self) -> Path:
        """The competition's folder."""
        return self.here / "data" / self.slug

    @property
    def raw(self) -> Path:
        return self.home / "raw"

    @property
    def ledger(self) -> Path:
        return self.here / "submissions" / "ledger.jsonl"

    @property
    def competition(self) -> Any:
        return self.kaggle._competitions[self.slug]

    def run(self, args: Sequence[str], hook: dict[str, Any] | None = None) -> Done:
        """A command to its end, in a forked process."""
        return self.start(args, hook).wait(LONGEST)

    def start(self, args: Sequence[str], hook: dict[str, Any] | None = None) -> Any:
        """Begin a command in a forked process."""
        hook = dict(hook or {})
        if "full" in hook:
            hook["full"] = hook["full"] | {
                "below": str(self.here / hook["full"]["below"].format(slug=self.slug))
            }
        return self.warm.start(
            args, self.here, self.env, hook | {"set": FAST | self.set | hook.get("set", {})}
        )

    def run_alone(self, args: Sequence[str], *, closed_stdin: bool = False) -> Done:
        """A command in a process of its own, watched: what `ps` shows of it must hold no secret."""
        process = subprocess.Popen(
            command(*args),
            cwd=self.here,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: os.close(0)) if closed_stdin else None,
            encoding="utf-8",
        )
        shown: set[str] = set()
        while True:
            with contextlib.suppress(OSError):
                shown.add(
                    Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace")
                )
            try:
                out, err = process.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                continue
        assert not [canary for canary in CANARIES for line in shown if canary in line], (
            "a secret is in the process list"
        )
        return Done(process.returncode, out, err)

    def seen(self, *what: str) -> list[Seen]:
        """The requests since the last mark."""
        return [
            request
            for request in self.kaggle.requests[self.marks.get("requests", 0) :]
            if not what or request.what in what
        ]

    def mark(self) -> None:
        """What comes from now on is of the next command."""
        self.marks["requests"] = len(self.kaggle.requests)

    # what must hold

    def finished(self) -> dict[str, bytes]:
        """Every whole file of the working folder."""
        return {
            path.relative_to(self.here).as_posix(): path.read_bytes()
            for path in sorted(self.here.rglob("*"))
            if path.is_file()
            and not re.search(r"\.part$|\.part\.json$|\.partial-|/\.lock$", path.as_posix())
        }

    def whole_names(self) -> set[str]:
        """The files of the competition that lie in raw/ under their own names."""
        return {name for name in self.competition.names() if (self.raw / name).is_file()}

    def check_finished(self) -> None:
        """The bytes are those of an undisturbed fetch, and nothing else is there."""
        if self.slug == LAB:
            for name in self.competition.names():
                assert (self.raw / name).read_bytes() == (self.remote / name).read_bytes(), (
                    f"{name} has wrong bytes"
                )
        else:
            assert (self.raw / f"{self.slug}.zip").read_bytes() == self.kaggle.content(
                self.competition, ""
            )[0]
        for name in ("images.npy", "index.npz"):
            assert (self.home / "store" / name).read_bytes() == (
                self.whole / "store" / name
            ).read_bytes(), f"the store's {name} is wrong"
        made, expected = (
            json.loads((folder / "store" / "manifest.json").read_text(encoding="utf-8"))
            for folder in (self.home, self.whole)
        )
        assert made["fingerprint"] == expected["fingerprint"]
        assert self.leftovers() == []

    def leftovers(self) -> list[str]:
        """Parts and partial files anywhere."""
        return sorted(
            path.relative_to(self.here).as_posix()
            for path in self.here.rglob("*")
            if ".part" in path.name and path.name not in self.competition.names()
        )

    def check_secrets(self, *texts: str) -> None:
        """No canary in what was printed or written, no credentials at the storage, nothing gone
        astray.
        """
        places = {f"output {i}": text.encode() for i, text in enumerate(texts)}
        for folder in (self.here, self.root / "home"):
            for path in folder.rglob("*"):
                if path.is_file() and path.name not in {"kaggle.json", "access_token"}:
                    places[str(path)] = path.read_bytes()
        for place, data in places.items():
            for canary in CANARIES:
                assert canary.encode() not in data, f"a secret ({canary[:12]}...) is in {place}"
        for request in self.kaggle.requests:
            if request.what in {"storage", "upload", "elsewhere"}:
                assert "authorization" not in request.headers, (
                    f"credentials were sent to {request.what}"
                )
        assert self.kaggle.errors == []
        assert self.kaggle.escaped == [], "a request was meant for a host beyond loopback"

    def submissions(self) -> list[dict[str, Any]]:
        """What the server took."""
        return self.competition.submissions

    # what is told

    def normal(self, text: str) -> str:
        """The text without what differs from one time and machine to the next."""
        text = (
            text.replace(f"{self.here}/", "")
            .replace(str(self.root), "...")
            .replace(str(Path.home()), "~")
        )
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)
        text = re.sub(r"(expected|found) ([0-9a-f]{32}|[0-9a-f]{8})\b", r"\1 ...", text)
        text = re.sub(r"\b4\d{7}\b", "N", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?", "TIME", text)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "TIME UTC", text)
        text = re.sub(r"in \d+ h \d\d min", "in ... h ... min", text)
        text = re.sub(r"[\d,.]+ MB free", "... MB free", text)
        text = re.sub(
            r"only [\d,]+ bytes arrived in \d+ seconds",
            "only ... bytes arrived in ... seconds",
            text,
        )
        return re.sub(r"\.partial-[0-9a-f]{8}", ".partial-*", text)

    def files(self, *, rough: bool) -> str:
        """What lies in the competition's folder, in a few words."""
        has_store = (self.home / "store" / "manifest.json").is_file()
        if self.slug != LAB:
            archive = self.raw / f"{self.slug}.zip"
            found = ["the zip"] if archive.is_file() else []
            part = archive.with_name(f"{archive.name}.part")
            found += (
                [f"of the zip a part{'' if rough else f', {part.stat().st_size:,} bytes'}"]
                if part.is_file()
                else []
            )
        else:
            names, there = self.competition.names(), self.whole_names()
            found = (
                [f"{'all' if len(there) == len(names) else f'{len(there)} of'} {len(names)} files"]
                if there
                else []
            )
            for name in names:
                part = self.raw / f"{name}.part"
                if part.is_file() and part.name not in names:
                    amount = "some" if rough else f"{part.stat().st_size:,}"
                    found.append(
                        f"of {name} a part, {amount} of {(self.remote / name).stat().st_size:,} "
                        "bytes"
                    )
        return "; ".join(
            [*found, "the store" if has_store else "no store"] if found else ["nothing"]
        )

    def record(self) -> str:
        """The ledger's main events and what the server has, in a few words."""
        lines = (
            [
                json.loads(line)
                for line in self.ledger.read_text(encoding="utf-8").splitlines()
                if line.strip()
            ]
            if self.ledger.is_file()
            else []
        )
        events = " → ".join(
            line.get("status", line["event"]) if line["event"] == "scored" else line["event"]
            for line in lines
            if line["event"] != "submitting"  # between intent and sent, wherever it is sent
        )
        return f"ledger: {events or 'empty'}<br>at Kaggle: {len(self.submissions()) or 'none'}"
