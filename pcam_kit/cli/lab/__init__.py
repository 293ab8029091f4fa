"""`pcam lab`: the three tasks of the lab."""

from __future__ import annotations

import typer

from pcam_kit.cli.examples import epilog
from pcam_kit.cli.lab.layers import layers
from pcam_kit.cli.lab.mnist import mnist
from pcam_kit.cli.lab.pcam import pcam

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The three tasks of the lab.\n\nA CNN layer by layer in NumPy; digits learnt from 128 "
    "images; 32x32 crops of PCam.",
)
for command in (layers, mnist, pcam):
    app.command(epilog=epilog(f"lab {command.__name__}"))(command)
