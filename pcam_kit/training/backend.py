"""Keras' backend: imported without its noise, and what it computes with."""

# pyright: basic

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

# a GPU's memory is taken as it is needed, so that others can use the rest
GROWING_MEMORY = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
DO_WITHOUT_JAX = ("tensorflow.lite.python.util", "keras.src.callbacks.orbax_checkpoint")


@contextmanager
def quiet_import() -> Generator[None]:
    """Keep what TensorFlow's native code writes to stderr while it is imported.

    It is shown only when the import fails. Lines before TensorFlow's own logging starts cannot be
    switched off, so the file descriptor is redirected. On TensorFlow JAX is left out.
    """
    logging.getLogger("tensorflow").addFilter(_worth_reading)
    for name, value in {"TF_CPP_MIN_LOG_LEVEL": "3", **GROWING_MEMORY}.items():
        os.environ.setdefault(name, value)
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        sys.meta_path.insert(0, _WithoutJax)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            sys.meta_path.remove(_WithoutJax)
            os.dup2(original, 2)
            os.close(original)


class _WithoutJax:
    """A finder that has no JAX for modules that can do without, and for which it is not used.

    Where JAX is installed, it is a sixth of the import of Keras on TensorFlow.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        """Raises ImportError for JAX while one of these is imported; knows no other module."""
        if name == "jax" and any(map(_is_imported_now, DO_WITHOUT_JAX)):
            raise ModuleNotFoundError("JAX is left out here", name=name)


def _is_imported_now(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and getattr(module.__spec__, "_initializing", False)


def on_cpu() -> AbstractContextManager[Any]:
    """Inside, Keras computes on the CPU, also where there is a GPU."""
    import keras

    return keras.device("cpu")


def _worth_reading(record: logging.LogRecord) -> bool:
    """Not that TensorFlow compiles a network's last, smaller batch, too: it does so once a size."""
    return "triggered tf.function retracing" not in record.getMessage()


def set_seed(seed: int) -> None:
    """Seed what draws initial weights and dropout: Python, NumPy and the backend."""
    with quiet_import():  # on JAX Keras imports TensorFlow to seed it, too
        import keras

        keras.utils.set_random_seed(seed)


def backend_name() -> str:
    """One of "tensorflow", "jax", "torch"."""
    import keras

    return keras.backend.backend()
