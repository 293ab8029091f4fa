"""Proxies that want a password, that forbid, or that put their own certificate in between: named,
and asked only once. Nothing here leaves this machine.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback import Loopback

from pcam_kit.downloads import RemoteFile, transfer
from pcam_kit.errors import KaggleError, OutcomeUnknownError, TransferError
from pcam_kit.kaggle_client import download_file, list_files, submitting
from pcam_kit.kaggle_client.refusals import KAGGLE
from pcam_kit.kaggle_client.submitting import Upload, submit_upload

SLUG = "tiny-tissue"
StartProxy = Callable[..., "Proxy"]


class Proxy:
    """A proxy that answers every CONNECT in one way."""

    def __init__(self, answer: bytes, certificate: Path | None = None) -> None:
        self.asked = 0
        self._answer = answer
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.asked += 1
            with connection:
                try:
                    head = connection.recv(65536)  # one packet on this machine
                    is_http = head.startswith(b"CONNECT")  # and no TLS
                    connection.sendall(self._answer if is_http else refusal("400 Bad Request"))
                    if self._context is not None:
                        self._context.wrap_socket(connection, server_side=True).recv(4096)
                except OSError:
                    continue


def refusal(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@pytest.fixture
def start(kaggle: Loopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartProxy]:
    """Start a proxy, through which the real client now looks for the real Kaggle."""
    started: list[Proxy] = []

    def start_proxy(
        answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n", certificate: Path | None = None, login: str = ""
    ) -> Proxy:
        proxy = Proxy(answer, certificate)
        started.append(proxy)
        monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")
        # the client read that variable when it was imported, by an earlier test
        kaggle_api = pytest.importorskip("kaggle.api.kaggle_api_extended")
        monkeypatch.setattr(kaggle_api.KaggleApi, "args", [])
        monkeypatch.delenv("http_proxy")
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy", f"http://{login}{proxy.address}")
        return proxy

    yield start_proxy
    for proxy in started:
        proxy.close()


def refused() -> KaggleError:
    with pytest.raises(KaggleError) as caught:
        list(list_files(SLUG))
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    return caught.value


def test_one_that_wants_a_password(start: StartProxy) -> None:
    proxy = start(refusal("407 Proxy Authentication Required"))
    error = refused()
    assert f"the proxy {proxy.address} wants a user name and a password (407)" in error.message
    assert "HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT" in error.hint
    assert proxy.asked == 1


def test_one_that_does_not_like_the_password(start: StartProxy) -> None:
    proxy = start(refusal("407 Proxy Authentication Required"), login="me:secret@")
    error = refused()
    assert "does not accept the user name and password in HTTPS_PROXY" in error.message
    assert "%40" in error.hint
    assert proxy.asked == 1


def test_one_that_forbids(start: StartProxy) -> None:
    proxy = start(refusal("403 Forbidden"))
    error = refused()
    assert f"the proxy {proxy.address} forbids connections to" in error.message
    assert "kaggle.com" in error.message
    assert "storage.googleapis.com" in error.hint
    assert proxy.asked == 1


def test_one_that_may_answer_later_is_asked_again(start: StartProxy) -> None:
    proxy = start(refusal("502 Bad Gateway"))
    assert "the proxy answered HTTP 502 Bad Gateway" in refused().message
    assert proxy.asked > 1


def test_one_that_is_named_as_https(start: StartProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = start(refusal("403 Forbidden"))
    monkeypatch.setenv("https_proxy", f"https://{proxy.address}")
    error = refused()
    assert "speaks http, not https" in error.message
    assert "http:// instead of https://" in error.hint


def test_a_download_through_one(start: StartProxy, tmp_path: Path) -> None:
    """The storage is reached through the proxy, too; its signed address is not shown."""
    proxy = start(refusal("407 Proxy Authentication Required"))
    job = transfer.Job(
        source=SLUG,
        name="a.csv",
        destination=tmp_path / "a.csv",
        server=KAGGLE,
        lister="Kaggle",
        locate=lambda: "https://storage.googleapis.com/a.csv?signature=secret",
        size=10,
        progress=None,
    )
    with pytest.raises(TransferError, match="wants a user name") as caught:
        transfer.download(job)
    assert "secret" not in f"{caught.value}{caught.value.hint}"
    assert proxy.asked == 1


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 No", "503 Busy"])
def test_a_submission_that_the_proxy_stops_has_no_unknown_outcome(
    start: StartProxy, status: str
) -> None:
    """The tunnel was refused, so that Kaggle cannot have seen it."""
    proxy = start(refusal(status))
    with pytest.raises(KaggleError) as caught:
        submit_upload(Upload(SLUG, "a.csv", 1, "token"), "", earlier=frozenset())
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert proxy.asked == 1
    assert submitting.LIST_ATTEMPTS > 1, "no look at the list"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of nobody known, as that of a proxy that inspects what passes."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path / "proxy.pem"
    names = "subjectAltName=DNS:www.kaggle.com,DNS:api.kaggle.com"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    request += ["-subj", "/CN=Example", "-addext"]
    subprocess.run(
        [tool, *request, names, "-keyout", str(path), "-out", str(tmp_path / "only.pem")],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "only.pem").read_bytes())
    return path


def test_one_that_inspects(start: StartProxy, certificate: Path) -> None:
    proxy = start(certificate=certificate)
    error = refused()
    assert "its certificate could not be checked (self-signed certificate)" in error.message
    assert "set REQUESTS_CA_BUNDLE to a .pem file" in error.hint
    assert proxy.asked == 1


def test_certificates_that_are_not_there(
    start: StartProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    error = refused()
    assert "none.pem" in error.message
    assert "REQUESTS_CA_BUNDLE" in error.hint
    with pytest.raises(KaggleError, match=r"none\.pem"):
        download_file(SLUG, RemoteFile("a.csv", 10), tmp_path / "a.csv")
