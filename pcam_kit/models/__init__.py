"""Models: one file a family, one table from name to builder.

`keras` and `keras.ops` only, so any backend works.

Every builder takes its own config and a `Task`, and returns a functional model from uint8-range
pixels [n, size, size, channels] to logits [n, outputs]; normalisation is inside.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from pcam_kit.config.schema import Model, Precision
from pcam_kit.models import group, lab, resnet, transfer
from pcam_kit.models.layers.plain import plain
from pcam_kit.models.task import Task

BUILDERS: dict[str, Callable[[Any, Task], keras.Model]] = {
    "report_cnn": lab.report_cnn,
    "lab_cnn": lab.lab_cnn,
    "resnet": resnet.resnet,
    "group_resnet": group.group_resnet,
    "p4m_densenet": group.p4m_densenet,
    "transfer": transfer.transfer,
}


def build_model(config: Model, task: Task, *, precision: Precision = "float32") -> keras.Model:
    """The untrained model of `config` for `task`; its outputs are logits in float32.

    precision "bfloat16": layers compute in bfloat16, on weights that stay float32.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")
    try:
        return BUILDERS[config.name](config, task)
    finally:
        keras.config.set_dtype_policy(before)


def with_probability(model: keras.Model) -> keras.Model:
    """The same weights in plain Keras layers, with sigmoid or softmax on top: a saved model gives
    probabilities without our code.
    """
    model = plain(model)
    (logits,) = model.outputs
    kind = "sigmoid" if logits.shape[-1] == 1 else "softmax"
    return keras.Model(
        model.inputs,
        keras.layers.Activation(kind, dtype="float32", name="probability")(logits),
        name=model.name,
    )
