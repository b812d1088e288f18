"""The multiply-add peak of the processor, measured: other figures are shares of it."""

import platform
import threading
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.numba_internals import cgutils
from fastbackprop.jit.processor import widest_vector as vector_bytes

ITERATIONS = 500_000


def n_accumulators() -> int:
    """Vectors kept in registers: enough to fill two to four units with a latency of 4 or 5.

    x86 has 16 vector registers below AVX-512; other current processors have 32. Two hold constants.
    """
    few = platform.machine().lower() in ("x86_64", "amd64", "i686") and vector_bytes() < 64
    return 12 if few else 24


@intrinsic
def _multiply_add(typing_context, iterations, factor, term):
    """accumulator = accumulator * factor + term, `iterations` times for each; returns their sum."""

    def generate(context, builder, signature, arguments):
        iterations, factor, term = arguments
        bits = signature.return_type.bitwidth
        scalar, lanes = factor.type, vector_bytes() * 8 // bits
        vector = ir.VectorType(scalar, lanes)
        # fmuladd, not fma: without such an instruction, fma is a call into libm.
        fmuladd = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f{bits}"
        )

        def splat(value: Any) -> Any:
            empty, index = ir.Constant(vector, None), ir.IntType(32)
            first = builder.insert_element(empty, value, index(0))
            return builder.shuffle_vector(
                first, empty, ir.Constant(ir.VectorType(index, lanes), None)
            )

        factor, term = splat(factor), splat(term)
        # Different initial values: the compiler would merge equal accumulators.
        starts = [ir.Constant(vector, [1.0 + k] * lanes) for k in range(n_accumulators())]
        accumulators = [cgutils.alloca_once_value(builder, start) for start in starts]
        with cgutils.for_range(builder, iterations):
            for slot in accumulators:
                value = builder.call(fmuladd, [builder.load(slot), factor, term])
                builder.store(value, slot)
        total = ir.Constant(scalar, 0.0)
        for slot in accumulators:
            value = builder.load(slot)
            for lane in range(lanes):
                total = builder.fadd(total, builder.extract_element(value, ir.IntType(32)(lane)))
        return total

    return factor(iterations, factor, term), generate


@kernel(entry=True)
def _run(iterations, factor, term):
    return _multiply_add(iterations, factor, term)


class Peak:
    """Measures the multiply-add peak of `threads` threads in one dtype.

    Parameters
    ----------
    dtype : "float32" or "float64"
    threads : threads that do multiply-adds at the same time
    """

    def __init__(self, dtype: str, threads: int = 1):
        scalar = np.dtype(dtype).type
        # The accumulators converge to term / (1 - factor) = 1: no overflow, no subnormal numbers.
        self._arguments = (ITERATIONS, scalar(0.5), scalar(0.5))
        self._threads = threads
        lanes = vector_bytes() // np.dtype(dtype).itemsize
        self._operations = 2.0 * ITERATIONS * n_accumulators() * lanes * threads
        _run(1, *self._arguments[1:])

    def measure(self) -> float:
        """One measurement of some milliseconds, in GFLOP/s."""
        starts, ends = [0.0] * self._threads, [0.0] * self._threads
        together = threading.Barrier(self._threads)

        def work(t: int) -> None:
            together.wait()
            starts[t] = time.perf_counter()
            _run(*self._arguments)
            ends[t] = time.perf_counter()

        others = [threading.Thread(target=work, args=(t,)) for t in range(1, self._threads)]
        for thread in others:
            thread.start()
        work(0)
        for thread in others:
            thread.join()
        return self._operations / (max(ends) - min(starts)) / 1e9
