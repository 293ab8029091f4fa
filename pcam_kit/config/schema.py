"""The schema of an experiment: one frozen tree of typed values.

It holds nothing about the machine that the experiment runs on.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pcam_kit.config.networks import Custom as Custom
from pcam_kit.config.networks import Ensemble as Ensemble
from pcam_kit.config.networks import External as External
from pcam_kit.config.networks import GroupResNet as GroupResNet
from pcam_kit.config.networks import LabCnn as LabCnn
from pcam_kit.config.networks import Model as Model
from pcam_kit.config.networks import P4MDenseNet as P4MDenseNet
from pcam_kit.config.networks import Probe as Probe
from pcam_kit.config.networks import ReportCnn as ReportCnn
from pcam_kit.config.networks import ResNet as ResNet
from pcam_kit.config.networks import Trainable as Trainable
from pcam_kit.config.networks import Transfer as Transfer
from pcam_kit.config.networks import WithoutNetwork as WithoutNetwork
from pcam_kit.config.values import Line, Part, Seed, ShortLine, TransformOptions

# Limits are far beyond what is of use: what exceeds them is a slip, and would take all memory.
Side = Annotated[int, Field(gt=0, le=16_384)]  # in pixels
Count = Annotated[int, Field(gt=0, lt=2**40)]

StainMethod = Literal["reinhard", "macenko"]


class Fold(Part):
    """Cross-validation: train and valid together in `of` folds, validate on fold `index`.

    Patches of one slide are in the same fold, where slides are known.
    """

    index: int = Field(gt=0, le=10_000)
    """The fold to validate on, counted from 1."""
    of: int = Field(gt=1, le=10_000)
    """How many folds there are."""
    seed: Seed = 0
    """Draws the folds; only runs with the same folds can be combined."""

    @model_validator(mode="after")
    def _check_index(self) -> Fold:
        if self.index > self.of:
            raise ValueError(f"there is no fold {self.index} of {self.of}")
        return self


class Data(Part):
    """Which patches, and which pixels of them."""

    stain: StainMethod | None = None
    """Patches with normalised stain, as `pcam fetch --stain` makes them; null: as published."""
    crop: Side | None = None
    """Side in pixels of the centre that is used; null: the full patch."""
    limit: int | None = Field(default=None, gt=1, lt=2**40)
    """The most training patches, drawn by seed; null: all."""
    drop_copies: bool | None = None
    """Train without exact copies of validation and test patches; null: a new run does so if
    there are any.
    """
    fold: Fold | None = None
    """Cross-validation; null: train and valid as they are in the store."""


class Transform(Part):
    """One albumentations transform: its class name and the arguments of its constructor.

    `pipeline.transforms` has ColorJitter, Affine, ElasticTransform and RandomResizedCrop of its
    own, for whole batches and with the same distribution. Other names, and these with options that
    it does not know, are albumentations' own, one patch at a time.
    """

    name: ShortLine
    """The class of the transform, e.g. ColorJitter."""
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that a patch is transformed."""
    options: TransformOptions = Field(default={})
    """Arguments of the transform, by name."""


class Stain(Part):
    """Stain augmentation: the amounts of haematoxylin, eosin and the residual vary.

    Each is scaled by 1 ± strength, then shifted by ± shift; both are drawn uniformly.
    """

    strength: float = Field(ge=0, lt=1)
    """Each amount of stain is scaled by 1 ± strength."""
    shift: float = Field(default=0.0, ge=0, le=1)
    """Each amount is shifted by ± shift, in optical density (natural logarithm); this also
    colours the white background.
    """


class Augment(Part):
    """Augmentation of training patches, in this order; pixels are uint8 throughout."""

    d4: bool = True
    """One of the 8 symmetries of the square, each equally likely."""
    stain: Stain | None = None
    """Stain augmentation, for H&E patches only; null: none."""
    transforms: list[Transform] = Field(default=[], max_length=100)
    """Further transforms, in this order."""
    custom: Line | None = None
    """Your own function, "module:function", from and to uint8 [n, h, w, 3]; docs/python.md
    says more.
    """


Precision = Literal["float32", "bfloat16", "float16"]
AskedPrecision = Literal["auto", "float32", "bfloat16", "float16"]


TrackerName = Literal["tensorboard", "mlflow", "trackio"]


class Teachers(Part):
    """Knowledge distillation (Hinton, Vinyals and Dean, 2015): targets from other networks."""

    configs: list[Line] = Field(min_length=1, max_length=100)
    """Configs of the networks to learn from; trained first on the same patches with the same
    seed, unless such runs exist.
    """
    weight: float = Field(default=0.7, gt=0, le=1)
    """Weight of the teachers' probability (from their mean logit); the labels have 1 - weight."""


