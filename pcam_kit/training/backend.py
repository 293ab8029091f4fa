"""Keras' backend: imported without its noise, and what it computes with."""

# pyright: basic

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet_import() -> Generator[None]:
    """Keep what TensorFlow's native code writes to stderr while it is imported.

    It is shown only when the import fails. Lines before TensorFlow's own logging starts cannot be
    switched off, so the file descriptor is redirected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def backend_name() -> str:
    """One of "tensorflow", "jax", "torch"."""
    import keras

    return keras.backend.backend()


def device_names() -> str:
    """The devices Keras sees, e.g. "gpu:0", or "cpu"."""
    import keras

    try:
        return ", ".join(str(device) for device in keras.distribution.list_devices()) or "cpu"
    except (RuntimeError, ValueError, NotImplementedError):  # not every backend can say
        return "unknown"
