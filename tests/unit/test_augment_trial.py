"""What an augmentation does to real patches is tried before a training, and checked in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcam_kit.config.schema import Augment, Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.augment import Augmenter, try_augmentation
from pcam_kit.pipeline.transforms.others import import_albumentations

PATCHES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def recipe(*transforms: tuple[str, float, dict[str, Any]]) -> Augment:
    return Augment(
        d4=False,
        transforms=[Transform(name=name, p=p, options=options) for name, p, options in transforms],
    )


REFUSED = [
    ("ToFloat", {}, "found float32"),
    ("Normalize", {}, "found float32"),
    ("FromFloat", {}, "found float16"),
    ("RandomCrop", {"height": 24, "width": 24}, r"found uint8 \[24, 24, 3\]"),
    ("Resize", {"height": 64, "width": 64}, r"found uint8 \[64, 64, 3\]"),
    ("PadIfNeeded", {"min_height": 40, "min_width": 40}, r"found uint8 \[40, 40, 3\]"),
    ("RandomScale", {}, "found uint8"),
    ("ToGray", {"num_output_channels": 1}, r"found uint8 \[32, 32, 1\]|found uint8 \[32, 32\]"),
    ("Crop", {"x_max": 1024, "y_max": 1024}, "fails on a patch"),
    ("FDA", {"reference_images": []}, "fails on a patch"),
    ("MaskDropout", {}, "fails on a patch: .*mask"),
    ("Mosaic", {}, "fails on a patch"),
    ("CubicSymmetry", {}, "fails on a patch"),
    ("RandomResizedCrop", {"size": [28, 28]}, r"expected size \[32, 32\]"),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSED, ids=[r[0] for r in REFUSED])
@pytest.mark.parametrize("p", [1.0, 0.001])
def test_results_that_are_no_patches_name_the_transform(
    name: str, options: dict[str, Any], words: str, p: float
) -> None:
    augment = recipe(("ColorJitter", 0.5, {}), (name, p, options))
    with pytest.raises(ConfigError, match=rf"augment\.transforms\.1 \({name}\): .*{words}"):
        try_augmentation(augment, PATCHES, seed=0)


def test_a_batch_is_never_cast_without_a_word() -> None:
    augmenter = Augmenter(recipe(("ToFloat", 1.0, {})), seed=0)
    with pytest.raises(ConfigError, match=r"ToFloat.*expected patches uint8.*found float32"):
        augmenter(PATCHES, np.arange(4), 1, 4)


@pytest.mark.parametrize("name", ["OneOf", "SomeOf", "Sequential", "Compose", "RandomOrder"])
def test_transforms_of_transforms_are_named_as_not_supported(name: str) -> None:
    options = {"transforms": [{"name": "Blur"}]}
    with pytest.raises(ConfigError, match=rf"\({name}\): it combines .* not supported"):
        Augmenter(recipe((name, 1.0, options)), seed=0)


def test_sizes_may_change_in_between_by_what_always_happens() -> None:
    crop = ("RandomCrop", 1.0, {"height": 24, "width": 24})
    resize = ("Resize", 1.0, {"height": 32, "width": 32})
    try_augmentation(recipe(crop, resize), PATCHES, seed=0)
    back = ("FromFloat", 1.0, {"dtype": "uint8"})
    try_augmentation(recipe(("ToFloat", 1.0, {}), back), PATCHES, seed=0)
    rarely = ("RandomCrop", 0.01, crop[2])
    with pytest.raises(ConfigError, match=r"\(RandomCrop\)"):
        try_augmentation(recipe(rarely, resize), PATCHES, seed=0)
    with pytest.raises(ConfigError, match=r"\(Resize\)"):
        try_augmentation(recipe(crop, ("Resize", 0.9, resize[2])), PATCHES, seed=0)


def test_a_transform_that_never_happens_is_not_tried() -> None:
    try_augmentation(recipe(("ToFloat", 0.0, {})), PATCHES, seed=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_transform_of_albumentations_is_good_or_refused() -> None:
    albumentations = import_albumentations()
    good, refused = 0, []
    for name in dir(albumentations):
        if isinstance(getattr(albumentations, name), type) and name != "suppress":
            try:
                try_augmentation(recipe((name, 1.0, {})), PATCHES, seed=0)
            except ConfigError as error:
                refused.append((name, error.message))
                continue
            good += 1
            out = Augmenter(recipe((name, 1.0, {})), seed=0)(PATCHES, np.arange(4), 1, 4)
            assert (out.dtype, out.shape) == (np.uint8, PATCHES.shape)
    assert good > 50
    assert [message for name, message in refused if name not in message] == []


def scaled(patches: NDArray[np.uint8], _: np.random.Generator) -> Any:
    return (patches / 255).astype(np.uint8)


def failing(patches: NDArray[np.uint8], _: np.random.Generator) -> Any:
    return patches[len(patches) + 7]


def sometimes_floats(patches: NDArray[np.uint8], rng: np.random.Generator) -> Any:
    return patches / 255 if rng.random() < 0.5 else patches


def another_shape(patches: NDArray[np.uint8], _: np.random.Generator) -> Any:
    patches.shape = (4, -1)
    return patches


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (scaled, "pixels of 4 patches are 0 or 1"),
        (failing, "it fails: index 11"),
        (sometimes_floats, "found float64"),
        (another_shape, "changed the shape or dtype"),
    ],
)
def test_functions_of_the_user(function: Any, words: str) -> None:
    augment = Augment(d4=False, custom="mine:function")
    with pytest.raises(ConfigError, match=rf"augment.*{words}"):
        try_augmentation(augment, PATCHES, seed=0, custom=function)


def test_black_patches_are_no_fault() -> None:
    try_augmentation(Augment(), np.zeros((2, 32, 32, 3), np.uint8), seed=0)
