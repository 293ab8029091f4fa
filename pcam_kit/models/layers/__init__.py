"""Layers that Keras does not have: convolutions on the groups p4 and p4m (`group`), and how to
write them out as plain ones (`plain`).
"""

from pcam_kit.models.layers.group import (
    GroupBatchNormalization,
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
    order_of,
)
from pcam_kit.models.layers.plain import plain

__all__ = [
    "GroupBatchNormalization",
    "GroupConcatenate",
    "GroupConv2D",
    "GroupPooling",
    "LiftingConv2D",
    "order_of",
    "plain",
]
