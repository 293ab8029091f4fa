"""The caller's own network and augmentation: checked, and recorded so that a run can be resumed.

A function that another process can import is recorded by its name, `module:function`. A
`keras.Model`, or a function of a notebook, is saved in the run folder as it is before training. An
augmentation of a notebook must be given again to resume.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcam_kit.config.load import reference_to
from pcam_kit.config.schema import Custom, Experiment, Transfer
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.augment import CustomAugmentation
from pcam_kit.training.backend import quiet_import, set_seed

UNTRAINED = "untrained.keras"  # in the run folder
NOT_IMPORTABLE = "python:"  # before the name of an augmentation that was given as a function


def with_custom_parts(
    experiment: Experiment, model: Any, augmentation: CustomAugmentation | None
) -> Experiment:
    """The experiment with the caller's network and augmentation in place of the config's."""
    changes: dict[str, Any] = {}
    if model is not None:
        changes["model"] = Custom(name="custom", builder=reference_to(model) or UNTRAINED)
    if augmentation is not None:
        name = getattr(augmentation, "__name__", type(augmentation).__name__)
        reference = reference_to(augmentation) or f"{NOT_IMPORTABLE}{name}"
        changes["augment"] = experiment.augment.model_copy(update={"custom": reference})
    return experiment.model_copy(update=changes)


def check_model(experiment: Experiment, size: int, model: Any) -> Callable[[Path], None] | None:
    """Build and check the network once, before a run folder is made.

    size: pixels a side of what it sees. model: what the caller gave, None without. The result saves
    it in a run folder, where it cannot be built again by its name. Raises ConfigError.
    """
    config = experiment.model
    if isinstance(config, Transfer):  # takes seconds, and its sizes are known to fit
        return None
    with quiet_import():
        from pcam_kit.models import build_model
        from pcam_kit.models.custom import call_builder, check_network
        from pcam_kit.models.task import Task

    asked = experiment.training.precision
    precision = "float32" if asked == "auto" else asked
    if not isinstance(config, Custom) or config.builder != UNTRAINED:
        with quiet_import():  # the first operation of all looks for GPUs, not without a word
            build_model(config, Task(size), precision=precision)
        return None
    name = getattr(model, "__name__", None) or getattr(model, "name", None) or "model"
    network = model
    if not hasattr(model, "layers"):
        set_seed(experiment.seed)  # its weights are kept: they are those that are trained
        network = call_builder(model, name, size, {})
    check_network(network, name, Task(size))
    if precision != "float32":
        raise ConfigError(
            "training.precision: a network given as an object computes in its own precision",
            hint="leave it at auto, or give a function of a module, which is called again",
        )
    return lambda folder: network.save(folder / UNTRAINED)


def check_custom_augmentation(
    experiment: Experiment, augmentation: CustomAugmentation | None
) -> None:
    """Raises ConfigError when a run needs a function that only its caller has."""
    name = experiment.augment.custom
    if name is None and augmentation is not None:
        raise ConfigError("augment.custom: the run was started without an augmentation of its own")
    if name is not None and name.startswith(NOT_IMPORTABLE) and augmentation is None:
        raise ConfigError(
            f"augment.custom: the run was started from Python with the function "
            f"{name.removeprefix(NOT_IMPORTABLE)}, which no module has",
            hint="resume it with pcam_kit.train(resume=RUN, augmentation=FUNCTION)",
        )
