"""The forward pass of a CNN in NumPy: each layer as a plain loop, and vectorised.

The loop is what one would write on paper; the vectorised form is for whole data sets.

Shapes are those of Keras: images [n, h, w, c], kernels [kh, kw, channels in, channels out], dense
weights [inputs, outputs]. A `_loop` function takes one image [h, w, c]: a loop over images would
add nothing to learn and take minutes.

The vectorised forms compute in the precision of their arguments. In float32, with the products
of a window added row by row, column by column and channel by channel, they give the very bits of
Keras on TensorFlow on many machines.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError

Floats = NDArray[np.floating]
Size = tuple[int, int]  # rows, columns
Padding = Literal["same", "valid"]
Activation = Literal["linear", "relu", "sigmoid", "softmax"]


# Activations


def activate(x: Floats, activation: Activation) -> Floats:
    """One of the four activations, on any shape; softmax runs over the last axis."""
    match activation:
        case "linear":
            return x
        case "relu":
            return np.maximum(x, 0)
        case "sigmoid":
            return sigmoid(x)
        case "softmax":
            return softmax(x)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow: exp only ever sees a number that is not positive."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, np.ones_like(small), small) / (1 + small)


def softmax(x: Floats) -> Floats:
    """exp(x) as shares of its sum over the last axis.

    The largest value is subtracted first. That avoids overflow; the result is the same.
    """
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# Convolution


def pad(
    images: Floats, window: Size, strides: Size, padding: Padding, value: float = 0.0
) -> Floats:
    """`images` [..., h, w, c] with the border that `same` asks for; `valid` adds none.

    `same` gives ceil(size / stride) outputs an axis. Where the border is odd, the extra row is at
    the bottom, the extra column on the right.
    """
    if padding == "valid":
        return images
    border = [(0, 0)] * images.ndim
    for axis, (size, extent, stride) in enumerate(
        zip(images.shape[-3:-1], window, strides, strict=True)
    ):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        border[axis - 3] = (total // 2, total - total // 2)
    return np.pad(images, border, constant_values=value)


def flipped(kernels: Floats) -> Floats:
    """`kernels` [kh, kw, ...] turned by 180°.

    What Keras calls convolution is correlation: the convolution with the flipped kernel.
    """
    return kernels[::-1, ::-1]


def conv2d_loop(
    image: Floats, kernels: Floats, bias: Floats, strides: Size = (1, 1), padding: Padding = "same"
) -> Floats:
    """A layer's output [rows, columns, filters] for one image [h, w, c].

    Convolution as signal processing defines it, with the flipped kernels, summed over the channels.
    """
    kh, kw, channels, filters = kernels.shape
    x = pad(image, (kh, kw), strides, padding)
    kernels = flipped(kernels)
    rows = (x.shape[0] - kh) // strides[0] + 1
    columns = (x.shape[1] - kw) // strides[1] + 1
    out = np.zeros((rows, columns, filters))
    for f in range(filters):
        for i in range(rows):
            for j in range(columns):
                total = bias[f]
                for c in range(channels):
                    for u in range(kh):
                        # as one index of the image runs up, that of the kernel runs down
                        for v in range(kw):
                            total += (
                                x[i * strides[0] + u, j * strides[1] + v, c]
                                * kernels[kh - 1 - u, kw - 1 - v, c, f]
                            )
                out[i, j, f] = total
    return out


def conv2d(
    images: Floats, kernels: Floats, bias: Floats, strides: Size = (1, 1), padding: Padding = "same"
) -> Floats:
    """The outputs [n, rows, columns, filters] for images [n, h, w, c], as one matrix product.

    Every window becomes a row, every filter a column. The kernel is not flipped: this is the
    correlation, which equals the loop's convolution with the flipped kernel.
    """
    kh, kw, channels, filters = kernels.shape
    # [n, rows, columns, kh, kw, c]
    windows = _windows(pad(images, (kh, kw), strides, padding), (kh, kw), strides)
    rows = windows.reshape(-1, kh * kw * channels)
    # a filter's weights side by side in memory
    columns = np.ascontiguousarray(kernels.reshape(-1, filters).T).T
    return (rows @ columns + bias).reshape(*windows.shape[:3], filters)


# Pooling, flatten, dense


def max_pool_loop(
    image: Floats, pool: Size = (2, 2), strides: Size = (2, 2), padding: Padding = "valid"
) -> Floats:
    """The largest value of each window of one image [h, w, c], channel by channel."""
    x = pad(image, pool, strides, padding, -np.inf)
    rows = (x.shape[0] - pool[0]) // strides[0] + 1
    columns = (x.shape[1] - pool[1]) // strides[1] + 1
    out = np.full((rows, columns, x.shape[2]), -np.inf)
    for c in range(x.shape[2]):
        for i in range(rows):
            for j in range(columns):
                for u in range(pool[0]):
                    for v in range(pool[1]):
                        out[i, j, c] = max(
                            out[i, j, c], x[i * strides[0] + u, j * strides[1] + v, c]
                        )
    return out


def max_pool(
    images: Floats, pool: Size = (2, 2), strides: Size = (2, 2), padding: Padding = "valid"
) -> Floats:
    """The same of images [n, h, w, c]."""
    return _windows(pad(images, pool, strides, padding, -np.inf), pool, strides).max(axis=(3, 4))


def flatten_loop(image: Floats) -> Floats:
    """One image [h, w, c] as a vector [h * w * c], the channels of a pixel side by side."""
    rows, columns, channels = image.shape
    out = np.empty(rows * columns * channels)
    for i in range(rows):
        for j in range(columns):
            for c in range(channels):
                out[(i * columns + j) * channels + c] = image[i, j, c]
    return out


def flatten(images: Floats) -> Floats:
    """Images [n, ...] as vectors [n, m]."""
    return images.reshape(len(images), -1)


def dense_loop(vector: Floats, weights: Floats, bias: Floats) -> Floats:
    """A fully connected layer on one vector [inputs]."""
    out = np.empty(weights.shape[1])
    for j in range(weights.shape[1]):
        total = bias[j]
        for i in range(weights.shape[0]):
            total += vector[i] * weights[i, j]
        out[j] = total
    return out


def dense(vectors: Floats, weights: Floats, bias: Floats) -> Floats:
    """The same on vectors [n, inputs]."""
    return vectors @ weights + bias


def global_average_pool(images: Floats) -> Floats:
    """The mean of every channel: [n, h, w, c] -> [n, c]."""
    return images.mean(axis=(1, 2))


def batch_norm(
    x: Floats, mean: Floats, variance: Floats, gamma: Floats, beta: Floats, epsilon: float
) -> Floats:
    """Batch normalisation at inference, with the statistics [channels] from training.

    The channels are the last axis of x.
    """
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


# Scores


def cross_entropy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log(probability of the right class), in nats.

    probabilities [n, classes], or [n, 1] of class 1; labels int [n]. Clipped at 1e-7 like Keras, so
    that one certain mistake does not make it infinite. Raises DataError when they do not fit each
    other.
    """
    p, y = _check_scores(probabilities, labels)
    of_right_class = np.clip(p[np.arange(len(y)), y], 1e-7, 1 - 1e-7)
    return float(-np.log(of_right_class).mean())


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The share of images whose most probable class is right; otherwise as `cross_entropy`."""
    p, y = _check_scores(probabilities, labels)
    return float((p.argmax(axis=1) == y).mean())


def _check_scores(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities [n, classes >= 2] and labels int64 [n].

    Raises DataError when they do not fit each other.
    """
    p = np.asarray(probabilities, np.float64)
    y = np.asarray(labels)
    if p.ndim == 2 and p.shape[1] == 1:
        p = np.concatenate([1 - p, p], axis=1)
    if p.ndim != 2 or y.shape != p.shape[:1] or y.size == 0:
        raise DataError(
            f"expected probabilities [n, classes] and labels [n], found {list(p.shape)} and "
            f"{list(y.shape)}"
        )
    if y.dtype.kind not in "iub" or y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(
            f"labels must be whole numbers from 0 to {p.shape[1] - 1}, found {y.dtype} from "
            f"{y.min()} to {y.max()}"
        )
    return p, y.astype(np.int64)


def _windows(x: Floats, window: Size, strides: Size) -> Floats:
    """Windows of x [n, h, w, c] as a view [n, rows, columns, window rows, window columns, c]."""
    views = sliding_window_view(x, window, axis=(1, 2))[:, :: strides[0], :: strides[1]]
    return views.transpose(0, 1, 2, 4, 5, 3)
