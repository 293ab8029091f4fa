"""Predictions from elsewhere, e.g. from PyTorch, as a run: to be evaluated, combined, submitted."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Evaluation, Experiment, External
from pcam_kit.data.raw import find_repeated
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, DataError, UsageError
from pcam_kit.files import sha256_file
from pcam_kit.formatting import few
from pcam_kit.parsing import parsing, printable, read_bytes, read_npz, reason_of
from pcam_kit.run_folders import ORDER, Predictions, Run, create_run, next_order
from pcam_kit.views import AS_IS
from pcam_kit.workflows.predictions import NoEpochs, complete_with, log_scores
from pcam_kit.workflows.provenance import provenance
from pcam_kit.workspace import Workspace

# A file (.npz with `ids` and `probabilities`, or .csv with a header), or {id: probability}.
Source = str | os.PathLike[str] | Mapping[str, float]

CSV_BYTES = 256 << 20  # the largest .csv that is read


def import_predictions(
    valid: Source,
    test: Source | None,
    name: str,
    workspace: Workspace,
    *,
    competition: str | None = None,
) -> Run:
    """Make a run of probabilities of the positive class on the validation and test patches.

    valid, test: every patch of the split once, in any order. The threshold is chosen on the
    validation patches, as for a trained run. competition None: the one fetched last. Raises
    DataError when ids or values do not fit, UsageError, ConfigError.
    """
    slug = competition if competition is not None else workspace.last_fetched()
    store = workspace.store(slug)
    sources = {"valid": valid} if test is None else {"valid": valid, "test": test}
    predictions = {
        split: _fit_to(_read(source, split), source, split, store)
        for split, source in sources.items()
    }
    try:
        experiment = Experiment(
            name=name,
            competition=store.profile.slug,
            model=External(name="external"),
            evaluation=Evaluation(tta="none"),
        )
    except ValueError as error:
        raise ConfigError(
            f"the name {name!r} does not fit: expected letters, digits, dots and dashes",
            hint="e.g. --name pytorch-resnet50",
        ) from error
    meta: dict[str, Any] = provenance([]) | {
        "backend": "external",
        "device": "unknown",
        "seed": 0,
        "competition": store.profile.model_dump(mode="json"),
        "synthetic": store.synthetic,
        "store_fingerprint": store.fingerprint,
        "split_hash": store.split_hash,
        "leaks": None,  # what it was trained on is not known here
        "test_seen": 0.0,
        "sources": {split: _describe(source) for split, source in sources.items()},
    }
    meta[ORDER] = next_order(workspace.runs, meta["started"])
    run = create_run(workspace.runs, experiment, meta)
    run = complete_with(run, predictions, NoEpochs())
    log_scores(run, "imported")
    return run


def _where(source: Source, split: str) -> str:
    return f"the {split} predictions" if isinstance(source, Mapping) else os.fspath(source)


def _describe(source: Source) -> dict[str, str]:
    if isinstance(source, Mapping):
        return {"file": ""}
    return {"file": Path(source).name, "sha256": sha256_file(Path(source))}


def _read(source: Source, split: str) -> tuple[list[str], NDArray[np.float64]]:
    """Ids and values as given. Raises DataError, UsageError."""
    where = _where(source, split)
    with parsing(lambda reason: DataError(f"{where} cannot be read: {reason}")):
        if isinstance(source, Mapping):
            return [str(key) for key in source], _numbers(list(source.values()), where)
        path = Path(source)
        if not path.exists():
            hint = "give a .npz or .csv with ids and probabilities"
            raise UsageError(f"no file {path}", hint=hint)
        if path.suffix == ".npz":
            return _read_npz(path)
        return _read_csv(path)


def _read_npz(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    arrays = read_npz(path)
    names = ("ids", "probabilities")
    if lost := [name for name in names if name not in arrays]:
        found = printable(", ".join(arrays)) or "none"
        raise DataError(
            f"{path} has no array {' and no array '.join(lost)}: expected ids [n] and "
            f"probabilities [n], found {found}",
            hint="np.savez(path, ids=ids, probabilities=probabilities)",
        )
    ids, values = arrays["ids"], arrays["probabilities"].reshape(-1)
    for name, array, kinds in (("ids", ids, "USiu"), ("probabilities", values, "fiubUS")):
        if array.dtype.kind not in kinds:
            wanted = "text or whole numbers" if name == "ids" else "numbers"
            raise DataError(f"{path}: {name} should be {wanted}, found {array.dtype}")
    sides = [side for side in arrays["probabilities"].shape if side != 1]
    if ids.ndim != 1 or values.shape != ids.shape or len(sides) > 1:
        raise DataError(
            f"{path}: expected ids and probabilities of one length, found {list(ids.shape)} and "
            f"{list(arrays['probabilities'].shape)}"
        )
    return [_text(name) for name in ids.tolist()], _numbers(values, str(path))


def _read_csv(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    text = read_bytes(path, CSV_BYTES).decode("utf-8-sig")
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        found = "nothing" if not rows else printable(",".join(rows[0]))[:80]
        raise DataError(
            f"{path}: expected a header and rows of two columns, id and probability; the first "
            f"line is {found}"
        )
    return [row[0].strip() for row in rows[1:]], _numbers([row[1] for row in rows[1:]], str(path))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _numbers(values: Sequence[Any] | NDArray[Any], where: str) -> NDArray[np.float64]:
    """Probabilities float64 [n]. Raises DataError for what is none."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        reason = reason_of(error)[:200]
        raise DataError(f"{where}: expected numbers, found other values: {reason}") from error
    wrong = ~((numbers >= 0) & (numbers <= 1))  # also NaN
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{where}: probabilities must lie within [0, 1]: found {numbers[first]} in row "
            f"{first + 1} ({int(wrong.sum()):,} of {numbers.size:,} do not fit)",
            hint="for logits: probability = 1 / (1 + exp(-logit))",
        )
    return numbers


def _fit_to(
    given: tuple[list[str], NDArray[np.float64]], source: Source, split: str, store: Store
) -> Predictions:
    """The values in the order of the split. Raises DataError unless each patch is there once."""
    ids, values = given
    where, rows = _where(source, split), store.rows(split)
    expected = [str(name) for name in store.ids[rows]]
    if twice := find_repeated(ids):
        raise DataError(f"{where} repeats {len(twice):,} ids: {printable(few(twice, len(twice)))}")
    place = {name: i for i, name in enumerate(ids)}
    missing = [name for name in expected if name not in place]
    if missing or len(ids) != len(expected):
        known = set(expected)
        foreign = [name for name in ids if name not in known]
        raise DataError(
            f"{where}: expected each of the {len(expected):,} ids of the {split} split of "
            f"{store.profile.slug}, found {len(ids):,} ids; missing: "
            f"{printable(few(missing, len(missing))) or 'none'}; unknown: "
            f"{printable(few(foreign, len(foreign))) or 'none'}",
            hint=f'the ids: pcam_kit.open_store().ids[pcam_kit.open_store().rows("{split}")]',
        )
    probabilities = values[[place[name] for name in expected]].astype(np.float32)
    return Predictions(
        store.ids[rows], store.labels[rows], probabilities[:, None], (AS_IS,), store.groups[rows]
    )
