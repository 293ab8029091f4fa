"""What one training step does, and where weights are between two steps."""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.training.backend import backend_name
from pcam_kit.training.networks import Networks, is_correct


class StepScores(NamedTuple):
    """Loss and accuracy of a batch. `float` of them may wait until the step is done."""

    loss: Any
    accuracy: Any


class Steps(Protocol):
    """The steps of a training, in their order.

    is_ahead: whether a step returns before it is done.
    """

    is_ahead: bool

    def __call__(
        self, number: int, images: NDArray[np.uint8], labels: NDArray[np.float32]
    ) -> StepScores:
        """Take step `number`, counted from 1 over the whole training, and move the average."""
        ...

    def write_back(self) -> None:
        """Give model, optimiser and average their values, which they may lack between steps."""
        ...


def begin_steps(networks: Networks) -> Steps:
    """The steps that train `networks` from the values they have now."""
    return _JaxSteps(networks) if backend_name() == "jax" else _KerasSteps(networks)


class _KerasSteps:
    """`train_on_batch`, which returns when the step is done."""

    is_ahead = False

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def __call__(
        self, number: int, images: NDArray[np.uint8], labels: NDArray[np.float32]
    ) -> StepScores:
        model: Any = self._networks.trained
        model.reset_metrics()  # else Keras before 3.15 gives the mean over all steps
        scores = model.train_on_batch(images, labels, return_dict=True)
        if self._networks.average is not None:
            self._networks.average.update(number)
        return StepScores(scores["loss"], scores["accuracy"])

    def write_back(self) -> None:
        """Nothing: the variables have their values."""


class _JaxSteps:
    """Steps on JAX that leave everything on the device, and do not wait for it.

    `train_on_batch` waits, and puts each of a hundred arrays back into its variable: on an H200
    half of a step or more. After a step the variables have no values until `write_back`.
    """

    is_ahead = True

    def __init__(self, networks: Networks) -> None:
        import jax

        self._model: Any = networks.trained
        self._average = networks.average
        self._state: Any = None
        places = jax.tree.map(lambda array: array.sharding, self._read())
        # arrays stay where they are, in the memory that they have
        self._step = jax.jit(self._compute, donate_argnums=0, out_shardings=(places, None))

    def _variables(self) -> list[list[Any]]:
        model = self._model
        return [
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
        ]

    def _read(self) -> list[list[Any]]:
        """The arrays of all variables, and of the average."""
        import jax

        arrays = [[variable.value for variable in variables] for variables in self._variables()]
        average: list[Any] = []
        if self._average is not None:
            average = [
                jax.device_put(value, weight.value.sharding)
                for value, weight in zip(self._average.values, self._model.weights, strict=True)
            ]
        return [*arrays, average]

    def __call__(
        self, number: int, images: NDArray[np.uint8], labels: NDArray[np.float32]
    ) -> StepScores:
        if self._state is None:
            self._state = self._read()
        share = 0.0 if self._average is None else self._average.share(number)
        self._state, scores = self._step(
            self._state, _on_devices(images), _on_devices(labels), np.float32(share)
        )
        return scores

    def _compute(self, state: Any, images: Any, labels: Any, share: Any) -> Any:
        """A step as a function: (state, batch, share of the new weights) -> (state, scores)."""
        import jax

        trainable, others, optimizer, average = state
        model = self._model

        def loss_of(trainable: Any) -> Any:
            logits, changed, penalties = model.stateless_call(
                trainable, others, images, training=True, return_losses=True
            )
            loss = model.loss(labels, logits) + sum(penalties)
            values = zip(model.optimizer.variables, optimizer, strict=True)
            with keras.StatelessScope(state_mapping=list(values)):
                scaled = model.optimizer.scale_loss(loss)
            accuracy = keras.ops.mean(is_correct(labels, logits))
            return scaled, (StepScores(loss, accuracy), changed)

        gradients, (scores, others) = jax.grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
        if average:
            variables = [*model.trainable_variables, *model.non_trainable_variables]
            new = dict(zip(map(id, variables), [*trainable, *others], strict=True))
            average = [
                old + share * (new[id(weight)] - old)
                for old, weight in zip(average, model.weights, strict=True)
            ]
        return [trainable, others, optimizer, average], scores

    def write_back(self) -> None:
        """Assign all arrays to their variables, which Keras may then replace."""
        state, self._state = self._state, None
        if state is None:
            return
        for variables, values in zip(self._variables(), state[:3], strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        if self._average is not None:
            self._average.values = [
                np.array(keras.ops.convert_to_numpy(value)) for value in state[3]
            ]


def _on_devices(batch: NDArray[Any]) -> Any:
    """The batch, or this process' part of it, where Keras distributes the data to."""
    import jax

    distribution: Any = keras.distribution.distribution()
    if distribution is None:
        return batch
    layout = distribution.get_data_layout(batch.shape)
    return jax.make_array_from_process_local_data(layout.backend_layout, batch)
