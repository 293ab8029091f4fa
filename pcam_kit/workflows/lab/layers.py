"""`pcam lab layers`: a trained network's forward pass in NumPy, layer by layer, against Keras."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Augment, LabCnn, Training
from pcam_kit.data.synthetic import CENTRE, synthetic_parts
from pcam_kit.errors import MismatchError, UsageError
from pcam_kit.files import writing
from pcam_kit.formatting import duration
from pcam_kit.lab import mnist, numpy_cnn
from pcam_kit.pipeline.images import take
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run, find_run, open_run
from pcam_kit.training.backend import quiet_import
from pcam_kit.workflows.plan import rows_of
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from pcam_kit.lab.compare import LayerDifference

log = logging.getLogger(__name__)

# Of a run's validation split, or of synthetic tissue, that go through the whole network.
PATCHES = 500
# Of a layer's largest output: float32 rounds at 6e-8, a sum of 1,000 products is off by about 1e-6.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class LayersRequest:
    """What to check: a run or a `.keras` file.

    model None: the lab's small network, trained first on digits. source: of the digits, see
    `mnist.load_digits`. images: how many go through the whole network; None: all test digits, or
    PATCHES patches. tolerance: as part of a layer's largest output. pictures: a folder to draw
    into. save: where the network goes that is trained first.
    """

    model: str | None = None
    source: str | None = None
    images: int | None = None
    tolerance: float = TOLERANCE
    pictures: Path | None = None
    save: Path | None = None


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [n, h, w, c] and labels [n] for a network; `name` says what they are."""

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class LayersResult:
    """A network in NumPy beside Keras: each layer on the first image, scores on all `n`.

    model, images: what they are, in words. max_abs_diff: of the probabilities after all layers in
    a row, over all images. seconds: that NumPy took for all images.
    """

    model: str
    images: str
    differences: list[LayerDifference]
    parameters: int
    accuracy_keras: float
    accuracy_numpy: float
    loss_keras: float
    loss_numpy: float
    max_abs_diff: float
    n: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam lab layers`."""
        return {
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "shape": list(layer.shape),
                    "max_abs_diff": layer.max_abs_diff,
                    "sum_abs_diff": layer.sum_abs_diff,
                }
                for layer in self.differences
            ],
            "parameters": self.parameters,
            "accuracy_keras": self.accuracy_keras,
            "accuracy_numpy": self.accuracy_numpy,
            "loss_keras": self.loss_keras,
            "loss_numpy": self.loss_numpy,
            "n": self.n,
            "seconds": self.seconds,
        }


def check_layers(
    request: LayersRequest, workspace: Workspace, *, display: Display = SILENT
) -> LayersResult:
    """Run a network in NumPy and in Keras, and compare them.

    Raises UsageError naming what is not supported; MismatchError, with the LayersResult as its
    `result`, when they differ by more than the tolerance.
    """
    if request.model is not None and request.save is not None:
        raise UsageError(
            "--save keeps the network that is trained when no model is given",
            hint="leave out --save, or the model",
        )
    with quiet_import():
        from pcam_kit.lab import compare
        from pcam_kit.lab.convert import to_numpy
    if request.model is None:
        name, model, images = _small_network(request, display)
    else:
        name, model, images = _given_network(request.model, request, workspace)
    converted = to_numpy(model)
    pixels, labels = _first(images, request.images)
    classes = max(2, model.output_shape[-1])
    label_classes = int(labels.max()) + 1
    if label_classes > classes:
        raise UsageError(
            f"{name} tells {classes} classes apart, the {images.name} have {label_classes}"
        )
    if not compare.scales_pixels(model):
        log.info("the model has no Rescaling layer, so it gets pixels scaled to 0-1")
        pixels = (pixels / np.float32(255)).astype(np.float32)
    differences = compare.layer_by_layer(model, converted, pixels[0])
    began = time.monotonic()
    with display.work() as progress:
        outputs = converted.predict(pixels, lambda done: progress("NumPy", done, len(pixels)))
    seconds = time.monotonic() - began
    ours = compare.probabilities(outputs, model)
    keras_outputs = compare.predict_with_keras(model, pixels)
    theirs = compare.probabilities(keras_outputs, model)
    result = LayersResult(
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
    _raise_if_apart(result, request.tolerance)
    if request.pictures is not None:
        _draw(model, images.pixels[0], pixels[0], ours[0], request.pictures)
    return result


def _raise_if_apart(result: LayersResult, tolerance: float) -> None:
    wrong = [layer.name for layer in result.differences if not layer.within(tolerance)]
    allowed = tolerance * max(10, len(result.differences))  # rounding adds up
    if not result.max_abs_diff <= allowed:  # also for NaN
        wrong.append("the probabilities after all layers")
    if wrong:
        raise MismatchError(
            f"NumPy and Keras differ by more than {tolerance:g} of the largest output in: "
            f"{', '.join(wrong)}",
            hint="a deep or wide network may need --tolerance 1e-4; a larger difference is a bug "
            "in one of the two",
            result=result,
        )


def _draw(
    model: Any, image: NDArray[np.uint8], pixels: NDArray[Any], answer: NDArray[Any], folder: Path
) -> None:
    """Draw what the layers make of an image, and the first kernels.

    image, pixels: the image [h, w, c] as it is, and as the model gets it. answer: the model's
    probabilities [classes], or [1] of class 1.
    """
    from pcam_kit.lab import compare, pictures

    if answer.shape == (1,):
        answer = np.concatenate([1 - answer, answer])
    maps = compare.feature_maps(model, pixels)
    paths = [pictures.draw_feature_maps(image, maps, answer, folder / "feature-maps.png")]
    kernels = compare.first_kernels(model)
    if kernels is not None:
        name, values = kernels
        paths.append(pictures.draw_kernels(values, name, folder / "kernels.png"))
    log.info(f"drawn: {', '.join(map(str, paths))}")


def _small_network(request: LayersRequest, display: Display) -> tuple[str, Any, LabelledImages]:
    """The lab's network for digits, trained here, and the test digits.

    4 and 8 filters, 5 epochs.
    """
    digits = mnist.load_digits(request.source)
    with quiet_import():
        from pcam_kit.lab import classify
        from pcam_kit.models import with_probability
    recipe = classify.DigitRecipe(
        LabCnn(name="lab_cnn", filters=[4, 8], units=None),
        Training(
            epochs=5, batch_size=256, optimizer="adam", learning_rate=1e-2, schedule="one_cycle"
        ),
        Augment(d4=False),
        seed=0,
    )
    began = time.monotonic()
    log.info(
        f"training the lab's small network on {len(digits.train_labels):,} images of {digits.name}"
    )
    with display.work() as progress:
        model = classify.train(
            recipe,
            digits.train_images,
            digits.train_labels,
            lambda epoch, _: progress("training", epoch, recipe.training.epochs),
        )
    log.info(f"trained in {duration(time.monotonic() - began)}")
    model = with_probability(model)
    if request.save is not None:
        with writing(request.save) as temporary:
            model.save(temporary)
        log.info(f"saved as {request.save}")
    return "the lab's small network", model, _test_part(digits)


def _test_part(digits: mnist.Digits) -> LabelledImages:
    name = f"test images of {digits.name}"
    return LabelledImages(name, digits.test_images, digits.test_labels.astype(np.int64))


def _given_network(
    name: str, request: LayersRequest, workspace: Workspace
) -> tuple[str, Any, LabelledImages]:
    """The model of a run or of a `.keras` file, and labelled images that fit it.

    For a run, or a file in its folder, these are its own validation patches.
    """
    with quiet_import():
        from pcam_kit.inference import load_model, load_trained
        from pcam_kit.lab.convert import check_inputs
    patches = request.images if request.images is not None else PATCHES
    path = Path(name)
    if path.suffix in {".h5", ".hdf5"}:
        raise UsageError(
            f"{path} has the older format .h5, and only .keras files are read",
            hint="save it again in Keras: model.save('model.keras')",
        )
    if path.suffix != ".keras":
        run = find_run(workspace.runs, name)
        return name, load_trained(run), _patches_of(run, patches, workspace)
    if not path.is_file():
        raise UsageError(
            f"no file {path}",
            hint="give a .keras file or a run (pcam runs shows them), or nothing to train a "
            "small network",
        )
    if (path.parent / "meta.json").is_file():
        run = open_run(path.parent)
        model = load_trained(run) if path.name == run.model_file.name else load_model(path)
        check_inputs(model)
        return name, model, _patches_of(run, patches, workspace)
    model = load_model(path)
    check_inputs(model)
    return name, model, _images_for(model.input_shape, request.source, patches)


def _patches_of(run: Run, n: int, workspace: Workspace) -> LabelledImages:
    store = workspace.store_of(run)
    rows = rows_of(run, store, "valid")[:n]
    crop = store.crop_size(run.experiment.data.crop)
    return LabelledImages(
        f"validation patches of {store.profile.slug}",
        take(store.images, rows, crop),
        store.labels[rows].astype(np.int64),
    )


def _images_for(shape: tuple[int | None, ...], source: str | None, patches: int) -> LabelledImages:
    """Images that fit a model's input `shape`, whose first axis is the batch.

    Digits for 28x28 in grey, synthetic tissue for squares in colour. Raises UsageError for others.
    """
    match shape:
        case (None, mnist.SIZE, mnist.SIZE, 1):
            return _test_part(mnist.load_digits(source))
        case (_, int(rows), int(columns), 3) if rows == columns and rows >= CENTRE:
            return _synthetic_patches(patches, rows)
        case _:
            sides = "x".join("any" if side is None else str(side) for side in shape[1:])
            raise UsageError(
                f"there are no images for a model that takes {sides}",
                hint="it must take 28x28x1 (digits), or NxNx3 with N of at least "
                f"{CENTRE} (patches)",
            )


def _synthetic_patches(n: int, size: int) -> LabelledImages:
    (part,) = synthetic_parts({"test": n}, size, seed=0)
    pixels = np.concatenate(list(part.blocks()))
    return LabelledImages("patches of synthetic tissue", pixels, part.labels.astype(np.int64))


def _first(images: LabelledImages, n: int | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The first `n` images and their labels; None: all. Raises UsageError when there are fewer."""
    if n is not None and n > len(images.pixels):
        raise UsageError(f"--images {n:,}: there are {len(images.pixels):,} {images.name}")
    return images.pixels[:n], images.labels[:n]
