"""Pretrained weights of a new training: checked before a run folder is made, kept in meta.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pcam_kit.config.schema import Experiment, Transfer
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.files import sha256_file, storage_error
from pcam_kit.imagenet import LICENCE, PACKAGES, package_of
from pcam_kit.run_folders import Run
from pcam_kit.training.backend import quiet_import


def check_config(experiment: Experiment, size: int) -> None:
    """Check a transferred network as far as that goes without Keras.

    size: pixels a side of what it sees. Raises ConfigError: patches too small, no file, no package.
    """
    config = experiment.model
    if not isinstance(config, Transfer):
        return
    if config.input_size is None and size < 32:
        raise ConfigError(
            f"model.input_size: {config.backbone} needs at least 32x32 pixels, the patches have "
            f"{size}x{size}",
            hint="let them be resized, e.g. --set model.input_size=64",
        )
    package = package_of(config.backbone, config.weights)
    if package is not None:
        package.path()
    path = _file(config)
    if path is not None and not path.is_file():
        raise ConfigError(
            f"model.weights: no file {path} (a relative path starts at the config's folder or at "
            f"{Path.cwd()})",
            hint="give a .weights.h5 or .keras file, or imagenet, or null (random): "
            "--set model.weights=...",
        )
    suffixes = {".h5", ".keras"} | ({".pth"} if config.backbone in PACKAGES else set())
    if path is not None and path.suffix not in suffixes:
        raise ConfigError(
            f"model.weights: expected a file that ends in {' or '.join(sorted(suffixes))}, "
            f"found {path}"
        )


def check_weights(experiment: Experiment) -> dict[str, Any]:
    """Read the weights once and describe them for meta.json: {} where the config names none.

    Raises ConfigError when they cannot be read, or are not of this network.
    """
    config = experiment.model
    if not isinstance(config, Transfer) or config.weights is None:
        return {}
    with quiet_import():
        from pcam_kit.models.pretrained import read_pretrained
    read_pretrained(config)
    return _described(config)


def check_unchanged(run: Run) -> None:
    """Check that a run stopped before its first checkpoint begins with the weights it had.

    Raises RunError, ConfigError.
    """
    config = run.experiment.model
    if run.state_file.is_file() or not isinstance(config, Transfer) or config.weights is None:
        return
    check_config(run.experiment, run.competition.image_size)
    before, here = run.meta.get("weights"), _described(config)["weights"]
    if before != here:
        raise RunError(
            f"{config.weights} changed since {run.name} began: expected {before}, found {here}",
            hint="start a new run",
        )


def _described(config: Transfer) -> dict[str, Any]:
    package = package_of(config.backbone, config.weights)
    if package is not None:
        facts = {"package": package.name, "sha256": package.sha256, "licence": LICENCE}
        return {"weights": {"source": config.weights} | facts}
    path = _file(config)
    if path is None:
        return {"weights": {"source": config.weights}}
    try:
        return {"weights": {"source": config.weights, "sha256": sha256_file(path)}}
    except OSError as error:
        raise storage_error(error, path, "read") from error


def _file(config: Transfer) -> Path | None:
    if config.weights is None or config.weights == "imagenet":
        return None
    return Path(config.weights)
