"""What every format of export has in common: a network goes in, probabilities come back out."""

# pyright: basic

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import UsageError

INPUT, OUTPUT = "pixels", "probability"
# uint8 [n, size, size, 3] -> float32 [n]
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network to export.

    model: the Keras model in `file`, from pixels 0-255 [n, size, size, 3] to a probability [n, 1].
    custom: whether it may have layers that are no part of Keras.
    """

    model: Any
    file: Path
    size: int
    custom: bool = False

    @cached_property
    def served(self) -> Any:
        """The same with an input of uint8: pixels in 0..1 are an error, not a wrong answer."""
        import keras

        from pcam_kit.models.layers.plain import without_3d_pooling

        pixels = keras.Input((self.size, self.size, 3), dtype="uint8", name=INPUT)
        model = without_3d_pooling(self.model)
        return keras.Model(pixels, model(keras.ops.cast(pixels, "float32")))


@dataclass(frozen=True)
class Format:
    """One format: how it is written, and how it is run.

    file: the model in the folder of the export. modules: what must be installed, `extra` of
    pcam-kit installs it ("" where pcam-kit itself does). packages: the distributions whose versions
    matter, the runtime first. write: (network, path) -> None. load: path -> Predict. usage: Python
    that answers for `patches` with `probabilities`. install: the packages that `usage` needs. note:
    what else its users should know. by_tensorflow: whether TensorFlow converts it.
    """

    name: str
    title: str
    file: str
    modules: tuple[str, ...]
    extra: str
    packages: tuple[str, ...]
    write: Callable[[Network, Path], None]
    load: Callable[[Path], Predict]
    usage: str
    install: str
    note: str = ""
    by_tensorflow: bool = True

    def check_installed(self) -> None:
        """Raises UsageError, with the command that installs it, when a package is missing."""
        missing = [name for name in self.modules if find_spec(name) is None]
        if missing:
            raise UsageError(
                f"export to {self.title} needs {' and '.join(missing)}, not installed here",
                hint=f'pip install "pcam-kit[{self.extra}]"',
            )

    def versions(self) -> dict[str, str]:
        """The versions of the packages that write and run it."""
        return {name: metadata.version(name) for name in self.packages}


@contextlib.contextmanager
def silence(*loggers: str) -> Generator[None]:
    """Keep what converters print: Keras 3.13 lists every weight on stdout."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
