"""SIGKILL and Ctrl-C between any two steps of a submission: the same command, given again, ends as
if nothing had happened, sent once.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Project, Started
from loopback import Competition, Loopback

CSV = "submissions/tiny0.csv"
FOREVER = 60.0  # seconds; longer than a test waits for anything
LATER = 1.0  # seconds after which a request that was under way is done although its sender is dead
POLL = {"pcam_kit.workflows.outcomes.FIRST_POLL": 0.01}
PATIENTLY = {
    "set": POLL
    | {
        "pcam_kit.workflows.outcomes.LISTING_DELAY": 10.0,
        "pcam_kit.kaggle_client.submission_list.LONGEST_PAUSE": 0.5,
    }
}
QUICKLY = {"set": POLL | {"pcam_kit.downloads.retry.FIRST_DELAY": 0.002}}


@dataclass(frozen=True)
class Moment:
    """Where the command is when it is stopped: its request `what` hangs.

    `events`: what the ledger holds of the submission then.
    """

    what: str
    how: dict[str, float]
    events: list[str]
    asks: bool = False  # the next command: nobody can know that it did not arrive
    arrived: bool = False  # the submission, at Kaggle
    then: str = ""  # what the next command says on its way


MOMENTS = {
    "before the intent": Moment("GetSubmissionLimits", {"wait": FOREVER}, []),
    "before the intent, reading the list": Moment("ListSubmissions", {"wait": FOREVER}, []),
    "before the upload": Moment(
        "StartSubmissionUpload", {"wait": FOREVER}, ["intent"], then="it never arrived"
    ),
    "during the upload": Moment("upload", {"wait": FOREVER}, ["intent"], then="it never arrived"),
    "before it arrives": Moment(
        "CreateSubmission", {"wait": FOREVER}, ["intent", "submitting"], asks=True
    ),
    "on its way": Moment(
        "CreateSubmission", {"wait": LATER}, ["intent", "submitting"], then="it had arrived"
    ),
    "before its answer": Moment(
        "CreateSubmission",
        {"late": FOREVER},
        ["intent", "submitting"],
        arrived=True,
        then="it had arrived",
    ),
    "before its score": Moment(
        "GetSubmission",
        {"wait": FOREVER},
        ["intent", "submitting", "sent"],
        arrived=True,
        then="going on with that",
    ),
    "before its score comes": Moment(
        "GetSubmission",
        {"late": FOREVER},
        ["intent", "submitting", "sent"],
        arrived=True,
        then="going on with that",
    ),
}


@pytest.fixture
def served(project: Project, kaggle: Loopback, tmp_path: Path) -> Competition:
    solution = tmp_path / "solution.csv"
    solution.write_text(
        "id,class\n" + "".join(f"{i},{i % 2}\n" for i in range(60)), encoding="utf-8"
    )
    return kaggle.serve("tiny", project.path / "configs", solution, pending_polls=0)


def events(project: Project) -> list[str]:
    """Of submissions, in the ledger's own order."""
    lines = (
        json.loads(line)
        for line in (project.path / "submissions" / "ledger.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    return [line["event"] for line in lines if line["event"] != "written"]


def wait_until(done: Callable[[], Any], started: Started) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, started.output.with_suffix(".err").read_text(
            encoding="utf-8"
        )
        time.sleep(0.005)


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGKILL, ()), (signal.SIGINT, ("--again",))],
    ids=["SIGKILL", "Ctrl-C, --again"],
)
def test_stopped_and_given_again(
    project: Project,
    kaggle: Loopback,
    account: dict[str, str],
    served: Competition,
    moment: Moment,
    number: signal.Signals,
    again: tuple[str, ...],
) -> None:
    warm = project.warm
    assert warm is not None
    args = ("submit", CSV, "--json", *again)
    kaggle.fail(moment.what, **moment.how)
    started = warm.start(args, project.path, account, QUICKLY)
    wait_until(
        lambda: kaggle.seen(moment.what) and (served.submissions or not moment.arrived), started
    )
    started.kill(number)
    stopped = started.wait(20)
    if number == signal.SIGINT:
        stopped.refused(130, "stopped", "run the same command again")
    else:
        assert stopped.code == -signal.SIGKILL
    assert events(project) == moment.events
    assert len(served.submissions) == moment.arrived
    hook = PATIENTLY if LATER in moment.how.values() else QUICKLY
    if moment.asks:
        unasked = tuple(name for name in args if name != "--again")
        asked = warm.start(unasked, project.path, account, hook).wait(30)
        asked.refused(7, "may have been submitted", "pcam submit --again")
        assert served.submissions == []
        args = (*unasked, "--again")
    done = warm.start(args, project.path, account, hook).wait(30)
    assert done.json["status"] == "complete", done.err
    assert moment.then in done.err
    (submission,) = served.submissions
    assert done.json["ref"] == submission["ref"]
    listed = [
        entry
        for entry in project.quick("submissions", "--json").json["submissions"]
        if entry["ref"] is not None
    ]
    assert [(entry["ref"], entry["status"], entry["csv"]) for entry in listed] == [
        (submission["ref"], "complete", CSV)
    ]


@pytest.mark.parametrize("name", ["before its answer", "before its score"])
def test_stopped_and_cleared_up_by_refresh(
    project: Project, kaggle: Loopback, account: dict[str, str], served: Competition, name: str
) -> None:
    warm, moment = project.warm, MOMENTS[name]
    assert warm is not None
    kaggle.fail(moment.what, **moment.how)
    started = warm.start(("submit", CSV), project.path, account, QUICKLY)
    wait_until(lambda: kaggle.seen(moment.what) and served.submissions, started)
    started.kill(signal.SIGKILL)
    started.wait(20)
    listed = (
        warm.start(("submissions", "--refresh", "--json"), project.path, account, QUICKLY)
        .wait(30)
        .json["submissions"]
    )
    assert [
        entry["status"] for entry in listed if entry["ref"] == served.submissions[0]["ref"]
    ] == ["complete"]
    warm.start(("submit", CSV), project.path, account, QUICKLY).wait(30).refused(
        6, "public score", "--again"
    )
    assert len(served.submissions) == 1


def test_two_processes_follow_the_same_submission(
    project: Project, kaggle: Loopback, account: dict[str, str], served: Competition
) -> None:
    """The lock is held only while one is sent: the second process waits with the first."""
    warm = project.warm
    assert warm is not None
    served.pending_polls = 1
    args = ("submit", CSV, "--json")
    hook = {"set": {"pcam_kit.workflows.outcomes.FIRST_POLL": 1.0}}
    first = warm.start(args, project.path, account, hook)
    wait_until(lambda: kaggle.seen("GetSubmission"), first)
    second = warm.run(args, project.path, account, QUICKLY)
    assert second.json == first.wait(20).json
    assert len(served.submissions) == 1
