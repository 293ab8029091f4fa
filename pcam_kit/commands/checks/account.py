"""Kaggle: which credentials win, whether Kaggle takes them, rules, clock, and submissions left
today.

Everything that uses the network runs in a process of its own that is ended after some seconds:
looking up a name cannot be given a timeout, and importing the official client already signs in.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from pcam_kit import kaggle_client
from pcam_kit.commands.checks import Check, Status, beside
from pcam_kit.commands.checks.files import Subject
from pcam_kit.commands.console import duration
from pcam_kit.errors import AccessError, CredentialsError, KaggleError
from pcam_kit.kaggle_client import CompetitionState

KAGGLE_SECONDS = 18.0  # for all that is asked, starting the process included
CONNECT, READ = 5.0, 8.0  # seconds, for each request
CLOCK = 300.0  # seconds that a clock may be off
ASK = "from pcam_kit.commands.checks.account import main; main()"


def credentials(subject: Subject) -> Iterator[Check]:
    """Which credentials are used, which they hide, and who may read them.

    The network is not needed.
    """
    winner, *hidden = [*kaggle_client.find_sources()] or [""]
    if winner:
        yield Check(
            "credentials",
            "ok",
            f"{winner} is used" + (f"; it hides {' and '.join(hidden)}" if hidden else ""),
        )
    else:
        try:
            kaggle_client.credentials_source()
        except CredentialsError as error:
            text = f"{error.message}; only pcam fetch from Kaggle and pcam submit need them"
            yield Check("credentials", subject.trouble, text, error.hint)
    for path in kaggle_client.exposed_files():
        shown = kaggle_client.shown(path)
        # the shell wants its ~ bare
        name = shown if shlex.quote(shown[1:]) == shown[1:] else shlex.quote(str(path))
        yield Check(
            "credentials",
            "warning",
            f"others on this machine may read {shown}",
            f"chmod 600 {name}",
        )


@contextmanager
def asking_kaggle(
    subject: Subject, *, offline: bool, seconds: float = KAGGLE_SECONDS
) -> Generator[Callable[[], Iterator[Check]]]:
    """Ask Kaggle while the block runs; the result waits for the answers and tells."""
    if offline:
        yield lambda: iter([Check("kaggle", "ok", "not asked (--offline)")])
    elif not [*kaggle_client.find_sources()]:
        yield lambda: iter([Check("kaggle", "ok", "not asked, for lack of credentials")])
    else:
        place = kaggle_client.key_file()
        missing = [folder for folder in place.parents if not folder.exists()]
        try:
            with beside(ASK, subject.kaggle_slug, subject.trouble, seconds=seconds) as ended:
                yield lambda: _answers(ended, subject, seconds)
        finally:
            # the official client makes the folder that a kaggle.json would lie in
            with suppress(OSError):
                for folder in missing:
                    folder.rmdir()


def main() -> None:
    """What the other process does: asks, and prints each line as JSON once known.

    Arguments: the slug or "", how grave a failure is.
    """
    slug, trouble = sys.argv[1:]
    for check in ask(slug, "problem" if trouble == "problem" else "warning"):
        print(json.dumps(asdict(check)), flush=True)


def ask(slug: str, trouble: Status) -> Iterator[Check]:
    """Ask Kaggle about a competition, or only whether it takes the credentials."""
    with kaggle_client.glance(CONNECT, READ) as heard:
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
            yield Check("rules", trouble, error.message, error.hint)
        except KaggleError as error:
            yield Check("kaggle", trouble, error.message, error.hint)
        else:
            yield Check("kaggle", "ok", "answers and takes the credentials")
        if heard.clock is not None and abs(heard.clock) > CLOCK:
            way = "behind" if heard.clock > 0 else "ahead of"
            text = (
                f"this machine's clock is {duration(abs(heard.clock))} {way} Kaggle's; TLS "
                "and daily limits go by the right time"
            )
            yield Check(
                "clock", "warning", text, "set the clock, e.g. sudo timedatectl set-ntp true"
            )
        if state is not None:
            try:
                # the first is not told of every competition
                accepted = state.entered or kaggle_client.may_download(slug)
            except KaggleError as error:
                yield Check("rules", "warning", error.message, error.hint)
                return
            yield _rules(slug, state, trouble, accepted=accepted)
            if accepted:
                yield _left(slug, state)


def _rules(slug: str, state: CompetitionState, trouble: Status, *, accepted: bool) -> Check:
    url = f"https://www.kaggle.com/competitions/{slug}"
    if not accepted:
        return Check(
            "rules",
            trouble,
            f"the rules of {slug} are not accepted yet",
            f"accept them at {url}/rules",
        )
    text = f"the rules of {slug} are accepted"
    if state.deadline is not None:
        text += (
            f"; its deadline {'was' if state.over else 'is'} {state.deadline:%Y-%m-%d %H:%M} UTC"
        )
    return Check("rules", "ok", text)


def _left(slug: str, state: CompetitionState) -> Check:
    """How many submissions may still be made today."""
    url = f"https://www.kaggle.com/competitions/{slug}"
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
    made = f"{limits.today} of {state.daily_limit}" if state.daily_limit else f"{limits.today}"
    if limits.allowed_now > 0:
        return Check("limit", "ok", f"{limits.allowed_now} submissions left today ({made} made)")
    wait = duration(limits.reset_in)
    return Check(
        "limit",
        "warning",
        f"no submissions left today ({made} made)",
        f"the count starts again at 00:00 UTC, in {wait}; see {url}/submissions",
    )


def _answers(
    ended: Callable[[], tuple[int, str, str]], subject: Subject, seconds: float
) -> Iterator[Check]:
    try:
        code, out, err = ended()
    except subprocess.TimeoutExpired as error:
        said = error.output or b""
        yield from _lines(said.decode("utf-8", "replace") if isinstance(said, bytes) else said)
        fix = (
            "check the connection and the proxy settings (http_proxy, https_proxy), then run "
            "the same command again"
        )
        yield Check("kaggle", subject.trouble, f"no answer from Kaggle within {seconds:.0f} s", fix)
        return
    if code != 0:
        lines = [line.strip() for line in err.splitlines() if line.strip()]
        failure = RuntimeError(lines[-1] if lines else f"exit code {code}")
        failure.add_note(err)  # for --debug
        raise failure
    yield from _lines(out)


def _lines(out: str) -> Iterator[Check]:
    """The whole lines of what the other process printed."""
    return (
        Check(**json.loads(line)) for line in out.splitlines(keepends=True) if line.endswith("\n")
    )
