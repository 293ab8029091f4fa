"""What Kaggle says about the account: whether it answers at all, and how things stand with a
competition.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from pcam_kit.errors import AccessError
from pcam_kit.kaggle_client.downloads import list_files
from pcam_kit.kaggle_client.refusals import Subject
from pcam_kit.kaggle_client.retry import repeat
from pcam_kit.kaggle_client.session import Request, call, call_once


@dataclass(frozen=True)
class CompetitionState:
    """A competition as the account sees it.

    `daily_limit`: submissions a day, 0 when Kaggle does not tell.
    """

    entered: bool  # its rules are accepted
    deadline: datetime | None
    daily_limit: int
    submissions_disabled: bool
    notebooks_only: bool  # it takes the output of a notebook on Kaggle, not an uploaded file

    @property
    def over(self) -> bool:
        """Has its deadline passed?"""
        return self.deadline is not None and self.deadline < datetime.now(UTC)


def competition_state(slug: str) -> CompetitionState:
    """How things stand with a competition.

    Raises AccessError when Kaggle does not know it or does not show it to this account.
    """
    about = Subject(f"tell about {slug}", f"the competition {slug}", slug)
    told = call(
        Request("get_competition", "ApiGetCompetitionRequest", {"competition_name": slug}), about
    )
    deadline: datetime | None = told.deadline
    return CompetitionState(
        entered=bool(told.user_has_entered),
        deadline=None if deadline is None else deadline.replace(tzinfo=deadline.tzinfo or UTC),
        daily_limit=int(told.max_daily_submissions),
        submissions_disabled=bool(told.submissions_disabled),
        notebooks_only=bool(told.is_kernels_submissions_only),
    )


def may_download(slug: str) -> bool:
    """Does Kaggle hand out the competition's files?

    It does so to those who have accepted the rules; no byte of a file is fetched.
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
        place = repeat(lambda: call_once(request, about))
    except AccessError:
        return False
    if isinstance(place, requests.Response):
        place.close()
    return True


def sign_in() -> None:
    """The cheapest call that needs an account.

    Raises CredentialsError when Kaggle refuses the credentials.
    """
    from kagglesdk.competitions.types.competition_enums import CompetitionListTab

    mine: dict[str, Any] = {
        "group": CompetitionListTab.COMPETITION_LIST_TAB_ENTERED,
        "page_size": 1,
    }
    call(
        Request("list_competitions", "ApiListCompetitionsRequest", mine),
        Subject("list your competitions", "your account"),
    )
