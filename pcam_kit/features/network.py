"""Which frozen network computes features, with which weights: chosen before anything is loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pcam_kit import imagenet
from pcam_kit.config.faults import suggestion
from pcam_kit.config.schema import Transfer
from pcam_kit.errors import UsageError
from pcam_kit.features.known import KNOWN, Pooling, find_known
from pcam_kit.files import sha256_file, storage_error
from pcam_kit.names import shell_word

KERAS: tuple[str, ...] = get_args(Transfer.model_fields["backbone"].annotation)
HUB = "hf-hub:"
SMALLEST = 32  # pixels a side that networks of Keras take
PRETRAINED, RANDOM = "pretrained", "random"
PACKAGES = ("timm", "torch")
INSTALL = 'pip install "pcam-kit[timm]"'

# uint8 [n, size, size, 3] -> float32 [n, width]
Embedding = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Backbone:
    """A frozen network: `keras` one that `model.backbone` takes, `timm` any that timm knows.

    name: as its library has it, `hf-hub:OWNER/NAME` for one of the hub. weights: "pretrained",
    "random", or a path; weights_sha256: of that file, or of all files in that folder. size: pixels
    a side that patches are resized to; None as the network wants them. licence: "" where only the
    hub can tell. arguments, pooling: as in `known.Known`.
    """

    library: Literal["keras", "timm"]
    name: str
    weights: str
    size: int | None = None
    licence: str = ""
    weights_sha256: str = ""
    gated: bool = False
    pooling: Pooling = "network"
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def path(self) -> Path | None:
        """The file or folder of the weights."""
        return None if self.weights in (PRETRAINED, RANDOM) else Path(self.weights)

    @property
    def label(self) -> str:
        """A name for a folder: letters, digits, dots and dashes."""
        name = self.name.removeprefix(HUB).rpartition("/")[2]
        return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:60] or "network"

    @property
    def card(self) -> str:
        """Where its licence is to be read; "" where that is not known."""
        if self.name.startswith(HUB):
            return f"https://huggingface.co/{self.name.removeprefix(HUB)}"
        if self.name in imagenet.PACKAGES:
            return imagenet.SOURCE
        if self.library == "keras":
            return "https://keras.io/api/applications"
        return "https://huggingface.co/timm"

    def identity(self) -> dict[str, Any]:
        """What the features depend on, for their folder's name and manifest."""
        weights = self.weights if self.path is None else self.weights_sha256
        return {
            "library": self.library,
            "model": self.name,
            "weights": weights,
            "size": self.size,
            "pooling": self.pooling,
        }

    def options(self) -> str:
        """The options of `pcam embed` that name it."""
        words = f"--model {shell_word(Path(self.name))}"
        if self.weights != PRETRAINED:
            words += f" --weights {shell_word(Path(self.weights))}"
        return words if self.size is None else f"{words} --size {self.size}"


def choose_network(model: str, weights: str = PRETRAINED, size: int | None = None) -> Backbone:
    """The network that a name, or a folder saved from the hub, stands for.

    Raises UsageError for names that are known to be none, for paths without a file, and where the
    packages of the optional extra are missing.
    """
    folder = Path(model)
    if weights == PRETRAINED and folder.is_dir():
        model, weights = folder.resolve().name, model
    elif folder.is_file():
        raise UsageError(
            f"--model {model} is a file, which does not say what network its weights are of",
            hint=f"pcam embed --model NAME --weights {shell_word(folder)}",
        )
    known = find_known(model)
    digest, path = "", Path(weights)
    if weights not in (PRETRAINED, RANDOM):
        digest = _hash(path)
    if known is None and model in KERAS:
        if path.is_dir():
            raise UsageError(
                f"--weights {weights} is a folder: {model} of Keras takes a .weights.h5 or .keras "
                "file",
                hint="for timm's networks see: pcam embed --help",
            )
        if size is not None and size < SMALLEST:
            raise UsageError(f"--size: Keras' networks need {SMALLEST} pixels, found {size}")
        return Backbone("keras", model, weights, size, weights_sha256=digest)
    _check_installed(model)
    if known is None:
        return Backbone("timm", _timm_name(model), weights, size, weights_sha256=digest)
    return Backbone(
        "timm",
        HUB + known.hub,
        weights,
        size,
        licence=known.licence,
        weights_sha256=digest,
        gated=known.gated,
        pooling=known.pooling,
        arguments=dict(known.arguments),
    )


def suggest(model: str, more: tuple[str, ...] = ()) -> str:
    """`; did you mean 'ResNet50'?`, of the names here and `more`; "" where none is near."""
    return suggestion(model, [*KERAS, *KNOWN, *more])


def _timm_name(model: str) -> str:
    name = model.replace("hf_hub:", HUB)
    owner, slash, _ = name.partition("/")
    # a name with an owner is the hub's; timm would take it for a path
    return HUB + name if slash and ":" not in owner else name


def _check_installed(model: str) -> None:
    """Raises UsageError where a package of the extra is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{model!r} is none of Keras' networks{suggest(model)}; timm, which has others, needs "
            f"{' and '.join(missing)}, not installed here",
            hint=f"{INSTALL}, or one of Keras': {', '.join(KERAS)}",
        )


def _hash(path: Path) -> str:
    """Hex SHA-256 of a file, or of all files in a folder with their names."""
    try:
        if path.is_file():
            return sha256_file(path)
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else []
        sums = [f"{sha256_file(one)}  {one.name}\n" for one in files]
    except OSError as error:
        raise storage_error(error, path, "read") from error
    if not sums:
        raise UsageError(
            f"--weights: no file, and no folder with files, at {path}",
            hint=f"give one, or {PRETRAINED} (downloaded), or {RANDOM}",
        )
    return hashlib.sha256("".join(sums).encode()).hexdigest()
