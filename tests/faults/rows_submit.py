"""Faults of a submission. The CSV is right in 36 of 40 rows."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

from acts import fails
from loopback import ALWAYS
from rows import FINE, Act, Ends, Row, nothing
from rows_disk import SEED, lines
from world import World

UPLOAD, CREATE, GET, LIST = "upload", "CreateSubmission", "GetSubmission", "ListSubmissions"
ASKS = 7  # the exit code of the same command again: only --again sends it
UNKNOWN = Ends(7, ("lost",), again=ASKS)
TIMEOUT = {"pcam_kit.downloads.http.READ_TIMEOUT": 0.6}
KILLS, KILLS_IN_CHECK = 10, 2


def row(id: str, fault: str, arrange: Act = nothing, ends: Ends = FINE, **more: Any) -> Row:
    return Row(id, "submissions", fault, arrange, ends, "submit", **more)


def limit(world: World) -> None:
    world.competition.daily_limit = 0


def next_day(world: World) -> None:
    world.competition.daily_limit = 5


def bad_csv(world: World) -> None:
    """The scorer does not like what the check here lets through."""
    world.kaggle._competitions[world.slug].solution = None


def never_scored(world: World) -> None:
    world.competition.pending_polls = ALWAYS


def scored(world: World) -> None:
    world.competition.pending_polls = 0
    for submission in world.submissions():
        submission["_pending"] = 0


def refuse_rules(world: World) -> None:
    world.competition.rules_accepted = False


def accept_rules(world: World) -> None:
    world.competition.rules_accepted = True


def clock(seconds: float) -> Act:
    """Kaggle's clock is wrong, or ours; and the answer is lost, so that the list must tell."""

    def act(world: World) -> None:
        world.kaggle.clock = seconds
        world.kaggle.fail(CREATE, lost=True)

    return act


def one_before(world: World) -> None:
    """The same file with the same message was submitted before, from elsewhere, and ours does not
    arrive.
    """
    data = (world.here / "mine.csv").read_bytes()
    world.kaggle._uploads["/upload/before"] = ("mine.csv", len(data), data)
    world.kaggle.api(
        CREATE,
        {
            "competitionName": world.slug,
            "blobFileTokens": "before",
            "submissionDescription": "pcam-kit",
        },
    )
    world.kaggle.fail(CREATE, reset=True)


def lost(**of_the_list: Any) -> Act:
    """The submission arrives and its answer does not; the list, read once before, has a fault of
    its own when it is read to find out.
    """

    def act(world: World) -> None:
        world.kaggle.fail(CREATE, lost=True)
        world.kaggle.fail(LIST, skip=1, **of_the_list)

    return act


def two_submits(world: World, _: bool) -> tuple[str, str, str]:
    args = ("submit", "mine.csv", "--competition", world.slug)
    world.kaggle.fail(UPLOAD, until=lambda: "refused" in world.marks)
    first = world.start(args)
    while not world.kaggle.seen(UPLOAD):
        time.sleep(0.01)
    second = world.run(args).refused(8, "another process is submitting")
    world.marks["refused"] = 1
    first.wait().ok()
    assert len(world.submissions()) == 1
    left = world.record()
    again = world.run(args).refused(6, "--again")
    assert len(world.submissions()) == 1
    assert "these bytes were submitted" in again.err
    sees = f"the first: exit 0<br>the second: exit 8<br>{lines(world, second.err)}"
    return sees, left, f"exit 6<br>these bytes were submitted already<br>{world.record()}"


def killed(world: World, full: bool) -> tuple[str, str, str]:
    """Killed at seeded moments; the next command sends it if it had not arrived, and only then."""
    args = ("submit", "mine.csv", "--competition", world.slug)
    world.competition.daily_limit = 100

    def clear() -> None:
        world.ledger.unlink(missing_ok=True)
        world.submissions().clear()

    longest = float("inf")
    for _ in range(2):
        clear()
        began = time.monotonic()
        world.run(args).ok()
        longest = min(longest, time.monotonic() - began)
    dice, times, hits = random.Random(SEED), KILLS if full else KILLS_IN_CHECK, 0
    for i in range(times):
        clear()
        started = world.start(args)
        time.sleep(longest * (i + dice.random()) / times)
        started.kill(signal.SIGKILL)
        done = started.wait()
        hits += done.code != 0
        before = world.ledger.read_bytes() if world.ledger.is_file() else b""
        again = world.run(args)
        assert again.code == 0 or "--again" in again.err, again.err
        if "may have been submitted" in again.err and not world.submissions():
            world.run((*args, "--again")).ok()  # killed just before it arrived
        assert len(world.submissions()) == 1, (
            f"{len(world.submissions())} submissions after a kill at {i} of {times}"
        )
        assert world.ledger.read_bytes().startswith(before)
        world.check_secrets(done.err, again.err)
    assert hits >= times / 3, "the kills came too late to mean anything"
    return (
        "killed",
        "in the ledger before it is at Kaggle",
        "exit 0 (or 6: sent and scored already); at Kaggle: 1",
    )


