"""A Kaggle on this machine, for tests: lists, hands out, takes submissions, scores them, and fails
on demand.

The official client is sent here by environment variables alone (`Loopback.env`): it takes this
server for its HTTP proxy and posts to `http://localhost/api/v1/...`. Signed URLs and upload
addresses are plain http on 127.0.0.1, each good for one use, and refuse credentials, as Kaggle's
storage does. Requests for any other host are refused and kept in `escaped`.

    loopback.py         what it knows and decides
    loopback_http.py    what it sends, well or badly
    loopback_faults.py  what it can be told to do wrong
    loopback_scores.py  what a submission is worth
    loopback_kernels.py datasets of the account, and notebooks that run
"""

from __future__ import annotations

import base64
import io
import itertools
import os
import re
import threading
import zipfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from loopback_faults import ALWAYS, EXPIRED, Fault, Seen
from loopback_http import Handler, Server
from loopback_kernels import Kernels
from loopback_scores import accuracy, auc, score

__all__ = [
    "ALWAYS",
    "EXPIRED",
    "KEY",
    "TOKEN",
    "USERNAME",
    "Competition",
    "Fault",
    "Loopback",
    "Seen",
    "accuracy",
    "auc",
    "enter",
    "score",
]

USERNAME, KEY, TOKEN = "tester", "0123456789abcdef", "KGAT_loopback"


@dataclass
class Competition:
    """A folder handed out as a competition, and the labels its submissions are scored with; as a
    dataset if the slug is OWNER/SLUG.
    """

    slug: str
    folder: Path
    solution: Path | None
    metric: Literal["accuracy", "roc_auc"]
    daily_limit: int
    pending_polls: int
    rules_accepted: bool
    zipped: frozenset[str]
    hashes: bool
    direct: bool
    # what comes as the whole competition, instead of a zip of all files
    archive: bytes | None = None
    # sizes told instead of the true ones; names that are not there, too
    listed: dict[str, int] = field(default_factory=dict)
    storage_host: str = ""  # where signed URLs lead to, instead of this server
    submissions: list[dict[str, Any]] = field(default_factory=list)

    def names(self) -> list[str]:
        found = (
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )
        return sorted(name for name in found if not name.startswith("."))


