"""ONNX: written by tf2onnx, run by ONNX Runtime."""

# pyright: basic

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.exports.format import INPUT, OUTPUT, Format, Network, Predict, silence

USAGE = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
patches = np.load("patches.npy")  # uint8 [n, {size}, {size}, 3], RGB
probabilities = session.run(None, {{"pixels": patches}})[0][:, 0]
"""


def write(network: Network, path: Path) -> None:
    """Write the file, with `n` as the name of the batch's dimension."""
    import keras
    import onnx

    shape = (None, network.size, network.size, 3)
    # without a signature Keras asks for a model that was called before
    signature = [keras.InputSpec(shape=shape, dtype="uint8", name=INPUT)]
    # tf2onnx reports parts that it cannot simplify as errors, and goes on
    with silence("tf2onnx"):
        network.served.export(str(path), "onnx", verbose=False, input_signature=signature)
    model = onnx.load(path)
    (given,), (answer,) = model.graph.input, model.graph.output
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == answer.name:
                node.output[i] = OUTPUT
    answer.name = OUTPUT
    for value in (given, answer):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def load(path: Path) -> Predict:
    """The model in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(patches: Any) -> Any:
        (answers,) = session.run([OUTPUT], {INPUT: patches})
        return np.asarray(answers)[:, 0]

    return predict


FORMAT = Format(
    name="onnx",
    title="ONNX",
    file="model.onnx",
    modules=("tf2onnx", "onnxruntime"),
    extra="onnx",
    packages=("onnxruntime", "onnx", "tf2onnx", "tensorflow", "keras"),
    write=write,
    load=load,
    usage=USAGE,
    install="onnxruntime numpy",
)
