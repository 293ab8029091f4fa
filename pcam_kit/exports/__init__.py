"""Formats to which a trained network can be exported: a file a format, and their table."""

from pcam_kit.exports import keras_file, litert_file, onnx_file, openvino_file, savedmodel
from pcam_kit.exports.format import Format, Network, Predict

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (onnx_file, savedmodel, litert_file, openvino_file, keras_file)
}

__all__ = ["FORMATS", "Format", "Network", "Predict"]
