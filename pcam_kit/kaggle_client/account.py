"""The account at Kaggle: whether it is accepted, and what it may do in a competition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from pcam_kit.downloads.retry import with_retries
from pcam_kit.errors import AccessError
from pcam_kit.kaggle_client.downloads import list_files
from pcam_kit.kaggle_client.refusals import Subject
from pcam_kit.kaggle_client.request import Request
from pcam_kit.kaggle_client.session import call, call_once


@dataclass(frozen=True)
class CompetitionState:
    """A competition as the account sees it.

    entered: its rules are accepted. daily_limit: submissions a day, 0 when Kaggle does not report
    it. notebooks_only: it accepts the output of a notebook on Kaggle, not an uploaded file.
    """

    entered: bool
    deadline: datetime | None
    daily_limit: int
    submissions_disabled: bool
    notebooks_only: bool

    @property
    def over(self) -> bool:
        """Has its deadline passed?"""
        return self.deadline is not None and self.deadline < datetime.now(UTC)

    def why_closed(self, slug: str) -> str:
        """Why it takes no CSV from this account, whatever the counts say; "" when it should."""
        if self.submissions_disabled:
            return f"{slug} takes none now"
        if self.notebooks_only:
            return f"{slug} takes notebooks only, and no CSV"
        if self.over and self.deadline is not None:
            return f"{slug} is over, its deadline was {self.deadline:%Y-%m-%d %H:%M} UTC"
        if not self.entered:
            return f"you have not joined {slug}, or not accepted its rules"
        return ""


def competition_state(slug: str) -> CompetitionState:
    """Ask Kaggle for the state of a competition.

    Raises AccessError when Kaggle does not know it, or does not show it to this account.
    """
    about = Subject(f"tell about {slug}", f"the competition {slug}", slug)
    request = Request("get_competition", "ApiGetCompetitionRequest", {"competition_name": slug})
    answer = call(request, about)
    deadline: datetime | None = answer.deadline
    return CompetitionState(
        entered=bool(answer.user_has_entered),
        deadline=None if deadline is None else deadline.replace(tzinfo=deadline.tzinfo or UTC),
        daily_limit=int(answer.max_daily_submissions),
        submissions_disabled=bool(answer.submissions_disabled),
        notebooks_only=bool(answer.is_kernels_submissions_only),
    )


def may_download(slug: str) -> bool:
    """Does Kaggle hand out the competition's files to this account?

    It does to those who have accepted the rules. No byte of a file is downloaded.
    """
    try:
        first = next(list_files(slug), None)
        if first is None:
            return False
        about = Subject(
            f"hand out {first.name} of {slug}",
            f"the file {first.name} of the competition {slug}",
            slug,
        )
        request = Request(
            "download_data_file",
            "ApiDownloadDataFileRequest",
            {"competition_name": slug, "file_name": first.name},
        )
        answer = with_retries(lambda: call_once(request, about))
    except AccessError:
        return False
    if isinstance(answer, requests.Response):
        answer.close()
    return True


def sign_in() -> None:
    """Make the cheapest call that needs an account.

    Raises CredentialsError when Kaggle refuses the credentials.
    """
    from kagglesdk.competitions.types.competition_enums import CompetitionListTab

    fields: dict[str, Any] = {
        "group": CompetitionListTab.COMPETITION_LIST_TAB_ENTERED,
        "page_size": 1,
    }
    call(
        Request("list_competitions", "ApiListCompetitionsRequest", fields),
        Subject("list your competitions", "your account"),
    )
