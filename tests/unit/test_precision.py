"""The precision that each kind of machine gets, from facts about it."""

from __future__ import annotations

import logging

import pytest

from pcam_kit.config.schema import Precision
from pcam_kit.errors import ConfigError
from pcam_kit.training import precision
from pcam_kit.training.hardware import (
    Accelerator,
    Hardware,
    parse_cpuinfo,
    read_hardware,
)
from pcam_kit.training.precision import choose_precision, measure_precision

AVX2 = frozenset({"sse4_2", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512_vnni"}
BF16 = AVX512 | {"avx512_bf16"}
A100 = Accelerator("cuda", "NVIDIA A100-SXM4-40GB", (8, 0))
H100 = Accelerator("cuda", "NVIDIA H100 80GB HBM3", (9, 0))
T4 = Accelerator("cuda", "Tesla T4", (7, 5))
V100 = Accelerator("cuda", "Tesla V100-SXM2-16GB", (7, 0))
P100 = Accelerator("cuda", "Tesla P100-PCIE-16GB", (6, 0))
TPU = Accelerator("tpu", "TPU v3")
METAL = Accelerator("gpu", "METAL")


def tensorflow(*accelerators: Accelerator, **facts: object) -> Hardware:
    return Hardware("tensorflow", accelerators, **({"flags": AVX2} | facts))  # type: ignore[arg-type]


def never(_: Precision) -> float:
    raise AssertionError("nothing to measure here")


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (tensorflow(flags=AVX2), "float32"),
        (tensorflow(flags=AVX512), "float32"),
        (tensorflow(flags=BF16), "bfloat16"),
        (tensorflow(flags=AVX512 | {"amx_bf16"}), "bfloat16"),
        (tensorflow(processor="arm64", flags=frozenset()), "float32"),  # Apple M1
        (tensorflow(processor="aarch64", flags=frozenset({"asimd"})), "float32"),
        (tensorflow(A100), "bfloat16"),
        (tensorflow(H100), "bfloat16"),
        (tensorflow(T4, T4), "float16"),
        (tensorflow(V100, flags=BF16), "float16"),
        (tensorflow(P100), "float32"),
        (tensorflow(A100, T4), "float16"),
        (tensorflow(A100, P100), "float32"),
        (Hardware("jax", (TPU,)), "bfloat16"),
    ],
)
def test_known_hardware_is_not_measured(hardware: Hardware, expected: str) -> None:
    choice = choose_precision("auto", hardware, never)
    assert choice.used == expected
    assert choice.asked == "auto"
    assert choice.why


@pytest.mark.parametrize(
    "hardware",
    [
        tensorflow(flags=None, processor="amd64"),  # Windows
        tensorflow(flags=BF16, limits=("ONEDNN_MAX_CPU_ISA=AVX512_CORE",)),
        tensorflow(processor="aarch64", flags=frozenset({"asimd", "bf16"})),  # Graviton 3
        tensorflow(processor="arm64", flags=frozenset({"bf16"})),  # Apple M2
        tensorflow(METAL),
        Hardware("jax", flags=BF16),
    ],
)
@pytest.mark.parametrize(
    ("factor", "expected"), [(0.6, "bfloat16"), (0.95, "float32"), (14, "float32")]
)
def test_where_hardware_leaves_a_doubt_a_measurement_decides(
    hardware: Hardware, factor: float, expected: str
) -> None:
    choice = choose_precision("auto", hardware, lambda _: factor)
    assert choice.used == expected
    assert f"{factor:.2f}" in choice.why


def test_an_explicit_precision_is_taken_with_a_warning_where_it_is_slow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    old = tensorflow(flags=AVX2)
    assert choose_precision("bfloat16", old, lambda _: 14.2).used == "bfloat16"
    assert "14.2 times as long" in caplog.text
    caplog.clear()
    assert choose_precision("bfloat16", tensorflow(flags=BF16), never).used == "bfloat16"
    assert choose_precision("float32", tensorflow(flags=BF16), never).used == "float32"
    assert choose_precision("float16", old, lambda _: 0.9).used == "float16"
    assert caplog.text == ""


def test_a_precision_that_the_device_does_not_have_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = precision._probe_step

    def missing(wanted: Precision) -> object:
        if wanted == "float16":
            raise RuntimeError("no kernel for half")
        return original(wanted)

    monkeypatch.setattr(precision, "_probe_step", missing)
    measure_precision.cache_clear()
    with pytest.raises(ConfigError, match="cannot compute in float16: no kernel for half"):
        choose_precision("float16", tensorflow(), measure_precision)


def test_the_flags_are_read_from_cpuinfo_of_x86_and_arm() -> None:
    x86 = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\n"
    assert parse_cpuinfo(x86) == {"fpu", "avx2", "avx512_bf16"}
    assert parse_cpuinfo("BogoMIPS : 50\nFeatures : fp asimd bf16\n") == {"fp", "asimd", "bf16"}
    assert parse_cpuinfo("") is None


def test_this_machine_is_read_and_its_limits_are_named() -> None:
    hardware = read_hardware({"ONEDNN_MAX_CPU_ISA": "AVX2", "HOME": "/"})
    assert hardware.backend == "tensorflow"
    assert hardware.limits == ("ONEDNN_MAX_CPU_ISA=AVX2",)


def test_several_devices_are_described_in_words() -> None:
    assert tensorflow().describe() == "CPU"
    assert tensorflow(T4, T4).describe() == "2 x Tesla T4"
    assert tensorflow(A100, T4).describe() == "NVIDIA A100-SXM4-40GB, Tesla T4"
