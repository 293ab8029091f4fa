"""Pictures for the lab: kernels, feature maps, augmented images, learning curves; each a PNG."""

# pyright: basic

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pcam_kit.files import writing
from pcam_kit.plots.training import samples, show_patch

CHANNELS = 8  # feature maps of a layer, at most
FILTERS = 16  # kernels of a layer, at most


def draw_kernels(kernels: NDArray[Any], name: str, path: Path) -> Path:
    """The kernels [kh, kw, channels in, filters] of a layer called `name`.

    A row an input channel, a column a filter.
    """
    kernels = kernels[..., :FILTERS]
    limit = float(np.abs(kernels).max())
    channels, filters = kernels.shape[2:]
    figure = Figure(figsize=(1.1 * filters + 1.3, 1.1 * channels + 0.7), layout="constrained")
    axes = figure.subplots(channels, filters, squeeze=False)
    for c in range(channels):
        for f in range(filters):
            shown = axes[c, f].imshow(kernels[:, :, c, f], cmap="RdBu_r", vmin=-limit, vmax=limit)
            _without_ticks(axes[c, f], f"filter {f + 1}" if c == 0 else "")
    figure.colorbar(shown, ax=axes, shrink=0.8, label="weight")
    figure.suptitle(f"Kernels of {name}", fontsize=11)
    return _save(figure, path)


def draw_feature_maps(
    image: NDArray[np.uint8], maps: Mapping[str, NDArray[Any]], answer: NDArray[Any], path: Path
) -> Path:
    """An image [h, w, c], what the layers make of it, and the network's answer.

    maps: [h, w, channels] of each layer; a row a layer, with its first channels. answer:
    probabilities [classes].
    """
    last = len(maps)
    figure = Figure(figsize=(1.15 * (CHANNELS + 1), 1.25 * last + 2.0), layout="constrained")
    grid = figure.add_gridspec(last + 1, CHANNELS + 1, height_ratios=[1] * last + [1.3])
    first = figure.add_subplot(grid[0, 0])
    show_patch(first, _as_rgb(image))
    first.set_title("image", fontsize=8)
    for row, (name, channels) in enumerate(maps.items()):
        for channel in range(min(CHANNELS, channels.shape[-1])):
            axis = figure.add_subplot(grid[row, channel + 1])
            axis.imshow(channels[:, :, channel], cmap="viridis")
            title = f"{name}\n{'x'.join(map(str, channels.shape))}"
            _without_ticks(axis, title if channel == 0 else "")
    bars = figure.add_subplot(grid[last, :])
    bars.bar(range(len(answer)), answer, color="tab:blue")
    bars.set_xticks(range(len(answer)))
    bars.set_ylim(0, 1)
    bars.set_ylabel("probability")
    bars.set_xlabel("class")
    return _save(figure, path)


def draw_augmented(
    originals: NDArray[np.uint8], augmented: Sequence[NDArray[np.uint8]], title: str, path: Path
) -> Path:
    """A row an image: as it is, then once from each of `augmented`, all [n, h, w, c]."""
    patches = [_as_rgb(images) for images in (originals, *augmented)]
    figure = samples(patches[0], patches[1:], [""] * len(originals))
    figure.suptitle(title, fontsize=11)
    return _save(figure, path)


def draw_curves(
    curves: Mapping[str, Sequence[tuple[int, float, float]]], title: str, path: Path
) -> Path:
    """Accuracy by epoch, a panel a network.

    curves: points (epoch, on the training images, on the test images), by the network's name.
    """
    figure = Figure(figsize=(4.2 * len(curves), 3.4), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        epochs, training, test = zip(*points, strict=True)
        axis.plot(
            epochs,
            training,
            color="tab:gray",
            label=f"training images: {training[-1]:.3f} at the end",
        )
        axis.plot(epochs, test, color="tab:blue", label=f"test images: {test[-1]:.3f} at the end")
        axis.fill_between(epochs, test, training, color="tab:orange", alpha=0.15)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=8)
    axes[0].set_ylabel("accuracy")
    axes[0].set_ylim(0, 1.02)
    figure.suptitle(title, fontsize=11)
    return _save(figure, path)


def _as_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def _without_ticks(axis: Any, title: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    if title:
        axis.set_title(title, fontsize=8)


def _save(figure: Figure, path: Path) -> Path:
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    return path
