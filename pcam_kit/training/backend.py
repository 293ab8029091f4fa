"""What Keras computes with here."""

# pyright: basic

from __future__ import annotations

import keras


def backend_name() -> str:
    """One of "tensorflow", "jax", "torch"."""
    return keras.backend.backend()


def device_names() -> str:
    """The devices Keras sees, e.g. "gpu:0", or "cpu"."""
    try:
        return ", ".join(str(device) for device in keras.distribution.list_devices()) or "cpu"
    except (RuntimeError, ValueError, NotImplementedError):  # not every backend can tell
        return "unknown"
