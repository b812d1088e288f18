"""Trains, predicts and analyses with the default engine in a process that cannot compile.

    python tests/without_compiling.py [float32] [float64]

It prints the hash of all results, and fails where a kernel is on the disk neither in the package
nor in the cache. `bits` walks the registries: every function, optimizer and option, sparse X,
checkpoints and threads.
"""

import hashlib
import sys
import warnings

import bits

from fastbackprop.jit import numba_internals


def refuse(self, function):
    raise AssertionError(f"{function.__qualname__} is compiled")


if __name__ == "__main__":
    numba_internals._Compiler.compile_extra = refuse
    warnings.simplefilter("ignore")
    results, n = hashlib.sha256(), 0
    for dtype in sys.argv[1:] or ("float32", "float64"):
        common = {"engine": "tiles", "dtype": dtype, "rng": 1}
        for part in (bits.functions, bits.optimizers, bits.data):
            for row in part(common):
                results.update(repr(row).encode())
                n += 1
        assert n > 100
    print(results.hexdigest())
