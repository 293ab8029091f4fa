"""`pcam shift`: are the splits coloured alike?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_table, say
from pcam_kit.cli.options import DataDir, Debug, Json, workspace_of

if TYPE_CHECKING:
    from pcam_kit.data.store import Store
    from pcam_kit.workflows.shift import ColourShift


def shift(
    competition: Annotated[
        str | None,
        typer.Argument(help="[default: the competition fetched last]", show_default=False),
    ] = None,
    stain: Annotated[
        Literal["reinhard", "macenko"] | None,
        typer.Option(
            help="Of the store normalised in this way. [default: as published]", show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Are the splits coloured alike?

    Stain, brightness, saturation and white of up to 2,000 patches of each split, and how far they
    are from train's.

    Names what is further away than 0.25 standard deviations; labels are not looked at.
    """
    from pcam_kit import api

    result = api.colour_shift(competition, stain=stain, workspace=workspace_of(data_dir))
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: ColourShift) -> None:
    """A row a statistic, and a sentence for each that has drifted."""
    from pcam_kit.data.shift import LIMIT, WORDS

    columns = [
        "",
        *(f"{split.split} ({split.n:,})" for split in result.colours),
        *(f"{drift.split} - {drift.reference}" for drift in result.drifts),
    ]
    rows = [
        [
            name.replace("_sd", ", sd within"),
            *(f"{split.mean[name]:.3f} ± {split.sd[name]:.3f}" for split in result.colours),
            *(f"{round(drift.differences[name], 2) + 0:+.2f} sd" for drift in result.drifts),
        ]
        for name in WORDS
    ]
    print_table(f"{result.store.profile.title}: mean ± sd over patches", columns, rows)
    sentences = [sentence for drift in result.drifts for sentence in drift.sentences]
    for sentence in sentences:
        say(sentence)
    if sentences:
        say(_remedy(result.store))
    elif result.drifts:
        say(f"no difference is above {LIMIT} sd by more than sampling explains")


def _remedy(store: Store) -> str:
    augment = "train on more varied stain: pcam train --set augment.stain.strength=0.2"
    if store.stain is not None:
        return augment
    # macenko needs the slide of every patch
    method = "macenko" if (store.groups >= 0).all() else "reinhard"
    return f"{augment}; or normalise it: pcam fetch {store.profile.slug} --stain {method}"
