"""The loopback Kaggle's HTTP side: what is sent, well or badly, and at which pace."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import re
import select
import socket
import struct
import sys
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import google_crc32c
from loopback_faults import EXPIRED, Fault, Seen

if TYPE_CHECKING:
    from loopback import Loopback

PROPER = Fault("")
XML = {"Content-Type": "application/xml"}
STALL = 60.0  # seconds; longer than any test waits


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # the default of 5 refuses the sixth of several downloads at once
    errors: list[BaseException]

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):  # a client may go away
            self.errors.append(error)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kaggle: Loopback

    def log_message(self, *_: object) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(
            (time.time() if timestamp is None else timestamp) + self.kaggle.clock, usegmt=True
        )

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
        host = address.hostname or "127.0.0.1"
        parts = address.path.strip("/").split("/")
        what = parts[0] if parts[0] in {"storage", "upload"} else parts[-1]
        is_public = parts[0] == "public"
        if is_public:
            what = parts[1]
        elsewhere = host not in {"localhost", "127.0.0.1"}
        length = int(self.headers.get("Content-Length") or 0)
        if what == "upload" and (fault := self.kaggle.next_fault(what)).cut is not None:
            self._note(what, self.rfile.read(fault.cut))
            return self._reset()
        body = self.rfile.read(length)
        if elsewhere and host not in self.kaggle.other_hosts:
            self.kaggle.escaped.append(self.path)
            return self._send(502, b"")
        self._note("elsewhere" if elsewhere else what, body)
        if what != "upload":
            name = (
                self.kaggle.stands_for(address.path)
                if what == "storage" or is_public
                else str(_json(body).get("fileName", ""))
            )
            fault = self.kaggle.next_fault(what, name)
        pause(fault.wait)
        while fault.until is not None and not fault.until():
            pause(0.01)
        if fault.reset:
            return self._reset()
        if fault.instead_status:
            self.kaggle.api(what, _json(body))
        if fault.slow_headers > 0:
            return self._drip_headers(fault.slow_headers)
        if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            said = (
                json.dumps({"code": status, "message": fault.message}).encode()
                if fault.body is None
                else fault.body
            )
            answer = {
                "Content-Type": fault.content_type,
                "Retry-After": fault.retry_after,
                "Location": fault.location,
            }
            self._send(
                status, said, {name: value for name, value in answer.items() if value}, fault
            )
        elif what == "storage" or is_public:
            self._storage(address.path, fault)
        elif what == "upload":
            status = (
                400
                if "Authorization" in self.headers
                else self.kaggle.take_upload(address.path, body)
            )
            if fault.lost:
                return self._reset()
            self._send(status, b"")
        else:
            self._api(what, _json(body), fault)
        if fault.then is not None:
            fault.then()
        return None

    def _note(self, what: str, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.kaggle._lock:
            self.kaggle.requests.append(Seen(what, self.command, self.path, headers, body))

    def _api(self, what: str, asked: dict[str, Any], fault: Fault) -> None:
        if what != "IntrospectToken" and not self.kaggle.authorized(
            self.headers.get("Authorization", "")
        ):
            status, answer = 401, {"code": 401, "message": "Unauthenticated"}
        elif fault.zero_ref:
            status, answer = 200, {"message": "Could not submit to competition"}
        else:
            status, answer = self.kaggle.api(what, asked)
        pause(fault.late)
        if fault.lost:
            return self._reset()
        if isinstance(answer, str):
            path = urlsplit(answer).path
            if self.kaggle._signed[path][0].direct:
                return self._storage(path, fault)
            return self._send(status, b"Found", {"Location": answer})
        if fault.instead is not None:
            return self._send(200, fault.instead, {"Content-Type": "text/html"})
        answer |= fault.patch or {}
        # "please update", as Kaggle does
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-Kaggle-APIVersion": "99.9.9",
        }
        return self._send(status, json.dumps(answer).encode(), headers)

    def _storage(self, path: str, fault: Fault) -> None:
        found = self.kaggle.redeem(path)
        if found is None:
            return self._send(403, EXPIRED, XML)
        competition, name = found
        if "Authorization" in self.headers and not competition.direct:
            return self._send(400, b"<Error><Code>InvalidArgument</Code></Error>", XML)
        data, modified = self.kaggle.content(competition, name)
        if fault.gzip:
            data = gzip.compress(data, 1, mtime=0)
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": etag,
            "Last-Modified": modified,
            "Accept-Ranges": "bytes",
        }
        if fault.gzip:
            headers["Content-Encoding"] = "gzip"
        if fault.weak_etag:
            headers["ETag"] = f"W/{headers['ETag']}"
            del headers["Last-Modified"]
        if competition.hashes and (told := hashes(data, fault)):
            headers["x-goog-hash"] = told
        if fault.corrupt:
            at = len(data) // 2
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if fault.short is not None:
            data = data[: fault.short]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, start = 200, 0
        if asked and fault.other_version:
            status, start = 206, int(asked.group(1))
            rest = f"bytes {start}-{len(data) - 1}/{len(data)}"
            headers |= {
                "ETag": '"another"',
                "Last-Modified": formatdate(1, usegmt=True),
                "Content-Range": rest,
            }
        elif (
            asked
            and self.headers.get("If-Range", etag) in {etag, modified}
            and not fault.ignore_range
        ):
            status, start = 206, int(asked.group(1)) + (7 if fault.wrong_range else 0)
            if start >= len(data):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            size = len(data) + (1 if fault.wrong_end else 0)
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            if fault.foreign is not None:
                return self._send(206, bytes(fault.foreign), headers, fault)
        return self._send(status, data[start:], headers, fault)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, how: Fault = PROPER
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if how.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif how.framing == "close":
            self.send_header("Connection", "close")
        else:
            self.send_header(
                "Content-Length", str(len(body) if how.promise is None else how.promise)
            )
        self.end_headers()
        try:
            self._write(body, how)
        except ConnectionError:  # the client saw enough
            self.close_connection = True
        if (how.truncate, how.promise, how.stall) != (None, None, None) or how.framing != "length":
            self.close_connection = True

    def _write(self, body: bytes, how: Fault) -> None:
        step, seconds = how.drip or (1 << 16, 0.0)
        whole = how.truncate is None and how.stall is None
        body = body[: how.truncate if how.stall is None else how.stall]
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            self.wfile.write(
                b"%x\r\n%b\r\n" % (len(piece), piece) if how.framing == "chunked" else piece
            )
            self.wfile.flush()
            pause(seconds)
        if how.framing == "chunked" and whole:
            self.wfile.write(b"0\r\n\r\n")
        if how.stall is not None:  # until the client goes
            select.select([self.connection], [], [], STALL)

    def _drip_headers(self, seconds: float) -> None:
        """A byte now and then, until the client goes."""
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"a" * 1000:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                pause(seconds)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.rfile = io.BytesIO()
        self.wfile = io.BytesIO()


def hashes(data: bytes, fault: Fault) -> str:
    """The header x-goog-hash, as far as it is not to be absent."""
    found = {
        "crc32c": (fault.crc32c, google_crc32c.value(data).to_bytes(4, "big")),
        "md5": (fault.md5, hashlib.md5(data, usedforsecurity=False).digest()),
    }
    wrong = {"right": 0, "wrong": 1}
    told = {
        name: bytes([value[0] ^ wrong[how], *value[1:]])
        for name, (how, value) in found.items()
        if how != "absent"
    }
    return ",".join(f"{name}={base64.b64encode(value).decode()}" for name, value in told.items())


def pause(seconds: float) -> None:
    """Nothing at all for 0 seconds: tests of pauses replace `time.sleep`."""
    if seconds > 0:
        time.sleep(seconds)


def _json(body: bytes) -> dict[str, Any]:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return {}
