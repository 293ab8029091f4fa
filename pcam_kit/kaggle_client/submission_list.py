"""Finds a submission in Kaggle's list, when the answer with its number was lost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pcam_kit.downloads import retry
from pcam_kit.errors import KaggleError
from pcam_kit.kaggle_client.refusals import Subject, one_line
from pcam_kit.kaggle_client.request import Request
from pcam_kit.kaggle_client.session import list_items

# characters; a shorter beginning of a message is taken for another message, not for a cut one
SHORTEST_CUT = 16
LONGEST_PAUSE = 5.0  # seconds between two requests for the list


@dataclass(frozen=True)
class LostSubmission:
    """What is known of a submission without a number, to find it in the list of submissions.

    earlier: the numbers of those that Kaggle listed before it was sent and that match it, so that
    neither clocks nor the order of numbers matter; None where unknown. claimed: the numbers of
    other submissions that are known. size: in bytes, 0 where unknown.
    """

    slug: str
    file_name: str
    message: str
    earlier: frozenset[int] | None
    claimed: frozenset[int] = frozenset()
    size: int = 0

    def match_level(self, answer: Any) -> int:
        """How well a submission in the list matches: 0 not at all, 1 possibly, 2 with its message.

        What Kaggle leaves out, trims, cuts off or writes in another case is no contradiction:
        better to take another's submission for ours, which then shows a wrong score, than to send
        ours twice.
        """
        if submission_number(answer) in self.claimed | (self.earlier or frozenset()):
            return 0
        name = PurePosixPath(str(answer.file_name or self.file_name)).name
        if name.casefold() != self.file_name.casefold():
            return 0
        size: object = getattr(answer, "total_bytes", 0)
        if isinstance(size, int) and 0 < size != self.size > 0:
            return 0
        listed, message = one_line(str(answer.description or "")), one_line(self.message)
        if listed == message:
            return 2
        if not listed:
            return 1
        beginning = listed.removesuffix("...").rstrip()
        is_cut = len(beginning) >= SHORTEST_CUT and message.startswith(beginning)
        return 1 if is_cut else 0


def matching_submissions(slug: str, file_name: str, message: str) -> frozenset[int]:
    """The numbers of the submissions so far with this name and message.

    The submission that is sent next is none of them. Raises KaggleError.
    """
    lost = LostSubmission(slug, file_name, message, None)
    return frozenset(
        submission_number(answer) for answer in _listed(slug) if lost.match_level(answer) > 0
    )


def find_submission(lost: LostSubmission, *, attempts: int = 1, seconds: float = 0.0) -> int | None:
    """The number of a lost submission; None when the list does not show it.

    The list is requested at least `attempts` times, and for at least `seconds`. Of several that
    match, those with the same message come first, and of these the oldest. Where the earlier ones
    are unknown it is the newest, as any old one could match. Raises KaggleError.
    """
    deadline = time.monotonic() + seconds
    for attempt in itertools.count(1):
        candidates = [
            (lost.match_level(answer), submission_number(answer)) for answer in _listed(lost.slug)
        ]
        best = max((level for level, _ in candidates), default=0)
        if best > 0:
            numbers = [number for level, number in candidates if level == best]
            return max(numbers) if lost.earlier is None else min(numbers)
        remaining = deadline - time.monotonic()
        if attempt < attempts:
            pause = min(retry.backoff(attempt + 1), LONGEST_PAUSE)
        elif remaining > 0:
            pause = max(0.01, min(remaining, LONGEST_PAUSE))
        else:
            return None
        time.sleep(pause)
    raise AssertionError("counted to the end")


def submission_number(answer: Any) -> int:
    """The number in Kaggle's answer. Raises KaggleError when it is none."""
    if not isinstance(answer.ref, int):
        raise KaggleError(
            f"Kaggle reports a submission number that is none: {answer.ref!r}",
            hint="pip install --upgrade kaggle",
        )
    return answer.ref


def _listed(slug: str) -> Iterator[Any]:
    request = Request("list_submissions", "ApiListSubmissionsRequest", {"competition_name": slug})
    about = Subject(f"list the submissions to {slug}", f"the competition {slug}", slug)
    return list_items(request, "submissions", about)
