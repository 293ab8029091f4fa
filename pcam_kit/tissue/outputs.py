"""The files of one command: table, heat maps, and the record that says what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pcam_kit.errors import UsageError
from pcam_kit.files import read_json_object, sha256_file, storage_error
from pcam_kit.formatting import few
from pcam_kit.parsing import parsing, printable
from pcam_kit.progress import Progress
from pcam_kit.tissue.journal import differences
from pcam_kit.tissue.pictures import damaged
from pcam_kit.tissue.results import ImageResult, TissueResult, map_values
from pcam_kit.tissue.survey import Surveyed
from pcam_kit.tissue.table import Table, read_table, write_new, write_table


class Outputs:
    """Where a command writes: `slide.csv`, `slide.json`, `slide-heatmap.png`, `slide.csv.part`.

    The record, `slide.json`, is written last and makes the others complete.
    """

    def __init__(self, table: Path, command: dict[str, Any], maps: Sequence[str]) -> None:
        """maps: names of the images that get a heat map.

        Raises UsageError where a file of another command would be in the way.
        """
        self.table = table
        self.part = table.with_name(f"{table.name}.part")
        self.record = table.with_suffix(".json")
        self.heatmaps = _map_paths(table, maps)
        self._command = command
        there = [path for path in self._files if path.exists() or path.is_symlink()]
        if there and not self.part.exists() and self._claimed() is None:
            before = read_json_object(self.record).get("command")
            why = "are not from this command"
            if isinstance(before, dict) and (changed := differences(before, command)):
                why = f"are from another command; different: {changed}"
            elif isinstance(before, dict):
                why = "were changed since this command wrote them"
            shown = few([printable(str(path)) for path in there], len(there))
            raise UsageError(
                f"{shown} would be overwritten, and {why}",
                hint="choose another --out, or move them away",
            )

    @property
    def _files(self) -> list[Path]:
        return [self.table, self.record, *self.heatmaps.values()]

    def finished(self) -> Table | None:
        """The table, where this very command wrote it before; else None."""
        return read_table(self.table) if not self.part.exists() and self._claimed() else None

    def _claimed(self) -> dict[str, str] | None:
        """The files of the record, where they are this command's and unchanged; else None."""
        record = read_json_object(self.record)
        files = record.get("files")
        if record.get("command") != self._command or not isinstance(files, dict):
            return None
        try:
            whole = all(sha256_file(self.table.parent / name) == sha for name, sha in files.items())
        except OSError:
            return None
        mine = {path.name for path in self._files if path.exists()}
        return files if whole and mine == {self.record.name, *files} else None

    def write(self, result: TissueResult, progress: Progress) -> None:
        """Write heat maps, table and record, in this order. Raises UsageError, StorageError."""
        drawn = [one for one in zip(result.images, result.surveyed, strict=True) if one[0].heatmap]
        for i, (image, surveyed) in enumerate(drawn):
            _draw(result, image, surveyed)
            progress("drawing heat maps", i + 1, len(drawn))
        write_table(self.table, result.table)
        files = [path for path in self._files if path != self.record and path.exists()]
        try:
            hashes = {path.name: sha256_file(path) for path in files}
        except OSError as error:
            raise storage_error(error, self.table, "read") from error
        record = {"command": self._command, "files": hashes, **result.to_dict()}
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        write_new(self.record, lambda place: place.write_bytes(text.encode()))


def _map_paths(table: Path, names: Sequence[str]) -> dict[str, Path]:
    """`slide-heatmap.png`; of several images with each one's name, as file systems can hold it."""
    if len(names) == 1:
        return {names[0]: table.with_name(f"{table.stem}-heatmap.png")}
    paths: dict[str, Path] = {}
    used: set[str] = set()
    for name in names:
        short = re.sub(r"[^\w.-]+", "_", name.rpartition(".")[0] or name).strip("._-")[-80:]
        number, plain = 1, short or "image"
        short = plain
        while short.lower() in used:
            number += 1
            short = f"{plain}-{number}"
        used.add(short.lower())
        paths[name] = table.with_name(f"{table.stem}-{short}-heatmap.png")
    return paths


def _draw(result: TissueResult, image: ImageResult, surveyed: Surveyed) -> None:
    from pcam_kit.tissue.heatmap import HeatMap, draw_heatmap, thumbnail

    assert image.heatmap is not None
    share = f"{image.positive:,} of {image.tiles:,} tiles at the threshold or above"
    shown = HeatMap(
        printable(image.name),
        f"{result.run}: {share}\nfor research and teaching; not a medical device",
        map_values(result.table, surveyed),
        surveyed.grid,
        result.threshold,
        image.pixel_size,
    )
    picture = surveyed.source.open()
    try:
        with parsing(partial(damaged, surveyed.source.label)):
            small, factor = thumbnail(picture)
    finally:
        picture.close()
    draw_heatmap(image.heatmap, small, factor, shown)
