"""Transfer learning: a network of `keras.applications` without its top under a new head, and how
fast each part of it learns.
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
from pcam_kit.models.task import Task, logits

BACKBONE = "backbone"  # the layer that holds it
# of ImageNet's channels, pixels in 0..1
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Mode = Literal["inside", "caffe", "tf", "torch"]


@dataclass(frozen=True)
class Family:
    """What a backbone needs.

    `module` has its `preprocess_input`; `mode` says in its words what ours does to the pixels.
    """

    module: Any
    mode: Mode
    stage: str  # pattern of a layer's name whose group is the number of its stage
    # the layer its own preprocessing ends before, which is then replaced by ours
    first: str | None = None


FAMILIES: dict[str, Family] = {
    # Its own preprocessing is complete only when built with weights="imagenet", and keeps part of
    # itself among the weights.
    "EfficientNetB0": Family(
        applications.efficientnet, "torch", r"block(\d)", first="stem_conv_pad"
    ),
    "EfficientNetV2B0": Family(applications.efficientnet_v2, "inside", r"block(\d)"),
    "DenseNet121": Family(applications.densenet, "torch", r"conv(\d)_block"),
    "ResNet50": Family(applications.resnet, "caffe", r"conv(\d)_block"),
    "ResNet50V2": Family(applications.resnet_v2, "tf", r"conv(\d)_block"),
    "ConvNeXtTiny": Family(applications.convnext, "inside", r"stage_(\d)"),
    "MobileNetV3Small": Family(applications.mobilenet_v3, "inside", r"expanded_conv_(\d+)"),
}


def transfer(config: Transfer, task: Task) -> keras.Model:
    """Resize, preprocess, backbone, global average, dropout, logits; all weights random
    (`models.pretrained` reads others).

    Raises ConfigError when the pixels are too few or of another number of channels than 1 or 3.
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
    x = layers.Concatenate(name="rgb")([inputs] * 3) if task.channels == 1 else inputs
    if size != task.size:
        x = layers.Resizing(size, size, interpolation="bilinear", name="resize")(x)
    x = preprocess(x, FAMILIES[config.backbone].mode)
    backbone = trunk(config.backbone, application(config.backbone, size))
    freeze = (
        config.weights is not None if config.freeze_batch_norm is None else config.freeze_batch_norm
    )
    if freeze:
        # not `backbone(x, training=False)`: the model around it passes its own `training` on over
        # that (Keras 3.15)
        for layer in backbone.layers:
            layer.trainable = not isinstance(layer, layers.BatchNormalization)
    x = backbone(x)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(inputs, logits(x, task), name=config.name)


def application(backbone: str, size: int, weights: str | None = None) -> keras.Model:
    """The whole model of `keras.applications`, without its top, from pixels [n, size, size, 3] to
    features [n, m].
    """
    build = getattr(applications, backbone)
    return build(include_top=False, weights=weights, input_shape=(size, size, 3), pooling="avg")


def trunk(backbone: str, whole: keras.Model) -> keras.Model:
    """`whole` from where our preprocessing ends; the same layers and weights."""
    first = FAMILIES[backbone].first
    return keras.Model(
        whole.input if first is None else whole.get_layer(first).input, whole.output, name=BACKBONE
    )


def preprocess(x: Any, mode: Mode) -> Any:
    """RGB pixels 0..255 as a backbone wants them: what `preprocess_input` of its module in
    `keras.applications` does.
    """
    match mode:
        case "inside":
            return x
        case "caffe":  # BGR less the mean colour, not scaled
            return layers.Normalization(
                mean=[103.939, 116.779, 123.68], variance=[1.0] * 3, name="preprocess"
            )(ops.flip(x, axis=-1))
        case "tf":
            return layers.Rescaling(1 / 127.5, offset=-1, name="preprocess")(x)
        case "torch":
            mean, variance = (
                [255 * value for value in MEAN],
                [(255 * value) ** 2 for value in DEVIATION],
            )
            return layers.Normalization(mean=mean, variance=variance, name="preprocess")(x)


def stages(backbone: str, model: keras.Model) -> list[int]:
    """The stage of each layer of a backbone's `model`: 0 what comes before the first, then 1, 2 and
    on.

    What lies between two stages belongs to the earlier, what follows the last to the last.
    """
    pattern = re.compile(FAMILIES[backbone].stage)
    numbers = [
        int(found[1]) if (found := pattern.search(layer.name)) else None for layer in model.layers
    ]
    order = {
        number: place
        for place, number in enumerate(sorted({n for n in numbers if n is not None}), start=1)
    }
    here, result = 0, []
    for number in numbers:
        here = here if number is None else order[number]
        result.append(here)
    return result


def rate_factors(model: keras.Model, config: Transfer) -> tuple[list[float], list[float]]:
    """What the learning rate of each trainable variable of `model` is multiplied with: while only
    the head learns, and afterwards.

    The last stage of the backbone gets `backbone_rate`, each earlier one `layer_decay` times that
    of the next (Howard and Ruder 2018, "Universal language model fine-tuning for text
    classification", call it discriminative fine-tuning).
    """
    inner = model.get_layer(BACKBONE)
    places = stages(config.backbone, inner)
    factor: dict[int, float] = {}
    for layer, place in zip(inner.layers, places, strict=True):
        rate = config.backbone_rate * config.layer_decay ** (max(places) - place)
        factor |= {id(variable): rate for variable in layer.trainable_variables}
    variables = model.trainable_variables
    return [0.0 if id(v) in factor else 1.0 for v in variables], [
        factor.get(id(v), 1.0) for v in variables
    ]
