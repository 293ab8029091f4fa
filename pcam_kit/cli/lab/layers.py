"""`pcam lab layers`: a forward pass in NumPy, layer by layer, against Keras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_json, print_table, say
from pcam_kit.cli.lab.options import Pictures, Source
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, workspace_of

if TYPE_CHECKING:
    from pcam_kit.workflows.lab.layers import LayersResult


def layers(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|MODEL.keras",
            help="[default: the lab's small network, trained first on digits]",
            show_default=False,
        ),
    ] = None,
    source: Source = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            min=1,
            help="How many go through the whole network. [default: all test digits, 500 patches]",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0, help="Difference allowed, as part of a layer's largest output."
        ),
    ] = 1e-5,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="MODEL.keras",
            help="Keep the network that is trained.",
            show_default=False,
        ),
    ] = None,
    pictures: Pictures = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Task 1: a network's forward pass in NumPy, layer by layer, against Keras.

    Each layer is computed on one image from what Keras' layer before it gave; then all images go
    through all layers.
    """
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.errors import MismatchError
    from pcam_kit.workflows.lab.layers import LayersRequest, LayersResult, check_layers

    request = LayersRequest(model, source, images, tolerance, pictures, save)
    workspace = workspace_of(data_dir, runs_dir)
    try:
        result = check_layers(request, workspace, display=ConsoleDisplay())
    except MismatchError as error:
        if isinstance(error.result, LayersResult):
            show(error.result, stderr=True)
        raise
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: LayersResult, *, stderr: bool = False) -> None:
    """The layers as a table, then the scores."""
    columns = [
        "layer",
        "kind",
        "output",
        "weights",
        "sum |out|",
        "max |diff|",
        "sum |diff|",
        "max |loop|",
    ]
    rows = [
        [
            layer.name,
            layer.kind,
            "x".join(map(str, layer.shape)),
            f"{layer.parameters:,}",
            f"{layer.sum_abs:,.4f}",
            f"{layer.max_abs_diff:.2e}",
            f"{layer.sum_abs_diff:.2e}",
            f"{layer.max_loop_diff:.2e}" if layer.max_loop_diff is not None else "-",
        ]
        for layer in result.differences
    ]
    print_table(
        f"{result.model}: NumPy against Keras, each layer on one image",
        columns,
        rows,
        stderr=stderr,
    )
    scores = [
        ["Keras", f"{result.accuracy_keras:.4f}", f"{result.loss_keras:.4f}", ""],
        [
            "NumPy",
            f"{result.accuracy_numpy:.4f}",
            f"{result.loss_numpy:.4f}",
            f"{result.seconds:.1f} s",
        ],
    ]
    title = f"{result.n:,} {result.images}, {result.parameters:,} weights"
    print_table(f"\n{title}", ["", "accuracy", "cross-entropy", "time"], scores, stderr=stderr)
    say(
        "|diff|: vectorised NumPy against Keras; |loop|: the plain loop against the vectorised "
        "form, where that takes a second at most."
    )
    say(f"After all layers in a row the probabilities differ by at most {result.max_abs_diff:.1e}.")
