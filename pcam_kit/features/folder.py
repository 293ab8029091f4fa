"""The folder that keeps features: written a batch at a time, checked when it is opened."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import DataError, UsageError
from pcam_kit.files import (
    check_space,
    move,
    sha256_file,
    storage_error,
    storage_errors,
    sync_folder,
    write_json,
)
from pcam_kit.formatting import Summary, few
from pcam_kit.parsing import open_own, open_regular, parsing, printable, read_json

SCHEMA = 1
VALUES, MANIFEST = "features.npy", "manifest.json"
PART = ".part"  # how the name of a folder ends that is not complete
# of a manifest: the keys that are read, with their types
KEYS: dict[str, type] = {
    "model": str,
    "licence": str,
    "command": str,
    "competition": str,
    "store_fingerprint": str,
    "views": str,
    "dtype": str,
    "rows": int,
    "width": int,
    "weights_sha256": str,
}
DTYPES = ("float16", "float32")
Dtype = Literal["float16", "float32"]


@dataclass(frozen=True, repr=False)
class Features(Summary):
    """Complete features of a store's patches.

    manifest: network, weights, licence, preprocessing, store. values: read-only memory map [n,
    width], float16 or float32; a row for each row of the store.
    """

    path: Path
    manifest: dict[str, Any] = field(repr=False)
    values: NDArray[Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def summary(self) -> dict[str, str]:
        """Network, size, licence, and the folder."""
        rows, width = self.values.shape
        return {
            "features": f"{rows:,} patches, {width:,} values each ({self.values.dtype})",
            "network": f"{self.manifest['model']}, views {self.manifest['views']}",
            "licence": self.manifest["licence"],
            "path": str(self.path),
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam embed`."""
        return {"features": str(self.path), **self.manifest}


