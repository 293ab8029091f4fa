"""The lab's first two tasks on all of MNIST: the figures the lab report is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import MNIST, Project


@pytest.fixture
def mnist() -> Path:
    if not MNIST.is_file():
        pytest.skip(
            f"needs MNIST in ../{MNIST.parent.parent.name}/{MNIST.parent.name}, which is not "
            "part of the repository"
        )
    return MNIST


@pytest.mark.slow
def test_ten_thousand_digits_through_numpy(finished: Project, mnist: Path) -> None:
    result = finished.quick("lab", "layers", "--from", mnist, "--json").json
    assert result["n"] == 10_000
    assert result["parameters"] == 4_266
    assert result["seconds"] < 60
    assert result["accuracy_keras"] == pytest.approx(result["accuracy_numpy"], abs=5e-5)
    assert result["loss_keras"] == pytest.approx(result["loss_numpy"], abs=5e-5)
    assert result["accuracy_numpy"] > 0.975  # the report: 0.98
    assert result["loss_numpy"] < 0.08  # the report: 0.0627
    for layer in result["layers"]:
        exact = layer["kind"] in {"MaxPooling2D", "Flatten"}
        # A sum over up to 3,136 outputs, each within a rounding step or two of float32; where BLAS
        # adds like Keras it is 0.
        assert layer["sum_abs_diff"] <= (0 if exact else 2e-3), layer


@pytest.mark.slow
def test_the_report_recipe_learns_from_128_digits(finished: Project, mnist: Path) -> None:
    options = (
        "lab-mnist-report",
        "--from",
        mnist,
        "--runs",
        "1",
        "--set",
        "training.epochs=40",
        "--json",
    )
    result = finished.quick("lab", "mnist", *options).json
    assert result["per_run"][0]["digits"] == "MNIST"
    assert 0.75 < result["accuracy_mean"] < 0.97  # 0.94 ± 0.01 with all 250 epochs
