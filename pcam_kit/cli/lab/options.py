"""Options that several of the lab's commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
