"""Which credentials win, in our words and in the client's deeds; and what becomes of stdin and
stdout when there are none.

`import kaggle` signs in once a process, so every case with other credentials runs in a process of
its own.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from loopback import KEY, TOKEN, USERNAME, Loopback, enter
from packaging.version import Version

from pcam_kit.errors import CredentialsError
from pcam_kit.kaggle_client import credentials_source
from pcam_kit.kaggle_client.credentials import find_faults, find_sources

CHILD = """
import json, sys
from pcam_kit import kaggle_client
from pcam_kit.errors import PcamError
told = {}
try:
    told["source"] = kaggle_client.credentials_source()
    told["imported"] = "kaggle" in sys.modules
    told["files"] = len([*kaggle_client.list_files(sys.argv[1])])
except PcamError as error:
    told |= {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    told |= {"imported": "kaggle" in sys.modules}
told["stdin"] = sys.stdin.read()
print(json.dumps(told))
"""
SLUG = "tiny-tissue"
PAIR = {"username": USERNAME, "key": KEY}
BASIC = "Basic " + base64.b64encode(f"{USERNAME}:{KEY}".encode()).decode()
BEARER = f"Bearer {TOKEN}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def bare(kaggle: Loopback, folder: Path, home: Path) -> dict[str, str]:
    """The server's environment without any credentials, and with the usual folders."""
    kaggle.serve(SLUG, folder)
    env = kaggle.env(home)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        del env[name]
    return env


def look(env: dict[str, str]) -> dict[str, Any]:
    """What a process with this environment tells; its stdout must hold nothing else."""
    arguments = [sys.executable, "-c", CHILD, SLUG]
    done = subprocess.run(
        arguments,
        env=env,
        input="typed",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, done.stdout
    return json.loads(done.stdout)


def put(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    path.chmod(0o600)
    return path


def test_without_credentials_nothing_is_imported_printed_or_closed(
    bare: dict[str, str], kaggle: Loopback
) -> None:
    told = look(bare)
    assert (told["error"], told["message"], told["imported"]) == (
        "CredentialsError",
        "no Kaggle credentials found",
        False,
    )
    for way in (
        "https://www.kaggle.com/settings",
        "KAGGLE_API_TOKEN",
        "kaggle.json",
        "KAGGLE_USERNAME",
        "kaggle auth login",
    ):
        assert way in told["hint"]
    assert told["stdin"] == "typed"
    assert kaggle.requests == []


def in_variable(home: Path) -> dict[str, str]:
    put(home / ".kaggle" / "kaggle.json", {"username": "another", "key": "stale"})
    return {"KAGGLE_API_TOKEN": TOKEN}


def in_file_named_by_variable(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": str(put(home / "token.txt", f"{TOKEN}\n"))}


def in_access_token(home: Path) -> dict[str, str]:
    put(home / ".kaggle" / "access_token", f"{TOKEN}\n")
    return {"KAGGLE_USERNAME": "another", "KAGGLE_KEY": "stale"}


def in_pair_of_variables(home: Path) -> dict[str, str]:
    put(home / ".kaggle" / "kaggle.json", {"username": "another", "key": "stale"})
    return {"KAGGLE_USERNAME": USERNAME, "KAGGLE_KEY": KEY}


def in_variable_and_file(home: Path) -> dict[str, str]:
    put(home / ".kaggle" / "kaggle.json", {"username": "another", "key": KEY})
    return {"KAGGLE_USERNAME": USERNAME}


def in_kaggle_json(home: Path) -> dict[str, str]:
    put(home / ".kaggle" / "kaggle.json", PAIR)
    return {}


def in_config_dir(home: Path) -> dict[str, str]:
    put(home / ".kaggle" / "kaggle.json", {"username": "another", "key": "stale"})
    put(home / "elsewhere" / "kaggle.json", PAIR)
    return {"KAGGLE_CONFIG_DIR": str(home / "elsewhere")}


def in_xdg_folder(home: Path) -> dict[str, str]:
    put(home / ".config" / "kaggle" / "kaggle.json", PAIR)
    return {}


def in_oauth(home: Path) -> dict[str, str]:
    later = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    stored = {
        "refresh_token": "refresh",
        "access_token": TOKEN,
        "access_token_expiration": later,
        "username": USERNAME,
        "scopes": [],
    }
    put(home / ".kaggle" / "credentials.json", stored)
    return {"KAGGLE_ENABLE_OAUTH": "true"}  # kaggle before 2.1.2 looks for no OAuth without it


@pytest.mark.parametrize(
    ("place", "source", "header"),
    [
        (in_variable, "KAGGLE_API_TOKEN", BEARER),
        (in_file_named_by_variable, "KAGGLE_API_TOKEN (~/token.txt)", BEARER),
        (in_access_token, "~/.kaggle/access_token", BEARER),
        (in_pair_of_variables, "KAGGLE_USERNAME and KAGGLE_KEY", BASIC),
        pytest.param(
            in_variable_and_file,
            "KAGGLE_USERNAME and ~/.kaggle/kaggle.json",
            BASIC,
            marks=pytest.mark.skipif(
                Version(version("kaggle")) < Version("2.2"),
                reason="before 2.2 kaggle.json gives both",
            ),
        ),
        (in_kaggle_json, "~/.kaggle/kaggle.json", BASIC),
        (in_config_dir, "~/elsewhere/kaggle.json", BASIC),
        (in_xdg_folder, "~/.config/kaggle/kaggle.json", BASIC),
        (in_oauth, "~/.kaggle/credentials.json", BEARER),
    ],
)
def test_the_source_we_name_is_the_one_the_client_uses(
    bare: dict[str, str],
    kaggle: Loopback,
    home: Path,
    place: Callable[[Path], dict[str, str]],
    source: str,
    header: str,
) -> None:
    told = look(bare | place(home))
    assert told == {"source": source, "imported": False, "files": 4, "stdin": "typed"}
    assert [seen.headers["authorization"] for seen in kaggle.seen("ListDataFiles")] == [header]


def test_a_stale_token_that_hides_a_good_key_is_named(bare: dict[str, str], home: Path) -> None:
    in_kaggle_json(home)
    told = look(bare | {"KAGGLE_API_TOKEN": "KGAT_stale"})
    assert told["error"] == "CredentialsError"
    assert (
        told["message"]
        == "Kaggle refused the credentials in KAGGLE_API_TOKEN, which hides the one in "
        "~/.kaggle/kaggle.json"
    )
    assert "remove KAGGLE_API_TOKEN, so that ~/.kaggle/kaggle.json is used" in told["hint"]
    assert "https://www.kaggle.com/settings" in told["hint"]
    assert "KGAT_stale" not in told["message"] + told["hint"]
    assert told["stdin"] == "typed"


def test_a_token_in_the_place_of_a_key_is_refused_with_its_right_place(
    bare: dict[str, str], home: Path
) -> None:
    put(home / ".kaggle" / "kaggle.json", {"username": USERNAME, "key": TOKEN})
    told = look(bare)
    assert told["message"] == (
        "Kaggle refused the credentials in ~/.kaggle/kaggle.json; ~/.kaggle/kaggle.json holds a "
        "KGAT token as its key: such a token belongs into ~/.kaggle/access_token or "
        "KAGGLE_API_TOKEN"
    )
    assert "put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token; " in told["hint"]
    assert "only a legacy key goes into ~/.kaggle/kaggle.json" in told["hint"]
    assert TOKEN not in told["message"] + told["hint"]


def test_a_token_that_kaggle_refuses_at_sign_in(bare: dict[str, str], kaggle: Loopback) -> None:
    # during the import, and at our own sign-in
    kaggle.fail("IntrospectToken", status=401, message="Unauthenticated", times=2)
    told = look(bare | {"KAGGLE_API_TOKEN": TOKEN})
    assert told["message"] == "Kaggle refused the credentials in KAGGLE_API_TOKEN"


def test_a_silent_server_does_not_hold_the_import_forever(
    bare: dict[str, str], kaggle: Loopback
) -> None:
    kaggle.fail("IntrospectToken", wait=1.0, times=2)
    impatient = (
        "from pcam_kit.downloads import http, retry; http.READ_TIMEOUT = 0.2; retry.ATTEMPTS = 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", impatient + CHILD, SLUG],
        env=bare | {"KAGGLE_API_TOKEN": TOKEN},
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        encoding="utf-8",
    )
    assert "no answer in time" in json.loads(done.stdout)["message"]


def test_a_token_is_introspected_once_a_process(bare: dict[str, str], kaggle: Loopback) -> None:
    look(bare | {"KAGGLE_API_TOKEN": TOKEN})
    assert len(kaggle.seen("IntrospectToken")) == 1


def test_an_expired_oauth_login_is_refused_without_exit(
    bare: dict[str, str], kaggle: Loopback, home: Path
) -> None:
    put(home / ".kaggle" / "credentials.json", {"refresh_token": "refresh", "username": USERNAME})
    kaggle.fail("GenerateAccessToken", status=401, message="Unauthenticated", times=2)
    told = look(bare)
    assert told["error"] == "CredentialsError"
    assert "https://www.kaggle.com/settings" in told["hint"]
    assert told["stdin"] == "typed"


def test_verbose_mode_prints_nothing_on_stdout(bare: dict[str, str], home: Path) -> None:
    in_kaggle_json(home)
    # the client prints every header, credentials included
    assert look(bare | {"VERBOSE": "true"})["files"] == 4


def test_a_token_with_a_line_end_inside_is_named(bare: dict[str, str]) -> None:
    told = look(bare | {"KAGGLE_API_TOKEN": "first\nsecond"})
    assert told["error"] == "CredentialsError"
    assert "KAGGLE_API_TOKEN" in told["message"]
    assert "second" not in told["message"] + told["hint"]


def test_a_kaggle_json_beside_the_config_folder_is_named(
    bare: dict[str, str], home: Path, kaggle: Loopback
) -> None:
    in_kaggle_json(home)
    told = look(bare | {"KAGGLE_CONFIG_DIR": str(home / "elsewhere")})
    why = "~/.kaggle/kaggle.json is not looked at, because KAGGLE_CONFIG_DIR is ~/elsewhere"
    missing = "KAGGLE_CONFIG_DIR names ~/elsewhere, which does not exist"
    assert told["message"].startswith(f"no Kaggle credentials found ({missing}; ")
    assert told["message"].endswith(f"; {why})")
    assert kaggle.requests == []


# in this process: no client needed


NESTED = "[" * 100_000


@pytest.mark.parametrize("content", ["", "{", "[]", NESTED, '{"a": ' * 50_000, '{"key": NaN}'])
def test_a_kaggle_json_that_cannot_be_used_is_named(
    bare: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    put(home / ".kaggle" / "kaggle.json", content)
    enter(monkeypatch, bare)
    with pytest.raises(
        CredentialsError,
        match=r"no Kaggle credentials found \(~/\.kaggle/kaggle\.json cannot be used",
    ):
        credentials_source()


def test_everything_there_is_in_order(
    bare: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_kaggle_json(home)
    in_oauth(home)
    put(home / ".kaggle" / "access_token", TOKEN)
    enter(
        monkeypatch,
        bare | {"KAGGLE_API_TOKEN": "x" * 5000, "KAGGLE_USERNAME": "a", "KAGGLE_KEY": "b"},
    )
    assert list(find_sources()) == [
        "KAGGLE_API_TOKEN",
        "~/.kaggle/access_token",
        "KAGGLE_USERNAME and KAGGLE_KEY",
        "~/.kaggle/kaggle.json",
        "~/.kaggle/credentials.json",
    ]


GOOD = json.dumps(PAIR)
KEY32 = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("kaggle.json.txt", GOOD, "kaggle.json.txt is not looked at: the name must be kaggle.json"),
        ("kaggle.json.json", GOOD, "kaggle.json.json is not looked at"),
        ("kaggle (1).json", GOOD, "kaggle (1).json is not looked at"),
        ("kaggle(12).json.txt", GOOD, "kaggle(12).json.txt is not looked at"),
        ("kaggle-copy.json", GOOD, "kaggle-copy.json is not looked at"),
        ("Kaggle.JSON", GOOD, "Kaggle.JSON is not looked at"),
        ("kaggle", GOOD, "~/.kaggle/kaggle is not looked at"),
        ("access_token (1)", TOKEN, "the name must be access_token"),
        ("access_token.txt.txt", TOKEN, "the name must be access_token"),
        ("Access-Token.json", TOKEN, "the name must be access_token"),
        ("kaggle.json", GOOD.encode("utf-16"), "kaggle.json is UTF-16, as PowerShell's > writes"),
        ("kaggle.json", GOOD.encode("utf-16-le"), "kaggle.json is UTF-16"),
        ("kaggle.json", GOOD.encode("utf-8-sig"), "UTF-8 with a byte order mark"),
        ("kaggle.json", '{"username": "only"}', "~/.kaggle/kaggle.json has no key"),
        ("kaggle.json", '{"key": "only"}', "~/.kaggle/kaggle.json has no username"),
        ("kaggle.json", '{"username": 5, "key": [1]}', "has no username and no key"),
        ("kaggle.json", '{"username": "a", "key": "KGAT_x"}', "holds a KGAT token as its key"),
        (
            "kaggle.json",
            '{"username": "a", "key": "\\"b\\""}',
            "is in quotes twice",
        ),
        ("access_token", f'"{TOKEN}"', "the token in ~/.kaggle/access_token is in quotes"),
        ("access_token", TOKEN.encode("utf-16"), "access_token is UTF-16"),
        ("access_token", GOOD, "~/.kaggle/access_token holds JSON"),
        ("access_token", KEY32, "~/.kaggle/access_token holds a legacy key"),
        ("access_token", f"token: {TOKEN}", "holds more than a token"),
    ],
)
def test_a_file_that_is_nearly_right_is_named(
    bare: dict[str, str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | bytes,
    says: str,
) -> None:
    path = home / ".kaggle" / name
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    enter(monkeypatch, bare)
    faults = find_faults()
    (fault,) = [fault for fault in faults if says in fault.text]
    assert fault.fix
    for secret in (TOKEN, KEY, KEY32):
        assert secret not in f"{faults}"
    if [*find_sources()]:
        assert credentials_source() == f"~/.kaggle/{name}", "used, and Kaggle will refuse it"
        return
    with pytest.raises(CredentialsError) as caught:
        credentials_source()
    assert says in caught.value.message
    assert caught.value.hint.startswith(fault.fix)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"KAGGLE_KEY": KEY32}, "KAGGLE_KEY is set, but KAGGLE_USERNAME is not set"),
        ({"KAGGLE_USERNAME": "a"}, "KAGGLE_USERNAME is set, but KAGGLE_KEY is not set"),
        ({"KAGGLE_USERNAME": "a", "KAGGLE_KEY": "KGAT_x"}, "KAGGLE_KEY holds a KGAT token"),
        ({"KAGGLE_USERNAME": "a", "KAGGLE_KEY": f"'{KEY32}'"}, "the value of KAGGLE_KEY is in"),
        ({"KAGGLE_API_TOKEN": f'"{TOKEN}"'}, "the value of KAGGLE_API_TOKEN is in quotes"),
        ({"KAGGLE_API_TOKEN": KEY32}, "KAGGLE_API_TOKEN holds a legacy key"),
        ({"KAGGLE_CONFIG_DIR": "nowhere"}, "names nowhere, which does not exist"),
        ({"KAGGLE_CONFIG_DIR": __file__}, "which is a file"),
    ],
    ids=str,
)
def test_variables_that_are_nearly_right_are_named(
    bare: dict[str, str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    enter(monkeypatch, bare | variables)
    (fault,) = [fault for fault in find_faults() if says in fault.text]
    assert fault.fix
    assert KEY32 not in fault.text + fault.fix


def test_what_is_right_has_no_fault(
    bare: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_kaggle_json(home)
    for name in ("access_token", "access_token.txt", "credentials.json", "notes.txt"):
        put(home / ".kaggle" / name, TOKEN)
    enter(monkeypatch, bare)
    assert find_faults() == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_does_not_wait(
    bare: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".kaggle").mkdir()
    for name in ("kaggle.json", "access_token"):
        os.mkfifo(home / ".kaggle" / name)
    enter(monkeypatch, bare)
    with pytest.raises(CredentialsError, match="cannot be used"):
        credentials_source()
