"""`pcam submit` and `pcam submissions` against a Kaggle on this machine: what is told, what is
sent, what the ledger remembers.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import SUBMIT_KEYS, Done, Project, command, tree
from loopback import ALWAYS, Competition, Loopback

from pcam_kit.cli.console import ask

QUICKLY = {
    "set": {
        "pcam_kit.downloads.retry.FIRST_DELAY": 0.002,
        "pcam_kit.workflows.outcomes.FIRST_POLL": 0.01,
    }
}
CSV = "submissions/tiny0.csv"
NOTHING = b'{"submissions": []}'
CREATE, GET, LIST = "CreateSubmission", "GetSubmission", "ListSubmissions"
Submit = Callable[..., Done]


@pytest.fixture
def served(project: Project, kaggle: Loopback, tmp_path: Path) -> Competition:
    """`tiny`, which scores at the first look."""
    solution = tmp_path / "solution.csv"
    solution.write_text(
        "id,class\n" + "".join(f"{i},{i % 2}\n" for i in range(60)), encoding="utf-8"
    )
    return kaggle.serve("tiny", project.path / "configs", solution, pending_polls=0)


@pytest.fixture
def pcam(project: Project, served: Competition, account: dict[str, str]) -> Submit:
    """Run a command with an account and without waiting long."""
    return lambda *args: project.quick(*args, hook=QUICKLY, **account)


def entries(project: Project) -> list[dict[str, Any]]:
    """What the ledger holds of submissions, newest first.

    The command's own order depends on validation scores, and so on the machine.
    """
    listed = project.quick("submissions", "--json").json["submissions"]
    sent = [entry for entry in listed if entry["id"] is not None]
    return sorted(sent, key=lambda entry: entry["sent"], reverse=True)


def one(project: Project) -> dict[str, Any]:
    (entry,) = entries(project)
    return entry


class TestTold:
    def test_the_limit_and_the_best_so_far(self, pcam: Submit, project: Project) -> None:
        first = pcam("submit", "submissions/tiny1.csv").ok()
        assert "submissions to tiny today: 0 made, 5 left" in first.err
        assert re.search(
            r"validation accuracy of \S+-tiny1-\w+: 0\.\d{4} \(0\.\d{4}-[01]\.\d{4}\)", first.err
        )
        assert "no submission to tiny has a score in this ledger yet" in first.err
        ref = one(project)["ref"]
        second = pcam("submit", CSV, "--dry-run").ok()
        pattern = (
            rf"best submission so far: {ref}, public 0\.\d+, validation \S+ \(\S+\); "
            r"the difference of \S+ in validation is within noise"
        )
        assert re.search(pattern, second.err), second.err
        assert "submissions to tiny today: 1 made, 4 left" in pcam("submit", CSV).ok().err

    def test_no_limit_and_no_account_for_a_dry_run(self, project: Project) -> None:
        done = project.quick("submit", CSV, "--dry-run").ok()
        assert "today" not in done.err

    def test_when_the_limit_is_reset(
        self, pcam: Submit, served: Competition, kaggle: Loopback
    ) -> None:
        served.daily_limit = 0
        done = pcam("submit", CSV).refused(
            6, "no submission to tiny is left today (0 made)", "00:00 UTC", "this machine's clock"
        )
        assert re.search(r"in \d+ h \d\d min", done.err)
        assert kaggle.seen("StartSubmissionUpload") == []

    @pytest.mark.parametrize(
        ("limits", "state", "says"),
        [
            ({"numTotal": 100, "limitedByTotal": True}, {}, "left at all: 100 made in the whole"),
            (
                {"numToday": 0},
                {"deadline": "2019-03-30T23:59:00Z"},
                "tiny is over, its deadline",
            ),
            ({"numToday": 0}, {"submissionsDisabled": True}, "tiny takes none now"),
            ({"numToday": 0}, {"isKernelsSubmissionsOnly": True}, "takes notebooks only"),
            ({"numToday": 0}, {"userHasEntered": False}, "you have not joined tiny"),
            ({"numToday": 5}, {"deadline": "2019-03-30T23:59:00Z"}, "left today (5 made)"),
        ],
    )
    def test_why_none_is_left(
        self,
        pcam: Submit,
        kaggle: Loopback,
        limits: dict[str, Any],
        state: dict[str, Any],
        says: str,
    ) -> None:
        kaggle.fail("GetSubmissionLimits", patch={"numAllowedNow": 0, **limits})
        kaggle.fail("GetCompetition", patch=state)
        pcam("submit", CSV).refused(6, says, "competitions/tiny" if "made)" not in says else "UTC")
        assert kaggle.seen("StartSubmissionUpload") == []


class TestStillOpen:
    """The same bytes again while the first submission of them has no score."""

    def test_waiting_goes_on_with_it(
        self, pcam: Submit, project: Project, kaggle: Loopback
    ) -> None:
        sent = pcam("submit", CSV, "--no-wait", "--json").json
        pcam("submit", CSV, "--no-wait").refused(
            6, str(sent["ref"]), "no score yet", "pcam submissions --refresh"
        )
        assert one(project)["status"] == "pending"
        done = pcam("submit", CSV, "--json")
        assert done.json == sent | {
            "status": "complete",
            "public_score": done.json["public_score"],
            "private_score": done.json["public_score"],
        }
        assert set(done.json) == SUBMIT_KEYS
        assert (
            f"as submission {sent['ref']}, which had no score yet: going on with that" in done.err
        )
        assert "today" not in done.err, "nothing is sent, so nobody is asked"
        assert one(project)["public_score"] == done.json["public_score"]
        pcam("submit", CSV).refused(
            6, str(sent["ref"]), f"public score {done.json['public_score']}", "--again"
        )
        assert len(kaggle.seen(CREATE)) == 1

    def test_again_sends_and_given_again_goes_on_with_what_it_sent(
        self, pcam: Submit, served: Competition, kaggle: Loopback
    ) -> None:
        """`--again`, stopped while it waited and repeated, must not send a third time."""
        served.pending_polls = ALWAYS
        first = pcam("submit", CSV, "--no-wait", "--json").json["ref"]
        waited = pcam("submit", CSV, "--again", "--timeout", "0", "--json")
        assert "has no score after 0 s" in waited.err
        assert waited.json["ref"] != first
        assert len(kaggle.seen(CREATE)) == 2
        repeated = pcam("submit", CSV, "--again", "--timeout", "0", "--json")
        assert repeated.json == waited.json
        assert "--again --no-wait" in repeated.err
        assert len(kaggle.seen(CREATE)) == 2
        assert (
            pcam("submit", CSV, "--again", "--no-wait", "--json").json["ref"] != waited.json["ref"]
        )
        assert len(kaggle.seen(CREATE)) == 3

    def test_a_status_that_nobody_knows(
        self, pcam: Submit, project: Project, kaggle: Loopback
    ) -> None:
        kaggle.fail(GET, patch={"status": "RESCORING"}, times=ALWAYS)
        pcam("submit", CSV, "--json").refused(7, "RESCORING", "pip install --upgrade kaggle")
        assert one(project)["status"] == "pending"
        kaggle.mend()
        assert pcam("submit", CSV, "--json").json["status"] == "complete"
        assert len(kaggle.seen(CREATE)) == 1

    def test_one_that_cannot_be_scored(
        self, pcam: Submit, served: Competition, project: Project
    ) -> None:
        served.solution = None
        why = "This competition does not score submissions"
        done = pcam("submit", CSV, "--json")
        assert done.code == 6
        assert f"could not score submission {json.loads(done.out)['ref']}: {why}" in done.err
        assert (one(project)["status"], one(project)["error"]) == ("error", why)
        assert f"error: {why}" in project.quick("submissions").ok().out
        pcam("submit", CSV).refused(6, "which Kaggle could not score", why, "--again")


def test_a_packed_csv_is_sent_as_it_is(
    pcam: Submit, project: Project, kaggle: Loopback, served: Competition
) -> None:
    """Checked inside; its origin is known; and neither form is sent after the other."""
    path = project.path / "packed.csv.gz"
    path.write_bytes(gzip.compress((project.path / CSV).read_bytes()))
    done = pcam("submit", "packed.csv.gz", "--no-wait", "--json")
    assert "the CSV in packed.csv.gz was checked; the file is sent as it is" in done.err
    assert "validation accuracy of" in done.err
    assert kaggle.seen("upload")[0].body == path.read_bytes()
    assert kaggle.seen("StartSubmissionUpload")[0].json["fileName"] == "packed.csv.gz"
    entry = one(project)
    assert (entry["ref"], entry["file_name"]) == (done.json["ref"], "packed.csv.gz")
    assert len(entry["runs"]) == 1
    pcam("submit", CSV, "--no-wait").refused(6, str(done.json["ref"]), "--again")
    assert len(kaggle.seen(CREATE)) == 1


class TestUnknownOutcome:
    """Kaggle's answer was lost, and the list of submissions did not show it either."""

    def lose(self, pcam: Submit, kaggle: Loopback, project: Project, **how: Any) -> None:
        kaggle.fail(CREATE, **how)
        kaggle.fail(LIST, skip=1, times=4, body=NOTHING)
        pcam("submit", CSV, "-m", "mine").refused(
            7, "the list of submissions does not show it", "it asks Kaggle first"
        )
        assert one(project)["status"] == "unknown"

    @pytest.mark.parametrize(
        "args",
        [
            ("submit", CSV, "-m", "mine"),
            ("submit", CSV, "-m", "mine", "--no-wait"),
            ("submit", CSV, "--again"),
        ],
    )
    def test_it_had_arrived(
        self,
        pcam: Submit,
        project: Project,
        account: dict[str, str],
        kaggle: Loopback,
        served: Competition,
        args: tuple[str, ...],
    ) -> None:
        self.lose(pcam, kaggle, project, lost=True)
        kaggle.fail(LIST, times=2, body=NOTHING)  # Kaggle's list lags
        waits = {
            "pcam_kit.workflows.outcomes.LISTING_DELAY": 5.0,
            "pcam_kit.kaggle_client.submission_list.LONGEST_PAUSE": 0.05,
        }
        done = project.quick(*args, "--json", hook={"set": QUICKLY["set"] | waits}, **account)
        assert "it may still be on its way" in done.err
        ref = served.submissions[0]["ref"]
        assert done.json["ref"] == ref
        assert f"it had arrived, as submission {ref}" in done.err
        assert (one(project)["ref"], one(project)["status"]) == (
            ref,
            "pending" if "--no-wait" in args else "complete",
        )
        assert len(served.submissions) == 1

    @pytest.mark.parametrize("how", [{"reset": True}, {"zero_ref": True}, {"body": b"{}"}], ids=str)
    def test_what_the_list_does_not_show_is_sent_again_only_when_told_so(
        self,
        pcam: Submit,
        project: Project,
        kaggle: Loopback,
        served: Competition,
        how: dict[str, Any],
    ) -> None:
        self.lose(pcam, kaggle, project, **how)
        for _ in range(2):
            pcam("submit", CSV, "-m", "mine").refused(
                7,
                "may have been submitted to tiny",
                "https://www.kaggle.com/competitions/tiny/submissions",
                "pcam submit --again",
            )
        assert one(project)["status"] == "unknown"
        assert len(kaggle.seen(CREATE)) == 1
        done = pcam("submit", CSV, "-m", "mine", "--again", "--json")
        assert [(entry["status"], entry["ref"]) for entry in entries(project)] == [
            ("complete", done.json["ref"]),
            ("unknown", None),
        ]
        assert len(served.submissions) == 1

    def test_a_list_that_lags_longer_than_anybody_waits(
        self, pcam: Submit, project: Project, kaggle: Loopback, served: Competition
    ) -> None:
        """However often the command is given, and whatever the clocks say, it is sent once."""
        self.lose(pcam, kaggle, project, lost=True)
        kaggle.fail(LIST, times=ALWAYS, body=NOTHING)
        for clock in (0.0, 86_400.0, -86_400.0):
            kaggle.clock = clock
            pcam("submit", CSV, "-m", "mine").refused(7, "may have been submitted", "--again")
        assert "does not show it" in pcam("submissions", "--refresh").ok().err
        kaggle.mend()
        done = pcam("submit", CSV, "-m", "mine", "--json")
        assert done.json["ref"] == served.submissions[0]["ref"]
        assert len(served.submissions) == 1

    def test_the_wait_does_not_trust_this_machines_clock(
        self, pcam: Submit, project: Project, account: dict[str, str], kaggle: Loopback
    ) -> None:
        """Set forward by a day meanwhile: Kaggle's own time tells that it was sent just now."""
        self.lose(pcam, kaggle, project, lost=True)
        ledger = project.path / "submissions" / "ledger.jsonl"
        text = ledger.read_text(encoding="utf-8")
        changed = re.sub(r'"time": "\d{4}', '"time": "2001', text)
        assert changed != text
        ledger.write_text(changed, encoding="utf-8")
        kaggle.fail(LIST, times=3, body=NOTHING)
        waits = {
            "pcam_kit.workflows.outcomes.LISTING_DELAY": 20.0,
            "pcam_kit.kaggle_client.submission_list.LONGEST_PAUSE": 0.05,
        }
        done = project.quick(
            "submit",
            CSV,
            "-m",
            "mine",
            "--json",
            hook={"set": QUICKLY["set"] | waits},
            **account,
        )
        assert "looking for it for" in done.err
        assert "it had arrived" in done.err
        assert len(kaggle.seen(CREATE)) == 1

    def test_a_damaged_line_that_names_these_bytes(
        self, pcam: Submit, project: Project, kaggle: Loopback
    ) -> None:
        """A submission that the ledger cannot tell of any more is not sent again unasked."""
        pcam("submit", CSV).ok()
        ledger = project.path / "submissions" / "ledger.jsonl"
        lines = ledger.read_text(encoding="utf-8").splitlines()
        (at,) = [i for i, line in enumerate(lines) if '"event": "intent"' in line]
        lines[at] = lines[at].replace('"message": "', '"message": ["', 1)
        ledger.write_text("\n".join(lines) + "\n", encoding="utf-8")
        pcam("submit", CSV).refused(6, f"line {at + 1} of submissions/ledger.jsonl", "--again")
        assert len(kaggle.seen(CREATE)) == 1
        assert pcam("submit", CSV, "--again", "--json").json["status"] == "complete"

    def test_what_others_sent_is_not_taken_for_it(
        self, pcam: Submit, project: Project, kaggle: Loopback, served: Competition
    ) -> None:
        """The same file name and message, sent before from elsewhere, unknown here."""
        pcam(
            "submit", CSV, "-m", "mine", "--submissions-dir", "elsewhere", "--competition", "tiny"
        ).ok()
        self.lose(pcam, kaggle, project, reset=True)
        pcam("submit", CSV, "-m", "mine").refused(7, "may have been submitted")
        done = pcam("submit", CSV, "-m", "mine", "--again", "--json")
        assert done.json["ref"] == served.submissions[1]["ref"]

    def test_without_what_looked_like_it_as_earlier_versions_left_it(
        self, pcam: Submit, project: Project, kaggle: Loopback, served: Competition
    ) -> None:
        self.lose(pcam, kaggle, project, lost=True)
        ledger = project.path / "submissions" / "ledger.jsonl"
        ledger.write_text(
            re.sub(r', "alike": \[\]', "", ledger.read_text(encoding="utf-8")), encoding="utf-8"
        )
        assert (
            pcam("submit", CSV, "-m", "mine", "--json").json["ref"] == served.submissions[0]["ref"]
        )

    def test_one_of_other_bytes_is_cleared_up_first(
        self, pcam: Submit, project: Project, kaggle: Loopback, served: Competition
    ) -> None:
        """Else its name and message would fit what is sent next."""
        self.lose(pcam, kaggle, project, reset=True)
        shutil.copy(project.path / "submissions" / "tiny1.csv", project.path / CSV)
        kaggle.fail(CREATE, lost=True)
        # after a look for the first and one for those that look like it
        kaggle.fail(LIST, skip=2, times=4, body=NOTHING)
        pcam("submit", CSV, "-m", "mine").refused(7, "does not show it")
        assert [entry["status"] for entry in entries(project)] == ["unknown", "unknown"]
        assert (
            pcam("submit", CSV, "-m", "mine", "--json").json["ref"] == served.submissions[0]["ref"]
        )
        assert served.submissions[0]["_data"] == (project.path / CSV).read_bytes()
        assert len(served.submissions) == 1

    def test_while_kaggle_cannot_be_asked_nothing_is_sent(
        self, pcam: Submit, project: Project, kaggle: Loopback, served: Competition
    ) -> None:
        self.lose(pcam, kaggle, project, lost=True)
        before = tree(project.path)
        kaggle.fail(LIST, status=503, message="Away", times=ALWAYS)
        pcam("submit", CSV, "-m", "mine").refused(7, "Away", "run the same command again")
        assert tree(project.path) == before
        assert len(kaggle.seen(CREATE)) == 1
        kaggle.mend()
        pcam("submit", CSV, "-m", "mine").ok()
        assert len(served.submissions) == 1

    def test_refresh_clears_it_up(self, pcam: Submit, project: Project, kaggle: Loopback) -> None:
        self.lose(pcam, kaggle, project, lost=True)
        assert "it had arrived" in pcam("submissions", "--refresh").ok().err
        assert one(project)["status"] == "complete"

    def test_refresh_leaves_it_to_the_process_that_is_sending_it(
        self, pcam: Submit, project: Project, kaggle: Loopback
    ) -> None:
        self.lose(pcam, kaggle, project, reset=True)
        with open(project.path / "submissions" / ".lock", "ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            assert "another process is submitting" in pcam("submissions", "--refresh").ok().err
            pcam("submit", CSV).refused(8, "another process is submitting")
        assert one(project)["status"] == "unknown"


class TestRefresh:
    def test_one_that_cannot_be_asked_about_keeps_none_from_it(
        self, pcam: Submit, project: Project, kaggle: Loopback
    ) -> None:
        for name in ("tiny0", "tiny1"):
            pcam("submit", f"submissions/{name}.csv", "--no-wait").ok()
        kaggle.fail(GET, status=404, message="Gone")
        done = pcam("submissions", "--refresh", "--json")
        assert done.code == 7
        assert "warning: cannot ask about submission" in done.err
        assert "error: Kaggle does not know a submission" in done.err
        listed = json.loads(done.out)["submissions"]
        assert sorted(entry["status"] for entry in listed if entry["ref"]) == [
            "complete",
            "pending",
        ]
        pcam("submissions", "--refresh").ok()
        assert [entry["status"] for entry in entries(project)] == ["complete", "complete"]

    def test_refused_credentials_end_it_at_once(self, pcam: Submit, kaggle: Loopback) -> None:
        for name in ("tiny0", "tiny1"):
            pcam("submit", f"submissions/{name}.csv", "--no-wait").ok()
        kaggle.users.clear()
        before = len(kaggle.requests)
        pcam("submissions", "--refresh").refused(7, "credentials")
        assert len(kaggle.requests) == before + 1


class TestWithoutAStore:
    @pytest.fixture
    def bare(self, project: Project) -> Project:
        """Only a profile and a CSV."""
        shutil.rmtree(project.path / "data")
        shutil.copy(project.path / CSV, project.path / "mine.csv")
        shutil.rmtree(project.path / "submissions")
        return project

    def test_says_what_is_enough(self, bare: Project) -> None:
        done = bare.quick("submit", "mine.csv", "--competition", "tiny", "--dry-run")
        done.refused(3, "data/tiny/store", "pcam fetch tiny --only sample_submission.csv")

    @pytest.mark.parametrize("place", ["sample_submission.csv", "deep/er/sampleSubmission.csv"])
    def test_a_sample_submission_is(self, bare: Project, pcam: Submit, place: str) -> None:
        sample = bare.path / "data" / "tiny" / "raw" / place
        sample.parent.mkdir(parents=True)
        sample.write_text(
            "id,class\r\n" + "".join(f"{i},0\r\n" for i in range(60)), encoding="utf-8"
        )
        done = pcam("submit", "mine.csv", "--competition", "tiny", "--json")
        assert done.json["status"] == "complete"
        assert f"checked against data/tiny/raw/{place}" in done.err
        (bare.path / "mine.csv").write_text(
            (bare.path / "mine.csv").read_text(encoding="utf-8").replace("\n7,", "\n7000,"),
            encoding="utf-8",
        )
        pcam("submit", "mine.csv", "--competition", "tiny").refused(
            6, "line 9: id '7000' is not a test id", "missing: id '7'"
        )
        sample.write_text("id,label\n0,0\n", encoding="utf-8")
        pcam("submit", "mine.csv", "--competition", "tiny").refused(
            3, "no column class", "id,label"
        )

    def test_the_same_csv_again_needs_no_competition(self, bare: Project, pcam: Submit) -> None:
        sample = bare.path / "data" / "tiny" / "raw" / "sample_submission.csv"
        sample.parent.mkdir(parents=True)
        shutil.copy(bare.path / "mine.csv", sample)
        pcam("submit", "mine.csv", "--competition", "tiny", "--no-wait").ok()
        assert pcam("submit", "mine.csv", "--json").json["status"] == "complete"

    def test_a_damaged_store_is_not_passed_over(self, project: Project) -> None:
        raw = project.path / "data" / "tiny" / "raw"
        raw.mkdir(exist_ok=True)
        shutil.copy(project.path / CSV, raw / "sample_submission.csv")
        (project.path / "data" / "tiny" / "store" / "index.npz").unlink()
        done = project.quick("submit", CSV, "--competition", "tiny", "--dry-run").refused(
            3, "data/tiny/store"
        )
        assert "--only" not in done.err


class TestTerminal:
    @pytest.mark.parametrize("redirection", ["<&-", "<&- 2>&-"])
    def test_closed_streams_are_no_terminal(
        self, project: Project, account: dict[str, str], served: Competition, redirection: str
    ) -> None:
        args = command("submit", CSV, "--json")
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *args],
            cwd=project.path,
            env=account,
            capture_output=True,
            text=True,
            timeout=120,
            encoding="utf-8",
        )
        assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "complete"), done.stderr
        assert "Traceback" not in done.stderr

    def test_absent_and_closed_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = io.StringIO()
        closed.close()
        for stream in (None, closed):
            monkeypatch.setattr(sys, "stdin", stream)
            assert ask("Send it?")

    @pytest.mark.parametrize(("answer", "sent"), [("y\n", 1), ("\n", 0), ("\x04", 0)])
    def test_asks_on_a_terminal(
        self, project: Project, account: dict[str, str], served: Competition, answer: str, sent: int
    ) -> None:
        code, out = on_terminal(project, account, answer, "submit", CSV)
        assert "Send tiny0.csv to Tiny tissue? (5 submissions left today) [y/N]" in out
        assert code == (0 if sent else 130)
        assert len(served.submissions) == sent


