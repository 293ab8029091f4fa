"""Rotation- and reflection-equivariant networks: all eight views of a patch get one prediction.

Augmentation and averaging over the symmetries only approximate this. Here each filter is learnt
once and used in every orientation.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from pcam_kit.config.schema import GroupResNet, P4MDenseNet
from pcam_kit.models.layers.convolution import Group
from pcam_kit.models.layers.group import (
    GroupBatchNormalization,
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
)
from pcam_kit.models.task import Task, add_input, add_logits, add_pooling


def group_resnet(config: GroupResNet, task: Task) -> keras.Model:
    """The residual network of `resnet` on a group, with pooling in place of strides.

    Widths count the channels of each group element.
    """
    group: Group = config.group
    inputs, x = add_input(task)
    x = LiftingConv2D(config.widths[0], 3, group=group, use_bias=False, name="stem")(x)
    if config.stem_pool > 1:
        x = layers.AveragePooling2D(config.stem_pool)(x)
    previous_width = config.widths[0]
    for stage, width in enumerate(config.widths):
        for block in range(config.blocks):
            halve = stage > 0 and block == 0
            x = _block(x, width, group, halve=halve, widen=width != previous_width)
            previous_width = width
    x = GroupPooling(group=group, reduce="mean")(_normalise(x, group))
    return _add_head(inputs, add_pooling(x, config.pool), config.dropout, task, config.name)


def _block(x: Any, width: int, group: Group, *, halve: bool, widen: bool) -> Any:
    shortcut = x
    y = _normalise(x, group)
    if halve:
        y = shortcut = layers.AveragePooling2D(2)(y)
    if halve or widen:
        shortcut = GroupConv2D(width, 1, group=group, use_bias=False)(shortcut)
    y = GroupConv2D(width, 3, group=group, use_bias=False)(y)
    y = _normalise(y, group)
    y = GroupConv2D(width, 3, group=group, use_bias=False)(y)
    return layers.Add()([shortcut, y])


def p4m_densenet(config: P4MDenseNet, task: Task) -> keras.Model:
    """A dense block at each resolution.

    After "Rotation equivariant CNNs for digital pathology" (Veeling and others, 2018). Their
    convolutions have no padding. These keep the size, so that every pooling window divides it and
    equivariance is exact.
    """
    inputs, x = add_input(task)
    x = LiftingConv2D(config.growth, 3, use_bias=False, name="stem")(x)
    for block in range(config.blocks):
        if block > 0:
            x = GroupConv2D(x.shape[-1] // 8, 1, use_bias=False)(_normalise(x, "p4m"))
            x = layers.AveragePooling2D(2)(x)
        for _ in range(config.layers):
            y = GroupConv2D(config.growth, 3, use_bias=False)(_normalise(x, "p4m"))
            x = GroupConcatenate()([x, y])
    x = GroupPooling(reduce="mean")(_normalise(x, "p4m"))
    return _add_head(inputs, add_pooling(x, "all"), config.dropout, task, config.name)


def _add_head(inputs: Any, features: Any, dropout: float, task: Task, name: str) -> keras.Model:
    features = layers.Dropout(dropout)(features)
    return keras.Model(inputs, add_logits(features, task), name=name)


def _normalise(x: Any, group: Group) -> Any:
    return layers.ReLU()(GroupBatchNormalization(group=group, momentum=0.9, epsilon=1e-5)(x))