class Part:
    """Features that are being computed: rows so far in `NAME.part/features.npy`.

    It goes on where another process was stopped, if all that the features depend on is the same.
    Raises StorageError; UsageError where something else is there.
    """

    def __init__(self, target: Path, manifest: dict[str, Any]) -> None:
        self.target, self.folder = target, target.with_name(target.name + PART)
        self.manifest = manifest
        rows, width, dtype = manifest["rows"], manifest["width"], np.dtype(manifest["dtype"])
        self._dtype, self._row = dtype, width * dtype.itemsize
        header = _header(rows, width, dtype)
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.done = self._continue(header)
            if self.done == 0:
                check_space(self.folder, rows * self._row)
                write_json(self.folder / MANIFEST, {"schema_version": SCHEMA, **manifest})
            self._handle: BinaryIO = open_own(self.folder / VALUES, "r+" if self.done else "w")
            if self.done == 0:
                self._handle.write(header)
            self._handle.truncate(len(header) + self.done * self._row)
            self._handle.seek(0, os.SEEK_END)

    def _continue(self, header: bytes) -> int:
        """The rows that are there already."""
        path = self.folder / VALUES
        if not path.exists():
            return 0
        hint = f"move {self.folder} away, then run the same command again"
        before = read_manifest(self.folder)
        changed = [key for key, value in self.manifest.items() if before.get(key) != value]
        changed = [key for key in changed if key != "command"]  # a file may lie elsewhere now
        if changed:
            raise UsageError(
                f"{self.folder} was begun with another {few(changed, len(changed))}: expected "
                f"{printable(str(before.get(changed[0])))[:80]}, found "
                f"{printable(str(self.manifest[changed[0]]))[:80]}",
                hint=hint,
            )
        with open_regular(path) as handle:
            if handle.read(len(header)) != header:
                raise UsageError(f"{path} is damaged: another header than expected", hint=hint)
        return min((path.stat().st_size - len(header)) // self._row, int(self.manifest["rows"]))

    def add(self, values: NDArray[np.float32]) -> None:
        """Keep a batch [n, width]; on the disk before this returns. Raises DataError."""
        self._check(values)
        rounded = np.ascontiguousarray(values, self._dtype)
        try:
            self._handle.write(rounded.tobytes())
            self._handle.flush()
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise storage_error(error, self.folder) from error
        self.done += len(rounded)

    def _check(self, values: NDArray[np.float32]) -> None:
        """Raises DataError for values that are no numbers, or that float16 does not hold."""
        where = f"{self.manifest['model']}: features of the patches from row {self.done:,} are"
        sizes = np.abs(values)
        if not np.isfinite(sizes).all():
            raise DataError(f"{where} not finite", hint="try other weights, or another --size")
        if self._dtype != np.float16 or not sizes.any():
            return
        limits = np.finfo(np.float16)
        # below the smallest normal number digits are lost
        if sizes.max() > limits.max or np.median(sizes[sizes > 0]) < limits.smallest_normal:
            raise DataError(
                f"{where} too large or too small for float16, e.g. {sizes.max():.2g}",
                hint="--dtype float32",
            )

    def complete(self, **facts: Any) -> Features:
        """Write the checksum and `facts` into the manifest, and give the folder its name."""
        self.close()
        sums = {"sha256": sha256_file(self.folder / VALUES)}
        manifest = {"schema_version": SCHEMA, **self.manifest, **facts, **sums}
        write_json(self.folder / MANIFEST, manifest)
        try:
            move(self.folder, self.target)
            sync_folder(self.target.parent)
        except OSError as error:
            raise storage_error(error, self.target) from error
        return open_features(self.target)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is not None and self.done == 0:  # nothing to resume
            shutil.rmtree(self.folder, ignore_errors=True)


def _header(rows: int, width: int, dtype: np.dtype[Any]) -> bytes:
    """The first bytes of the .npy of an array [rows, width]."""
    buffer = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (rows, width),
    }
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of features, complete or not. Raises DataError."""
    path = folder / MANIFEST
    hint = "compute them again: move the folder away, then pcam embed"

    def damaged(reason: str) -> DataError:
        return DataError(f"{path} cannot be used: {reason}", hint=hint)

    if not path.is_file():
        raise DataError(f"{folder} holds no features: it has no {MANIFEST}", hint="pcam embed")
    with parsing(damaged):
        values = read_json(path)
        if not isinstance(values, dict) or values.pop("schema_version", None) != SCHEMA:
            raise ValueError(f"expected an object of schema version {SCHEMA}")
        for key, kind in KEYS.items():
            value = values.get(key)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"expected {key} as {kind.__name__}, found {value!r}")
        if values["dtype"] not in DTYPES or values["rows"] < 1 or values["width"] < 1:
            raise ValueError("expected rows and width above 0, and a dtype of float16 or float32")
        return values


def open_features(folder: Path) -> Features:
    """Complete features. Raises DataError where they are absent, incomplete or damaged."""
    if folder.name.endswith(PART):
        raise DataError(
            f"{folder} is not complete: pcam embed was stopped",
            hint=read_manifest(folder)["command"],
        )
    manifest, path = read_manifest(folder), folder / VALUES
    hint = f"move {folder} away, then {manifest['command']}"
    header = _header(manifest["rows"], manifest["width"], np.dtype(manifest["dtype"]))
    with parsing(lambda reason: DataError(f"{path} is damaged: {reason}", hint=hint)):
        with open_regular(path) as handle:
            if handle.read(len(header)) != header:
                raise ValueError("it is not the array that the manifest describes")
        shape = manifest["rows"], manifest["width"]
        expected = len(header) + shape[0] * shape[1] * np.dtype(manifest["dtype"]).itemsize
        if (found := path.stat().st_size) != expected:
            raise ValueError(f"expected {expected:,} bytes, found {found:,}")
        if sha256_file(path) != manifest.get("sha256"):
            raise ValueError("its SHA-256 is not the one in the manifest")
        values = np.memmap(path, manifest["dtype"], "r", len(header), shape)
    return Features(folder, manifest, values)


def find_features(data: Path, name: str | None) -> Path:
    """The folder of features: a path, or a unique part of a name below `data`; None: the newest.

    One that is not complete is found by its name. Raises UsageError.
    """
    if name is not None and (Path(name) / MANIFEST).is_file():
        return Path(name)
    folders = [path.parent for path in data.glob(f"*/features/*/{MANIFEST}")]
    folders.sort(key=lambda path: (path / MANIFEST).stat().st_mtime_ns)
    if name is None:
        complete = [path for path in folders if not path.name.endswith(PART)]
        if not complete:
            raise UsageError(f"no features below {data}", hint="pcam embed --model EfficientNetB0")
        return complete[-1]
    found = [path for path in folders if path.name == name]
    found = found or [path for path in folders if name in path.name]
    if len(found) == 1:
        return found[0]
    names = [path.name for path in found or folders]
    listed = printable(few(names, len(names), 5)) or "none"
    what = "several features have" if found else "no features have"
    raise UsageError(
        f"{what} {printable(name)!r} in their name; there are: {listed}",
        hint="give a longer part of the name" if found else "pcam embed --model EfficientNetB0",
    )
