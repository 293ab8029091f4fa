"""`pcam lab` as Typer sees it: the three tasks of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pcam_kit.options import (
    DataDir,
    Debug,
    Json,
    Overrides,
    RunsDir,
    Seed,
    ShowConfig,
    SubmissionsDir,
    folders,
    print_config,
    print_json,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The three tasks of the lab.\n\nA CNN layer by layer in NumPy; digits learnt from 128 "
    "images; 32x32 crops of PCam.",
)

Pictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures",
        metavar="DIR",
        help="Draw pictures into this folder (PNG).",
        show_default=False,
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MNIST.npz",
        help="MNIST in Keras' layout; `digits` takes scikit-learn's small digits. [default: "
        "Keras downloads MNIST]",
        show_default=False,
    ),
]


@app.command()
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
    from pcam_kit.commands import lab_layers as command

    request = command.Request(model, source, images, tolerance, pictures, save)
    checked = command.check(request, folders(data_dir, runs_dir))
    if as_json:
        print_json(command.describe(checked))
    else:
        command.show(checked)


@app.command()
def mnist(
    config: Annotated[
        str, typer.Argument(help="A .yaml file, or lab-mnist or lab-mnist-report.")
    ] = "lab-mnist",
    source: Source = None,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="Same as --set runs=N.", show_default=False)
    ] = None,
    ablation: Annotated[
        bool,
        typer.Option(
            "--ablation", help="Also with each of its regularisers alone, none, and harmful ones."
        ),
    ] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    show_config: ShowConfig = False,
    pictures: Pictures = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Task 2: learn digits from 128 random images of MNIST, several times.

    Each run draws its own images; the whole test part of MNIST measures it.
    """
    from pcam_kit.config.load import load_few_digits

    changes = [
        *(overrides or ()),
        *([] if seed is None else [f"seed={seed}"]),
        *([] if runs is None else [f"runs={runs}"]),
    ]
    if show_config:
        print_config(load_few_digits(config, changes), as_json=as_json)
        return
    from pcam_kit.commands import lab_mnist as command

    learnt = command.learn(command.Request(config, tuple(changes), source, ablation, pictures))
    if as_json:
        print_json(command.describe(learnt))
    else:
        command.show(learnt)


@app.command()
def pcam(
    competition: Annotated[
        str | None,
        typer.Argument(
            help="Slug of a fetched competition. [default: the one fetched last]",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Fetch it first from this folder or .zip, as pcam fetch --from.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, help="Train each recipe this often, with seeds 0, 1, ..."),
    ] = 1,
    overrides: Overrides = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    pictures: Pictures = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Task 3: the report's recipe and ours side by side on 32x32 crops.

    Trains lab-report and lab, scores them on the validation patches, writes their CSVs. Finished
    runs are used again, a stopped one is gone on with.
    """
    from pcam_kit.commands import lab_pcam as command

    request = command.Request(competition, source, seeds, tuple(overrides or ()), pictures)
    compared = command.compare(request, folders(data_dir, runs_dir, submissions_dir))
    if as_json:
        print_json(command.describe(compared))
    else:
        command.show(compared)
