"""Networks that are equivariant to turns and flips by construction: the answer to a patch is the
answer to its eight forms.

Augmentation and averaging over symmetries only come near to that; here each filter is learnt once
and used in every position.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from pcam_kit.config.schema import GroupResNet, P4MDenseNet
from pcam_kit.models.layers.group import (
    Group,
    GroupBatchNormalization,
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
)
from pcam_kit.models.task import Task, logits, pixels, pooled


def group_resnet(config: GroupResNet, task: Task) -> keras.Model:
    """As `resnet`, on a group: pooling halves the resolution where that network strides.

    Widths count channels of each element.
    """
    group: Group = config.group
    inputs, x = pixels(task)
    x = LiftingConv2D(config.widths[0], 3, group=group, use_bias=False, name="stem")(x)
    if config.stem_pool > 1:
        x = layers.AveragePooling2D(config.stem_pool)(x)
    width = config.widths[0]
    for stage, wanted in enumerate(config.widths):
        for block in range(config.blocks):
            y, shortcut = _normalise(x, group), x
            if stage > 0 and block == 0:
                y = shortcut = layers.AveragePooling2D(2)(y)
            if wanted != width or shortcut is not x:
                shortcut = GroupConv2D(wanted, 1, group=group, use_bias=False)(shortcut)
            y = GroupConv2D(wanted, 3, group=group, use_bias=False)(y)
            y = GroupConv2D(wanted, 3, group=group, use_bias=False)(_normalise(y, group))
            x, width = layers.Add()([shortcut, y]), wanted
    x = GroupPooling(group=group, reduce="mean")(_normalise(x, group))
    return _answer(inputs, pooled(x, config.pool), config.dropout, task, config.name)


def p4m_densenet(config: P4MDenseNet, task: Task) -> keras.Model:
    """A dense block at each resolution, after "Rotation equivariant CNNs for digital pathology"
    (Veeling and others, 2018).

    Their convolutions are unpadded; these keep the size, so that every pooling window divides it
    and equivariance is exact.
    """
    inputs, x = pixels(task)
    x = LiftingConv2D(config.growth, 3, use_bias=False, name="stem")(x)
    for block in range(config.blocks):
        if block > 0:
            x = GroupConv2D(x.shape[-1] // 8, 1, use_bias=False)(_normalise(x, "p4m"))
            x = layers.AveragePooling2D(2)(x)
        for _ in range(config.layers):
            x = GroupConcatenate()(
                [x, GroupConv2D(config.growth, 3, use_bias=False)(_normalise(x, "p4m"))]
            )
    x = GroupPooling(reduce="mean")(_normalise(x, "p4m"))
    return _answer(inputs, pooled(x, "all"), config.dropout, task, config.name)


def _answer(inputs: Any, features: Any, dropout: float, task: Task, name: str) -> keras.Model:
    return keras.Model(inputs, logits(layers.Dropout(dropout)(features), task), name=name)


def _normalise(x: Any, group: Group) -> Any:
    return layers.ReLU()(GroupBatchNormalization(group=group, momentum=0.9, epsilon=1e-5)(x))
