"""The schema of an experiment: one frozen tree of typed values.

It holds nothing about the machine that the experiment runs on.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pcam_kit.config.values import Line, Options, ShortLine, TransformOptions


class _Part(BaseModel):
    # strict: "3" is not a number; finite: no learning rate is infinite
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# Limits are far beyond what is of use: what exceeds them is a slip, and would take all memory.
Channels = Annotated[int, Field(gt=0, le=4096)]
Units = Annotated[int, Field(gt=0, le=16_384)]
Stages = Annotated[list[Channels], Field(min_length=1, max_length=16)]
Blocks = Annotated[int, Field(gt=0, le=100)]
Side = Annotated[int, Field(gt=0, le=16_384)]  # in pixels
Count = Annotated[int, Field(gt=0, lt=2**40)]

StainMethod = Literal["reinhard", "macenko"]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Fold(_Part):
    """Cross-validation: train and valid together in `of` folds, validate on fold `index`.

    Patches of one slide are in the same fold, where slides are known.
    """

    index: int = Field(gt=0, le=10_000)  # counted from 1
    of: int = Field(gt=1, le=10_000)
    seed: Seed = 0  # draws the folds; only runs with the same folds can be combined

    @model_validator(mode="after")
    def _check_index(self) -> Fold:
        if self.index > self.of:
            raise ValueError(f"there is no fold {self.index} of {self.of}")
        return self


class Data(_Part):
    """Which patches, and which pixels of them."""

    stain: StainMethod | None = None  # normalised by `pcam fetch --stain`; null: as published
    crop: Side | None = None  # side of the centre in pixels; null: full patch
    # training patches, drawn by seed; null: all
    limit: int | None = Field(default=None, gt=1, lt=2**40)
    # train without exact copies of validation and test patches; null: a new run does, if any exist
    drop_copies: bool | None = None
    fold: Fold | None = None  # null: train and valid as in the store


class Transform(_Part):
    """One albumentations transform: its class name and the arguments of its constructor.

    `pipeline.transforms` has ColorJitter, Affine, ElasticTransform and RandomResizedCrop of its
    own, for whole batches and with the same distribution. Other names, and these with options that
    it does not know, are albumentations' own, one patch at a time.
    """

    name: ShortLine
    p: float = Field(default=0.5, ge=0, le=1)
    options: TransformOptions = {}


class Stain(_Part):
    """Stain augmentation: the amounts of haematoxylin, eosin and the residual vary.

    Each is scaled by 1 ± strength, then shifted by ± shift; both are drawn uniformly.
    """

    strength: float = Field(ge=0, lt=1)
    # in optical density (natural logarithm); also colours the white background
    shift: float = Field(default=0.0, ge=0, le=1)


class Augment(_Part):
    """Augmentation of training patches, in this order; pixels are uint8 throughout."""

    d4: bool = True  # one of the 8 symmetries of the square, each equally likely
    stain: Stain | None = None  # H&E patches only
    transforms: list[Transform] = Field(default=[], max_length=100)
    # your own function, "module:function", from and to uint8 [n, h, w, 3]; see docs/python.md
    custom: Line | None = None


class _Network(_Part):
    """A network, built by the function called `name` in `pcam_kit.models.<family>`."""

    family: ClassVar[str]


class ReportCnn(_Network):
    """The network of the lab report: blocks of two convolutions, pooling, dropout and L2."""

    family = "lab"
    name: Literal["report_cnn"]
    filters: Stages = [32, 64, 128]
    units: Units = 128
    block_dropout: float = Field(default=0.2, ge=0, lt=1)  # after each pooling
    dropout: float = Field(default=0.5, ge=0, lt=1)  # before the last layer
    l2: float = Field(default=1e-4, ge=0, le=1e6)
    batch_norm: bool = False  # after each convolution and the dense layer; not in the report


class LabCnn(_Network):
    """The network of the lab notebook: convolution and pooling twice, one dense layer."""

    family = "lab"
    name: Literal["lab_cnn"]
    filters: Stages = [16, 32]
    units: Units | None = 64  # null: no hidden dense layer


class ResNet(_Network):
    """A small residual network with pre-activation; each stage after the first halves the size."""

    family = "resnet"
    name: Literal["resnet"]
    widths: Stages = [32, 64, 128]
    blocks: Blocks = 1  # residual blocks per stage
    stem_stride: int = Field(default=1, ge=1, le=4)  # 1 for 32 px, 2 for 96 px
    # mean over all positions; centre: additionally the mean over the middle third
    pool: Literal["all", "centre"] = "all"
    dropout: float = Field(default=0.2, ge=0, lt=1)


class GroupResNet(_Network):
    """`resnet` with group-equivariant convolutions.

    The prediction does not change when a patch is rotated by 90° or, with p4m, mirrored.
    """

    family = "group"
    name: Literal["group_resnet"]
    group: Literal["p4", "p4m"] = "p4m"  # 4 rotations, or those and their mirror images
    # channels of each element; the layers have 4 (p4) or 8 (p4m) times this number
    widths: Stages = [4, 8, 16]
    blocks: Blocks = 1  # residual blocks per stage
    stem_pool: int = Field(default=1, ge=1, le=4)  # 1 for 32 px, 2 for 96 px
    # mean over all positions; centre: additionally the mean over the middle third
    pool: Literal["all", "centre"] = "all"
    dropout: float = Field(default=0.2, ge=0, lt=1)


class P4MDenseNet(_Network):
    """The P4M-DenseNet published with PatchCamelyon (Veeling and others, 2018).

    124,000 parameters with these defaults; the paper reports 119,000.
    """

    family = "group"
    name: Literal["p4m_densenet"]
    growth: Channels = 9  # channels per element that each convolution adds
    blocks: Blocks = 5  # one per resolution: 5 for 96 px, 4 for 32 px
    layers: Blocks = 1  # convolutions per block
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Transfer(_Network):
    """A network of keras.applications, with its preprocessing included, under a new head.

    The head is trained alone first, then the whole network. Rates are factors of
    `training.learning_rate`.
    """

    family = "transfer"
    name: Literal["transfer"]
    backbone: Literal[
        "EfficientNetB0",
        "EfficientNetV2B0",
        "DenseNet121",
        "ResNet50",
        "ResNet50V2",
        "ConvNeXtTiny",
        "MobileNetV3Small",
    ]
    # imagenet: downloaded by Keras; or the path of a file; null: random
    weights: Line | None = Field(default="imagenet", min_length=1)
    # resize to these pixels; null: do not
    input_size: int | None = Field(default=None, ge=32, le=4096)
    dropout: float = Field(default=0.2, ge=0, lt=1)  # before the last layer
    # epochs in which only the head is trained
    head_epochs: int = Field(default=1, ge=0, le=100_000)
    backbone_rate: float = Field(default=0.1, gt=0, le=1)  # of its last stage; the head has 1
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # rate of a stage relative to the next
    # keep the backbone's batch normalisation unchanged; null: only if `weights` is given
    freeze_batch_norm: bool | None = None


class Custom(_Network):
    """Your own network: pixels 0-255 [n, size, size, 3] in, one logit [n, 1] out."""

    family = "custom"
    name: Literal["custom"]
    # "module:function", called with the side in pixels and `options`; or a .keras file
    builder: Line = Field(min_length=1)
    options: Options = {}

    @property
    def is_saved(self) -> bool:
        """Whether it is read from a file, with the precision of its layers in it."""
        return self.builder.endswith(".keras")


class External(_Part):
    """No network: the run holds predictions of another program (`pcam import`)."""

    name: Literal["external"]


Trainable = ReportCnn | LabCnn | ResNet | GroupResNet | P4MDenseNet | Transfer | Custom
Model = Annotated[Trainable | External, Field(discriminator="name")]

Precision = Literal["float32", "bfloat16", "float16"]
AskedPrecision = Literal["auto", "float32", "bfloat16", "float16"]


TrackerName = Literal["tensorboard", "mlflow", "trackio"]


class Teachers(_Part):
    """Knowledge distillation (Hinton, Vinyals and Dean, 2015): targets from other networks."""

    # trained first on the same patches with the same seed, unless such runs exist
    configs: list[Line] = Field(min_length=1, max_length=100)
    # weight of the teachers' probability (from their mean logit); the labels have 1 - weight
    weight: float = Field(default=0.7, gt=0, le=1)


class Training(_Part):
    """How the network is trained.

    A step is one update of the optimiser, an epoch one pass over the training patches.
    """

    epochs: int = Field(default=10, gt=0, le=100_000)
    # limit of epochs * training patches; at least one epoch is trained; null: no limit
    most_patches: Count | None = None
    batch_size: int = Field(default=128, gt=0, le=65_536)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=1e38)  # the peak of the schedule
    schedule: Literal["constant", "cosine", "one_cycle"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)  # fraction of steps; one_cycle: at least 0.3
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)  # kernels only; needs adamw or sgd
    teachers: Teachers | None = None  # null: the labels only
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    clip_norm: float | None = Field(default=None, gt=0, le=1e38)  # global gradient norm
    ema: float | None = Field(default=None, gt=0, lt=1)  # momentum per step; null: no averaging
    # auto: what is fast on this machine (`pcam doctor` says which); weights and the saved model are
    # float32 in any case
    precision: AskedPrecision = "auto"
    # stop after this many epochs without a better validation AUC; null: never
    early_stopping: Count | None = None
    # experiment trackers that hear of the training; the run is the same with others or none
    track: list[TrackerName] = Field(default=[], max_length=3)

    @model_validator(mode="after")
    def _check_track(self) -> Training:
        if len(set(self.track)) < len(self.track):
            raise ValueError("track names a tracker twice")
        return self

    @model_validator(mode="after")
    def _check_weight_decay(self) -> Training:
        if self.weight_decay > 0 and self.optimizer == "adam":
            raise ValueError("weight_decay needs optimizer adamw or sgd")
        return self

    def epochs_for(self, patches: int) -> int:
        """The epochs that `most_patches` allows with so many training patches."""
        if self.most_patches is None:
            return self.epochs
        return min(self.epochs, max(1, self.most_patches // patches))


Tta = Literal["none", "d4", "shifts", "d4-shifts", "turns", "d4-turns"]


class Evaluation(_Part):
    """How a finished run is evaluated, and by default how it predicts."""

    # test-time augmentation, the views to average: the 8 symmetries (d4); the patch and 4 shifts of
    # it (shifts) or 3 rotations (turns); all symmetries of these; or the patch alone (none)
    tta: Tta = "d4"


Name = Annotated[
    str,
    Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$"),
]


class Experiment(_Part):
    """One training; together with the store and the package versions it determines the run."""

    name: Name
    competition: Line | None = None  # slug of the store to train on; null: last fetched
    seed: Seed = 0
    data: Data = Data()
    augment: Augment = Augment()
    model: Model
    training: Training = Training()
    evaluation: Evaluation = Evaluation()


class FewDigits(_Part):
    """Learning from few digits (`pcam lab mnist`), in several runs.

    Run i, counted from 0, draws its images, weights and order with `seed` + i.
    """

    name: Name
    seed: Seed = 0
    images: int = Field(default=128, gt=1, le=1_000_000)  # training images per run
    runs: int = Field(default=5, gt=0, le=10_000)
    augment: Augment = Augment(d4=False)
    model: Model
    training: Training = Training()

    @model_validator(mode="after")
    def _check_unsupported(self) -> FewDigits:
        if self.training.early_stopping is not None:
            raise ValueError(
                "training.early_stopping needs a validation split, and few digits have none"
            )
        if self.training.most_patches is not None:
            raise ValueError("training.most_patches is for pcam train: not for few digits")
        if self.training.precision not in {"auto", "float32"}:
            raise ValueError("training.precision: few digits are learnt in float32")
        if self.training.teachers is not None:
            raise ValueError(
                "training.teachers is for pcam train: few digits are learnt from their labels"
            )
        if self.training.track:
            raise ValueError("training.track is for pcam train: few digits make no run")
        if isinstance(self.model, Transfer):
            raise ValueError("model transfer is for patches: pcam train")
        if self.augment.stain is not None:
            raise ValueError("augment.stain is for stained tissue, and digits are grey")
        return self
