"""The seal of arrays that a run keeps: which run wrote them, what they are, and their checksum.

It is one more array in the .npz, so file and checksum are replaced together. Runs since seals
exist have an `id` in meta.json; files of earlier runs have no seal and are believed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.parsing import parse_json

SEAL = "seal"  # the name of the array


def sealed(arrays: dict[str, NDArray[Any]], owner: str, what: str) -> dict[str, Any]:
    """The arrays with their seal. owner: the id of the run. what: which of its files this is."""
    text = json.dumps({"run": owner, "what": what, "sha256": _digest(arrays)})
    return {**arrays, SEAL: np.array(text)}


def unsealed(arrays: dict[str, NDArray[Any]], owner: str, what: str) -> dict[str, NDArray[Any]]:
    """The arrays without their seal. Raises ValueError when it is not the one of `sealed`."""
    rest = {name: array for name, array in arrays.items() if name != SEAL}
    if SEAL not in arrays:
        if owner:
            raise ValueError("it does not say which run wrote it")
        return rest
    seal = parse_json(str(arrays[SEAL]))
    if not isinstance(seal, dict) or seal.get("run") != owner:
        raise ValueError("another run wrote it")
    if seal.get("what") != what:
        raise ValueError(f"it holds something else than {what} of this run")
    if seal.get("sha256") != _digest(rest):
        raise ValueError("it was changed since this run wrote it")
    return rest


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    """Hex SHA-256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        shape = arrays[name].shape
        digest.update(json.dumps([name, array.dtype.str, list(shape)]).encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
