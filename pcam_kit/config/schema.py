"""What an experiment is: one frozen tree of typed values.

Holds nothing about the machine it runs on.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    # strict, so that "3" is not a number; finite, so that no schedule starts from infinity
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


StainMethod = Literal["reinhard", "macenko"]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Fold(_Part):
    """Validate on one fold of train and valid together, train on the others.

    Slides stay whole where they are known.
    """

    index: int = Field(gt=0)  # counted from 1
    of: int = Field(gt=1)
    seed: Seed = 0  # draws the folds; runs are combined only when they have the same ones

    @model_validator(mode="after")
    def _one_of_them(self) -> Fold:
        if self.index > self.of:
            raise ValueError(f"there is no fold {self.index} of {self.of}")
        return self


class Data(_Part):
    """Which pixels of which patches."""

    # patches normalised by `pcam fetch --stain`; null: as published
    stain: StainMethod | None = None
    # side of the centre crop in pixels; null: the whole patch
    crop: int | None = Field(default=None, gt=0)
    # train on this many patches, drawn with the seed; null: all
    limit: int | None = Field(default=None, gt=1)
    # train without exact copies of validation and test patches; null: a new run does, if there are
    drop_copies: bool | None = None
    fold: Fold | None = None  # null: train and valid as the store has them


class Transform(_Part):
    """One albumentations transform by its class name, e.g.

    ColorJitter, with the arguments of its constructor.
    """

    name: str
    p: float = Field(default=0.5, ge=0, le=1)
    options: dict[str, Any] = {}


class Stain(_Part):
    """More or less haematoxylin, eosin and rest in a patch: each is scaled by 1 ± strength, then
    shifted by ± shift, drawn evenly.
    """

    strength: float = Field(ge=0, lt=1)
    # optical density, natural logarithm; colours the white background too
    shift: float = Field(default=0.0, ge=0, le=1)


class Augment(_Part):
    """What is done to training patches, in this order: a random symmetry, the stain, the
    transforms. Pixels are uint8 throughout.
    """

    d4: bool = True  # one of the 8 symmetries of the square, each equally likely
    stain: Stain | None = None  # H&E patches only
    transforms: list[Transform] = []


class ReportCnn(_Part):
    """The lab report's network: three blocks of two convolutions, dropout 0.2 after each pooling
    and 0.5 before the last layer, L2.
    """

    name: Literal["report_cnn"]
    filters: list[int] = Field(default=[32, 64, 128], min_length=1)
    units: int = Field(default=128, gt=0)
    block_dropout: float = Field(default=0.2, ge=0, lt=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    l2: float = Field(default=1e-4, ge=0)
    batch_norm: bool = False  # after every convolution and the dense layer; the report has none


class LabCnn(_Part):
    """The lab notebook's network: convolution and pooling twice, one dense layer."""

    name: Literal["lab_cnn"]
    filters: list[int] = Field(default=[16, 32], min_length=1)
    units: int | None = Field(default=64, gt=0)  # null: no hidden dense layer


class ResNet(_Part):
    """A small pre-normalised residual network; the first stage keeps the resolution, each further
    one halves it.
    """

    name: Literal["resnet"]
    widths: list[int] = Field(default=[32, 64, 128], min_length=1)
    blocks: int = Field(default=1, gt=0)  # residual blocks a stage
    stem_stride: int = Field(default=1, ge=1, le=4)  # 1 for 32 px, 2 for 96 px
    # mean over all places; centre: beside it that of the middle third
    pool: Literal["all", "centre"] = "all"
    dropout: float = Field(default=0.2, ge=0, lt=1)


class GroupResNet(_Part):
    """`resnet` with group-equivariant convolutions: the answer does not change when a patch is
    turned, or with p4m flipped.
    """

    name: Literal["group_resnet"]
    group: Literal["p4", "p4m"] = "p4m"  # 4 rotations, or those and their mirror images
    # of each element: the maps are 4 or 8 times as many
    widths: list[int] = Field(default=[4, 8, 16], min_length=1)
    blocks: int = Field(default=1, gt=0)  # residual blocks a stage
    stem_pool: int = Field(default=1, ge=1, le=4)  # 1 for 32 px, 2 for 96 px
    # mean over all places; centre: beside it that of the middle third
    pool: Literal["all", "centre"] = "all"
    dropout: float = Field(default=0.2, ge=0, lt=1)


