"""Transfer learning: a network of `keras.applications`, or EfficientNet-Lite, under a new head.

Also the learning rate of each of its parts.
"""

# pyright: basic

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import applications, layers, ops

from pcam_kit.config.schema import Transfer
from pcam_kit.errors import ConfigError
from pcam_kit.models import efficientnet_lite
from pcam_kit.models.task import Task, add_logits

BACKBONE = "backbone"  # the name of its layer
# mean and standard deviation of ImageNet's channels, pixels in 0..1
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Mode = Literal["inside", "caffe", "tf", "torch", "lite"]


@dataclass(frozen=True)
class Family:
    """How the backbones of one family are preprocessed and divided into stages.

    mode: the preprocessing, by the name that Keras uses for it; lite: EfficientNet-Lite's.
    """

    mode: Mode
    stage_pattern: str  # matches the name of a layer; its group is the number of the stage
    # the first layer after the network's own preprocessing, when ours replaces that
    first_layer: str | None = None


FAMILIES: dict[str, Family] = {
    # Its own preprocessing is complete only when built with weights="imagenet", and is partly
    # stored among the weights.
    "EfficientNetB0": Family("torch", r"block(\d)", first_layer="stem_conv_pad"),
    "EfficientNetV2B0": Family("inside", r"block(\d)"),
    "DenseNet121": Family("torch", r"conv(\d)_block"),
    "ResNet50": Family("caffe", r"conv(\d)_block"),
    "ResNet50V2": Family("tf", r"conv(\d)_block"),
    "ConvNeXtTiny": Family("inside", r"stage_(\d)"),
    "MobileNetV3Small": Family("inside", r"expanded_conv_(\d+)"),
} | {name: Family("lite", r"block(\d)") for name in efficientnet_lite.SCALES}


def transfer(config: Transfer, task: Task) -> keras.Model:
    """Resize, preprocess, backbone, global average pooling, dropout, logits.

    All weights are random; `models.pretrained` loads others. Raises ConfigError for images below 32
    pixels, or with another number of channels than 1 or 3.
    """
    size = config.input_size or task.size
    if size < 32:
        raise ConfigError(
            f"model.input_size: {config.backbone} needs 32 pixels a side, the patches have {size}",
            hint="set model.input_size",
        )
    if task.channels not in (1, 3):
        raise ConfigError(f"model transfer takes images of 1 or 3 channels, found {task.channels}")
    inputs = keras.Input((task.size, task.size, task.channels), name="pixels")
    x = inputs
    if task.channels == 1:
        x = layers.Concatenate(name="rgb")([inputs] * 3)
    if size != task.size:
        x = layers.Resizing(size, size, interpolation="bilinear", name="resize")(x)
    x = preprocess(x, FAMILIES[config.backbone].mode)
    backbone = build_trunk(config.backbone, build_application(config.backbone, size))
    freeze = config.freeze_batch_norm
    if freeze is None:
        freeze = config.weights is not None
    if freeze:
        # `backbone(x, training=False)` would not do: the surrounding model overrides it with its
        # own `training` (Keras 3.15)
        for layer in backbone.layers:
            layer.trainable = not isinstance(layer, layers.BatchNormalization)
    x = backbone(x)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(inputs, add_logits(x, task), name=config.name)


def build_application(backbone: str, size: int, weights: str | None = None) -> keras.Model:
    """The backbone without its top.

    From pixels [n, size, size, 3] to features [n, m]. weights: what `keras.applications` takes.
    """
    if backbone in efficientnet_lite.SCALES:
        return efficientnet_lite.efficientnet_lite(backbone, size)
    build = getattr(applications, backbone)
    return build(include_top=False, weights=weights, input_shape=(size, size, 3), pooling="avg")


def build_trunk(backbone: str, application: keras.Model) -> keras.Model:
    """The part of `application` after the preprocessing that ours replaces.

    It has the same layers and weights.
    """
    first = FAMILIES[backbone].first_layer
    inputs = application.input if first is None else application.get_layer(first).input
    return keras.Model(inputs, application.output, name=BACKBONE)


def preprocess(x: Any, mode: Mode) -> Any:
    """RGB pixels 0..255 as the family's `preprocess_input` in Keras returns them."""
    match mode:
        case "inside":
            return x
        case "caffe":  # BGR less the mean colour, not scaled
            mean, variance = [103.939, 116.779, 123.68], [1.0] * 3
            normalise = layers.Normalization(mean=mean, variance=variance, name="preprocess")
            return normalise(ops.flip(x, axis=-1))
        case "tf":
            return layers.Rescaling(1 / 127.5, offset=-1, name="preprocess")(x)
        case "torch":
            mean = [255 * value for value in MEAN]
            variance = [(255 * value) ** 2 for value in DEVIATION]
            return layers.Normalization(mean=mean, variance=variance, name="preprocess")(x)
        case "lite":
            return layers.Rescaling(1 / 128, offset=-127 / 128, name="preprocess")(x)


def stage_numbers(backbone: str, model: keras.Model) -> list[int]:
    """The stage of each layer of a backbone's `model`: 0 before the first stage, then 1, 2, ...

    Layers between two stages belong to the earlier one, those after the last to the last.
    """
    pattern = re.compile(FAMILIES[backbone].stage_pattern)
    matches = [pattern.search(layer.name) for layer in model.layers]
    numbers = [int(match[1]) if match else None for match in matches]
    distinct = sorted({number for number in numbers if number is not None})
    current = 0
    result: list[int] = []
    for number in numbers:
        if number is not None:
            current = distinct.index(number) + 1
        result.append(current)
    return result


def rate_factors(model: keras.Model, config: Transfer) -> tuple[list[float], list[float]]:
    """Factors of the learning rate, one per trainable variable of `model`.

    The first list is for the epochs in which only the head is trained, the second for those
    afterwards. The last stage of the backbone gets `backbone_rate`, each earlier one `layer_decay`
    times that of the next: discriminative fine-tuning (Howard and Ruder 2018, "Universal language
    model fine-tuning for text classification").
    """
    backbone = model.get_layer(BACKBONE)
    stages = stage_numbers(config.backbone, backbone)
    factors: dict[int, float] = {}
    for layer, stage in zip(backbone.layers, stages, strict=True):
        rate = config.backbone_rate * config.layer_decay ** (max(stages) - stage)
        factors |= {id(variable): rate for variable in layer.trainable_variables}
    keys = [id(variable) for variable in model.trainable_variables]
    before = [0.0 if key in factors else 1.0 for key in keys]
    after = [factors.get(key, 1.0) for key in keys]
    return before, after
