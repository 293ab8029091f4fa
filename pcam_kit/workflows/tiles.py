"""The tiles of new images in a run's network, batch by batch; what is done is kept in a journal."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pcam_kit.ahead import read_ahead
from pcam_kit.config.schema import Ensemble
from pcam_kit.errors import Interrupted
from pcam_kit.evaluation.ensemble import Averaging, combine
from pcam_kit.formatting import counted
from pcam_kit.parsing import parsing
from pcam_kit.progress import Progress
from pcam_kit.run_folders import Run
from pcam_kit.tissue.journal import Journal, Place, Row
from pcam_kit.tissue.pictures import damaged
from pcam_kit.tissue.stain import StainMaps
from pcam_kit.tissue.survey import Surveyed
from pcam_kit.tissue.tiles import cut, has_tissue
from pcam_kit.training.backend import quiet_import
from pcam_kit.views import VIEWS
from pcam_kit.workflows.predictions import check_probabilities, check_shapes, members_of

log = logging.getLogger(__name__)

BATCH = 256  # tiles of one prediction, and of one line of the journal


@dataclass(frozen=True)
class _Tile:
    """A tile that is to be predicted, and where the work goes on after it."""

    row: tuple[int, int, int]  # number of its image, x, y
    pixels: NDArray[np.uint8]
    following: Place


class _Network:
    """The model of a run, as it was measured."""

    def __init__(self, run: Run) -> None:
        """Raises RunError for a model that is missing, damaged or not the run's."""
        with quiet_import():
            from pcam_kit.inference import load_trained

        self._run, self._model = run, load_trained(run)
        self._crop = run.experiment.data.crop or run.competition.image_size
        check_shapes(run, self._model, self._crop)

    def predict(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The mean over the run's views for each of uint8 [n, h, w, 3]: float32 [n]."""
        from pcam_kit.inference import predict

        views, rows = VIEWS[self._run.outcome.tta], np.arange(len(tiles))
        answers = predict(self._model, tiles, rows, crop=self._crop, views=views)
        check_probabilities(self._run, answers)
        return answers.astype(np.float64).mean(axis=1).astype(np.float32)


class _Mean:
    """The models of an ensemble, each as it was measured."""

    def __init__(self, run: Run, model: Ensemble) -> None:
        """Raises RunError as `_Network`, and where a member is gone."""
        self._networks = [_Network(member) for member in members_of(run)]
        self._average: Averaging = model.average

    def predict(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `_Network.predict`."""
        answers = [network.predict(tiles) for network in self._networks]
        return combine(answers, self._average).astype(np.float32)


def predict_tiles(
    run: Run,
    surveyed: Sequence[Surveyed],
    journal: Journal,
    progress: Progress,
    *,
    keep_background: bool,
) -> None:
    """Predict the tiles that the journal does not have yet.

    Batches begin where the journal says, so they are the same however often the work was stopped.
    Raises RunError, DataError, StorageError; Interrupted at Ctrl-C.
    """
    if journal.next.image >= len(surveyed):
        return
    if journal.rows:
        log.info(f"resumed after {counted(len(journal.rows), 'tile')}")
    stream = _tiles(
        surveyed,
        StainMaps(run.experiment.data.stain, surveyed),
        journal.next,
        keep_background=keep_background,
    )
    before = np.cumsum([0, *(one.grid.count for one in surveyed)]).tolist()
    network: _Network | _Mean | None = None
    try:
        # the next batch is read while this one is predicted
        for batch in read_ahead(iter(partial(_batch, stream), [])):
            if network is None:  # late: an image of background needs none
                network = _load(run)
            answers = network.predict(np.stack([tile.pixels for tile in batch]))
            rows = [Row(*tile.row, float(p)) for tile, p in zip(batch, answers, strict=True)]
            following = batch[-1].following
            journal.add(rows, following)
            done = before[following.image] + following.tile
            progress("predicting tiles", done, before[-1])
    except KeyboardInterrupt:
        kept = "nothing is kept" if journal.path is None else "what is done is kept"
        raise Interrupted(
            f"stopped after {counted(len(journal.rows), 'tile')}; {kept}",
            hint="the same command resumes" if journal.path is not None else "",
        ) from None
    journal.add([], Place(len(surveyed), 0))
    progress("predicting tiles", before[-1], before[-1])


def _load(run: Run) -> _Network | _Mean:
    model = run.experiment.model
    return _Mean(run, model) if isinstance(model, Ensemble) else _Network(run)


def _batch(stream: Iterator[_Tile]) -> list[_Tile]:
    return list(islice(stream, BATCH))


def _tiles(
    surveyed: Sequence[Surveyed], maps: StainMaps, start: Place, *, keep_background: bool
) -> Iterator[_Tile]:
    """The tiles of all images in turn, from a place on, without those of background."""
    for i in range(start.image, len(surveyed)):
        one = surveyed[i]
        first = start.tile if i == start.image else 0
        every = one.single or one.grey or keep_background
        picture = one.source.open()
        try:
            for number, columns, rows in one.grid.blocks(first):
                with parsing(partial(damaged, one.source.label)):
                    tiles = cut(picture, one.grid, columns, rows)
                places = [one.grid.place(column, row) for row in rows for column in columns]
                for j, (pixels, (x, y)) in enumerate(zip(tiles, places, strict=True)):
                    if number + j >= first and (every or has_tissue(pixels)):
                        pixels = maps.apply(i, pixels)
                        yield _Tile((i, x, y), pixels, Place(i, number + j + 1))
        finally:
            picture.close()
