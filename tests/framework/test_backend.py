"""Keras is imported without what its backend does not use."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

CODE = """
import sys
from pcam_kit.training.backend import quiet_import
with quiet_import():
    import keras
print(keras.backend.backend(), "jax" in sys.modules)
import jax
print(jax.__name__)
"""


@pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX: pip install jax")
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_jax_is_imported_for_the_backend_that_needs_it(backend: str):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.split() == [backend, str(backend == "jax"), "jax"]
    assert done.stderr == ""