class Loopback:
    """`with Loopback() as kaggle: kaggle.serve("my-competition", folder, solution, "roc_auc")`"""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        # requests for other hosts: always a fault of the code under test
        self.escaped: list[str] = []
        self.errors: list[BaseException] = []  # of the server itself
        self.users = {(USERNAME, KEY)}
        self.tokens = {TOKEN: USERNAME}
        self.page_size = 200  # at most so many names a page
        self.clock = 0.0  # seconds that this server is ahead
        # reached through this server as a proxy, and served by it
        self.other_hosts: set[str] = set()
        self._competitions: dict[str, Competition] = {}
        self._faults: list[Fault] = []
        self._signed: dict[str, tuple[Competition, str]] = {}
        self._uploads: dict[str, tuple[str, int, bytes | None]] = {}
        self._archives: dict[str, bytes] = {}
        self._numbers = itertools.count(40_000_001)
        self.kernels = Kernels(self)
        self._lock = threading.RLock()
        handler = type("LoopbackHandler", (Handler,), {"kaggle": self})
        self._server = Server(("127.0.0.1", 0), handler)
        self._server.errors = self.errors
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def env(self, home: Path) -> dict[str, str]:
        """The whole environment for a process that shall take this server for Kaggle.

        `home` becomes its home folder.
        """
        gone = re.compile(r"KAGGLE_|(https?|all|no|ftp)_proxy$", re.IGNORECASE)
        kept = {name: value for name, value in os.environ.items() if not gone.match(name)}
        # https too: what would leave ends up in `escaped`
        proxies = {"http_proxy": self.url, "https_proxy": self.url, "no_proxy": ""}
        account = {
            "KAGGLE_USERNAME": USERNAME,
            "KAGGLE_KEY": KEY,
            "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
        }
        return (
            kept
            | proxies
            | account
            | {
                "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
                "HOME": str(home),
                "XDG_CONFIG_HOME": str(home / ".config"),
            }
        )

    def serve(
        self,
        slug: str,
        folder: Path,
        solution: Path | None = None,
        metric: Literal["accuracy", "roc_auc"] = "accuracy",
        *,
        daily_limit: int = 5,
        pending_polls: int = 1,
        rules_accepted: bool = True,
        zipped: tuple[str, ...] = (),
        hashes: bool = True,
        direct: bool = False,
    ) -> Competition:
        """Hand out `folder` as the competition `slug`.

        `pending_polls`: looks at a submission that still find it PENDING. `zipped`: files that come
        as a zip of themselves. `hashes`: send x-goog-hash. `direct`: send bodies without a redirect
        to a signed URL.
        """
        self._competitions[slug] = Competition(
            slug,
            folder,
            solution,
            metric,
            daily_limit,
            pending_polls,
            rules_accepted,
            frozenset(zipped),
            hashes,
            direct,
        )
        return self._competitions[slug]

    def publish(self, place: str, folder: Path) -> str:
        """Hand out `folder` at a fixed address, without an account and without x-goog-hash.

        `place`: the kind of its requests. Returns the address, with `{name}` for a file's name.
        """
        self.serve(f"public/{place}", folder, hashes=False)
        return f"{self.url}/public/{place}/{{name}}?download=1"

    def fail(self, what: str, **how: Any) -> None:
        """Queue a Fault for the next requests of that kind."""
        with self._lock:
            self._faults.append(Fault(what, **how))

    def mend(self) -> None:
        """Forget the faults that are still queued."""
        with self._lock:
            self._faults.clear()

    def seen(self, what: str) -> list[Seen]:
        """The requests of one kind, in order."""
        with self._lock:
            return [request for request in self.requests if request.what == what]

    # what the handler asks for

    def next_fault(self, what: str, name: str = "") -> Fault:
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.what != what or fault.name not in {"", name}:
                    continue
                if fault.skip > 0:
                    self._faults[place] = replace(fault, skip=fault.skip - 1)
                    break
                if fault.times <= 1:
                    del self._faults[place]
                else:
                    self._faults[place] = replace(fault, times=fault.times - 1)
                return fault
        return Fault(what)

    def authorized(self, header: str) -> bool:
        kind, _, value = header.partition(" ")
        if kind == "Bearer":
            return value in self.tokens
        try:
            user, _, key = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return False
        return kind == "Basic" and (user, key) in self.users

    def sign(self, competition: Competition, name: str) -> str:
        with self._lock:
            number = next(self._numbers)
            path = f"/storage/{number}/{quote(name or f'{competition.slug}.zip')}"
            self._signed[path] = (competition, name)
        place = f"http://{competition.storage_host}" if competition.storage_host else self.url
        return f"{place}{path}?X-Goog-Signature=secret{number}"

    def stands_for(self, path: str) -> str:
        """The name of the file that a signed URL leads to, "" for a whole competition or a URL that
        is used up.
        """
        with self._lock:
            if path.startswith("/public/"):
                return path.removeprefix("/public/").partition("/")[2]
            return self._signed[path][1] if path in self._signed else ""

    def redeem(self, path: str) -> tuple[Competition, str] | None:
        """What a signed URL stands for; the second time, nothing. A public one always does."""
        with self._lock:
            if path.startswith("/public/"):
                place, _, name = path.removeprefix("/public/").partition("/")
                competition = self._competitions[f"public/{place}"]
                return (competition, name) if name in competition.names() else None
            return self._signed.pop(path, None)

    def content(self, competition: Competition, name: str) -> tuple[bytes, str]:
        """The bytes and the Last-Modified date of a file; of the whole competition as a zip when
        `name` is "".
        """
        if name:
            path = competition.folder / name
            data = (
                _zip({Path(name).name: path.read_bytes()})
                if name in competition.zipped
                else path.read_bytes()
            )
            return data, formatdate(path.stat().st_mtime, usegmt=True)
        if competition.archive is not None:
            return competition.archive, formatdate(0, usegmt=True)
        with self._lock:
            if competition.slug not in self._archives:
                files = {
                    name: (competition.folder / name).read_bytes() for name in competition.names()
                }
                self._archives[competition.slug] = _zip(files)
        return self._archives[competition.slug], formatdate(0, usegmt=True)

    def api(self, method: str, asked: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON answer of one API method; a str stands for a redirect to it."""
        with self._lock:
            if method in self.kernels.METHODS:
                return self.kernels.api(method, asked)
            if method == "IntrospectToken":
                user = self.tokens.get(asked.get("token", ""))
                return 200, {"active": True, "username": user} if user else {}
            if method == "GetSubmission":
                everything = (
                    s
                    for competition in self._competitions.values()
                    for s in competition.submissions
                )
                found = [
                    submission for submission in everything if submission["ref"] == asked.get("ref")
                ]
                return (200, _look(found[0])) if found else _error(404, "Submission not found")
            slug = (
                asked["competitionName"]
                if "competitionName" in asked
                else f"{asked.get('ownerSlug')}/{asked.get('datasetSlug')}"
            )
            if slug not in self._competitions:
                return _error(404, "Not found")
            competition = self._competitions[slug]
            if method == "GetCompetition":
                told = {
                    "userHasEntered": competition.rules_accepted,
                    "maxDailySubmissions": competition.daily_limit,
                }
                return 200, {
                    "id": 1,
                    "ref": f"https://www.kaggle.com/competitions/{slug}",
                    "title": slug,
                } | told
            if not competition.rules_accepted and method not in {
                "ListDataFiles",
                "GetSubmissionLimits",
            }:
                return _error(
                    403,
                    "You must accept this competition's rules before you'll be able to download "
                    "files.",
                )
            match method:
                case "ListDataFiles":
                    return self._list(competition, asked, "files")
                case "ListDatasetFiles":
                    return self._list(competition, asked, "datasetFiles")
                case "DownloadDataFile" | "DownloadDataset" if asked.get("fileName", "") not in [
                    "",
                    *competition.names(),
                ]:
                    return _error(404, "File not found")
                case "DownloadDataFile":
                    return 302, self.sign(competition, asked["fileName"])
                case "DownloadDataset":
                    return 302, self.sign(competition, asked.get("fileName", ""))
                case "DownloadDataFiles":
                    return 302, self.sign(competition, "")
                case "StartSubmissionUpload":
                    return 200, self.start_upload(asked["fileName"], asked["contentLength"])
                case "CreateSubmission":
                    return self._create(competition, asked)
                case "ListSubmissions":
                    newest = [_look(submission) for submission in reversed(competition.submissions)]
                    start = int(asked.get("pageToken") or 0)
                    stop = start + min(self.page_size, asked.get("pageSize") or 20)
                    return 200, {
                        "submissions": newest[start:stop],
                        "nextPageToken": str(stop) if stop < len(newest) else "",
                    }
                case "GetSubmissionLimits":
                    today = len(competition.submissions)
                    return 200, {
                        "numToday": today,
                        "numTotal": today,
                        "numAllowedNow": max(0, competition.daily_limit - today),
                    }
                case _:
                    return _error(404, f"no method {method}")

    def start_upload(self, name: str, size: int) -> dict[str, Any]:
        """An address for the bytes of a file, and the token that stands for them."""
        token = f"blob-{next(self._numbers)}"
        self._uploads[f"/upload/{token}"] = (name, size, None)
        return {"token": token, "createUrl": f"{self.url}/upload/{token}?signature=secret"}

    def uploaded(self, token: str) -> tuple[str, bytes] | None:
        """Name and bytes of what was uploaded."""
        name, _, data = self._uploads.get(f"/upload/{token}", ("", 0, None))
        return None if data is None else (name, data)

    def take_upload(self, path: str, body: bytes) -> int:
        with self._lock:
            if path not in self._uploads or self._uploads[path][2] is not None:
                return 404
            name, length, _ = self._uploads[path]
            if len(body) != length:
                return 400
            self._uploads[path] = (name, length, body)
            return 200

    def _list(self, competition: Competition, asked: dict[str, Any], key: str) -> tuple[int, Any]:
        sizes = {
            name: (competition.folder / name).stat().st_size for name in competition.names()
        } | competition.listed
        names = sorted(sizes)
        start = int(asked.get("pageToken") or 0)
        stop = start + min(self.page_size, asked.get("pageSize") or 20)
        files = [
            {"name": name, "totalBytes": sizes[name], "creationDate": "2024-01-02T03:04:05.678Z"}
            for name in names[start:stop]
        ]
        return 200, {key: files} | ({"nextPageToken": str(stop)} if stop < len(names) else {})

    def _create(self, competition: Competition, asked: dict[str, Any]) -> tuple[int, Any]:
        found = self.uploaded(str(asked.get("blobFileTokens")))
        if found is None:
            return _error(400, "The uploaded file was not found")
        name, data = found
        if len(competition.submissions) >= competition.daily_limit:
            allowance = (
                "Your team has used its daily Submission allowance "
                f"({competition.daily_limit}) today"
            )
            return _error(
                400, f"Submission not allowed: {allowance}, please try again tomorrow UTC."
            )
        outcome = score(data, competition.solution, competition.metric)
        when = datetime.now(UTC) + timedelta(
            seconds=self.clock, milliseconds=len(competition.submissions)
        )
        submission = {
            "ref": next(self._numbers),
            "date": when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond * 1000:09d}Z",
            "fileName": name,
            "description": asked.get("submissionDescription", ""),
            "totalBytes": len(data),
            "_pending": competition.pending_polls,
            "_data": data,
        } | outcome
        competition.submissions.append(submission)
        return 200, {
            "message": f"Successfully submitted to {competition.slug}",
            "ref": submission["ref"],
        }


def enter(monkeypatch: Any, env: dict[str, str]) -> None:
    """Make `env` the environment of this process for one test (`monkeypatch`: pytest's)."""
    for name in set(os.environ) - set(env):
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def _look(submission: dict[str, Any]) -> dict[str, Any]:
    """A submission as seen from outside; each look brings its score nearer."""
    shown = {name: value for name, value in submission.items() if not name.startswith("_")}
    if submission["_pending"] > 0:
        submission["_pending"] -= 1
        shown |= {
            "status": "PENDING",
            "publicScore": "",
            "privateScore": "",
            "errorDescription": "",
        }
    return shown


def _error(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"code": status, "message": message}


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), data)
    return buffer.getvalue()
