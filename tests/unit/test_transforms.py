"""Our transforms for whole batches against albumentations' own: pixels, and what is drawn."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from pcam_kit.config.load import list_configs
from pcam_kit.config.schema import Augment, Transform
from pcam_kit.data.synthetic import draw_patch, draw_slide
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.augment import TRANSFORMS, Augmenter, make_generator
from pcam_kit.pipeline.transforms.base import Sometimes, Step
from pcam_kit.pipeline.transforms.build import OWN, build_steps
from pcam_kit.pipeline.transforms.colour import ORDERS, ColorJitter
from pcam_kit.pipeline.transforms.geometry import Affine, ElasticTransform, RandomResizedCrop
from pcam_kit.pipeline.transforms.others import Albumentations, import_albumentations

RNG = np.random.default_rng(0)
SIZE = 32
TISSUE = np.stack([draw_patch(draw_slide(RNG), i % 2 == 0, SIZE, RNG) for i in range(8)]).repeat(
    8, axis=0
)
GREY = TISSUE.mean(axis=-1, keepdims=True).astype(np.uint8)
SHIPPED = [
    ("ColorJitter", {"brightness": [0.9, 1.1], "contrast": [0.9, 1.1], "hue": [-0.03, 0.03]}),
    (
        "Affine",
        {
            "scale": [0.9, 1.1],
            "rotate": [-180, 180],
            "translate_percent": [-0.04, 0.04],
            "border_mode": 4,
        },
    ),
    ("ElasticTransform", {"alpha": 60, "sigma": 5}),
    ("RandomResizedCrop", {"size": [SIZE, SIZE], "scale": [0.8, 1.0], "ratio": [1.0, 1.0]}),
]
OTHERS = [
    ("ColorJitter", {}),
    ("ColorJitter", {"brightness": 0.5, "contrast": 0.4, "saturation": [0, 2], "hue": 0.1}),
    ("ColorJitter", {"brightness": [1, 1], "contrast": [1, 1], "saturation": [1, 1], "hue": 0}),
    ("Affine", {"rotate": 30, "shear": [-15, 15], "translate_px": [-3, 5], "fill": 200}),
    ("Affine", {"scale": [1.5, 0.5], "keep_ratio": True, "translate_percent": 0.2}),
    ("Affine", {"scale": [0.9, 1.1], "shear": [5, 20], "translate_percent": [-0.2, 0.3]}),
    ("Affine", {"scale": 0.8, "interpolation": 2, "border_mode": 1, "fill": [1, 2, 3]}),
    ("ElasticTransform", {"alpha": 30.5, "sigma": 2, "border_mode": 4, "interpolation": 0}),
    ("RandomResizedCrop", {"size": [SIZE, SIZE], "interpolation": 2}),
    ("RandomResizedCrop", {"size": [SIZE, SIZE], "scale": [0.9, 1], "ratio": [0.3, 0.6]}),
    ("RandomResizedCrop", {"size": [SIZE, SIZE], "scale": [0.9, 1], "ratio": [2, 3]}),
]


def named(cases: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [pytest.param(*case, id=f"{case[0]}-{i}") for i, case in enumerate(cases)]


def numbers(n: int, columns: int, seed: int = 0) -> NDArray[np.uint32]:
    return np.random.default_rng(seed).integers(2**32, size=(n, columns), dtype=np.uint32)


def theirs(name: str, options: dict[str, Any]) -> Any:
    transform = getattr(import_albumentations(), name)(**options, p=1.0)
    transform.set_random_seed(3)
    return transform


def run(step: Step, images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    return step(images, numbers(len(images), step.columns, seed))


def apply_theirs(
    own: Any, transform: Any, images: NDArray[np.uint8], drawn: NDArray[np.uint32]
) -> NDArray[np.uint8]:
    """What albumentations makes of the images with the parameters that `own` draws."""
    height, width = images.shape[1:3]
    match own:
        case ColorJitter():
            factors, orders = own.draw(drawn)
            out = [
                transform.apply(image, *f, order=ORDERS[order])
                for image, f, order in zip(images, factors, orders, strict=True)
            ]
        case Affine():
            matrices = [np.vstack([m, [0, 0, 1]]) for m in own.draw(drawn, height, width)]
            out = [
                transform.apply(image, matrix=matrix, output_shape=(height, width))
                for image, matrix in zip(images, matrices, strict=True)
            ]
        case RandomResizedCrop():
            out = [
                transform.apply(image, crop_coords=tuple(part))
                for image, part in zip(images, own.draw(drawn, height, width), strict=True)
            ]
        case ElasticTransform():
            rows, columns = np.indices((height, width))
            moves = [own.draw(int(seed), height, width) for seed in drawn[:, 0]]
            out = [
                transform.apply(
                    image,
                    map_x=(columns + right).astype(np.float32),
                    map_y=(rows + down).astype(np.float32),
                )
                for image, (right, down) in zip(images, moves, strict=True)
            ]
    return np.stack(out)


@pytest.mark.parametrize("images", [TISSUE, GREY], ids=["tissue", "grey"])
@pytest.mark.parametrize(("name", "options"), named(SHIPPED + OTHERS))
def test_with_the_same_parameters_the_pixels_are_those_of_albumentations(
    name: str, options: dict[str, Any], images: NDArray[np.uint8]
) -> None:
    own = OWN[name](**options)
    drawn = numbers(len(images), own.columns)
    expected = apply_theirs(own, theirs(name, options), images, drawn).astype(np.int16)
    found = images.copy()
    own.apply(found, list(range(len(images))), drawn)
    assert found.dtype == np.uint8
    difference = np.abs(found - expected)
    # Colours: a level that ends up on the other side of a whole number can turn a pale pixel's hue.
    assert difference.mean() < 0.02
    assert (difference > 1).mean() < 0.002
    if name != "ColorJitter":
        assert difference.max() <= 1


def draw_ours(own: Any, n: int) -> NDArray[np.float64]:
    """[n, parameters]."""
    drawn = numbers(n, own.columns, seed=1)
    match own:
        case ColorJitter():
            return np.column_stack(own.draw(drawn))
        case Affine():
            return own.draw(drawn, SIZE, SIZE).reshape(n, 6)
        case RandomResizedCrop():
            return own.draw(drawn, SIZE, SIZE).astype(np.float64)
        case _:
            fields = np.stack([own.draw(int(seed), SIZE, SIZE) for seed in drawn[:, 0]])
            return fields[:, :, ::15, ::15].reshape(n, -1).astype(np.float64)


def draw_theirs(transform: Any, n: int) -> NDArray[np.float64]:
    """[n, parameters], in the same order."""
    rows = []
    columns = np.arange(SIZE)
    for _ in range(n):
        if isinstance(transform, import_albumentations().ColorJitter):
            p = transform.get_params()
            factors = [p[key] for key in ("brightness", "contrast", "saturation", "hue")]
            rows.append([*factors, ORDERS.index(tuple(p["order"]))])
            continue
        p = transform.get_params_dependent_on_data({"shape": (SIZE, SIZE, 3)}, {})
        if "matrix" in p:
            rows.append(p["matrix"][:2].ravel())
        elif "crop_coords" in p:
            rows.append(p["crop_coords"])
        else:
            right, down = p["map_x"] - columns, p["map_y"] - columns[:, None]
            rows.append(np.stack([right, down])[:, ::15, ::15].ravel())
    return np.array(rows, np.float64)


@pytest.mark.parametrize(("name", "options"), named(SHIPPED + OTHERS))
def test_the_parameters_have_the_distribution_of_albumentations(
    name: str, options: dict[str, Any]
) -> None:
    n = 1500 if name == "ElasticTransform" else 4000
    ours = draw_ours(OWN[name](**options), n)
    other = draw_theirs(theirs(name, options), n)
    assert ours.shape == other.shape
    for a, b in zip(ours.T, other.T, strict=True):
        # rounded, because equal constants may differ in their last bit
        assert ks_2samp(a.round(9), b.round(9)).pvalue > 1e-4
        if name in ("Affine", "ColorJitter"):  # where the ends of a range are not rare
            ends = np.quantile(a, [0.001, 0.999]), np.quantile(b, [0.001, 0.999])
            np.testing.assert_allclose(*ends, rtol=0, atol=0.03 * np.ptp(b) + 1e-9)
    # jointly: x and y are drawn separately or not
    correlation = np.corrcoef(ours.T + 1e-9 * RNG.random(ours.T.shape))
    expected = np.corrcoef(other.T + 1e-9 * RNG.random(other.T.shape))
    assert np.abs(correlation - expected).max() < 0.12


RECIPE = [
    Transform(name=name, p=0.6, options=options)
    for name, options in SHIPPED
    if name != "ElasticTransform"
]


def test_whole_recipes_give_the_pixels_and_the_share_of_changes_of_albumentations() -> None:
    images = TISSUE[:1].repeat(3000, axis=0)
    ours = images.copy()  # steps overwrite
    steps = build_steps(RECIPE)
    assert all(isinstance(step, Sometimes) for step in steps)
    for i, step in enumerate(steps):
        ours = run(step, ours, seed=i)
    other = run(Albumentations(dict(enumerate(RECIPE))), images)
    # 0.4 ** 3 stay as they are; its standard deviation is 0.0045, of the difference 0.0063
    same = [(changed == images).all(axis=(1, 2, 3)).mean() for changed in (ours, other)]
    assert same[0] == pytest.approx(0.064, abs=0.02)
    assert same[0] == pytest.approx(same[1], abs=0.025)
    features = [
        np.column_stack([changed.mean(axis=(1, 2)), changed[:, ::15, ::15].reshape(3000, -1)])
        for changed in (ours, other)
    ]
    values = [ks_2samp(a, b).pvalue for a, b in zip(features[0].T, features[1].T, strict=True)]
    assert min(values) > 1e-4


def test_a_patch_does_not_depend_on_its_batch_or_on_the_other_rows() -> None:
    transforms = [Transform(name=name, p=0.7, options=options) for name, options in SHIPPED]
    transforms.insert(2, Transform(name="GaussNoise", p=1.0))
    augmenter = Augmenter(Augment(transforms=transforms), seed=4)
    rows = np.arange(len(TISSUE))
    together = augmenter(TISSUE, rows, 2, 1000)
    assert not np.array_equal(together, augmenter(TISSUE, rows, 3, 1000))
    backwards = augmenter(TISSUE[::-1], rows[::-1], 2, 1000)
    np.testing.assert_array_equal(together, backwards[::-1])
    for i in (0, 5, 63):
        alone = augmenter(TISSUE[i : i + 1], rows[i : i + 1], 2, 1000)
        np.testing.assert_array_equal(together[i], alone[0])


def test_one_transform_of_albumentations_alone_is_seeded_as_ever() -> None:
    """A run that uses only such a transform goes on exactly where it stopped."""
    config = Augment(d4=False, transforms=[Transform(name="GaussNoise", p=0.8)])
    found = Augmenter(config, seed=4)(TISSUE, np.arange(64), 2, 100)
    seeds = make_generator(4, 2, TRANSFORMS).integers(2**32, size=100, dtype=np.uint32)
    albumentations = import_albumentations()
    compose = albumentations.Compose([albumentations.GaussNoise(p=0.8)])
    for image, seed, changed in zip(TISSUE, seeds.tolist(), found, strict=False):
        compose.set_random_seed(seed)
        np.testing.assert_array_equal(compose(image=image)["image"], changed)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Affine", {"scale": {"x": [0.9, 1.1]}}),  # a range for each axis
        ("Affine", {"balanced_scale": True}),
        ("ElasticTransform", {"approximate": True}),
        ("Rotate", {}),
    ],
)
def test_what_we_do_not_know_goes_through_albumentations(
    name: str, options: dict[str, Any]
) -> None:
    unknown = Transform(name=name, options=options)
    steps = build_steps([Transform(name="Affine"), unknown, unknown, Transform(name="ColorJitter")])
    kinds = [type(step) for step in steps]
    assert kinds == [Sometimes, Albumentations, Sometimes]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ColorJitter", {"hue": "red"}, r"hue: expected \[lowest, highest\].*'red'"),
        ("ColorJitter", {"hue": [-0.6, 0]}, "hue: .*within -0.5 to 0.5"),
        ("ColorJitter", {"contrast": [1.1, 0.9]}, "contrast: .*within 0.0 to inf"),
        ("ColorJitter", {"brightness": -1}, "brightness: .*not negative"),
        ("Affine", {"scale": [1, 2, 3]}, "scale: expected"),
        ("Affine", {"border_mode": 9}, "border_mode: input should be 0, 1, 2, 3 or 4, found 9"),
        ("Affine", {"translate_px": 1, "translate_percent": 0.1}, "not both"),
        ("ElasticTransform", {"sigma": 0.5}, "sigma: .*greater than or equal to 1"),
        ("RandomResizedCrop", {}, "size: missing"),
        ("RandomResizedCrop", {"size": [28, 28], "scale": [0.5, 2]}, "scale: .*within 0.0 to 1"),
        ("Affine", {"rotat": 3}, "rotat.*not valid"),  # albumentations says so
    ],
)
def test_bad_options_are_told_with_their_place(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"augment\.transforms\.1 \({name}\): .*{message}"):
        build_steps([Transform(name="Affine"), Transform(name=name, options=options)])


def test_a_crop_of_another_size_than_the_patches_is_refused() -> None:
    (step,) = build_steps([Transform(name="RandomResizedCrop", p=1, options={"size": [28, 28]})])
    with pytest.raises(ConfigError, match=r"expected size \[32, 32\].*found \[28, 28\]"):
        run(step, TISSUE)


def test_shipped_configs_do_without_albumentations() -> None:
    code = """
import sys
import numpy as np
from pcam_kit.config.load import list_configs, load_experiment, load_few_digits
from pcam_kit.config.schema import Augment, Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.augment import Augmenter
patches = np.full((2, 32, 32, 3), 100, np.uint8)
digits = np.full((2, 28, 28, 1), 100, np.uint8)
done = 0
for kind, images in ((".", patches), ("mnist", digits)):
    for name in list_configs(kind=kind):
        load = load_experiment if kind == "." else load_few_digits
        Augmenter(load(name).augment, seed=0)(images, np.arange(2), 1, 2)
        done += 1
try:
    Augmenter(Augment(transforms=[Transform(name="Affine", options={"scale": "x"})]), seed=0)
except ConfigError:
    done += 1
print(done, "albumentations" in sys.modules, "scipy" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    expected = len(list_configs()) + len(list_configs(kind="mnist")) + 1
    assert expected > 15
    assert done.stdout.split() == [str(expected), "False", "False"]
