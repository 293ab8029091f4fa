"""What each regulariser of a config contributes: variants of the config to train.

One regulariser alone, none, and all of them with a harmful one on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pcam_kit.config.schema import FewDigits, ReportCnn, ResNet, Transform

# what a regulariser is called, the part of the config it belongs to, its keys there
REGULARISERS = (
    ("L2", "model", ("l2",)),
    ("dropout", "model", ("block_dropout", "dropout")),
    ("batch normalisation", "model", ("batch_norm",)),
    ("weight decay", "training", ("weight_decay",)),
    ("label smoothing", "training", ("label_smoothing",)),
    ("averaged weights", "training", ("ema",)),
    ("symmetries", "augment", ("d4",)),
)


@dataclass(frozen=True)
class Variant:
    """A changed config and what the change is called."""

    name: str
    config: FewDigits


def without_any(config: FewDigits) -> Variant:
    """The config without a regulariser: the same network, optimiser and epochs."""
    model = config.model
    match model:
        case ReportCnn():
            model = model.model_copy(
                update={"l2": 0.0, "block_dropout": 0.0, "dropout": 0.0, "batch_norm": False}
            )
        case ResNet():
            model = model.model_copy(update={"dropout": 0.0})
        case _:
            pass
    training = config.training.model_copy(
        update={"weight_decay": 0.0, "label_smoothing": 0.0, "ema": None}
    )
    augment = config.augment.model_copy(update={"d4": False, "transforms": []})
    return Variant(
        "none of them",
        config.model_copy(update={"model": model, "training": training, "augment": augment}),
    )


def alone(config: FewDigits) -> list[Variant]:
    """Each regulariser that the config has, as the only one."""
    bare = without_any(config).config
    variants: list[Variant] = []
    for name, part, keys in REGULARISERS:
        with_all = getattr(config, part)
        with_none = getattr(bare, part)
        changes = {
            key: getattr(with_all, key)
            for key in keys
            if getattr(with_all, key, None) != getattr(with_none, key, None)
        }
        if changes:
            with_one = with_none.model_copy(update=changes)
            variants.append(Variant(f"only {name}", bare.model_copy(update={part: with_one})))
    for transform in config.augment.transforms:
        variants.append(Variant(f"only {_label(transform)}", _with_transforms(bare, [transform])))
    return variants


def harmful(config: FewDigits) -> list[Variant]:
    """All regularisers, and augmentation that helps tissue and hurts digits.

    Tissue has no up. A 6 that is turned is a 9, and a 2 that is flipped is no digit.
    """
    flips = [Transform(name="HorizontalFlip", p=0.5), Transform(name="VerticalFlip", p=0.5)]
    turn = Transform(name="Affine", p=1.0, options={"rotate": [-180, 180]})
    own = config.augment.transforms
    return [
        Variant("all of them and flips", _with_transforms(config, [*flips, *own])),
        Variant("all of them and rotations up to 180°", _with_transforms(config, [turn, *own])),
    ]


def _with_transforms(config: FewDigits, transforms: Sequence[Transform]) -> FewDigits:
    augment = config.augment.model_copy(update={"transforms": list(transforms)})
    return config.model_copy(update={"augment": augment})


def _label(transform: Transform) -> str:
    if not transform.options:
        return transform.name
    return f"{transform.name} ({', '.join(transform.options)})"
