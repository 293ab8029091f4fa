"""Batch normalisation of feature maps by one operation of TensorFlow.

Keras computes it in float32 from a dozen operations, and each of them passes over all maps. The
fused operation has the same formula, sums in float32, and leaves the maps in their own precision.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras

DTYPES = {"float32", "bfloat16", "float16"}


def is_available(x: Any) -> bool:
    """Whether maps [n, h, w, c] can be normalised here: only on the backend TensorFlow."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    return keras.backend.backend() == "tensorflow" and len(x.shape) == 4 and dtype in DTYPES


def normalise(x: Any, scale: Any, shift: Any, mean: Any, variance: Any, *, epsilon: float) -> Any:
    """Normalise maps [n, h, w, c] with statistics that are given.

    scale, shift, mean, variance: float32 [c]. No gradient flows to the statistics.
    """
    import tensorflow as tf

    y, _, _ = tf.compat.v1.nn.fused_batch_norm(
        x, scale, shift, mean, variance, epsilon=epsilon, is_training=False
    )
    return y


def normalise_batch(
    x: Any, scale: Any, shift: Any, *, epsilon: float, order: int = 1
) -> tuple[Any, Any, Any]:
    """Normalise maps [n, h, w, order * c] with their own statistics: (maps, mean, variance).

    scale, shift: float32 [c]; so are mean and variance, over images, space and the `order` elements
    of a group. The maps alone have a gradient.
    """
    import tensorflow as tf

    if order > 1:
        return _normalise_group(x, scale, shift, epsilon, order)
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, scale, shift, epsilon=epsilon)
    return y, mean, variance * _biased(x)


def _biased(x: Any) -> Any:
    """The factor from the operation's variance, for which it divides by one less, to that of n."""
    import tensorflow as tf

    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
    return (count - 1) / count


def _normalise_group(
    x: Any, scale: Any, shift: Any, epsilon: float, order: int
) -> tuple[Any, Any, Any]:
    """The same with statistics that all elements share, which the operation does not know.

    It finds those of each element, which are combined. Its gradient for given statistics is then
    completed by what flows through mean and variance.
    """
    import tensorflow as tf

    def tiled(values: Any) -> Any:
        return tf.tile(values, (order,))

    def by_element(values: Any) -> Any:
        return tf.reshape(values, (order, -1))

    @tf.custom_gradient
    def compute(x: Any, scale: Any, shift: Any) -> Any:
        ones, zeros = tf.ones_like(tiled(scale)), tf.zeros_like(tiled(shift))
        _, means, variances = tf.compat.v1.nn.fused_batch_norm(x, ones, zeros, epsilon=epsilon)
        means, variances = by_element(means), by_element(variances * _biased(x))
        mean = tf.reduce_mean(means, axis=0)
        variance = tf.reduce_mean(variances + tf.square(means - mean), axis=0)
        y = normalise(x, tiled(scale), tiled(shift), tiled(mean), tiled(variance), epsilon=epsilon)

        def gradient(dy: Any, *_: Any) -> Any:
            dx, dscale, dshift, _, _ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy,
                x=x,
                scale=tiled(scale),
                reserve_space_1=tiled(mean),
                reserve_space_2=tiled(variance),
                reserve_space_3=[],
                epsilon=epsilon,
                is_training=False,
            )
            dscale = tf.reduce_sum(by_element(dscale), axis=0)
            dshift = tf.reduce_sum(by_element(dshift), axis=0)
            # -scale / deviation * (mean of dy + normalised x * mean of dy * normalised x)
            count = tf.cast(tf.size(x) / tf.size(scale), tf.float32)
            factor = -scale * tf.math.rsqrt(variance + epsilon) / count
            through = normalise(
                *(x, tiled(factor * dscale), tiled(factor * dshift)),
                *(tiled(mean), tiled(variance)),
                epsilon=epsilon,
            )
            return dx + through, dscale, dshift

        return (y, mean, variance), gradient

    # not the layer's variables themselves, whose gradients TensorFlow would want apart
    return compute(x, tf.convert_to_tensor(scale), tf.convert_to_tensor(shift))
