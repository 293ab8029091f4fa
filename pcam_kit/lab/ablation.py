"""What each regulariser of a config contributes: the same config with one of them alone, with none,
and with harmful ones on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pcam_kit.config.schema import FewDigits, ReportCnn, ResNet, Transform


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
    for name, part, keys in (
        ("L2", "model", ("l2",)),
        ("dropout", "model", ("block_dropout", "dropout")),
        ("batch normalisation", "model", ("batch_norm",)),
        ("weight decay", "training", ("weight_decay",)),
        ("label smoothing", "training", ("label_smoothing",)),
        ("averaged weights", "training", ("ema",)),
        ("symmetries", "augment", ("d4",)),
    ):
        wanted, none = getattr(config, part), getattr(bare, part)
        changes = {
            key: getattr(wanted, key)
            for key in keys
            if getattr(wanted, key, None) != getattr(none, key, None)
        }
        if changes:
            variants.append(
                Variant(
                    f"only {name}", bare.model_copy(update={part: none.model_copy(update=changes)})
                )
            )
    for transform in config.augment.transforms:
        variants.append(Variant(f"only {_called(transform)}", _augmented(bare, [transform])))
    return variants


def harmful(config: FewDigits) -> list[Variant]:
    """What helps tissue, which has no up, and hurts digits: a 6 that is turned is a 9, a 2 that is
    flipped is no digit.
    """
    flips = [Transform(name="HorizontalFlip", p=0.5), Transform(name="VerticalFlip", p=0.5)]
    turn = Transform(name="Affine", p=1.0, options={"rotate": [-180, 180]})
    own = list(config.augment.transforms)
    return [
        Variant("all of them and flips", _augmented(config, [*flips, *own])),
        Variant("all of them and rotations up to 180°", _augmented(config, [turn, *own])),
    ]


def _augmented(config: FewDigits, transforms: Sequence[Transform]) -> FewDigits:
    return config.model_copy(
        update={"augment": config.augment.model_copy(update={"transforms": list(transforms)})}
    )


def _called(transform: Transform) -> str:
    return (
        f"{transform.name} ({', '.join(transform.options)})"
        if transform.options
        else transform.name
    )
