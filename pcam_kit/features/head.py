"""Heads on features: logistic regression, or one hidden layer; scikit-learn trains them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from pcam_kit.files import writing

Array = NDArray[Any]
# (what, done, total)
Progress = Callable[[str, int, int], None]

PENALTIES = tuple(10.0**power for power in range(-6, 2))  # values of C
ITERATIONS = 300
HIDDEN = 256
BLOCK = 8192  # patches that are standardised at a time
BATCH = 128  # training patches of a step
EPOCHS, PATIENCE = 40, 4


@dataclass(frozen=True)
class Head:
    """A trained head: standardised features, then layers with ReLU between them.

    mean, deviation: float32 [width]. layers: weights [a, b] and biases [b]; the last has one
    output, the logit. facts: how it was chosen, for meta.json.
    """

    mean: Array
    deviation: Array
    layers: tuple[tuple[Array, Array], ...]
    facts: dict[str, Any]

    def probabilities(self, values: Array) -> NDArray[np.float32]:
        """Probability of tumour, float32 [n], for features [n, width]."""
        out = np.empty(len(values), np.float32)
        for start in range(0, len(values), BLOCK):
            x = self.standardise(values[start : start + BLOCK])
            for weights, biases in self.layers[:-1]:
                x = np.maximum(x @ weights + biases, 0)
            weights, biases = self.layers[-1]
            logits = (x @ weights + biases)[:, 0].astype(np.float64)
            out[start : start + BLOCK] = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        return out

    def standardise(self, values: Array) -> Array:
        """Features with mean 0 and deviation 1 on the training patches."""
        return (values.astype(np.float32) - self.mean) / self.deviation

    def save(self, path: Path) -> None:
        """Write it as an .npz: mean, deviation, weights0, biases0, ..."""
        arrays = {"mean": self.mean, "deviation": self.deviation}
        for i, (weights, biases) in enumerate(self.layers):
            arrays |= {f"weights{i}": weights, f"biases{i}": biases}
        with writing(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]


def train_logistic(
    values: Array, labels: Array, folds: NDArray[np.int64], progress: Progress
) -> Head:
    """Logistic regression with the penalty that has the least log loss in cross-validation.

    values: [n, width]. labels: 0 or 1 [n]. folds: [n], the fold of each patch, from 0; -1 leaves a
    patch out of the choice of the penalty.
    """
    x, mean, deviation = _standardised(values)
    chosen = np.flatnonzero(folds >= 0)
    numbers = np.unique(folds[chosen])
    losses = np.zeros((len(numbers), len(PENALTIES)))
    for i, number in enumerate(numbers):
        inside = chosen[folds[chosen] == number]
        outside = chosen[folds[chosen] != number]
        model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
        for j, penalty in enumerate(PENALTIES):
            _fit(model.set_params(C=penalty), x[outside], labels[outside])
            losses[i, j] = _loss(model, x[inside], labels[inside])
            progress("penalty", i * len(PENALTIES) + j + 1, losses.size)
    mean_losses = losses.mean(axis=0)
    best = int(mean_losses.argmin())
    model = _fit(LogisticRegression(C=PENALTIES[best], max_iter=ITERATIONS), x, labels)
    facts = {
        "C": PENALTIES[best],
        "log_loss": {
            f"{penalty:g}": round(float(loss), 5)
            for penalty, loss in zip(PENALTIES, mean_losses, strict=True)
        },
    }
    weights = np.asarray(model.coef_, np.float32).T
    return Head(mean, deviation, ((weights, np.asarray(model.intercept_, np.float32)),), facts)


def train_mlp(
    values: Array, labels: Array, folds: NDArray[np.int64], progress: Progress, *, seed: int
) -> Head:
    """A network with HIDDEN hidden units; fold 0 chooses the number of epochs.

    The arguments are those of `train_logistic`.
    """
    x, mean, deviation = _standardised(values)
    inside, outside = folds == 0, folds > 0
    losses: list[float] = []
    size = min(BATCH, int(outside.sum()))
    model = _mlp(seed, size)
    while len(losses) < EPOCHS and len(losses) - _best(losses) <= PATIENCE:
        model.partial_fit(x[outside], labels[outside], classes=[0, 1])
        losses.append(_loss(model, x[inside], labels[inside]))
        progress("number of epochs", len(losses), EPOCHS)
    model = _mlp(seed, size)
    epochs = _best(losses)
    for epoch in range(epochs):
        model.partial_fit(x, labels, classes=[0, 1])
        progress("training", epoch + 1, epochs)
    layers = tuple(
        (np.asarray(weights, np.float32), np.asarray(biases, np.float32))
        for weights, biases in zip(model.coefs_, model.intercepts_, strict=True)
    )
    facts = {"epochs": epochs, "log_loss": [round(loss, 5) for loss in losses]}
    return Head(mean, deviation, layers, facts)


def _loss(model: Any, x: Array, labels: Array) -> float:
    return float(log_loss(labels, model.predict_proba(x)[:, 1], labels=[0, 1]))


def _best(losses: list[float]) -> int:
    """The epoch with the least loss, counted from 1; 0 before the first."""
    return int(np.argmin(losses)) + 1 if losses else 0


def _mlp(seed: int, batch: Any) -> Any:  # scikit-learn's stub takes "auto" alone
    return MLPClassifier((HIDDEN,), alpha=1e-2, batch_size=batch, random_state=seed)


def _fit(model: Any, x: Array, labels: Array) -> Any:
    with warnings.catch_warnings():  # a weak penalty may need more iterations, and is not chosen
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, labels)


def _standardised(values: Array) -> tuple[Array, Array, Array]:
    """The features with mean 0 and deviation 1, float32 [n, width]; mean and deviation [width].

    Block by block, as there may be gigabytes. A feature that never varies has the deviation 1.
    """
    starts = range(0, len(values), BLOCK)
    total = sum(values[i : i + BLOCK].sum(axis=0, dtype=np.float64) for i in starts)
    mean = np.asarray(total) / len(values)
    squares = sum(((values[i : i + BLOCK] - mean) ** 2).sum(axis=0) for i in starts)
    deviation = np.sqrt(np.asarray(squares) / len(values))
    deviation[deviation <= 1e-6 * np.abs(mean)] = 1.0
    mean, deviation = mean.astype(np.float32), deviation.astype(np.float32)
    x = np.empty(values.shape, np.float32)
    for i in starts:
        x[i : i + BLOCK] = (values[i : i + BLOCK].astype(np.float32) - mean) / deviation
    return x, mean, deviation
