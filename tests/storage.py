"""A server on loopback that speaks S3: moto's own application, and a tap on its requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import requests
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

BUCKET = "tissue"
DROPPED = ("content-length", "x-amz-checksum")
SIGNED = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret"}


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None: ...


@dataclass
class Storage:
    """The server; its buckets stay while it is down.

    puts: keys of the objects that came, in order. before_put: called with a key before the object
    is taken. cut: the last bytes of answers with such a key are missing.
    """

    puts: list[str] = field(default_factory=list)
    before_put: Callable[[str], None] = lambda _: None
    cut: str = ""
    port: int = 0
    _server: BaseWSGIServer | None = None

    def start(self) -> None:
        """Begin, or begin again at the same port."""
        application = DomainDispatcherApplication(create_backend_app)

        def tapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            key = environ["PATH_INFO"].removeprefix(f"/{BUCKET}/")
            if environ["REQUEST_METHOD"] == "PUT" and key != environ["PATH_INFO"]:
                self.before_put(key)
                self.puts.append(key)
            if not self.cut or not key.endswith(self.cut) or environ["REQUEST_METHOD"] != "GET":
                return application(environ, start_response)
            answers: list[tuple[str, list[tuple[str, str]]]] = []
            body = b"".join(application(environ, lambda *given: answers.append(given[:2])))[:-9]
            status, headers = answers[0]
            # without the checksum it is for us to notice
            kept = [(k, v) for k, v in headers if not k.lower().startswith(DROPPED)]
            start_response(status, [*kept, ("Content-Length", str(len(body)))])
            return [body]

        self._server = self._bind(tapped)
        self.port = self._server.port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _bind(self, application: Any) -> BaseWSGIServer:
        """A server at the port; a client may hold that for a moment, while nobody listens."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return make_server(
                    "127.0.0.1", self.port, application, threaded=True, request_handler=_Quiet
                )
            except SystemExit:  # werkzeug's word for a port in use
                if time.monotonic() > deadline:
                    raise RuntimeError(f"port {self.port} is in use") from None
                time.sleep(0.1)

    @property
    def is_up(self) -> bool:
        return self._server is not None

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead a client here, signed in."""
        return SIGNED | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="someone",
            aws_secret_access_key="secret",
        )

    def objects(self) -> dict[str, bytes]:
        """Every object of the bucket, by its key; also while the server is down."""
        bucket = s3_backends["123456789012"]["aws"].buckets[BUCKET]
        return {name: key.value for name, key in bucket.keys.items()}

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Keys that nobody has are refused while the block runs."""
        requests.post(f"{self.url}/moto-api/reset-auth", data="0", timeout=10)
        try:
            yield
        finally:
            requests.post(f"{self.url}/moto-api/reset-auth", data="inf", timeout=10)