class P4MDenseNet(_Part):
    """The P4M-DenseNet that came with PatchCamelyon (Veeling and others, 2018): 124,000 parameters
    with these defaults, theirs 119,000.
    """

    name: Literal["p4m_densenet"]
    growth: int = Field(default=9, gt=0)  # new maps of each of the 8 elements a convolution
    blocks: int = Field(default=5, gt=0)  # one a resolution: 5 for 96 px, 4 for 32 px
    layers: int = Field(default=1, gt=0)  # convolutions a block
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Transfer(_Part):
    """A network of keras.applications without its top, with its own preprocessing inside, below a
    new head.

    First the head alone learns, then all of it; the rates are factors of `training.learning_rate`.
    """

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
    # imagenet: Keras downloads them; a file's path; null: random
    weights: str | None = Field(default="imagenet", min_length=1)
    # patches are resized to it, bilinear; null: as they are
    input_size: int | None = Field(default=None, ge=32)
    dropout: float = Field(default=0.2, ge=0, lt=1)  # before the last layer
    head_epochs: int = Field(default=1, ge=0)  # epochs in which only the new head learns
    # of the backbone's last stage afterwards; the head's is 1
    backbone_rate: float = Field(default=0.1, gt=0, le=1)
    # each stage's rate as part of the next one's
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    # the backbone's stay as they are, statistics, scale and shift; null: if it has weights
    freeze_batch_norm: bool | None = None


Model = Annotated[
    ReportCnn | LabCnn | ResNet | GroupResNet | P4MDenseNet | Transfer, Field(discriminator="name")
]


Precision = Literal["float32", "bfloat16"]


class Teachers(_Part):
    """Networks whose answers are learnt beside the labels: knowledge distillation (Hinton, Vinyals
    and Dean, 2015).
    """

    # trained before, on the same patches and with the same seed, where such runs are not there
    configs: list[str] = Field(min_length=1)
    # of the mean of their logits, as a probability; the labels have the rest
    weight: float = Field(default=0.7, gt=0, le=1)


class Training(_Part):
    """How the weights are found.

    Steps and epochs count optimiser updates and passes over the training patches.
    """

    epochs: int = Field(default=10, gt=0)
    # no more epochs than see so many in all, but at least 1; null: no limit
    most_patches: int | None = Field(default=None, gt=0)
    batch_size: int = Field(default=128, gt=0)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)  # the highest one of the schedule
    schedule: Literal["constant", "cosine", "one_cycle"] = "cosine"
    # part of all steps; one_cycle rises over 0.3 at least
    warmup: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)  # kernels only; needs adamw or sgd
    teachers: Teachers | None = None  # null: the labels alone
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    clip_norm: float | None = Field(default=None, gt=0)  # global gradient norm
    # momentum a step of the averaged weights; null: none
    ema: float | None = Field(default=None, gt=0, lt=1)
    # bfloat16: faster steps on new CPUs and GPUs; the saved model is float32 all the same
    precision: Precision = "float32"
    # epochs without a better validation AUC; null: never
    early_stopping: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _decay_needs_an_optimizer_that_knows_it(self) -> Training:
        if self.weight_decay > 0 and self.optimizer == "adam":
            raise ValueError("weight_decay needs optimizer adamw or sgd")
        return self


Tta = Literal["none", "d4", "shifts", "d4-shifts", "turns", "d4-turns"]


class Evaluation(_Part):
    """How a finished run is measured; prediction does the same unless told otherwise."""

    # average the probabilities over the 8 symmetries; over the patch and 4 shifts, or 3 turns, of
    # it; over the symmetries of these; or none
    tta: Tta = "d4"


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$")]


class Experiment(_Part):
    """One training, completely: with the store and the package versions it determines the run."""

    name: Name
    competition: str | None = None  # slug of the store to train on; null: the one fetched last
    seed: Seed = 0
    data: Data = Data()
    augment: Augment = Augment()
    model: Model
    training: Training = Training()
    evaluation: Evaluation = Evaluation()


class FewDigits(_Part):
    """Learning from few digits (`pcam lab mnist`): run i, counted from 0, draws its images, weights
    and order with `seed` + i.
    """

    name: Name
    seed: Seed = 0
    images: int = Field(default=128, gt=1)  # training images of a run
    runs: int = Field(default=5, gt=0)
    augment: Augment = Augment(d4=False)
    model: Model
    training: Training = Training()

    @model_validator(mode="after")
    def _what_few_digits_do_without(self) -> FewDigits:
        if self.training.early_stopping is not None:
            raise ValueError(
                "training.early_stopping needs a validation split, and few digits have none"
            )
        if self.training.most_patches is not None:
            raise ValueError("training.most_patches is for pcam train: few digits are few enough")
        if self.training.precision != "float32":
            raise ValueError("training.precision: few digits are learnt in float32")
        if self.training.teachers is not None:
            raise ValueError(
                "training.teachers is for pcam train: few digits are learnt from their labels"
            )
        if isinstance(self.model, Transfer):
            raise ValueError("model transfer is for patches: pcam train")
        if self.augment.stain is not None:
            raise ValueError("augment.stain is for stained tissue, and digits are grey")
        return self
