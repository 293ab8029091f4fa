"""What stands between this machine and a server: proxies, their passwords, their certificates.

Such an obstacle stays until somebody changes a setting, so nothing is sent a second time. The
errors' own texts hold URLs with signatures and passwords, and are not shown.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
import urllib3

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
NOT_YET_VALID, EXPIRED = 9, 10  # OpenSSL's numbers


@dataclass(frozen=True)
class Server:
    """Who is asked, as messages say it.

    name: e.g. "Kaggle"; "" for the host of the address. hosts: all hosts that it answers from, for
    people who must allow them; "" for the host of the address alone.
    """

    name: str = ""
    hosts: str = ""

    def at(self, host: str | None) -> str:
        """`Kaggle (www.kaggle.com)`, `zenodo.org`."""
        if self.name and host:
            return f"{self.name} ({host})"
        return self.name or host or "the server"


def causes_of(error: BaseException) -> list[BaseException]:
    """An error of requests and those inside it, the outermost first."""
    found: list[BaseException] = []
    current: object = error
    while isinstance(current, BaseException) and current not in found and len(found) < 10:
        found.append(current)
        nested = (part for part in current.args if isinstance(part, BaseException))
        current = getattr(current, "reason", None)
        if not isinstance(current, BaseException):
            current = next(nested, None) or found[-1].__cause__
    return found


def never_left(error: BaseException | None) -> bool:
    """Did the request certainly not leave this machine or its proxy?"""
    causes = [] if error is None else causes_of(error)
    return tunnel_status(causes) > 0 or any(
        isinstance(
            cause,
            urllib3.exceptions.NewConnectionError
            | urllib3.exceptions.ConnectTimeoutError
            | ssl.SSLCertVerificationError,
        )
        for cause in causes
    )


def tunnel_status(causes: list[BaseException]) -> int:
    """The status with which a proxy refused the way to an address; 0 when it did not."""
    for cause in causes:
        match = re.search(r"Tunnel connection failed: (\d{3})", str(cause))
        if match is not None:
            return int(match[1])
    return 0


def obstacle_of(error: BaseException, server: Server, url: str) -> tuple[str, str] | None:
    """Message and hint for what another attempt cannot fix; None for any other failure.

    url: of the request.
    """
    causes = causes_of(error)
    host = urlsplit(url).hostname
    match tunnel_status(causes):
        case 407:
            return proxy_password(url)
        case 403:
            hosts = server.hosts or host
            return (
                f"the proxy{_proxy(url)} forbids connections to {host or server.name} (403)",
                f"ask who runs it to allow {hosts}, or list them in no_proxy where a direct "
                "connection is allowed",
            )
        case _:
            pass
    if any("only use HTTP and not HTTPS" in str(cause) for cause in causes):
        return (
            f"cannot reach {server.at(host)}: the proxy{_proxy(url)} speaks http, not https",
            "write http:// instead of https:// in HTTPS_PROXY",
        )
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause, server.at(host))
    return None


def proxy_password(url: str) -> tuple[str, str]:
    """Message and hint for a proxy that answers 407."""
    if "@" in _proxy_setting(url):
        return (
            f"the proxy{_proxy(url)} does not accept the user name and password in HTTPS_PROXY "
            "(407)",
            "correct them; write characters such as @ : / # in the password as %40 %3A %2F %23",
        )
    return (
        f"the proxy{_proxy(url)} wants a user name and a password (407)",
        "put them into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
    )


def bundle_hint() -> str:
    """What to do about a certificate that is not trusted."""
    for name in BUNDLES:
        if os.environ.get(name):
            return (
                f"put the root certificate of the proxy or virus scanner that inspects the "
                f"traffic into the file that {name} names, beside those that are in it"
            )
    return (
        "if a proxy or virus scanner inspects the traffic, set REQUESTS_CA_BUNDLE to a .pem file "
        "with its root certificate"
    )


def _certificate(error: ssl.SSLCertVerificationError, server: str) -> tuple[str, str]:
    code = getattr(error, "verify_code", 0)
    why = str(getattr(error, "verify_message", "")) or "it is not trusted"
    hint = bundle_hint()
    if code in (NOT_YET_VALID, EXPIRED):
        hint = "compare this machine's clock with the right time"
    return f"cannot reach {server}: its certificate could not be checked ({why})", hint


def _proxy(url: str) -> str:
    """` HOST:PORT` of the proxy for an address, without its password; "" where it is not known."""
    setting = _proxy_setting(url)
    try:
        parts = urlsplit(setting if "//" in setting else f"//{setting}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f" {parts.hostname}{port}" if parts.hostname else ""


def _proxy_setting(url: str) -> str:
    proxies = requests.utils.get_environ_proxies(url)
    return requests.utils.select_proxy(url, proxies) or ""
