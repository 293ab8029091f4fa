"""The precision of a training: what the hardware computes with, and what is taken.

bfloat16 shortens training only where the hardware has it. On 2 cores with AVX512-BF16, steps of
`lab-p4m` take 0.73 of the time of float32; with AVX-512 alone 2.4 times as long; without oneDNN 6.5
times (docs/precision.md).
"""

# pyright: basic

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pcam_kit.errors import ConfigError
from pcam_kit.training.hardware import Accelerator, Hardware

if TYPE_CHECKING:  # the doctor imports this module where pydantic may be missing
    from pcam_kit.config.schema import AskedPrecision, Precision

    # a precision -> seconds of a layer's steps, relative to float32
    Probe = Callable[[Precision], float]

log = logging.getLogger(__name__)

X86 = {"x86_64", "amd64", "i386", "i686"}
# of x86; Linux' names
BFLOAT16_FLAGS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}
# of the time of float32: a precision that takes more is not worth its digits
WORTHWHILE = 0.9
ROUNDS = 3
# of the probe's step in bfloat16 on 2 cores with AVX512-BF16, where the configs' times come from
REFERENCE_SECONDS = 0.022
# of the time of float32: an explicit precision that takes more is warned about
SLOW = 1.05


@dataclass(frozen=True)
class PrecisionChoice:
    """asked: by the config. used: by the training. why: one phrase."""

    asked: AskedPrecision
    used: Precision
    why: str

    def to_meta(self) -> dict[str, str]:
        """The entry of meta.json."""
        return asdict(self)

    def describe(self) -> str:
        """`bfloat16 (auto: the CPU has AVX512-BF16)`, `bfloat16 (as asked)`."""
        prefix = "auto: " if self.asked == "auto" else ""
        return f"{self.used} ({prefix}{self.why})"


def choose_precision(asked: AskedPrecision, hardware: Hardware, probe: Probe) -> PrecisionChoice:
    """The precision to train in.

    probe: called where the hardware leaves a doubt, and for an explicit precision that the hardware
    is not known to have. Warns when an explicit precision is slower than float32. Raises
    ConfigError when the device cannot compute in it.
    """
    fast, why = fast_precision(hardware)
    if asked == "float32":
        return PrecisionChoice(asked, asked, "as asked")
    if asked != "auto":
        if asked == fast:
            return PrecisionChoice(asked, asked, f"as asked; {why}")
        factor = probe(asked)
        if factor > SLOW:
            log.warning(
                f"training.precision: steps in {asked} take {factor:.1f} times as long as in "
                f"float32 on this machine (measured on two layers); --set training.precision=auto "
                "takes what is fast"
            )
        return PrecisionChoice(
            asked, asked, f"as asked; {factor:.2f} of the time of float32, measured"
        )
    if fast is not None:
        return PrecisionChoice(asked, fast, why)
    factor = probe("bfloat16")
    used: Precision = "bfloat16" if factor < WORTHWHILE else "float32"
    return PrecisionChoice(
        asked, used, f"{why}; bfloat16 takes {factor:.2f} of the time of float32, measured"
    )


def fast_precision(hardware: Hardware) -> tuple[Precision | None, str]:
    """What the hardware computes fastest with and loses nothing by, and why.

    None where only a measurement can say.
    """
    if hardware.accelerators:
        # the slowest of several decides, as all of them compute in the same precision
        return min(
            (_of_accelerator(accelerator) for accelerator in hardware.accelerators), key=_rank
        )
    return _of_cpu(hardware)


def _rank(answer: tuple[Precision | None, str]) -> int:
    return ["float32", "float16", None, "bfloat16"].index(answer[0])


def _of_accelerator(accelerator: Accelerator) -> tuple[Precision | None, str]:
    if accelerator.kind == "tpu":
        return "bfloat16", f"{accelerator.name} computes with bfloat16"
    capability = accelerator.compute_capability
    if capability is None:
        return None, f"{accelerator.name} does not say what it computes with"
    name = f"{accelerator.name}, compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        return "bfloat16", f"{name}, has bfloat16"
    if capability >= (7, 0):
        return "float16", f"{name}, has fast float16 and no bfloat16"
    return "float32", f"{name}, has no fast float16"


def _of_cpu(hardware: Hardware) -> tuple[Precision | None, str]:
    flags = hardware.flags
    if hardware.processor not in X86:
        if flags is not None and "bf16" not in flags:
            return "float32", "the CPU has no bfloat16 instructions"
        return None, f"a CPU of kind {hardware.processor}"
    if flags is None:
        return None, "the system does not list the CPU's instructions"
    found = [name for flag, name in BFLOAT16_FLAGS.items() if flag in flags]
    if not found:
        return "float32", "the CPU has no bfloat16 instructions"
    if hardware.limits:
        return None, f"{', '.join(hardware.limits)} is set"
    if hardware.backend != "tensorflow":
        return None, f"Keras on {hardware.backend} may not use {found[0]}"
    return "bfloat16", f"the CPU has {found[0]}"


@lru_cache
def measure_precision(precision: Precision) -> float:
    """Seconds of training steps in `precision`, relative to float32; takes a second or two.

    Two 3x3 convolutions of 64 channels on 32x32 pixels, forward and backward, interleaved. Raises
    ConfigError when the device cannot compute in `precision`.
    """
    single = _probe_step("float32")
    try:
        other = _probe_step(precision)
    except Exception as error:  # each backend has its own
        raise ConfigError(
            f"training.precision: this device cannot compute in {precision}: "
            f"{' '.join(str(error).split())[:200]}",
            hint="leave training.precision at auto",
        ) from error
    times = [(_seconds(single), _seconds(other)) for _ in range(ROUNDS)]
    # other programs only ever add to a time
    fastest_single, fastest_other = (min(column) for column in zip(*times, strict=True))
    return fastest_other / fastest_single


def relative_speed(hardware: Hardware) -> float:
    """Seconds of the probe's steps in the precision of `auto`, relative to the reference machine.

    A rough guide to other networks.
    """
    step = _probe_step(choose_precision("auto", hardware, measure_precision).used)
    return min(_seconds(step) for _ in range(ROUNDS)) / REFERENCE_SECONDS


def _seconds(step: Callable[[], Any]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _probe_step(precision: Precision) -> Callable[[], float]:
    """A training step that waits for its result; it has been run once.

    Everything has a name of its own, so that the names of later layers do not change.
    """
    import keras
    import numpy as np
    from keras import layers

    from pcam_kit.models import policy_of

    policy = policy_of(precision)
    names = iter(f"precision_probe_{i}" for i in range(10))
    inputs = keras.Input((32, 32, 64), name=next(names))
    x: Any = layers.Conv2D(64, 3, padding="same", dtype=policy, name=next(names))(inputs)
    x = layers.ReLU(dtype=policy, name=next(names))(x)
    x = layers.Conv2D(64, 3, padding="same", dtype=policy, name=next(names))(x)
    x = layers.GlobalAveragePooling2D(dtype=policy, name=next(names))(x)
    outputs = layers.Dense(1, dtype="float32", name=next(names))(x)
    model = keras.Model(inputs, outputs, name=next(names))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    patches, targets = np.ones((16, 32, 32, 64), np.float32), np.zeros((16, 1), np.float32)

    def step() -> float:
        return float(np.asarray(model.train_on_batch(patches, targets)))

    step()
    return step
