"""Features of frozen networks, and heads trained on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import WorkspaceLike, display_of, workspace_of
from pcam_kit.run_folders import Run

if TYPE_CHECKING:
    from pcam_kit.features import Features
    from pcam_kit.features.folder import Dtype
    from pcam_kit.progress import Display
    from pcam_kit.workflows.embed import Views
    from pcam_kit.workflows.probe import HeadKind


def embed(
    model: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] = "pretrained",
    competition: str | None = None,
    size: int | None = None,
    views: Views = "none",
    dtype: Dtype = "float16",
    batch: int = 64,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Features:
    """The features of a frozen network for every patch of a store, computed once and kept.

    model: a network of `keras.applications` or timm, `hf-hub:OWNER/NAME`, a foundation model by
    name ("UNI"), or a folder saved from the hub. weights: "pretrained", "random", or a file or
    folder. competition None: the one fetched last. size: pixels a side that patches are resized to;
    None: as the network wants them. views: "none", or "d4", the mean over the 8 symmetries. dtype:
    "float16" or "float32". batch: patches at a time. The result has `values` [n, width], a row for
    each row of the store, and `manifest`. A stopped work is resumed. Raises UsageError, DataError,
    StorageError, Interrupted.
    """
    from pcam_kit.workflows import embed as workflow

    request = workflow.EmbedRequest(
        model=os.fspath(model),
        weights=os.fspath(weights),
        competition=competition,
        size=size,
        views=views,
        dtype=dtype,
        batch=batch,
    )
    return workflow.embed(request, workspace_of(workspace), display=display_of(display))


def probe(
    features: Features | str | os.PathLike[str] | None = None,
    *,
    head: HeadKind = "logistic",
    name: str = "probe",
    seed: int = 0,
    limit: int | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Run:
    """Train a head on features, as a run: evaluated, combined and submitted like any other.

    features: what `embed` returned, its folder, or a unique part of its name; None: the newest.
    head: "logistic", whose penalty is chosen by cross-validation among the training patches, by
    slide where slides are known, or "mlp", with one hidden layer. limit: the most training patches,
    drawn by seed. Raises UsageError, ConfigError, DataError, StorageError.
    """
    from pcam_kit.features import Features
    from pcam_kit.workflows import probe as workflow

    chosen = features.path if isinstance(features, Features) else features
    request = workflow.ProbeRequest(
        features=None if chosen is None else os.fspath(chosen),
        head=head,
        name=name,
        seed=seed,
        limit=limit,
    )
    return workflow.probe(request, workspace_of(workspace), display=display_of(display))
