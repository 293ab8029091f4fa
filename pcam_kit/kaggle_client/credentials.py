"""Which Kaggle credentials exist, in the order in which the official client uses them.

This module neither imports `kaggle` nor uses the network. The order, read in kagglesdk 0.1.37: an
access token (of a Kaggle notebook, KAGGLE_API_TOKEN, ~/.kaggle/access_token), even a stale one; a
user name and a key (each from the environment before kaggle.json); OAuth.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pcam_kit.errors import CredentialsError
from pcam_kit.parsing import parse_json, read_bytes

SETTINGS_URL = "https://www.kaggle.com/settings"
TOKEN_VARIABLE = "KAGGLE_API_TOKEN"
TOKEN_HINT = (
    f"create a token at {SETTINGS_URL} and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
)
CREDENTIALS_HINT = (
    f"{TOKEN_HINT}; or a legacy key into ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY; "
    "or run: kaggle auth login"
)

LARGEST_FILE = 1 << 20  # bytes; a kaggle.json has 70
PAIR = {"username": "KAGGLE_USERNAME", "key": "KAGGLE_KEY"}
QUOTES = "\"'\u201c\u201d\u2018\u2019"  # a word processor makes the last four
TOKEN_START = "KGAT_"
LEGACY_KEY = re.compile(r"[0-9a-f]{32}")
TOKEN_PLACE = f"such a token belongs into ~/.kaggle/access_token or {TOKEN_VARIABLE}"
KEY_PLACE = "such a key belongs into kaggle.json, with the user name"
# what browsers, Windows and hands make of the names
_COPY = r"( ?\(\d+\)|[-_ ]?\d+|[-_ ]?copy)?"
NEARLY = {
    ("kaggle.json",): re.compile(
        rf"kaggle{_COPY}(\.json{_COPY}(\.txt|\.json)?|\.txt)|kaggle", re.IGNORECASE
    ),
    ("access_token", "access_token.txt"): re.compile(
        rf"access[-_ ]?token{_COPY}(\.json|\.txt|\.txt\.txt)?", re.IGNORECASE
    ),
}


@dataclass(frozen=True)
class Fault:
    """Credentials that are nearly right: what is wrong, and what to do. path: of the file."""

    text: str
    fix: str
    path: Path | None = None


def credentials_source() -> str:
    """The name of the credentials that the client will use, never their value.

    A variable or a file, e.g. "KAGGLE_API_TOKEN". Raises CredentialsError when there are none, and
    names what is nearly right.
    """
    for source in find_sources():
        return source
    faults = find_faults()
    details = [fault.text for fault in faults]
    explained = {fault.path for fault in faults}
    unusable = [
        display_path(path)
        for path in _credential_files()
        if path.exists() and path not in explained
    ]
    if unusable:
        details.append(
            f"{' and '.join(unusable)} cannot be used: empty, unreadable or not what Kaggle hands "
            "out"
        )
    default = _kaggle_folder() / "kaggle.json"
    if key_file() != default and _has_key(_read_json(default)):
        details.append(
            f"{display_path(default)} is not looked at, because KAGGLE_CONFIG_DIR is "
            f"{display_path(key_file().parent)}"
        )
    reason = f" ({'; '.join(details)})" if details else ""
    hint = f"{faults[0].fix}; or {CREDENTIALS_HINT}" if faults else CREDENTIALS_HINT
    raise CredentialsError(f"no Kaggle credentials found{reason}", hint=hint)


def find_faults() -> list[Fault]:
    """What is nearly right: names, places, halves and forms that the client does not take.

    Also of credentials that are used, as Kaggle will refuse them. No text contains a secret.
    """
    return [*_misnamed_files(), *_faults_of_variables(), *_faults_of_files()]


def _misnamed_files() -> Iterator[Fault]:
    for folder in dict.fromkeys((key_file().parent, _kaggle_folder())):
        try:
            paths = sorted(path for path in folder.iterdir() if path.is_file())
        except OSError:
            continue
        for path in paths:
            for right, names in NEARLY.items():
                if path.name not in right and names.fullmatch(path.name):
                    text = f"{display_path(path)} is not looked at: the name must be {right[0]}"
                    yield Fault(text, f"rename it to {right[0]}", path)


def _faults_of_variables() -> Iterator[Fault]:
    values = {name: os.environ.get(name, "") for name in (*PAIR.values(), TOKEN_VARIABLE)}
    stored = _read_json(key_file())
    for field, name in PAIR.items():
        other_field, other = next(item for item in PAIR.items() if item[0] != field)
        if values[name] and not values[other] and not stored.get(other_field):
            yield Fault(
                f"{name} is set, but {other} is not set",
                f"set {other} as well: both come from one kaggle.json",
            )
    for name, value in values.items():
        if _is_quoted(value):
            yield Fault(
                f"the value of {name} is in quotes, which would be sent",
                f"set {name} without quotes",
            )
    if values["KAGGLE_KEY"].strip(QUOTES).startswith(TOKEN_START):
        yield Fault(f"KAGGLE_KEY holds a KGAT token: {TOKEN_PLACE}", TOKEN_HINT)
    token = values[TOKEN_VARIABLE].strip(QUOTES)
    if _token_path() is None and LEGACY_KEY.fullmatch(token):
        yield Fault(f"{TOKEN_VARIABLE} holds a legacy key: {KEY_PLACE}", TOKEN_HINT)
    folder = os.environ.get("KAGGLE_CONFIG_DIR", "")
    if folder and Path(folder) != _kaggle_folder() and not Path(folder).is_dir():
        what = "is a file" if Path(folder).is_file() else "does not exist"
        yield Fault(
            f"KAGGLE_CONFIG_DIR names {display_path(Path(folder))}, which {what}; it must be the "
            "folder of kaggle.json",
            "correct KAGGLE_CONFIG_DIR, or unset it",
        )


def _faults_of_files() -> Iterator[Fault]:
    """What is wrong inside kaggle.json and the files of tokens."""
    path = key_file()
    yield from _faults_of_text(path)
    stored = _read_json(path)
    texts = {field: stored[field] for field in PAIR if isinstance(stored.get(field), str)}
    shown = display_path(path)
    for field, value in texts.items():
        if _is_quoted(value):
            yield Fault(f"{field} in {shown} is in quotes twice", "leave the inner ones away", path)
    if texts.get("key", "").strip(QUOTES).startswith(TOKEN_START):
        yield Fault(f"{shown} holds a KGAT token as its key: {TOKEN_PLACE}", TOKEN_HINT, path)
    missing = [field for field in PAIR if not texts.get(field)]
    if stored and missing and not any(os.environ.get(PAIR[field]) for field in missing):
        yield Fault(
            f"{shown} has no {' and no '.join(missing)}",
            f"download it again from {SETTINGS_URL}: it holds username and key",
            path,
        )
    named = _token_path()
    for token in (*_token_files(), *([] if named is None else [named])):
        yield from _faults_of_text(token)
        text = _read_text(token)
        shown = display_path(token)
        if _is_quoted(text):
            yield Fault(f"the token in {shown} is in quotes", "leave the quotes away", token)
        elif text.startswith("{"):
            yield Fault(f"{shown} holds JSON: {KEY_PLACE}", TOKEN_HINT, token)
        elif LEGACY_KEY.fullmatch(text):
            yield Fault(f"{shown} holds a legacy key: {KEY_PLACE}", TOKEN_HINT, token)
        elif len(text.split()) > 1:
            yield Fault(f"{shown} holds more than a token", "put the token alone into it", token)


def _faults_of_text(path: Path) -> Iterator[Fault]:
    """Is it written in another encoding than the client reads?"""
    data = _read_data(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        encoding = "UTF-16, as PowerShell's > writes it"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "UTF-8 with a byte order mark"
    else:
        return
    fix = f"save it as plain UTF-8 (PowerShell: Set-Content -Encoding ascii {path.name} ...)"
    yield Fault(f"{display_path(path)} is {encoding}, which the client does not read", fix, path)


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] in QUOTES and value[-1] in QUOTES


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
        return _read_data(path).decode("utf-8").strip()
    except ValueError:
        return ""


def _read_data(path: Path) -> bytes:
    try:
        return read_bytes(path, LARGEST_FILE)
    except (OSError, ValueError):
        return b""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: object = parse_json(_read_text(path) or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _has_key(stored: dict[str, Any]) -> bool:
    return bool(stored.get("username") and stored.get("key"))
