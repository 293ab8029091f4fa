"""LiteRT (TensorFlow Lite): written by TensorFlow's converter, run by LiteRT's interpreter."""

# pyright: basic

from __future__ import annotations

import os
from pathlib import Path

from pcam_kit.exports.format import INPUT, Format, Network, Predict, silence

USAGE = """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

run = Interpreter("model.tflite").get_signature_runner()
patches = np.load("patches.npy")  # uint8 [n, {size}, {size}, 3], RGB
probabilities = run(pixels=patches)["output_0"][:, 0]
"""


def write(network: Network, path: Path) -> None:
    """Write the file: float32 inside, nothing is quantised."""
    with silence():
        network.served.export(str(path), "litert", verbose=False)


def load(path: Path) -> Predict:
    """The model in LiteRT's interpreter; it takes batches of any size."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner()
    return lambda patches: run(**{INPUT: patches})["output_0"][:, 0]


FORMAT = Format(
    name="litert",
    title="LiteRT",
    file="model.tflite",
    modules=("ai_edge_litert",),
    extra="litert",
    packages=("ai-edge-litert", "tensorflow", "keras"),
    write=write,
    load=load,
    usage=USAGE,
    install="ai-edge-litert numpy",
    note="Nothing is quantised: it computes in float32. `Interpreter(..., num_threads=4)` uses "
    "more cores than one.",
)
