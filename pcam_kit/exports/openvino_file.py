"""OpenVINO's own format: model.xml with its weights in model.bin."""

# pyright: basic

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pcam_kit.exports.format import INPUT, OUTPUT, Format, Network, Predict, silence

# By default it computes in bfloat16 on CPUs that have it. Probabilities were then off by up to
# 0.008 (lab, 2,000 patches) and 0.019 (pcam96-p4m, 1,200), the AUC by 0.00001 and 0.0001.
USAGE = """\
import numpy as np
import openvino

exact = {{"INFERENCE_PRECISION_HINT": "f32"}}
model = openvino.Core().compile_model("model.xml", "CPU", exact)
patches = np.load("patches.npy")  # uint8 [n, {size}, {size}, 3], RGB
probabilities = model(patches)[0][:, 0]
"""


def write(network: Network, path: Path) -> None:
    """Write both files, with names for input and output."""
    import openvino

    # apart from the result, and what cannot be deleted may stay: OpenVINO holds what it has read
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        draft = Path(folder) / "model.xml"
        with silence():
            network.served.export(str(draft), "openvino", verbose=False)
        model = openvino.Core().read_model(str(draft))
        model.outputs[0].tensor.set_names({OUTPUT})
        model.outputs[0].get_node().set_friendly_name(OUTPUT)
        openvino.save_model(model, str(path), compress_to_fp16=False)
        del model


def load(path: Path, precision: str = "f32") -> Predict:
    """The model on the CPU, in a precision as OpenVINO calls it. The file is no longer needed."""
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})
    model = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda patches: model({INPUT: patches})[OUTPUT][:, 0]


FORMAT = Format(
    name="openvino",
    title="OpenVINO",
    file="model.xml",
    modules=("openvino",),
    extra="openvino",
    packages=("openvino", "tensorflow", "keras"),
    write=write,
    load=load,
    usage=USAGE,
    install="openvino numpy",
    note="The weights are in `model.bin`. Without the hint OpenVINO computes in bfloat16 on CPUs "
    "that have it: faster, and probabilities may then differ in the second decimal.",
)
