"""`pcam fetch`: get a competition's files and build the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcam_kit.cli.complete import competition_names
from pcam_kit.cli.console import print_json, print_lines, print_table, say
from pcam_kit.cli.options import DataDir, Debug, Json, workspace_of

if TYPE_CHECKING:
    from pcam_kit.data.store import Store


def fetch(
    competition: Annotated[
        str | None,
        typer.Argument(
            help="Slug, Kaggle URL, or a profile's .yaml; `synthetic` is synthetic tissue.",
            show_default=False,
            autocompletion=competition_names,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Take files on disk: a folder, a zip or a tar.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="OWNER/SLUG",
            help="Take the files of this Kaggle dataset; needs --as.",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="COMPETITION",
            help="What the dataset stands in for, e.g. pcam.",
            show_default=False,
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Download from the public home, without an account (pcam: 8 GB).",
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PATTERN",
            help="Download just these files, e.g. '*.csv'; build nothing.",
            show_default=False,
        ),
    ] = None,
    stain: Annotated[
        Literal["reinhard", "macenko"] | None,
        typer.Option(
            help="Also build a second store with the stain normalised, for data.stain; without a "
            "slug of the last fetched.",
            show_default=False,
        ),
    ] = None,
    keep_raw: Annotated[
        bool, typer.Option("--keep-raw", help="Also unpack a downloaded zip, beside it.")
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Leave out rows without an image and images without a row."
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Get a competition's files and build the store.

    Downloads them from Kaggle or from their public home (--download), or takes them from disk
    (--from), and verifies them.

    A second call resumes a stopped download, verifies what it finds, and does nothing if all is
    intact.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.errors import UsageError

    workspace, display = workspace_of(data_dir), ConsoleDisplay()
    if competition is not None and role is not None and competition != role:
        raise UsageError(
            f"two competitions are named: {competition} and --as {role}", hint="leave one away"
        )
    name = competition if competition is not None else role
    if only:
        if stain is not None:
            raise UsageError(
                "--only builds no store, and --stain normalises one", hint="leave one away"
            )
        paths = api.download(
            name,
            only,
            files=source,
            dataset=dataset,
            public=download,
            workspace=workspace,
            display=display,
        )
        if as_json:
            print_json(
                {"files": [{"path": str(path), "bytes": path.stat().st_size} for path in paths]}
            )
        else:
            print_lines(*paths)
        return
    store = api.fetch(
        name,
        files=source,
        dataset=dataset,
        download=download,
        stain=stain,
        keep_raw=keep_raw,
        allow_missing=allow_missing,
        workspace=workspace,
        display=display,
    )
    if as_json:
        print_json(store.to_dict())
    else:
        show(store)


def show(store: Store) -> None:
    """The splits as a table."""
    rows: list[list[str]] = []
    for name, count in store.splits.items():
        positive = "unknown"
        if count.positive is not None:
            positive = f"{count.positive:,} ({100 * count.positive / max(1, count.n):.1f}%)"
        rows.append([name, f"{count.n:,}", positive])
    print_table(f"{store.profile.title} -> {store.path}", ["split", "patches", "positive"], rows)
    stain = f" --set data.stain={store.stain}" if store.stain is not None else ""
    say(f"next: pcam train{stain}")
