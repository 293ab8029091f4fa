"""EfficientNet-Lite, which `keras.applications` does not have.

EfficientNet (Tan and Le 2019) without squeeze-and-excitation, with ReLU6 for swish, and with a
first and a last stage that do not grow (Google 2020,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

# pyright: basic

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray


class Stage(NamedTuple):
    """Inverted residual blocks of one resolution. expand: how much wider they are inside."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280  # channels, in every variant
DROP_CONNECT = 0.2  # of the last block; earlier ones have less
# how much wider and deeper the stages are
SCALES = {
    "EfficientNetLite0": (1.0, 1.0),
    "EfficientNetLite1": (1.0, 1.1),
    "EfficientNetLite2": (1.1, 1.2),
}


def efficientnet_lite(backbone: str, size: int) -> keras.Model:
    """The network without its classifier, with random weights.

    From pixels [n, size, size, 3], scaled as (x - 127) / 128, to features [n, 1280].
    """
    width, depth = SCALES[backbone]
    stages = [_scale(stage, number, width, depth) for number, stage in enumerate(STAGES)]
    blocks = sum(stage.repeats for stage in stages)
    inputs = keras.Input((size, size, 3))
    x = _convolve(inputs, STEM, 3, 2, "stem")
    done = 0
    for number, stage in enumerate(stages, start=1):
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            name = f"block{number}{chr(ord('a') + repeat)}_"
            x = _block(x, stage, stride, DROP_CONNECT * done / blocks, name)
            done += 1
    x = _convolve(x, TOP, 1, 1, "top")
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="avg_pool")(x), name=backbone)


def _scale(stage: Stage, number: int, width: float, depth: float) -> Stage:
    """A stage of a larger variant: channels are rounded to multiples of 8."""
    filters = max(8, int(stage.filters * width + 4) // 8 * 8)
    if filters < 0.9 * stage.filters * width:
        filters += 8
    repeats = stage.repeats
    if 0 < number < len(STAGES) - 1:
        repeats = math.ceil(repeats * depth)
    return stage._replace(filters=filters, repeats=repeats)


def _block(x: Any, stage: Stage, stride: int, drop: float, name: str) -> Any:
    channels = x.shape[-1]
    inner = x
    if stage.expand > 1:
        inner = _convolve(inner, channels * stage.expand, 1, 1, f"{name}expand")
    inner = layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}dwconv"
    )(inner)
    inner = _normalise(inner, f"{name}")
    inner = layers.ReLU(6, name=f"{name}activation")(inner)
    inner = _convolve(inner, stage.filters, 1, 1, f"{name}project", activate=False)
    if stride > 1 or channels != stage.filters:
        return inner
    if drop > 0:
        inner = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(inner)
    return layers.Add(name=f"{name}add")([inner, x])


def _convolve(
    x: Any, filters: int, kernel: int, stride: int, name: str, *, activate: bool = True
) -> Any:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(
        x
    )
    x = _normalise(x, f"{name}_")
    return layers.ReLU(6, name=f"{name}_activation")(x) if activate else x


def _normalise(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}bn")(x)


def load_torch(model: keras.Model, arrays: dict[str, NDArray[Any]]) -> None:
    """Give `model` the weights of a PyTorch file of the same variant.

    arrays: by the names of the PyTorch implementation, kernels as [out, in, height, width]. Raises
    ValueError when one is missing, superfluous or of another shape.
    """
    left = {name: a for name, a in arrays.items() if not name.endswith("num_batches_tracked")}
    for classifier in ("_fc.weight", "_fc.bias"):
        left.pop(classifier, None)
    for layer, source in _sources(model):
        if isinstance(layer, layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [left.pop(f"{source}.{part}") for part in parts]
        else:
            # depthwise kernels have one input channel, and Keras wants [height, width, in, 1]
            axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
            values = [np.transpose(left.pop(f"{source}.weight"), axes)]
        for weight, value in zip(layer.weights, values, strict=True):
            if tuple(weight.shape) != value.shape:
                raise ValueError(
                    f"{source} should have the shape {list(weight.shape)}, "
                    f"found {list(value.shape)}"
                )
        layer.set_weights(values)
    if left:
        raise ValueError(f"{len(left)} arrays too many, e.g. {min(left)}")


def _sources(model: keras.Model) -> list[tuple[keras.layers.Layer, str]]:
    """The layers with weights, each with its name in the PyTorch implementation."""
    ends = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
    }
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    blocks: dict[str, int] = {}  # numbered as they come
    result: list[tuple[keras.layers.Layer, str]] = []
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name in ends:
            result.append((layer, ends[layer.name]))
            continue
        block, part = layer.name.split("_", 1)
        number = blocks.setdefault(block, len(blocks))
        result.append((layer, f"_blocks.{number}.{parts[part]}"))
    return result
