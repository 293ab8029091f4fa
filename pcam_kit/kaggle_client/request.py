"""A request to Kaggle in kagglesdk's names, sent through kagglesdk."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import requests

# what kagglesdk's names of each service begin with
PREFIXES = {
    "competitions": "competition",
    "datasets": "dataset",
    "kernels": "kernels",
    "blobs": "blob",
}


@dataclass(frozen=True)
class Request:
    """A request to one of kagglesdk's services, in kagglesdk's names."""

    method: str
    type: str
    fields: dict[str, Any]
    service: Literal["competitions", "datasets", "kernels", "blobs"] = "competitions"


def send(client: Any, request: Request) -> Any:
    """The response object of `client`, a kagglesdk client.

    Raises whatever kagglesdk raises: see session.call_once.
    """
    prefix = PREFIXES[request.service]
    service = getattr(getattr(client, request.service), f"{prefix}_api_client")
    if not hasattr(service, request.method):
        return _send_untyped(client, request)
    types = importlib.import_module(f"kagglesdk.{request.service}.types.{prefix}_api_service")
    message: Any = vars(types)[request.type]()
    for name, value in request.fields.items():
        setattr(message, name, value)
    return getattr(service, request.method)(message)


def status_word(status: Any) -> str:
    """The word of a status, in lower case: it may be an enum value or text."""
    return str(getattr(status, "name", status)).lower().rpartition(".")[2]


class _UntypedRequest(dict[str, Any]):
    """A request that kagglesdk has no type for: its fields in Kaggle's names."""

    to_dict = dict


class _UntypedAnswer:
    """An answer that kagglesdk has no type for."""

    @staticmethod
    def prepare_from(response: requests.Response) -> SimpleNamespace:
        """The fields of `response` in kagglesdk's names."""
        fields: dict[str, Any] = response.json()
        return SimpleNamespace(
            **{re.sub("[A-Z]", r"_\g<0>", name).lower(): fields[name] for name in fields}
        )


def _send_untyped(client: Any, request: Request) -> Any:
    """Send a request that this kagglesdk is too old for; Kaggle answers it all the same.

    That is GetSubmissionLimits before 0.1.35, which notebooks on Kaggle have, and the quota of
    accelerators.
    """
    words = {name: name.split("_") for name in request.fields}
    fields = {
        first + "".join(map(str.capitalize, rest)): request.fields[name]
        for name, (first, *rest) in words.items()
    }
    return client.http_client().call(
        f"{request.service}.{PREFIXES[request.service].capitalize()}ApiService",
        request.type.removeprefix("Api").removesuffix("Request"),
        _UntypedRequest(fields),
        _UntypedAnswer,
    )
