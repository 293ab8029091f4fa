"""`pcam embed`: the features of a frozen network for all patches of a store, computed once."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pcam_kit import imagenet
from pcam_kit.clock import now
from pcam_kit.data.store import Store
from pcam_kit.errors import Interrupted, UsageError
from pcam_kit.features import Backbone, Embedding, Features, Part, choose_network, open_features
from pcam_kit.features.folder import DTYPES, Dtype
from pcam_kit.features.network import PRETRAINED
from pcam_kit.files import locked
from pcam_kit.formatting import counted, duration
from pcam_kit.pipeline.images import take
from pcam_kit.progress import SILENT, Display
from pcam_kit.training.backend import quiet_import
from pcam_kit.views import VIEWS, apply_view
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

Views = Literal["none", "d4"]
# facts that may differ between the processes that shared a work
OF_PROCESS = ("versions", "backend", "device")
KERAS_LICENCES = {"pretrained": "not stated by Keras", "random": "none: random weights"}
LARGEST = 4096  # of size and batch: what exceeds it is a slip, and would take all memory


@dataclass(frozen=True)
class EmbedRequest:
    """Which network computes features of which patches.

    model: a network of Keras or timm, `hf-hub:OWNER/NAME`, a known foundation model, or a folder
    saved from the hub. weights: "pretrained", "random" or a path. competition None: the one fetched
    last. size: pixels a side that patches are resized to; None as the network wants them. views:
    "d4" averages over the 8 symmetries. batch: patches at a time.
    """

    model: str
    weights: str = PRETRAINED
    competition: str | None = None
    size: int | None = None
    views: Views = "none"
    dtype: Dtype = "float16"
    batch: int = 64

    def check(self) -> None:
        """Raises UsageError for values that are none."""
        for name, value, allowed in (
            ("views", self.views, get_args(Views)),
            ("dtype", self.dtype, DTYPES),
        ):
            if value not in allowed:
                raise UsageError(f"{name}: expected {' or '.join(allowed)}, found {value!r}")
        for name, number in (("size", self.size), ("batch", self.batch)):
            if number is not None and not 1 <= number <= LARGEST:
                raise UsageError(f"{name}: expected 1 to {LARGEST:,}, found {number:,}")


def embed(request: EmbedRequest, workspace: Workspace, *, display: Display = SILENT) -> Features:
    """The features of every patch of a store: those that are there, or new ones.

    A stopped work is resumed. Raises UsageError, DataError, StorageError; Interrupted with what is
    done kept.
    """
    request.check()
    slug = request.competition if request.competition is not None else workspace.last_fetched()
    store = workspace.store(slug)
    backbone = choose_network(request.model, request.weights, request.size)
    identity = backbone.identity() | {
        "competition": store.profile.slug,
        "store_fingerprint": store.fingerprint,
        "views": request.views,
        "dtype": request.dtype,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    folder = workspace.features_path(store.profile.slug) / f"{backbone.label}-{digest}"
    if folder.exists():
        return _existing(folder)
    with locked(folder.with_name(f".lock-{folder.name}"), f"computing {folder.name}"):
        if folder.exists():  # by another process, a moment ago
            return _existing(folder)
        with _loaded(backbone, store) as (network, width, facts):
            manifest = identity | {
                "command": _command(request, backbone, store),
                "rows": len(store.labels),
                "width": width,
                **{key: fact for key, fact in facts.items() if key not in OF_PROCESS},
            }
            with Part(folder, manifest) as part:
                seconds = _compute(network, store, part, request, display)
                of_process = {key: facts[key] for key in OF_PROCESS if key in facts}
                features = part.complete(
                    **of_process, seconds_per_1000_patches=seconds, completed=now()
                )
    log.info(f"{features.summary()['features']} -> {features.path}")
    return features


def _existing(folder: Path) -> Features:
    features = open_features(folder)
    log.info(f"{features.path} is there already")
    return features


def _command(request: EmbedRequest, backbone: Backbone, store: Store) -> str:
    """The command that computes these features again."""
    words = f"pcam embed {backbone.options()} --data {store.profile.slug}"
    words += f" --views {request.views}" if request.views != "none" else ""
    return words + (f" --dtype {request.dtype}" if request.dtype != "float16" else "")


@contextmanager
def _loaded(backbone: Backbone, store: Store) -> Generator[tuple[Embedding, int, dict[str, Any]]]:
    """The network, the number of its features, and facts for the manifest."""
    if backbone.library == "keras":
        licence = KERAS_LICENCES.get(backbone.weights, "not stated: weights of a file")
        if backbone.weights == PRETRAINED and backbone.name in imagenet.PACKAGES:
            licence = imagenet.LICENCE
        _tell(backbone, licence)
        with quiet_import():
            from pcam_kit.features.keras_network import KerasNetwork
        keras_network = KerasNetwork(backbone, store.patch_size)
        yield keras_network, keras_network.width, {"licence": licence, **keras_network.facts}
        return
    from pcam_kit.features.timm_network import TimmNetwork

    with TimmNetwork(backbone) as network:
        licence = network.about["licence"]
        _tell(backbone, licence)
        network.load()
        yield network, network.width, {"licence": licence, **network.facts}


def _tell(backbone: Backbone, licence: str) -> None:
    """Log the licence, before a download."""
    terms = "; its terms must be accepted there" if backbone.gated else ""
    where = f" ({backbone.card}{terms})" if backbone.weights == PRETRAINED else ""
    log.info(f"{backbone.name}: licence {licence}{where}")


def _compute(
    network: Embedding, store: Store, part: Part, request: EmbedRequest, display: Display
) -> float | None:
    """Compute the rows that are missing. Returns the seconds for 1,000 patches; None for none."""
    total, first = len(store.labels), part.done
    if first:
        log.info(f"{first:,} of {counted(total, 'patch')} are done already")
    began = time.monotonic()
    views = VIEWS[request.views]
    size = min(request.batch, total)
    try:
        with display.work() as progress:
            while part.done < total:
                rows = np.arange(part.done, min(part.done + size, total))
                # the last batch is filled up, so that all have one shape
                patches = take(store.images, np.resize(rows, size), store.patch_size)
                part.add(_average(network, patches, views)[: len(rows)])
                progress(f"features of {request.model}", part.done, total)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{part.done:,} of {counted(total, 'patch')} are done, and kept",
            hint="the same command resumes",
        ) from None
    if part.done == first:
        return None
    seconds = time.monotonic() - began
    each = 1000 * seconds / (part.done - first)
    log.info(f"{counted(total - first, 'patch')} in {duration(seconds)}: {each:.1f} s for 1,000")
    return round(each, 3)


def _average(
    network: Embedding, patches: NDArray[np.uint8], views: tuple[str, ...]
) -> NDArray[np.float32]:
    """The mean over the views of each patch's features, float32 [n, width]."""
    values = network(apply_view(patches, views[0]))
    for view in views[1:]:
        values = values + network(apply_view(patches, view))
    return values / np.float32(len(views))
