"""Data parallelism: one batch shared by several devices of a machine."""

# pyright: basic

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import keras

from pcam_kit.errors import ConfigError, UsageError
from pcam_kit.training.backend import backend_name


def device_names() -> list[str]:
    """The devices that a training could be shared by, as Keras names them, e.g. "gpu:0"."""
    try:
        return keras.distribution.list_devices()
    except (RuntimeError, ValueError, NotImplementedError, AttributeError):  # not on every backend
        return []


def check_devices(devices: int, batch_size: int) -> None:
    """Raises UsageError unless the backend can share batches among so many devices.

    batch_size: of the whole step; ConfigError unless the devices get equal parts of it. On
    TensorFlow, Keras' `DataParallel` does nothing, and `MirroredStrategy` gives every device the
    whole batch of `train_on_batch`.
    """
    if devices == 1:
        return
    backend = backend_name()
    if backend != "jax":
        raise UsageError(
            f"--devices {devices}: Keras on {backend} trains on one device",
            hint=f"use JAX: pip install 'jax[cuda12]', then KERAS_BACKEND=jax pcam train --devices "
            f"{devices}; or train a seed on each: CUDA_VISIBLE_DEVICES=1 pcam train --seed 1",
        )
    names = device_names()
    if devices > len(names):
        raise UsageError(
            f"--devices {devices}: JAX sees {len(names)} ({', '.join(names)})",
            hint=f"--devices {len(names)}; pcam doctor says what there is",
        )
    if batch_size % devices:
        raise ConfigError(
            f"training.batch_size: {devices} devices need a multiple of {devices}, found "
            f"{batch_size}",
            hint=f"--set training.batch_size={batch_size - batch_size % devices or devices}",
        )


@contextmanager
def undistributed() -> Generator[None]:
    """Inside, Keras builds and predicts on one device of this process, also in `data_parallel`.

    In a group of processes each assignment to a shared variable is an exchange between all.
    """
    current = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(current)


@contextmanager
def data_parallel(devices: int) -> Generator[None]:
    """Share every batch among the first `devices` devices while the block runs.

    Models must be built inside. Losses are those of one device, to float tolerance.
    """
    if devices == 1:
        yield
        return
    names = device_names()[:devices]
    with keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope():
        yield
