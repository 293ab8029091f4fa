"""Which Kaggle credentials there are, in the order in which the official client takes them.

Neither imports `kaggle` nor uses the network.

The order, read in kagglesdk 0.1.37: an access token (of a Kaggle notebook, KAGGLE_API_TOKEN,
~/.kaggle/access_token), even a stale one; a user name and key (environment before kaggle.json, each
by itself); OAuth.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pcam_kit.errors import CredentialsError

SETTINGS = "https://www.kaggle.com/settings"
TOKEN = "KAGGLE_API_TOKEN"
HOW_TO = (
    f"create a token at {SETTINGS} and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token; "
    "or save a kaggle.json as ~/.kaggle/kaggle.json, or set KAGGLE_USERNAME and KAGGLE_KEY; or "
    "run: kaggle auth login"
)


def credentials_source() -> str:
    """The name of the credentials the client will use: a variable or a file, e.g.
    "KAGGLE_API_TOKEN". Never their value.

    Raises CredentialsError when there are none, naming a file that is there but cannot be used.
    """
    for source in find_sources():
        return source
    unusable = [shown(path) for path in _files() if path.exists()]
    there = (
        f" ({' and '.join(unusable)} cannot be used: empty, unreadable or not what Kaggle hands "
        "out)"
        if unusable
        else ""
    )
    if key_file() != (usual := _home() / "kaggle.json") and _has_key(_json(usual)):
        there = (
            f" ({shown(usual)} is not looked at, because KAGGLE_CONFIG_DIR is "
            f"{shown(key_file().parent)})"
        )
    raise CredentialsError(f"no Kaggle credentials found{there}", hint=HOW_TO)


def find_sources() -> Iterator[str]:
    """Every usable source, the winning one first."""
    notebook = os.environ.get("KAGGLE_API_V1_TOKEN", "")
    in_notebook = "KAGGLE_KERNEL_RUN_TYPE" in os.environ and "KAGGLE_DATA_PROXY_URL" in os.environ
    if in_notebook and notebook and _text(Path(notebook)):
        yield "KAGGLE_API_V1_TOKEN"
    if token := os.environ.get(TOKEN, ""):
        if not _is_path(token):
            yield TOKEN
        elif _text(Path(token)):
            yield f"{TOKEN} ({shown(Path(token))})"
    # the client stops looking for tokens at a path, even that of an empty file
    if not (token and _is_path(token)):
        yield from (shown(path) for path in _token_files() if _text(path))
    yield from _keys()
    if _json(_home() / "credentials.json").get("refresh_token"):
        yield shown(_home() / "credentials.json")


def exposed_files() -> list[Path]:
    """Credential files that others than their owner may read, those that do not win included;
    `chmod 600` mends them.
    """
    token = os.environ.get(TOKEN, "")
    paths = [
        *_files(),
        _home() / "kaggle.json",
        *([Path(token)] if token and _is_path(token) else []),
    ]
    return [path for path in dict.fromkeys(paths) if _others_may_read(path)]


def key_file() -> Path:
    """Where the client looks for kaggle.json."""
    if folder := os.environ.get("KAGGLE_CONFIG_DIR", ""):
        return Path(folder) / "kaggle.json"
    if _home().exists():
        return _home() / "kaggle.json"
    return (
        Path(os.environ.get("XDG_CONFIG_HOME") or _home().parent / ".config")
        / "kaggle"
        / "kaggle.json"
    )


def fingerprint() -> tuple[object, ...]:
    """Changes whenever the credentials may have changed."""
    variables = sorted(
        (name, value) for name, value in os.environ.items() if name.startswith("KAGGLE_")
    )
    token = os.environ.get(TOKEN, "")
    paths = [*_files(), *([Path(token)] if token and _is_path(token) else [])]
    return (*variables, *((str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()))


def shown(path: Path) -> str:
    """The path as a person writes it: ~ for the home folder."""
    home = _user()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _keys() -> Iterator[str]:
    """The user name and the key: both from the environment, both from kaggle.json, or one of each;
    then what these hide.
    """
    path = key_file()
    stored = _json(path)
    named = {
        "username": os.environ.get("KAGGLE_USERNAME", ""),
        "key": os.environ.get("KAGGLE_KEY", ""),
    }
    variables = [f"KAGGLE_{name.upper()}" for name, value in named.items() if value]
    if len(variables) == 2:
        yield " and ".join(variables)
    elif variables and stored.get("key" if named["username"] else "username"):
        yield f"{variables[0]} and {shown(path)}"
        return
    if _has_key(stored):
        yield shown(path)


def _user() -> Path:
    """The home folder; "~" itself where there is none, as the official client has it.

    Path.home() would raise.
    """
    return Path(os.path.expanduser("~"))  # noqa: PTH111


def _home() -> Path:
    return _user() / ".kaggle"


def _token_files() -> tuple[Path, ...]:
    return _home() / "access_token", _home() / "access_token.txt"


def _files() -> tuple[Path, ...]:
    return tuple(dict.fromkeys((*_token_files(), key_file(), _home() / "credentials.json")))


def _is_path(token: str) -> bool:
    try:
        return Path(token).exists()
    except (OSError, ValueError):  # a token longer than a file name may be
        return False


def _others_may_read(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value: object = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _has_key(stored: dict[str, Any]) -> bool:
    return bool(stored.get("username") and stored.get("key"))
