"""TensorFlow's SavedModel, as TensorFlow Serving takes it."""

# pyright: basic

from __future__ import annotations

from pathlib import Path

from pcam_kit.exports.format import Format, Network, Predict, silence

USAGE = """\
import numpy as np
import tensorflow as tf

model = tf.saved_model.load("model")
patches = np.load("patches.npy")  # uint8 [n, {size}, {size}, 3], RGB
probabilities = model.serve(patches).numpy()[:, 0]
"""


def write(network: Network, path: Path) -> None:
    """Write the folder."""
    with silence():
        network.served.export(str(path), "tf_saved_model", verbose=False)


def load(path: Path) -> Predict:
    """The model in TensorFlow, on the CPU."""
    import tensorflow as tf

    with tf.device("CPU"):
        model = tf.saved_model.load(str(path))

    def predict(patches):
        with tf.device("CPU"):
            return model.serve(patches).numpy()[:, 0]

    return predict


FORMAT = Format(
    name="savedmodel",
    title="TensorFlow SavedModel",
    file="model",
    modules=("tensorflow",),
    extra="",
    packages=("tensorflow", "keras"),
    write=write,
    load=load,
    usage=USAGE,
    install="tensorflow",
)
