"""Credentials, the terminal, and what --debug shows."""

from __future__ import annotations

from typing import Any

from acts import env, fails
from loopback import ALWAYS
from rows import FINE, Act, Ends, Row, nothing
from rows_downloads import storage
from world import CANARY_KEY, CANARY_TOKEN, World


def row(id: str, fault: str, arrange: Act = nothing, ends: Ends = FINE, **more: Any) -> Row:
    return Row(id, "account", fault, arrange, ends, **more)


def without(*names: str) -> Act:
    def act(world: World) -> None:
        world.env = {name: value for name, value in world.env.items() if name not in names}

    return act


def stale_token(world: World) -> None:
    """A token that Kaggle does not take any more, beside a key that it does."""
    world.kaggle.tokens.clear()
    world.env = world.env | {"KAGGLE_API_TOKEN": CANARY_TOKEN}


def stale_file(world: World) -> None:
    world.kaggle.tokens.clear()
    (world.root / "home" / ".kaggle").mkdir(exist_ok=True)
    path = world.root / "home" / ".kaggle" / "access_token"
    path.write_text(CANARY_TOKEN, encoding="utf-8")
    path.chmod(0o600)


def no_stale_file(world: World) -> None:
    (world.root / "home" / ".kaggle" / "access_token").unlink()


def with_key(world: World) -> None:
    world.env = world.env | {"KAGGLE_USERNAME": "tester", "KAGGLE_KEY": CANARY_KEY}


def broken_file(world: World) -> None:
    without("KAGGLE_USERNAME", "KAGGLE_KEY")(world)
    (world.root / "home" / ".kaggle").mkdir(exist_ok=True)
    path = world.root / "home" / ".kaggle" / "kaggle.json"
    path.write_text('{"username": "tester", "key": "' + CANARY_KEY, encoding="utf-8")
    path.chmod(0o600)


NONE = Ends(7, ("no Kaggle credentials found", "kaggle.json"))


ROWS = [
    row(
        "token-stale",
        "an expired token in KAGGLE_API_TOKEN beside a good key",
        stale_token,
        Ends(7, ("KAGGLE_API_TOKEN", "hides")),
        mend=without("KAGGLE_API_TOKEN"),
    ),
    row(
        "token-file",
        "an expired token in a file beside a good key",
        stale_file,
        Ends(7, ("access_token", "hides")),
        mend=no_stale_file,
    ),
    row("none", "no credentials", without("KAGGLE_USERNAME", "KAGGLE_KEY"), NONE, mend=with_key),
    row(
        "none-stdin",
        "no credentials, and standard input is closed",
        without("KAGGLE_USERNAME", "KAGGLE_KEY"),
        NONE,
        mend=with_key,
        real=True,
        closed_stdin=True,
    ),
    row(
        "key-broken",
        "kaggle.json is cut short",
        broken_file,
        Ends(7, ("cannot be used",)),
        mend=with_key,
    ),
    row(
        "key-newline",
        "a key with a line break",
        env(KAGGLE_KEY=f"{CANARY_KEY}\n"),
        Ends(7),
        mend=with_key,
    ),
    row("stdin-fetch", "standard input is closed during a fetch", real=True, closed_stdin=True),
    row(
        "stdin-submit",
        "standard input is closed during a submission",
        kind="submit",
        real=True,
        closed_stdin=True,
    ),
    row(
        "debug-storage",
        "connection to the storage reset, always, with --debug",
        storage(reset=True, times=ALWAYS),
        Ends(1),
        debug=True,
        args=("--debug",),
    ),
    row(
        "debug-expired",
        "every signed URL has expired, with --debug",
        storage(status=403, body=b"", times=ALWAYS),
        Ends(1),
        debug=True,
        args=("--debug",),
    ),
    row(
        "debug-stall",
        "silence of the storage, with --debug",
        storage(wait=5.0, reset=True, times=ALWAYS),
        Ends(1),
        debug=True,
        args=("--debug",),
        set={"pcam_kit.downloads.http.READ_TIMEOUT": 0.1},
    ),
    row(
        "debug-upload",
        "connection to the upload address reset, always, with --debug",
        fails("upload", cut=10, times=ALWAYS),
        Ends(1),
        kind="submit",
        debug=True,
        args=("--debug",),
    ),
    row(
        "debug-401",
        "credentials refused, with --debug",
        fails("ListDataFiles", status=401, message="Unauthenticated", times=ALWAYS),
        Ends(1),
        debug=True,
        args=("--debug",),
    ),
    row(
        "debug-newline",
        "a key with a line break, with --debug",
        env(KAGGLE_KEY=f"{CANARY_KEY}\n"),
        Ends(1),
        debug=True,
        args=("--debug",),
        mend=with_key,
    ),
]
