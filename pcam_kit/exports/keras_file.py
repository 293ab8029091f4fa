"""Keras' own `.keras` file: the model of the run, byte for byte."""

# pyright: basic

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pcam_kit.exports.format import Format, Network, Predict

USAGE = """\
import keras
import numpy as np

model = keras.saving.load_model("model.keras", compile=False)
patches = np.load("patches.npy")  # uint8 [n, {size}, {size}, 3], RGB
probabilities = model.predict(patches, verbose=0)[:, 0]
"""


def write(network: Network, path: Path) -> None:
    """Copy the file."""
    shutil.copyfile(network.file, path)


def load(path: Path) -> Predict:
    """The model on Keras' backend."""
    import keras
    import numpy as np

    model: Any = keras.saving.load_model(path, compile=False)
    return lambda patches: np.asarray(model.predict_on_batch(patches))[:, 0]


FORMAT = Format(
    name="keras",
    title="Keras",
    file="model.keras",
    modules=("keras",),
    extra="",
    packages=("keras",),
    write=write,
    load=load,
    usage=USAGE,
    install="keras tensorflow",
    note="Keras from 3.5 on reads it, on any of its backends.",
    by_tensorflow=False,
)
