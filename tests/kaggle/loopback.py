"""A Kaggle on this machine, for tests: lists, hands out, takes submissions, scores them, and fails on demand.

The official client is sent here by environment variables alone (`Loopback.env`): it takes this server for its HTTP proxy and posts
to `http://localhost/api/v1/...`. Signed URLs and upload addresses are plain http on 127.0.0.1, each good for one use, and refuse
credentials, as Kaggle's storage does. Requests for any other host are refused and kept in `escaped`.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

USERNAME, KEY, TOKEN = "tester", "0123456789abcdef", "KGAT_loopback"
EXPIRED = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
)


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. `what`: an API method ("ListDataFiles"), "storage" (a signed URL) or "upload" (the PUT)."""

    what: str
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering properly. Bytes count from the start of what would be sent."""

    what: str
    times: int = 1
    skip: int = 0  # answer that many requests properly first
    status: int | None = None
    message: str = ""  # with status: Kaggle's own words, in its JSON form
    body: bytes | None = None  # the whole body instead, status 200 unless given
    content_type: str = "application/json"
    retry_after: str = ""
    location: str = ""
    truncate: int | None = None  # the headers promise all, the connection ends after so many bytes
    short: int | None = None  # the headers promise so many bytes, and there are no more
    corrupt: bool = False  # one byte differs, headers and length as always
    ignore_range: bool = False  # all of it, status 200
    wrong_range: bool = False  # 206, from another place than asked for
    reset: bool = False  # the connection is reset before anything is done
    lost: bool = False  # everything is done, then the connection is reset
    zero_ref: bool = False  # CreateSubmission: a reply with ref 0
    wait: float = 0.0  # seconds before the answer


@dataclass
class Competition:
    """A folder handed out as a competition, and the labels its submissions are scored with; as a dataset if the slug is OWNER/SLUG."""

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
    submissions: list[dict[str, Any]] = field(default_factory=list)

    def names(self) -> list[str]:
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return sorted(name for name in found if not name.startswith("."))


class Loopback:
    """`with Loopback() as kaggle: kaggle.serve("my-competition", folder, solution, "roc_auc")`"""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.escaped: list[str] = []  # requests for other hosts: always a fault of the code under test
        self.errors: list[BaseException] = []  # of the server itself
        self.users = {(USERNAME, KEY)}
        self.tokens = {TOKEN: USERNAME}
        self.page_size = 200  # at most so many names a page
        self._competitions: dict[str, Competition] = {}
        self._faults: list[Fault] = []
        self._signed: dict[str, tuple[Competition, str]] = {}
        self._uploads: dict[str, tuple[str, int, bytes | None]] = {}
        self._archives: dict[str, bytes] = {}
        self._numbers = itertools.count(40_000_001)
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"kaggle": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.errors = self.errors
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

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
        """The whole environment for a process that shall take this server for Kaggle. `home` becomes its home folder."""
        gone = re.compile(r"KAGGLE_|(https?|all|no|ftp)_proxy$", re.IGNORECASE)
        kept = {name: value for name, value in os.environ.items() if not gone.match(name)}
        proxies = {"http_proxy": self.url, "https_proxy": self.url, "no_proxy": ""}  # https too: what would leave ends up in `escaped`
        account = {"KAGGLE_USERNAME": USERNAME, "KAGGLE_KEY": KEY, "KAGGLE_CONFIG_DIR": str(home / ".kaggle")}
        return (
            kept | proxies | account | {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
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

        `pending_polls`: looks at a submission that still find it PENDING. `zipped`: files that come as a zip of themselves.
        `hashes`: send x-goog-hash. `direct`: send bodies without a redirect to a signed URL.
        """
        self._competitions[slug] = Competition(
            slug, folder, solution, metric, daily_limit, pending_polls, rules_accepted, frozenset(zipped), hashes, direct
        )
        return self._competitions[slug]

    def fail(self, what: str, **how: Any) -> None:
        """Queue a Fault for the next requests of that kind."""
        with self._lock:
            self._faults.append(Fault(what, **how))

    def seen(self, what: str) -> list[Seen]:
        """The requests of one kind, in order."""
        with self._lock:
            return [request for request in self.requests if request.what == what]

    # what the handler asks for

    def next_fault(self, what: str) -> Fault:
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.what != what:
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
            self._signed[f"/storage/{number}"] = (competition, name)
        return f"{self.url}/storage/{number}?X-Goog-Signature=secret{number}"

    def redeem(self, path: str) -> tuple[Competition, str] | None:
        """What a signed URL stands for; the second time, nothing."""
        with self._lock:
            return self._signed.pop(path, None)

    def content(self, competition: Competition, name: str) -> tuple[bytes, str]:
        """The bytes and the Last-Modified date of a file; of the whole competition as a zip when `name` is ""."""
        if name:
            path = competition.folder / name
            data = _zip({Path(name).name: path.read_bytes()}) if name in competition.zipped else path.read_bytes()
            return data, formatdate(path.stat().st_mtime, usegmt=True)
        with self._lock:
            if competition.slug not in self._archives:
                files = {name: (competition.folder / name).read_bytes() for name in competition.names()}
                self._archives[competition.slug] = _zip(files)
        return self._archives[competition.slug], formatdate(0, usegmt=True)

    def api(self, method: str, asked: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON answer of one API method; a str stands for a redirect to it."""
        with self._lock:
            if method == "IntrospectToken":
                user = self.tokens.get(asked.get("token", ""))
                return 200, {"active": True, "username": user} if user else {}
            if method == "GetSubmission":
                everything = (s for competition in self._competitions.values() for s in competition.submissions)
                found = [submission for submission in everything if submission["ref"] == asked.get("ref")]
                return (200, _look(found[0])) if found else _error(404, "Submission not found")
            slug = asked["competitionName"] if "competitionName" in asked else f"{asked.get('ownerSlug')}/{asked.get('datasetSlug')}"
            if slug not in self._competitions:
                return _error(404, "Not found")
            competition = self._competitions[slug]
            if method == "GetCompetition":
                return 200, {"id": 1, "ref": f"https://www.kaggle.com/competitions/{slug}", "title": slug, "maxDailySubmissions": 5}
            if not competition.rules_accepted and method not in {"ListDataFiles", "GetSubmissionLimits"}:
                return _error(403, "You must accept this competition's rules before you'll be able to download files.")
            match method:
                case "ListDataFiles":
                    return self._list(competition, asked, "files")
                case "ListDatasetFiles":
                    return self._list(competition, asked, "datasetFiles")
                case "DownloadDataFile" | "DownloadDataset" if asked.get("fileName", "") not in ["", *competition.names()]:
                    return _error(404, "File not found")
                case "DownloadDataFile":
                    return 302, self.sign(competition, asked["fileName"])
                case "DownloadDataset":
                    return 302, self.sign(competition, asked.get("fileName", ""))
                case "DownloadDataFiles":
                    return 302, self.sign(competition, "")
                case "StartSubmissionUpload":
                    token = f"blob-{next(self._numbers)}"
                    self._uploads[f"/upload/{token}"] = (asked["fileName"], asked["contentLength"], None)
                    return 200, {"token": token, "createUrl": f"{self.url}/upload/{token}?signature=secret"}
                case "CreateSubmission":
                    return self._create(competition, asked)
                case "ListSubmissions":
                    newest = [_look(submission) for submission in reversed(competition.submissions)]
                    start = int(asked.get("pageToken") or 0)
                    stop = start + min(self.page_size, asked.get("pageSize") or 20)
                    return 200, {"submissions": newest[start:stop], "nextPageToken": str(stop) if stop < len(newest) else ""}
                case "GetSubmissionLimits":
                    today = len(competition.submissions)
                    return 200, {"numToday": today, "numTotal": today, "numAllowedNow": max(0, competition.daily_limit - today)}
                case _:
                    return _error(404, f"no method {method}")

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
        names = competition.names()
        start = int(asked.get("pageToken") or 0)
        stop = start + min(self.page_size, asked.get("pageSize") or 20)
        files = [
            {"name": name, "totalBytes": (competition.folder / name).stat().st_size, "creationDate": "2024-01-02T03:04:05.678Z"}
            for name in names[start:stop]
        ]
        return 200, {key: files} | ({"nextPageToken": str(stop)} if stop < len(names) else {})

    def _create(self, competition: Competition, asked: dict[str, Any]) -> tuple[int, Any]:
        name, _, data = self._uploads.get(f"/upload/{asked.get('blobFileTokens')}", ("", 0, None))
        if data is None:
            return _error(400, "The uploaded file was not found")
        if len(competition.submissions) >= competition.daily_limit:
            allowance = f"Your team has used its daily Submission allowance ({competition.daily_limit}) today"
            return _error(400, f"Submission not allowed: {allowance}, please try again tomorrow UTC.")
        outcome = score(data, competition.solution, competition.metric)
        when = datetime.now(UTC) + timedelta(milliseconds=len(competition.submissions))
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
        return 200, {"message": f"Successfully submitted to {competition.slug}", "ref": submission["ref"]}


def enter(monkeypatch: Any, env: dict[str, str]) -> None:
    """Make `env` the environment of this process for the time of a test (`monkeypatch`: pytest's)."""
    for name in set(os.environ) - set(env):
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def score(data: bytes, solution: Path | None, metric: str) -> dict[str, str]:
    """Status, scores and error text of a submission, as Kaggle would tell them; both scores are those of all rows."""

    def failed(why: str) -> dict[str, str]:
        return {"status": "ERROR", "publicScore": "", "privateScore": "", "errorDescription": why}

    if solution is None:
        return failed("This competition does not score submissions")
    header, truth = _table(solution.read_bytes())
    try:
        given_header, given = _table(data)
        values = [float(value) for _, value in given]
    except (ValueError, IndexError) as error:
        return failed(f"Evaluation Exception: {error}")
    if given_header != header:
        return failed(f"Evaluation Exception: Submission must have the columns {','.join(header)}")
    wanted = dict(truth)
    if len(given) != len(wanted) or {name for name, _ in given} != set(wanted):
        return failed("Evaluation Exception: Submission and solution values for id must match")
    labels = [float(wanted[name]) for name, _ in given]
    if any(value != value for value in values):
        return failed("Evaluation Exception: Submission contains null values")
    result = f"{(accuracy if metric == 'accuracy' else auc)(labels, values):.5f}"
    return {"status": "COMPLETE", "publicScore": result, "privateScore": result, "errorDescription": ""}


def accuracy(labels: list[float], values: list[float]) -> float:
    return sum(label == value for label, value in zip(labels, values, strict=True)) / len(labels)


def auc(labels: list[float], values: list[float]) -> float:
    """The share of (positive, negative) pairs in the right order, ties counting half, by ranks."""
    rank_of, place = {}, 0
    for value, same in itertools.groupby(sorted(values)):
        n = len(list(same))
        rank_of[value] = place + (n + 1) / 2
        place += n
    positive = sum(label == 1 for label in labels)
    ranks = sum(rank_of[value] for label, value in zip(labels, values, strict=True) if label == 1)
    return (ranks - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def _table(data: bytes) -> tuple[list[str], list[tuple[str, str]]]:
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    return rows[0], [(row[0], row[1]) for row in rows[1:] if row]


def _look(submission: dict[str, Any]) -> dict[str, Any]:
    """A submission as seen from outside; each look brings its score nearer."""
    shown = {name: value for name, value in submission.items() if not name.startswith("_")}
    if submission["_pending"] > 0:
        submission["_pending"] -= 1
        shown |= {"status": "PENDING", "publicScore": "", "privateScore": "", "errorDescription": ""}
    return shown


def _error(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"code": status, "message": message}


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), data)
    return buffer.getvalue()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    errors: list[BaseException]

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):  # a client may go away
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kaggle: Loopback

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.kaggle.escaped.append(self.path)
        self.close_connection = True
        self._send(502, b"")

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (address.hostname or "127.0.0.1") not in {"localhost", "127.0.0.1"}:
            self.kaggle.escaped.append(self.path)
            return self._send(502, b"")
        first, _, last = address.path.strip("/").rpartition("/")
        what = first if first in {"storage", "upload"} else last
        with self.kaggle._lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.kaggle.requests.append(Seen(what, self.command, self.path, headers, body))
        fault = self.kaggle.next_fault(what)
        if fault.wait > 0:
            time.sleep(fault.wait)
        if fault.reset:
            return self._reset()
        if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            said = json.dumps({"code": status, "message": fault.message}).encode() if fault.body is None else fault.body
            answer = {"Content-Type": fault.content_type, "Retry-After": fault.retry_after, "Location": fault.location}
            return self._send(status, said, {name: value for name, value in answer.items() if value})
        if what == "storage":
            return self._storage(address.path, fault)
        if what == "upload":
            status = 400 if "authorization" in headers else self.kaggle.take_upload(address.path, body)
            return self._send(status, b"")
        return self._api(what, json.loads(body or b"{}"), fault)

    def _api(self, what: str, asked: dict[str, Any], fault: Fault) -> None:
        if what != "IntrospectToken" and not self.kaggle.authorized(self.headers.get("Authorization", "")):
            status, answer = _error(401, "Unauthenticated")
        elif fault.zero_ref:
            status, answer = 200, {"message": "Could not submit to competition"}
        else:
            status, answer = self.kaggle.api(what, asked)
        if fault.lost:
            return self._reset()
        if isinstance(answer, str):
            path = urlsplit(answer).path
            if self.kaggle._signed[path][0].direct:
                return self._storage(path, fault)
            return self._send(status, b"Found", {"Location": answer})
        return self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _storage(self, path: str, fault: Fault) -> None:
        found = self.kaggle.redeem(path)
        if found is None:
            return self._send(403, EXPIRED, {"Content-Type": "application/xml"})
        competition, name = found
        if "Authorization" in self.headers and not competition.direct:
            return self._send(400, b"<Error><Code>InvalidArgument</Code></Error>", {"Content-Type": "application/xml"})
        data, modified = self.kaggle.content(competition, name)
        digest = hashlib.md5(data, usedforsecurity=False)
        etag = f'"{digest.hexdigest()}"'
        headers = {"Content-Type": "application/octet-stream", "ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
        if competition.hashes:
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={base64.b64encode(digest.digest()).decode()}"
        if fault.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault.short is not None:
            data = data[: fault.short]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, start = 200, 0
        if asked and self.headers.get("If-Range", etag) in {etag, modified} and not fault.ignore_range:
            status, start = 206, int(asked.group(1)) + (7 if fault.wrong_range else 0)
            if start >= len(data):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, data[start:], headers, stop=fault.truncate)
        return None

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, stop: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body[:stop])
            self.wfile.flush()
        except ConnectionError:  # the client saw enough
            self.close_connection = True
        if stop is not None:
            self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.rfile = io.BytesIO()
        self.wfile = io.BytesIO()
