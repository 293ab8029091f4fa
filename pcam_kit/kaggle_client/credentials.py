"""Which Kaggle credentials exist, in the order in which the official client uses them.

This module neither imports `kaggle` nor uses the network. The order, read in kagglesdk 0.1.37: an
access token (of a Kaggle notebook, KAGGLE_API_TOKEN, ~/.kaggle/access_token), even a stale one; a
user name and a key (each from the environment before kaggle.json); OAuth.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pcam_kit.errors import CredentialsError

SETTINGS_URL = "https://www.kaggle.com/settings"
TOKEN_VARIABLE = "KAGGLE_API_TOKEN"
TOKEN_HINT = (
    f"create a token at {SETTINGS_URL} and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
)
CREDENTIALS_HINT = (
    f"{TOKEN_HINT}; or a legacy key into ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY; "
    "or run: kaggle auth login"
)


def credentials_source() -> str:
    """The name of the credentials that the client will use, never their value.

    A variable or a file, e.g. "KAGGLE_API_TOKEN". Raises CredentialsError when there are none, and
    names a file that exists but cannot be used.
    """
    for source in find_sources():
        return source
    reason = ""
    unusable = [display_path(path) for path in _credential_files() if path.exists()]
    if unusable:
        reason = (
            f" ({' and '.join(unusable)} cannot be used: empty, unreadable or not what Kaggle "
            "hands out)"
        )
    default = _kaggle_folder() / "kaggle.json"
    if key_file() != default and _has_key(_read_json(default)):
        reason = (
            f" ({display_path(default)} is not looked at, because KAGGLE_CONFIG_DIR is "
            f"{display_path(key_file().parent)})"
        )
    raise CredentialsError(f"no Kaggle credentials found{reason}", hint=CREDENTIALS_HINT)


def find_sources() -> Iterator[str]:
    """Every usable source; the first is the one that is used."""
    notebook_token = os.environ.get("KAGGLE_API_V1_TOKEN", "")
    in_notebook = "KAGGLE_KERNEL_RUN_TYPE" in os.environ and "KAGGLE_DATA_PROXY_URL" in os.environ
    if in_notebook and notebook_token and _read_text(Path(notebook_token)):
        yield "KAGGLE_API_V1_TOKEN"
    token = os.environ.get(TOKEN_VARIABLE, "")
    token_path = _token_path()
    if token_path is not None and _read_text(token_path):
        yield f"{TOKEN_VARIABLE} ({display_path(token_path)})"
    elif token_path is None and token:
        yield TOKEN_VARIABLE
    # with a path in the variable the client looks no further for tokens, even if the file is empty
    if token_path is None:
        yield from (display_path(path) for path in _token_files() if _read_text(path))
    yield from _find_keys()
    oauth = _kaggle_folder() / "credentials.json"
    if _read_json(oauth).get("refresh_token"):
        yield display_path(oauth)


def exposed_files() -> list[Path]:
    """Credential files that other users may read; `chmod 600` fixes them.

    Files that are not used are included. None on Windows, whose files have no such modes.
    """
    if os.name == "nt":
        return []
    paths = [*_credential_files(), _kaggle_folder() / "kaggle.json"]
    token_path = _token_path()
    if token_path is not None:
        paths.append(token_path)
    return [path for path in dict.fromkeys(paths) if _others_may_read(path)]


def key_file() -> Path:
    """Where the client looks for kaggle.json."""
    configured = os.environ.get("KAGGLE_CONFIG_DIR", "")
    if configured:
        return Path(configured) / "kaggle.json"
    if _kaggle_folder().exists():
        return _kaggle_folder() / "kaggle.json"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or _home_folder() / ".config")
    return config / "kaggle" / "kaggle.json"


def fingerprint() -> tuple[object, ...]:
    """A value that changes whenever the credentials may have changed."""
    variables = sorted(
        (name, value) for name, value in os.environ.items() if name.startswith("KAGGLE_")
    )
    paths = [*_credential_files()]
    token_path = _token_path()
    if token_path is not None:
        paths.append(token_path)
    times = ((str(path), path.stat().st_mtime_ns) for path in paths if path.is_file())
    return (*variables, *times)


def display_path(path: Path) -> str:
    """The path as a person writes it, with ~ for the home folder."""
    home = _home_folder()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _find_keys() -> Iterator[str]:
    """The sources of user name and key, then those they hide.

    Both come from the environment, both from kaggle.json, or one from each.
    """
    path = key_file()
    stored = _read_json(path)
    named = {
        "username": os.environ.get("KAGGLE_USERNAME", ""),
        "key": os.environ.get("KAGGLE_KEY", ""),
    }
    variables = [f"KAGGLE_{name.upper()}" for name, value in named.items() if value]
    if len(variables) == 2:
        yield " and ".join(variables)
    elif variables and stored.get("key" if named["username"] else "username"):
        yield f"{variables[0]} and {display_path(path)}"
        return
    if _has_key(stored):
        yield display_path(path)


def _home_folder() -> Path:
    """The home folder; "~" itself where there is none, as in the official client.

    Path.home() would raise.
    """
    return Path(os.path.expanduser("~"))  # noqa: PTH111


def _kaggle_folder() -> Path:
    return _home_folder() / ".kaggle"


def _token_files() -> tuple[Path, ...]:
    return _kaggle_folder() / "access_token", _kaggle_folder() / "access_token.txt"


def _token_path() -> Path | None:
    """The file that KAGGLE_API_TOKEN names; None when it is a token itself, or not set."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    try:
        return Path(token) if token and Path(token).exists() else None
    except (OSError, ValueError):  # a token longer than a file name may be
        return None


def _credential_files() -> tuple[Path, ...]:
    oauth = _kaggle_folder() / "credentials.json"
    return tuple(dict.fromkeys((*_token_files(), key_file(), oauth)))


def _others_may_read(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: object = json.loads(_read_text(path) or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _has_key(stored: dict[str, Any]) -> bool:
    return bool(stored.get("username") and stored.get("key"))
