"""Notebooks of the account that run at Kaggle: pushed once, followed, and what they wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pcam_kit.downloads import retry, transfer
from pcam_kit.errors import AccessError, KaggleError
from pcam_kit.kaggle_client.refusals import KAGGLE, Subject, one_line
from pcam_kit.kaggle_client.request import Request, status_word
from pcam_kit.kaggle_client.session import call, call_once, list_items
from pcam_kit.progress import Progress

KernelState = Literal["queued", "running", "complete", "error", "cancelled"]


@dataclass(frozen=True)
class KernelSource:
    """A script to run at Kaggle, without internet.

    kernel: OWNER/SLUG; it is its title, too. accelerator: Kaggle's name of a machine, "" for none.
    datasets: OWNER/SLUG of each that it reads. competitions: slugs of those whose files it reads.
    """

    kernel: str
    script: str
    accelerator: str = ""
    datasets: Sequence[str] = ()
    competitions: Sequence[str] = ()


@dataclass(frozen=True)
class KernelStatus:
    """How far Kaggle is. failure: its words, with state "error"."""

    state: KernelState
    failure: str = ""


@dataclass(frozen=True)
class Quota:
    """Hours of a kind of accelerator this week. left: None where Kaggle does not say."""

    left: timedelta | None
    refreshed: datetime | None


def kernel_status(kernel: str) -> KernelStatus | None:
    """The status of the newest version; None where Kaggle shows no such notebook.

    Kaggle answers 403, not 404, for one of the account's own that does not exist. Raises
    KaggleError.
    """
    about = _about(kernel, f"tell about {kernel}")
    fields = _names(kernel)
    request = Request(
        "get_kernel_session_status", "ApiGetKernelSessionStatusRequest", fields, "kernels"
    )
    try:
        answer = call(request, about)
    except AccessError:
        return None
    return KernelStatus(_state(answer.status), one_line(str(answer.failure_message or "")))


def push_kernel(source: KernelSource) -> None:
    """Save the notebook, and run it.

    It is sent once: where the answer was lost, the status tells whether it arrived. Raises
    KaggleError.
    """
    about = _about(source.kernel, f"run {source.kernel}")
    fields: dict[str, Any] = {
        "slug": source.kernel,
        "new_title": source.kernel.partition("/")[2],
        "text": source.script,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": bool(source.accelerator),
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_data_sources": list(source.datasets),
        "competition_data_sources": list(source.competitions),
    }
    if source.accelerator:
        fields["machine_shape"] = source.accelerator
    request = Request("save_kernel", "ApiSaveKernelRequest", fields, "kernels")
    try:
        reply = call_once(request, about)
    except retry.TransientError as failure:
        if kernel_status(source.kernel) is None:
            raise failure.error from failure
        return
    invalid = [
        *(f"the competition {slug}" for slug in reply.invalid_competition_sources or ()),
        *(f"the dataset {name}" for name in reply.invalid_dataset_sources or ()),
    ]
    if invalid:
        raise KaggleError(
            f"Kaggle says that {source.kernel} cannot use {one_line(', '.join(invalid))}",
            hint="join the competition and accept its rules: "
            f"https://www.kaggle.com/competitions/{''.join(source.competitions[:1])}/rules; then "
            "run the same command with --again",
        )


def kernel_log(kernel: str) -> str:
    """What the newest version has printed so far, as text; "" where Kaggle shows nothing yet."""
    about = _about(kernel, f"show the log of {kernel}")
    try:
        answer = call(_output_request(kernel), about)
    except AccessError:  # there is none yet
        return ""
    return _log_text(str(answer.log or ""))


def download_output(
    kernel: str, name: str, destination: Path, *, progress: Progress | None = None
) -> bool:
    """Download a zip that the newest version wrote, resuming an earlier attempt.

    False where it has written none of that name. Raises KaggleError, StorageError.
    """
    about = _about(kernel, f"hand out {name} of {kernel}")

    def locate() -> str:
        urls = [
            str(file.url)
            for file in list_items(_output_request(kernel), "files", about)
            if file.file_name == name
        ]
        if not urls:
            raise KaggleError(f"{kernel} has no {name} any more", hint=f"see {about.url}")
        return urls[0]

    files = list_items(_output_request(kernel), "files", about)
    if all(file.file_name != name for file in files):
        return False
    job = transfer.Job(
        source=f"{kernel}/{name}",
        name=name,
        destination=destination,
        server=KAGGLE,
        lister=KAGGLE.name,
        locate=locate,
        size=0,
        progress=progress,
        inspect=lambda _: None,  # it stays a zip; the caller opens it with care
    )
    transfer.download(job)
    return True


def gpu_quota() -> Quota:
    """The account's GPU hours of this week. Raises KaggleError."""
    about = Subject("tell the quota of GPU hours", "your account")
    request = Request(
        "get_accelerator_quota_statistics",
        "ApiGetAcceleratorQuotaStatisticsRequest",
        {},
        "kernels",
    )
    answer = call(request, about)
    quota = getattr(answer, "gpu_quota", None)
    allowed = getattr(quota, "total_time_allowed", None)
    used = getattr(quota, "time_used", None) or timedelta()
    reserved = getattr(quota, "time_reserved", None) or timedelta()
    refreshed = getattr(answer, "quota_refresh_time", None)
    left = allowed - used - reserved if isinstance(allowed, timedelta) else None
    return Quota(left, refreshed if isinstance(refreshed, datetime) else None)


def _about(kernel: str, doing: str) -> Subject:
    return Subject(doing, f"the notebook {kernel}", kernel, code=True)


def _names(kernel: str) -> dict[str, str]:
    owner, _, slug = kernel.partition("/")
    return {"user_name": owner, "kernel_slug": slug}


def _output_request(kernel: str) -> Request:
    return Request(
        "list_kernel_session_output",
        "ApiListKernelSessionOutputRequest",
        _names(kernel),
        "kernels",
    )


def _state(status: Any) -> KernelState:
    """Kaggle's status in our words. Raises KaggleError for one that is not known."""
    match status_word(status):
        case "queued" | "new_script":
            return "queued"
        case "running":
            return "running"
        case "complete":
            return "complete"
        case "error":
            return "error"
        case "cancel_requested" | "cancel_acknowledged":
            return "cancelled"
        case word:
            raise KaggleError(
                f"Kaggle reports a status of a notebook that this version does not know: {word!r}",
                hint="pip install --upgrade kaggle",
            )


def _log_text(log: str) -> str:
    """The log as a terminal would show it.

    Kaggle gives a JSON list of {"stream_name", "time", "data"}; anything else is taken as it is.
    """
    try:
        events: object = json.loads(log)
    except (ValueError, RecursionError):
        return log
    if not isinstance(events, list):
        return log
    return "".join(str(event.get("data", "")) for event in events if isinstance(event, dict))
