"""What Kaggle says about the account, and a probe: one attempt, short timeouts, the server's
clock.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loopback import Loopback

from pcam_kit import downloads, kaggle_client
from pcam_kit.errors import AccessError, CredentialsError, TransferError
from pcam_kit.kaggle_client import CompetitionState
from pcam_kit.workflows.doctor.account import kaggle_checks
from pcam_kit.workflows.doctor.files import Subject

SLUG = "tiny-tissue"


def test_how_things_stand(kaggle: Loopback, folder: Path) -> None:
    kaggle.serve(SLUG, folder, daily_limit=3)
    expected = CompetitionState(
        entered=True, deadline=None, daily_limit=3, submissions_disabled=False, notebooks_only=False
    )
    assert kaggle_client.competition_state(SLUG) == expected
    assert not expected.over
    kaggle.serve(SLUG, folder, rules_accepted=False)
    assert not kaggle_client.competition_state(SLUG).entered
    with pytest.raises(AccessError, match="does not know the competition other"):
        kaggle_client.competition_state("other")


def test_a_deadline_is_in_utc(kaggle: Loopback) -> None:
    kaggle.fail("GetCompetition", body=b'{"deadline": "2019-03-30T23:59:00Z"}')
    state = kaggle_client.competition_state(SLUG)
    assert state.deadline == datetime(2019, 3, 30, 23, 59, tzinfo=UTC)
    assert state.over


def test_signing_in_needs_an_account(kaggle: Loopback) -> None:
    kaggle.fail("ListCompetitions", body=b"{}")
    kaggle_client.sign_in()
    (asked,) = kaggle.seen("ListCompetitions")
    assert "authorization" in asked.headers
    assert asked.json["pageSize"] == 1
    kaggle.users.clear()
    with pytest.raises(
        CredentialsError, match="Kaggle refused the credentials in KAGGLE_USERNAME and KAGGLE_KEY"
    ):
        kaggle_client.sign_in()


def test_a_probe_is_one_attempt(kaggle: Loopback, folder: Path) -> None:
    kaggle.serve(SLUG, folder)
    kaggle.fail("GetCompetition", status=503, times=2)
    with downloads.probe(1.0, 1.0), pytest.raises(TransferError):
        kaggle_client.competition_state(SLUG)
    assert len(kaggle.seen("GetCompetition")) == 1
    kaggle_client.competition_state(SLUG)  # afterwards patience is back
    assert len(kaggle.seen("GetCompetition")) == 3


def test_a_probe_is_short_and_hears_the_time(kaggle: Loopback, folder: Path) -> None:
    kaggle.serve(SLUG, folder)
    kaggle_client.competition_state(SLUG)  # signed in: the import is not measured
    kaggle.clock = -600.0
    with downloads.probe(1.0, 1.0) as probe:
        assert probe.clock is None
        kaggle_client.competition_state(SLUG)
        assert probe.clock == pytest.approx(-600, abs=5)
    kaggle.fail("GetCompetition", wait=1.5)
    began = time.monotonic()
    with (
        downloads.probe(1.0, 0.2) as probe,
        pytest.raises(TransferError, match="no answer in time"),
    ):
        kaggle_client.competition_state(SLUG)
    assert time.monotonic() - began < 1.2
    assert probe.clock is None


def test_what_never_answers_is_ended(kaggle: Loopback) -> None:
    kaggle.fail("ListCompetitions", wait=6.0)
    began = time.monotonic()
    with kaggle_checks(Subject(), offline=False, seconds=2.5) as answers:
        (check,) = answers()
    assert (check.name, check.status) == ("kaggle", "warning")
    assert check.message == "no answer from Kaggle within 2 s"
    assert time.monotonic() - began < 5
    assert len(kaggle.seen("ListCompetitions")) == 1


def test_files_that_others_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    assert kaggle_client.exposed_files() == []
    for name, mode in (
        ("kaggle.json", 0o640),
        ("access_token", 0o600),
        ("credentials.json", 0o604),
    ):
        (home / ".kaggle" / name).write_text("{}", encoding="utf-8")
        (home / ".kaggle" / name).chmod(mode)
    assert {path.name for path in kaggle_client.exposed_files()} == {
        "kaggle.json",
        "credentials.json",
    }
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    token.chmod(0o644)
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(token))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "elsewhere"))
    assert kaggle_client.exposed_files() == [
        home / ".kaggle" / "credentials.json",
        home / ".kaggle" / "kaggle.json",
        token,
    ]