class Training(Part):
    """How the network is trained.

    A step is one update of the optimiser. After each epoch the network is validated.
    """

    epochs: int = Field(default=10, gt=0, le=100_000)
    """How many epochs."""
    passes: int = Field(default=1, gt=0, le=100_000)
    """Passes over the training patches in each epoch."""
    most_patches: Count | None = None
    """With many training patches there are fewer epochs: epochs times patches are at most this; one
    epoch is trained in any case; null: no limit. `--set training.epochs=...` sets it, and the
    other limit, to null.
    """
    least_patches: Count | None = None
    """With few training patches an epoch has more passes, until epochs times passes times patches
    are at least this; null: no limit.
    """
    batch_size: int = Field(default=128, gt=0, le=65_536)
    """Patches of one step."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    """The optimiser."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1e38)
    """The peak of the schedule."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "cosine"
    """How the learning rate changes over the steps."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Fraction of the steps in which the rate rises; one_cycle takes at least 0.3."""
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)
    """Weight decay of kernels; needs adamw or sgd."""
    teachers: Teachers | None = None
    """Knowledge distillation; null: the labels only."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Makes labels less sure: 0 and 1 become s/2 and 1 - s/2."""
    clip_norm: float | None = Field(default=None, gt=0, le=1e38)
    """The most that the norm of all gradients may be; null: no limit."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Momentum per step of the averaged weights that are validated and kept; null: no
    averaging.
    """
    precision: AskedPrecision = "auto"
    """What the steps compute with. auto: what is fast on this machine, as `pcam doctor` says;
    weights and the saved model are float32 in any case.
    """
    early_stopping: Count | None = None
    """Stop after so many epochs without a better validation AUC; null: never."""
    track: list[TrackerName] = Field(default=[], max_length=3)
    """Experiment trackers that hear of the training; the run is the same with others or none."""

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

    @model_validator(mode="after")
    def _check_limits(self) -> Training:
        least, most = self.least_patches, self.most_patches
        if least is not None and most is not None and least > most:
            raise ValueError(f"least_patches, {least:,}, is above most_patches, {most:,}")
        return self

    def fitted_to(self, patches: int) -> Training:
        """The same, with epochs and passes within the two limits for so many training patches."""
        epochs, passes = self.epochs, self.passes
        if self.most_patches is not None:
            epochs = min(epochs, max(1, self.most_patches // patches))
        if self.least_patches is not None:
            passes = max(passes, math.ceil(self.least_patches / (epochs * patches)))
        return self.model_copy(update={"epochs": epochs, "passes": passes})


Tta = Literal["none", "d4", "shifts", "d4-shifts", "turns", "d4-turns"]


class Evaluation(Part):
    """How a finished run is evaluated, and by default how it predicts."""

    tta: Tta = "d4"
    """Test-time augmentation, the views to average: the 8 symmetries (d4); the patch and 4
    shifts of it (shifts) or 3 rotations (turns); all symmetries of these; or the patch alone
    (none).
    """


Name = Annotated[
    str,
    Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$"),
]


class Experiment(Part):
    """One training; together with the store and the package versions it determines the run."""

    name: Name
    """Its name, by default that of the file; run folders carry it."""
    competition: Line | None = None
    """Slug of the competition whose store is used; null: the one fetched last."""
    seed: Seed = 0
    """Seed of weights, order, augmentation and dropout."""
    data: Data = Data()
    """Which patches."""
    augment: Augment = Augment()
    """Augmentation."""
    model: Model
    """The network."""
    training: Training = Training()
    """How it is trained."""
    evaluation: Evaluation = Evaluation()
    """How it predicts."""

    def recipe(self) -> Experiment:
        """What runs of several seeds have in common.

        It has no seed, and nothing that changes no result: the name, where the store is looked for,
        and who hears of the training. Of predictions from elsewhere only the name tells which they
        are, so it stays.
        """
        training = self.training.model_copy(update={"track": []})
        changes: dict[str, Any] = {"seed": 0, "competition": None, "training": training}
        if not isinstance(self.model, External):
            changes["name"] = "recipe"
        return self.model_copy(update=changes)


class FewDigits(Part):
    """Learning from few digits (`pcam lab mnist`), in several runs.

    Run i, counted from 0, draws its images, weights and order with `seed` + i.
    """

    name: Name
    """Its name, by default that of the file."""
    seed: Seed = 0
    """Seed of the first run."""
    images: int = Field(default=128, gt=1, le=1_000_000)
    """Training images of each run."""
    runs: int = Field(default=5, gt=0, le=10_000)
    """How many runs."""
    augment: Augment = Augment(d4=False)
    """Augmentation."""
    model: Model
    """The network."""
    training: Training = Training()
    """How it is trained."""

    @model_validator(mode="after")
    def _check_unsupported(self) -> FewDigits:
        if self.training.early_stopping is not None:
            raise ValueError(
                "training.early_stopping needs a validation split, and few digits have none"
            )
        for limit in ("most_patches", "least_patches"):
            if getattr(self.training, limit) is not None:
                raise ValueError(f"training.{limit} is for pcam train: not for few digits")
        if self.training.passes != 1:
            raise ValueError("training.passes is for pcam train: set training.epochs")
        if self.training.precision not in {"auto", "float32"}:
            raise ValueError("training.precision: few digits are learnt in float32")
        if self.training.teachers is not None:
            raise ValueError(
                "training.teachers is for pcam train: few digits are learnt from their labels"
            )
        if self.training.track:
            raise ValueError("training.track is for pcam train: few digits make no run")
        if isinstance(self.model, Transfer | Ensemble):
            raise ValueError(f"model {self.model.name} is for patches: pcam train")
        if self.augment.stain is not None:
            raise ValueError("augment.stain is for stained tissue, and digits are grey")
        return self
