"""What prepares batches, for each kind of machine."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from pcam_kit.pipeline.batches import Workers
from pcam_kit.training.hardware import Accelerator, Hardware
from pcam_kit.workflows.compute import choose_workers

CPU = Hardware("jax")
GPU = Hardware("jax", (Accelerator("cuda", "NVIDIA H100", (9, 0)),))


def plan(crop: int, *, is_custom: bool = False) -> Any:
    return SimpleNamespace(crop=crop, augmenter=SimpleNamespace(is_custom=is_custom))


def test_a_cpu_gets_threads_and_small_patches_one():
    assert choose_workers(plan(32), None, CPU) == Workers(1)
    assert choose_workers(plan(96), None, CPU) == Workers(2)
    assert choose_workers(plan(32), 3, CPU) == Workers(3)


@pytest.mark.parametrize(("cores", "expected"), [(2, 2), (16, 4)])
def test_a_gpu_gets_processes(monkeypatch: pytest.MonkeyPatch, cores: int, expected: int):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert choose_workers(plan(32), None, GPU) == Workers(expected, processes=True)
    assert choose_workers(plan(96), 3, GPU) == Workers(3, processes=True)


def test_a_function_of_the_user_stays_in_this_process():
    assert choose_workers(plan(96, is_custom=True), None, GPU) == Workers(2)
