"""The processor: its vectors, and the level whose machine code a wheel may have."""

import functools
import os
import platform
from typing import NamedTuple

import numba
from llvmlite import binding


class Level(NamedTuple):
    """A class of processors, by LLVM's names. Wheels have machine code for such classes."""

    cpu: str
    machines: str  # names of the architecture
    vector_bytes: int
    features: str  # to compile with
    needs: str  # features that a processor of this level has


V3 = "avx2 bmi bmi2 f16c fma lzcnt movbe"
LEVELS = (  # the best first
    # By default LLVM's loops use only half of each register on this level.
    Level(
        "x86-64-v4",
        "x86_64 amd64",
        64,
        "-prefer-256-bit",
        f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl",
    ),
    Level("x86-64-v3", "x86_64 amd64", 32, "", V3),
    Level("generic", "aarch64 arm64", 16, "", ""),
)


@functools.cache
def processor_features() -> frozenset[str]:
    """Features of this processor, by LLVM's names."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM knows no features of this processor
        return frozenset()
    return frozenset(name for name, there in features.items() if there)


def widest_vector() -> int:
    """Bytes of this processor's widest vectors, or FASTBACKPROP_VECTOR_BYTES, for tests."""
    chosen = os.environ.get("FASTBACKPROP_VECTOR_BYTES")
    if chosen:
        return int(chosen)
    features = processor_features()
    return 64 if "avx512f" in features else 32 if "avx2" in features else 16


VECTOR_BYTES = widest_vector()


def levels_here() -> tuple[Level, ...]:
    """Levels of this architecture, whatever its processor."""
    machine = platform.machine().lower()
    return tuple(level for level in LEVELS if machine in level.machines.split())


def level() -> Level | None:
    """The level of this processor, or None if it has none or Numba is told of another processor."""
    if (numba.config.CPU_NAME, numba.config.CPU_FEATURES) != (None, None):
        return None
    for level in levels_here():
        fits = processor_features().issuperset(level.needs.split())
        if fits and level.vector_bytes == VECTOR_BYTES:
            return level
    return None
