"""Layers on the groups p4 and p4m (`group`), and their form in standard Keras layers (`plain`)."""

from pcam_kit.models.layers.convolution import order_of
from pcam_kit.models.layers.group import (
    GroupBatchNormalization,
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
)
from pcam_kit.models.layers.normalization import BatchNormalization
from pcam_kit.models.layers.plain import to_plain

__all__ = [
    "BatchNormalization",
    "GroupBatchNormalization",
    "GroupConcatenate",
    "GroupConv2D",
    "GroupPooling",
    "LiftingConv2D",
    "order_of",
    "to_plain",
]
