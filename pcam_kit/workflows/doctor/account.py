"""Kaggle: the credentials in use, whether Kaggle accepts them, rules, clock, submissions left.

Everything that uses the network runs in another process, which is ended after some seconds: looking
up a name cannot be given a timeout, and importing the official client already signs in.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from pcam_kit import downloads, kaggle_client
from pcam_kit.errors import AccessError, CredentialsError, KaggleError
from pcam_kit.formatting import duration
from pcam_kit.kaggle_client import CompetitionState
from pcam_kit.workflows.doctor import Check, CheckStatus, ProcessResult, background_python
from pcam_kit.workflows.doctor.files import Subject

KAGGLE_SECONDS = 18.0  # for all questions together, starting the process included
CONNECT, READ = 5.0, 8.0  # seconds, for each request
CLOCK = 300.0  # seconds that a clock may be off
KAGGLE_CODE = "from pcam_kit.workflows.doctor.account import main; main()"


def credentials(subject: Subject) -> Iterator[Check]:
    """Which credentials are used, which they hide, and who may read them; without the network."""
    used, *hidden = [*kaggle_client.find_sources()] or [""]
    if used:
        text = f"{used} is used"
        if hidden:
            text += f"; it hides {' and '.join(hidden)}"
        yield Check("credentials", "ok", text)
        for fault in kaggle_client.find_faults():
            yield Check("credentials", "warning", fault.text, fault.fix)
    else:
        try:
            kaggle_client.credentials_source()
        except CredentialsError as error:
            text = f"{error.message}; only pcam fetch from Kaggle and pcam submit need them"
            yield Check("credentials", subject.severity, text, error.hint)
    for path in kaggle_client.exposed_files():
        shown = kaggle_client.display_path(path)
        # the shell expands ~ only without quotes
        name = shown if shlex.quote(shown[1:]) == shown[1:] else shlex.quote(str(path))
        yield Check(
            "credentials",
            "warning",
            f"others on this machine may read {shown}",
            f"chmod 600 {name}",
        )


@contextmanager
def kaggle_checks(
    subject: Subject, *, offline: bool, seconds: float = KAGGLE_SECONDS
) -> Generator[Callable[[], Iterator[Check]]]:
    """Ask Kaggle in another process while the block runs.

    The yielded function waits for the answers, at most until `seconds` after the start, and returns
    the checks.
    """
    if offline:
        yield lambda: iter([Check("kaggle", "ok", "not asked (--offline)")])
        return
    if not [*kaggle_client.find_sources()]:
        yield lambda: iter([Check("kaggle", "ok", "not asked, for lack of credentials")])
        return
    missing = [folder for folder in kaggle_client.key_file().parents if not folder.exists()]
    arguments = (subject.kaggle_slug, subject.severity)
    try:
        with background_python(KAGGLE_CODE, *arguments, seconds=seconds) as wait:
            yield lambda: _answers(wait, subject, seconds)
    finally:
        # the official client makes the folder that a kaggle.json would lie in
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


def main() -> None:
    """The other process: asks Kaggle and prints each check as a line of JSON once it is known.

    Arguments: the slug or "", and the severity of a failure.
    """
    slug, severity = sys.argv[1:]
    for check in ask(slug, "problem" if severity == "problem" else "warning"):
        print(json.dumps(asdict(check)), flush=True)


def ask(slug: str, severity: CheckStatus) -> Iterator[Check]:
    """Ask Kaggle about a competition; without a slug, only whether it accepts the credentials.

    `severity`: the status when Kaggle cannot be used.
    """
    with downloads.probe(CONNECT, READ) as probe:
        state = None
        try:
            if slug:
                state = kaggle_client.competition_state(slug)
            else:
                kaggle_client.sign_in()
        except CredentialsError as error:
            yield Check("kaggle", "problem", error.message, error.hint)
        except AccessError as error:
            yield Check("kaggle", "ok", "answers and takes the credentials")
            yield Check("rules", severity, error.message, error.hint)
        except KaggleError as error:
            yield Check("kaggle", severity, error.message, error.hint)
        else:
            yield Check("kaggle", "ok", "answers and takes the credentials")
        if probe.clock is not None and abs(probe.clock) > CLOCK:
            yield _clock(probe.clock)
        if state is not None:
            yield from _competition(slug, state, severity)


def _clock(behind: float) -> Check:
    """A clock that is wrong; `behind`: seconds, negative for a clock that is ahead."""
    direction = "behind" if behind > 0 else "ahead of"
    text = (
        f"this machine's clock is {duration(abs(behind))} {direction} Kaggle's; TLS "
        "and daily limits go by the right time"
    )
    return Check("clock", "warning", text, "set the clock, e.g. sudo timedatectl set-ntp true")


def _competition(slug: str, state: CompetitionState, severity: CheckStatus) -> Iterator[Check]:
    """Are the rules accepted, and if so, how many submissions are left?"""
    try:
        # Kaggle does not report for every competition that the user has entered it
        accepted = state.entered or kaggle_client.may_download(slug)
    except KaggleError as error:
        yield Check("rules", "warning", error.message, error.hint)
        return
    url = _url(slug)
    if not accepted:
        text = f"the rules of {slug} are not accepted yet"
        yield Check("rules", severity, text, f"accept them at {url}/rules")
        return
    text = f"the rules of {slug} are accepted"
    if state.deadline is not None:
        verb = "was" if state.over else "is"
        text += f"; its deadline {verb} {state.deadline:%Y-%m-%d %H:%M} UTC"
    yield Check("rules", "ok", text)
    yield _limit(slug, state)


def _limit(slug: str, state: CompetitionState) -> Check:
    """How many submissions may still be sent today?"""
    url = _url(slug)
    if state.submissions_disabled:
        return Check("limit", "warning", f"{slug} takes no submissions now", f"see {url}")
    if state.notebooks_only:
        return Check(
            "limit",
            "warning",
            f"{slug} takes notebooks only: pcam submit cannot send a CSV there",
            f"see {url}/overview",
        )
    try:
        limits = kaggle_client.submission_limits(slug)
    except KaggleError as error:
        return Check("limit", "warning", error.message, error.hint)
    count = f"{limits.today} of {state.daily_limit}" if state.daily_limit else f"{limits.today}"
    if limits.allowed_now > 0:
        return Check("limit", "ok", f"{limits.allowed_now} submissions left today ({count} made)")
    if limits.limited_by_total:
        text = f"no submissions left at all ({limits.total} made in the whole competition)"
        return Check("limit", "warning", text, f"see {url}/submissions")
    return Check(
        "limit",
        "warning",
        f"no submissions left today ({count} made)",
        f"the count starts again at 00:00 UTC, in {duration(limits.reset_in)}; "
        f"see {url}/submissions",
    )


def _url(slug: str) -> str:
    return f"https://www.kaggle.com/competitions/{slug}"


def _answers(
    wait: Callable[[], ProcessResult], subject: Subject, seconds: float
) -> Iterator[Check]:
    """The checks that the other process printed, and whether it ended in time.

    Raises RuntimeError, with its stderr as a note, when it failed.
    """
    try:
        process = wait()
    except subprocess.TimeoutExpired as error:
        output = error.output or b""
        yield from _parsed(
            output.decode("utf-8", "replace") if isinstance(output, bytes) else output
        )
        fix = (
            "check the connection and the proxy settings (http_proxy, https_proxy), then run "
            "the same command again"
        )
        text = f"no answer from Kaggle within {seconds:.0f} s"
        yield Check("kaggle", subject.severity, text, fix)
        return
    if process.exit_code != 0:
        lines = [line.strip() for line in process.stderr.splitlines() if line.strip()]
        failure = RuntimeError(lines[-1] if lines else f"exit code {process.exit_code}")
        failure.add_note(process.stderr)  # for --debug
        raise failure
    yield from _parsed(process.stdout)


def _parsed(output: str) -> Iterator[Check]:
    """The checks in the output of `main`; a last line that is not complete is left out."""
    for line in output.splitlines(keepends=True):
        if line.endswith("\n"):
            yield Check(**json.loads(line))