def on_terminal(
    project: Project, env: dict[str, str], typed: str, *args: str, columns: int = 100
) -> tuple[int, str]:
    """Exit code of a command on a terminal, and all it showed there."""
    leader, follower = pty.openpty()
    os.write(leader, typed.encode())
    env = {name: value for name, value in env.items() if name != "COLUMNS"} | {
        "COLUMNS": str(columns),
        "TERM": "xterm",
    }
    process = subprocess.Popen(
        command(*args), cwd=project.path, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
    os.close(leader)
    return process.wait(60), re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


class TestList:
    @pytest.fixture
    def listed(self, project: Project) -> Project:
        """Made by hand: a scored ensemble, one that could not be scored, and CSVs that were never
        sent.
        """
        times = iter(range(100))

        def line(event: str, **values: Any) -> str:
            time = f"2026-11-23T01:02:{next(times):02d}.000+00:00"
            return json.dumps({"schema_version": 1, "event": event, "time": time, **values}) + "\n"

        scores = {
            "valid_auc": 0.95,
            "valid_accuracy": 0.9123,
            "valid_score": 0.9123,
            "valid_low": 0.9,
            "valid_high": 0.92,
        }
        runs = ["20261123T010203-a-config-with-a-long-name-12ab", "20261123T010203-lab-34cd"]
        made = {
            "runs": runs,
            "configs": ["a-config-with-a-long-name", "lab"],
            "commit": "0123456789abcdef",
            "tta": "d4",
            **scores,
        }
        long = "a message, with a comma and\na second line, that goes on " + "and on " * 20
        base = {"csv": "ensemble.csv", "sha256": "e" * 64, "competition": "tiny"}
        with open(project.path / "submissions" / "ledger.jsonl", "a", encoding="utf-8") as ledger:
            ledger.write(line("written", rows=60, **base, **made))
            ledger.write(
                line("intent", id="1", message=long, file_name="ensemble.csv", alike=[], **base)
            )
            ledger.write(line("sent", id="1", ref=40000012))
            ledger.write(
                line(
                    "scored",
                    id="1",
                    status="complete",
                    public_score=0.8911,
                    private_score=0.88,
                    error=None,
                )
            )
            ledger.write(
                line(
                    "intent",
                    id="2",
                    message="bad",
                    file_name="b.csv",
                    csv="b.csv",
                    sha256="b" * 64,
                    competition="tiny",
                )
            )
            ledger.write(line("sent", id="2", ref=40000013))
            ledger.write(
                line(
                    "scored",
                    id="2",
                    status="error",
                    public_score=None,
                    private_score=None,
                    error="no such id",
                )
            )
        return project

    def test_in_a_pipe_each_has_a_line_and_nothing_is_cut(self, listed: Project) -> None:
        head, first, *rest = listed.quick("submissions").ok().out.splitlines()
        assert (
            " ".join(head.split())
            == "ref status validation public private gap runs config commit time (UTC) "
            "competition CSV message"
        )
        cells = (
            "40000012 complete 0.9123 0.8911 0.8800 -0.0212 12ab,34cd "
            "a-config-with-a-long-name,lab 01234567"
        )
        assert " ".join(first.split()).startswith(cells)
        assert first.endswith(
            "2026-11-23 01:02  tiny         ensemble.csv  a message, with a comma and a second "
            "line, that goes on" + " and on" * 20
        )
        assert len(rest) == 4
        (bad,) = [line for line in rest if "40000013" in line]
        assert bad.endswith("b.csv         bad; error: no such id")
        assert bad.split()[2:9] == ["-"] * 7

    def test_on_a_terminal_all_fits_into_100_columns(self, listed: Project) -> None:
        code, out = on_terminal(listed, listed.env, "", "submissions")
        assert code == 0
        assert 90 < max(map(len, out.splitlines())) <= 100, out
        text = " ".join(out.split())
        assert (
            "40000012 complete 0.9123 0.8911 0.8800 -0.0212 12ab,34cd a-config-with-a… 01234567 "
            "2026-11-23 01:02 tiny ensemble.csv" in text
        )
        assert "a message, with a comma and a second line, that goes on" + " and on" * 20 in text
        assert "bad; error: no such id" in text

    def test_csv(self, listed: Project) -> None:
        rows = list(csv.DictReader(io.StringIO(listed.quick("submissions", "--csv").ok().out)))
        assert len(rows) == 5
        first = rows[0]
        assert list(first)[:9] == [
            "competition",
            "ref",
            "status",
            "valid_score",
            "valid_low",
            "valid_high",
            "public_score",
            "private_score",
            "gap",
        ]
        assert (first["ref"], first["gap"], first["configs"]) == (
            "40000012",
            "-0.0212",
            "a-config-with-a-long-name;lab",
        )
        assert (
            first["runs"]
            == "20261123T010203-a-config-with-a-long-name-12ab;20261123T010203-lab-34cd"
        )
        assert "\n" in first["message"]
        as_json = listed.quick("submissions", "--json").json["submissions"]
        assert set(first) <= set(as_json[0])
        assert (as_json[0]["gap"], as_json[1]["gap"]) == (-0.0212, None)
        listed.quick("submissions", "--csv", "--json").refused(2, "--csv", "--json")

    def test_csv_of_nothing_is_a_header(self, project: Project) -> None:
        out = project.quick("submissions", "--csv", "--submissions-dir", "none").ok().out
        assert out.startswith("competition,ref,status,")
        assert out.count("\n") == 1
