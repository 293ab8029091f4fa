"""`pcam config`: every setting of an experiment, with its default and its meaning."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcam_kit.cli.complete import setting_keys
from pcam_kit.cli.console import print_json, print_lines, say, terminal_width
from pcam_kit.cli.options import Debug, Json

if TYPE_CHECKING:
    from pcam_kit.config.reference import Setting


def config(
    key: Annotated[
        str | None,
        typer.Argument(
            help="A setting, e.g. training.learning_rate, or a part, e.g. training. [default: all]",
            show_default=False,
            autocompletion=setting_keys,
        ),
    ] = None,
    style: Annotated[
        Literal["text", "markdown"],
        typer.Option("--format", help="markdown: a page with tables."),
    ] = "text",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Every setting of an experiment, and its meaning.

    With its type, its default and the values that are allowed. Settings stand in a config's YAML
    file; --set changes one for a single training.
    """
    from pcam_kit import api

    found = api.settings(key)
    if as_json:
        print_json({"settings": [setting.to_dict() for setting in found]})
    elif style == "markdown":
        print_lines(*markdown(found))
    else:
        print_lines(*text(found, terminal_width()))
        if len(found) == 1:
            say(f"e.g. pcam train {found[0].example}")


def text(found: Sequence[Setting], width: int) -> Iterator[str]:
    """A few lines a setting."""
    for network, group in groupby(found, key=lambda setting: setting.network):
        if network:
            yield from (f"# of the network {network}", "")
        for setting in group:
            yield f"{setting.key}: {setting.default_text}"
            for paragraph in (setting.values, setting.meaning):
                yield from textwrap.wrap(
                    paragraph,
                    min(width, 100),
                    initial_indent="    ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            if len(found) > 1:
                yield ""


def markdown(found: Sequence[Setting]) -> Iterator[str]:
    """A table for each part of an experiment, and for each network."""
    yield from ("# Settings of an experiment", "")
    yield "Written by `make docs` from `pcam_kit/config/`; `pcam config KEY` shows one of them."

    def part(setting: Setting) -> str:
        if setting.network:
            return f"model: {setting.network}"
        return setting.key.partition(".")[0] if "." in setting.key else "experiment"

    for title, group in groupby(found, key=part):
        yield from ("", f"## {title}", "", "| key | type | default | meaning |")
        yield "| --- | --- | --- | --- |"
        for setting in group:
            default = setting.default_text if setting.required else f"`{setting.default_text}`"
            cells = [f"`{setting.key}`", setting.values, default, setting.meaning]
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