ROWS = [
    row("upload-400", "the upload is refused (400), once", fails(UPLOAD, status=400, body=b"")),
    row(
        "upload-400-always",
        "the upload is refused (400), always",
        fails(UPLOAD, status=400, body=b"", times=ALWAYS),
        Ends(7, ("refused",)),
    ),
    row("upload-503", "the upload meets 503, once", fails(UPLOAD, status=503, body=b"")),
    row(
        "upload-cut", "connection reset before the upload's last byte, once", fails(UPLOAD, cut=100)
    ),
    row(
        "upload-cut-always",
        "connection reset before the upload's last byte, always",
        fails(UPLOAD, cut=100, times=ALWAYS),
        Ends(7),
    ),
    row(
        "upload-lost",
        "connection reset after the upload's last byte, once",
        fails(UPLOAD, lost=True),
    ),
    row("upload-silent", "no answer to the upload, once", fails(UPLOAD, wait=3.0), set=TIMEOUT),
    row(
        "start-503",
        "503 to the request for an upload address, once",
        fails("StartSubmissionUpload", status=503),
    ),
    row(
        "create-late",
        "the submission arrives, its answer does not in time",
        fails(CREATE, late=3.0),
        set=TIMEOUT,
    ),
    row(
        "create-lost",
        "the submission arrives, then the connection is reset",
        fails(CREATE, lost=True),
    ),
    row(
        "create-never",
        "the submission does not arrive, and there is no answer in time",
        fails(CREATE, wait=3.0, reset=True),
        UNKNOWN,
        set=TIMEOUT,
    ),
    row(
        "create-reset",
        "connection reset before the submission arrives",
        fails(CREATE, reset=True),
        UNKNOWN,
    ),
    row(
        "create-500",
        "500 to the submission, which does not arrive",
        fails(CREATE, status=500, message="Internal error"),
        UNKNOWN,
    ),
    row(
        "create-page",
        "the submission arrives, a page comes instead of its answer",
        fails(CREATE, instead=b"<html>Log in</html>"),
    ),
    row(
        "create-lost-list",
        "the submission arrives, its answer is lost, and the list cannot be had",
        lost(status=503, message="Unavailable", times=ALWAYS),
        Ends(7, ("cannot be read",)),
    ),
    row(
        "create-lost-twin",
        "its answer is lost, and the list does not show it yet",
        lost(times=2, body=b'{"submissions": []}'),
    ),
    row(
        "create-before",
        "the same file was sent before from elsewhere; ours does not arrive",
        one_before,
        UNKNOWN,
        before=1,
    ),
    row(
        "ref-0",
        "an answer with ref 0, and no submission",
        fails(CREATE, zero_ref=True),
        Ends(7, ("no number",), again=ASKS),
    ),
    row("limit", "no submission is left today", limit, Ends(6, ("left today",)), mend=next_day),
    row(
        "limit-meanwhile",
        "the last submission of today is used up meanwhile by someone else",
        fails(
            CREATE,
            status=400,
            message="Submission not allowed: Your team has used its daily Submission allowance "
            "(5) today",
        ),
        Ends(7, ("allowance",)),
    ),
    row(
        "submit-rules",
        "403: the rules are not accepted",
        refuse_rules,
        Ends(7, ("rules",)),
        mend=accept_rules,
    ),
    row(
        "status-word",
        "a status that nobody knows",
        fails(GET, patch={"status": "RESCORING"}, times=ALWAYS),
        Ends(7),
    ),
    row(
        "score-word",
        "a score that is no number",
        fails(GET, patch={"status": "COMPLETE", "publicScore": "n/a"}, times=ALWAYS),
        Ends(7, ("no number",)),
    ),
    row(
        "scored-error",
        "Kaggle cannot score it, and says why",
        bad_csv,
        Ends(6, ("does not score submissions",), again=6),
    ),
    row(
        "never",
        "the score does not come in time",
        never_scored,
        args=("--timeout", "0.1"),
        mend=scored,
    ),
    row(
        "poll-503",
        "503 to a look at the score, once",
        fails(GET, status=503, message="Unavailable"),
    ),
    row(
        "poll-503-always",
        "503 to every look at the score",
        fails(GET, status=503, message="Unavailable", times=ALWAYS),
        Ends(7, ("Unavailable",)),
    ),
    row(
        "poll-silent",
        "no answer to a look at the score, once",
        fails(GET, wait=3.0, reset=True),
        set=TIMEOUT,
    ),
    row("clock-day", "Kaggle's clock is a day ahead, and the answer is lost", clock(86_400)),
    row(
        "clock-day-behind", "Kaggle's clock is a day behind, and the answer is lost", clock(-86_400)
    ),
    row(
        "ledger-full",
        "the disk is full when the ledger should say that it will be sent",
        ends=Ends(8, ("ledger",)),
        hook={"full": {"below": "submissions", "opens": 1}},
    ),
    row(
        "ledger-full-uploaded",
        "the disk is full when the CSV is uploaded, and should be submitted",
        ends=Ends(8, ("ledger",)),
        hook={"full": {"below": "submissions", "opens": 2}},
    ),
    row(
        "ledger-full-sent",
        "the disk is full when the ledger should say that it was sent",
        ends=Ends(8, ("ledger",)),
        hook={"full": {"below": "submissions", "opens": 3}},
    ),
    row(
        "ledger-full-score",
        "the disk is full when the ledger should tell the score",
        ends=Ends(8, ("ledger",)),
        hook={"full": {"below": "submissions", "opens": 4}},
    ),
    row("kill-submit", f"SIGKILL at {KILLS} seeded moments of a submission", play=killed),
    row("two-submits", "two submits at once", play=two_submits),
]
