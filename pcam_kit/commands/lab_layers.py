"""`pcam lab layers`: a trained network's forward pass in NumPy, layer by layer, against Keras."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.console import duration, print_table, quiet_import, say, warn, work
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.parts import rows_of
from pcam_kit.config.schema import Augment, LabCnn, Training
from pcam_kit.data.synthetic import CENTRE, synthetic_parts
from pcam_kit.errors import MismatchError, UsageError
from pcam_kit.files import writing
from pcam_kit.lab import mnist, numpy_cnn
from pcam_kit.pipeline.batches import take
from pcam_kit.runs import Run, find_run, open_run

if TYPE_CHECKING:
    from pcam_kit.lab.compare import Difference

# of a run's validation split, or of made-up tissue, that go through the whole network
PATCHES = 500
# of a layer's largest output; float32 rounds at 6e-8, and a sum of 1,000 products is off by 1e-6 or
# so
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Request:
    """What to check: a run, a `.keras` file, or None for the lab's small network, trained first on
    digits.
    """

    model: str | None = None
    source: str | None = None  # of digits, see `mnist.load_digits`
    # how many go through the whole network; None: all test digits, or PATCHES patches
    images: int | None = None
    tolerance: float = TOLERANCE
    pictures: Path | None = None
    save: Path | None = None  # where the model is kept, if it is trained first


@dataclass(frozen=True)
class Images:
    """Labelled images uint8 [n, h, w, c] a network can be tried on; `name` says what they are."""

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Checked:
    """A network in NumPy beside Keras: each layer on the first image, scores on all `n`."""

    model: str
    images: str
    differences: list[Difference]
    parameters: int
    accuracy_keras: float
    accuracy_numpy: float
    loss_keras: float
    loss_numpy: float
    max_abs_diff: float  # of the probabilities, after all layers in a row, over all images
    n: int
    seconds: float  # NumPy took for them


def check(request: Request, folders: Folders) -> Checked:
    """Run both.

    Raises UsageError naming what is not supported, MismatchError when they differ by more than the
    tolerance.
    """
    if request.model is not None and request.save is not None:
        raise UsageError(
            "--save keeps the network that is trained when no model is given",
            hint="leave out --save, or the model",
        )
    with quiet_import():
        from pcam_kit.lab import compare
        from pcam_kit.lab.convert import to_numpy
    name, model, images = (
        _small_network(request)
        if request.model is None
        else _given(request.model, request, folders)
    )
    converted = to_numpy(model)
    pixels, labels = _as_asked(images, request.images)
    classes = max(2, model.output_shape[-1])
    if int(labels.max()) >= classes:
        raise UsageError(
            f"{name} tells {classes} classes apart, the {images.name} have {int(labels.max()) + 1}"
        )
    if not compare.scales_pixels(model):
        say("the model has no Rescaling layer, so it gets pixels scaled to 0-1")
        pixels = (pixels / np.float32(255)).astype(np.float32)
    differences = compare.layer_by_layer(model, converted, pixels[0])
    began = time.monotonic()
    with work() as progress:
        outputs = converted.predict(pixels, lambda done: progress("NumPy", done, len(pixels)))
    seconds = time.monotonic() - began
    ours = compare.probabilities(outputs, model)
    theirs = compare.probabilities(compare.predict_with_keras(model, pixels), model)
    checked = Checked(
        model=name,
        images=images.name,
        differences=differences,
        parameters=converted.parameters,
        accuracy_keras=numpy_cnn.accuracy(theirs, labels),
        accuracy_numpy=numpy_cnn.accuracy(ours, labels),
        loss_keras=numpy_cnn.cross_entropy(theirs, labels),
        loss_numpy=numpy_cnn.cross_entropy(ours, labels),
        max_abs_diff=float(np.abs(ours - theirs).max()),
        n=len(pixels),
        seconds=round(seconds, 3),
    )
    _raise_if_apart(checked, request.tolerance)
    if request.pictures is not None:
        _draw(model, images.pixels[0], pixels[0], ours[0], request.pictures)
    return checked


def describe(checked: Checked) -> dict[str, Any]:
    """The JSON object of `pcam lab layers`."""
    return {
        "layers": [
            {
                "name": d.name,
                "kind": d.kind,
                "shape": list(d.shape),
                "max_abs_diff": d.max_abs_diff,
                "sum_abs_diff": d.sum_abs_diff,
            }
            for d in checked.differences
        ],
        "parameters": checked.parameters,
        "accuracy_keras": checked.accuracy_keras,
        "accuracy_numpy": checked.accuracy_numpy,
        "loss_keras": checked.loss_keras,
        "loss_numpy": checked.loss_numpy,
        "n": checked.n,
        "seconds": checked.seconds,
    }


def show(checked: Checked, *, stderr: bool = False) -> None:
    """The layers as a table, then the scores."""
    columns = [
        "layer",
        "kind",
        "output",
        "weights",
        "sum |out|",
        "max |diff|",
        "sum |diff|",
        "max |loop|",
    ]
    rows = [
        [
            d.name,
            d.kind,
            "x".join(map(str, d.shape)),
            f"{d.parameters:,}",
            f"{d.sum_abs:,.4f}",
            f"{d.max_abs_diff:.2e}",
            f"{d.sum_abs_diff:.2e}",
            f"{d.loop:.2e}" if d.loop is not None else "-",
        ]
        for d in checked.differences
    ]
    print_table(
        f"{checked.model}: NumPy against Keras, each layer on one image",
        columns,
        rows,
        stderr=stderr,
    )
    scores = [
        ["Keras", f"{checked.accuracy_keras:.4f}", f"{checked.loss_keras:.4f}", ""],
        [
            "NumPy",
            f"{checked.accuracy_numpy:.4f}",
            f"{checked.loss_numpy:.4f}",
            f"{checked.seconds:.1f} s",
        ],
    ]
    title = f"{checked.n:,} {checked.images}, {checked.parameters:,} weights"
    print_table(f"\n{title}", ["", "accuracy", "cross-entropy", "time"], scores, stderr=stderr)
    say(
        "|diff|: vectorised NumPy against Keras; |loop|: the plain loop against the vectorised "
        "form, where that takes a second at most."
    )
    say(
        f"After all layers in a row the probabilities differ by at most {checked.max_abs_diff:.1e}."
    )


def _raise_if_apart(checked: Checked, tolerance: float) -> None:
    wrong = [d.name for d in checked.differences if not d.within(tolerance)]
    # rounding adds up; not True for NaN
    if not checked.max_abs_diff <= tolerance * max(10, len(checked.differences)):
        wrong.append("the probabilities after all layers")
    if wrong:
        show(checked, stderr=True)
        raise MismatchError(
            f"NumPy and Keras differ by more than {tolerance:g} of the largest output in: "
            f"{', '.join(wrong)}",
            hint="a deep or wide network may need --tolerance 1e-4; a larger difference is a bug "
            "in one of the two",
        )


def _draw(
    model: Any, image: NDArray[np.uint8], pixels: NDArray[Any], answer: NDArray[Any], folder: Path
) -> None:
    """Feature maps of `image`, given to the model as `pixels`, with its `answer`; and the first
    kernels.
    """
    from pcam_kit.lab import compare, pictures

    shares = np.concatenate([1 - answer, answer]) if answer.shape == (1,) else answer
    drawn = [
        pictures.draw_feature_maps(
            image, compare.feature_maps(model, pixels), shares, folder / "feature-maps.png"
        )
    ]
    if (kernels := compare.first_kernels(model)) is not None:
        drawn.append(pictures.draw_kernels(kernels[1], kernels[0], folder / "kernels.png"))
    say(f"drawn: {', '.join(map(str, drawn))}")


def _small_network(request: Request) -> tuple[str, Any, Images]:
    """The lab's network for digits, 4 and 8 filters, trained here for 10 epochs; and the test
    digits.
    """
    digits = mnist.load_digits(request.source, warn)
    with quiet_import():
        from pcam_kit.lab import classify
        from pcam_kit.models import with_probability
    recipe = classify.Recipe(
        LabCnn(name="lab_cnn", filters=[4, 8], units=None),
        Training(
            epochs=10, batch_size=128, optimizer="adam", learning_rate=3e-3, schedule="one_cycle"
        ),
        Augment(d4=False),
        seed=0,
    )
    began = time.monotonic()
    say(f"training the lab's small network on {len(digits.train_labels):,} images of {digits.name}")
    with work() as progress:
        model = classify.train(
            recipe,
            digits.train_images,
            digits.train_labels,
            lambda epoch, _: progress("training", epoch, recipe.training.epochs),
        )
    say(f"trained in {duration(time.monotonic() - began)}")
    model = with_probability(model)
    if request.save is not None:
        with writing(request.save) as temporary:
            model.save(temporary)
        say(f"kept as {request.save}")
    return "the lab's small network", model, _test_part(digits)


def _test_part(digits: mnist.Digits) -> Images:
    return Images(
        f"test images of {digits.name}", digits.test_images, digits.test_labels.astype(np.int64)
    )


def _given(name: str, request: Request, folders: Folders) -> tuple[str, Any, Images]:
    """The model of a run or of a `.keras` file, and labelled images that fit it: a run's own
    validation patches.
    """
    with quiet_import():
        from pcam_kit.inference import load_model
    patches = request.images if request.images is not None else PATCHES
    path = Path(name)
    if path.suffix != ".keras":
        run = find_run(folders.runs, name)
        return name, load_model(run.model_file), _patches_of(run, patches, folders)
    if not path.is_file():
        raise UsageError(
            f"no file {path}",
            hint="give a .keras file or a run (pcam runs shows them), or nothing to train a "
            "small network",
        )
    model = load_model(path)
    if (path.parent / "meta.json").is_file():
        return name, model, _patches_of(open_run(path.parent), patches, folders)
    return name, model, _images_for(model.input_shape, request.source, patches)


def _patches_of(run: Run, n: int, folders: Folders) -> Images:
    store = folders.store_of(run)
    rows = rows_of(run, store, "valid")[:n]
    crop = run.experiment.data.crop or store.images.shape[1]
    return Images(
        f"validation patches of {store.profile.slug}",
        take(store.images, rows, crop),
        store.labels[rows].astype(np.int64),
    )


def _images_for(shape: tuple[int | None, ...], source: str | None, patches: int) -> Images:
    """Images that fit a model's input: digits for 28x28 in grey, made-up tissue for squares in
    colour.
    """
    if shape == (None, mnist.SIZE, mnist.SIZE, 1):
        return _test_part(mnist.load_digits(source, warn))
    if (
        len(shape) == 4
        and shape[3] == 3
        and shape[1] is not None
        and shape[1] == shape[2]
        and shape[1] >= CENTRE
    ):
        (part,) = synthetic_parts({"test": patches}, shape[1], seed=0)
        return Images(
            "patches of made-up tissue",
            np.concatenate(list(part.blocks())),
            part.labels.astype(np.int64),
        )
    wanted = "x".join("any" if side is None else str(side) for side in shape[1:])
    raise UsageError(
        f"there are no images for a model that takes {wanted}",
        hint=f"it must take 28x28x1 (digits), or NxNx3 with N of at least {CENTRE} (patches)",
    )


def _as_asked(images: Images, n: int | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if n is not None and n > len(images.pixels):
        raise UsageError(f"--images {n:,}: there are {len(images.pixels):,} {images.name}")
    return images.pixels[:n], images.labels[:n]
