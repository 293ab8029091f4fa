"""A small residual network with pre-activation.

After "Identity mappings in deep residual networks" (He and others, 2016).
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from pcam_kit.config.schema import ResNet
from pcam_kit.models.layers import BatchNormalization
from pcam_kit.models.task import Task, add_input, add_logits, add_pooling


def resnet(config: ResNet, task: Task) -> keras.Model:
    """Stem, stages of `blocks` residual blocks, global average pooling, dropout, logits."""
    inputs, x = add_input(task)
    x = layers.Conv2D(
        config.widths[0], 3, strides=config.stem_stride, padding="same", use_bias=False, name="stem"
    )(x)
    for stage, width in enumerate(config.widths):
        for block in range(config.blocks):
            x = _block(x, width, stride=2 if stage > 0 and block == 0 else 1)
    x = _normalise(x)
    x = add_pooling(x, config.pool)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(inputs, add_logits(x, task), name=config.name)


def _normalise(x: Any) -> Any:
    # momentum 0.9 instead of Keras' 0.99: with 150 steps per epoch the slower average lags behind
    return layers.ReLU()(BatchNormalization(momentum=0.9, epsilon=1e-5)(x))


def _block(x: Any, width: int, *, stride: int) -> Any:
    y = _normalise(x)
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        # Averaging, then a 1x1 convolution (He et al. 2019, "Bag of tricks", ResNet-D) uses all
        # pixels. Besides, the gradient of a strided 1x1 convolution from 8 to 16 channels at 48 px
        # crashes TensorFlow 2.21 on CPU with a segmentation fault.
        shortcut = layers.AveragePooling2D(stride)(y) if stride > 1 else y
        shortcut = layers.Conv2D(width, 1, use_bias=False)(shortcut)
    y = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(y)
    y = _normalise(y)
    y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
    return layers.Add()([shortcut, y])
