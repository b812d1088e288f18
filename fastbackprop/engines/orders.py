"""Orders of samples, as `permutation` of NumPy's generators gives them, in half of its time.

The shuffle is that of Fisher and Yates, from the end. A place out of 0 ... i is the next 32 bits of
the generator, as many as i has, drawn again while they are above i. Bits come by the function that
every bit generator of NumPy shows to compiled code, so its state moves as NumPy moves it.
"""

import ctypes
import functools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbackprop.jit.kernels import kernel


@intrinsic
def _bits(typing_context, function, state):
    """The next 32 bits of a generator."""

    def generate(context, builder, signature, arguments):
        pointer, bits = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.inttoptr(arguments[0], ir.FunctionType(bits, [pointer]).as_pointer())
        value = builder.call(address, [builder.inttoptr(arguments[1], pointer)])
        return builder.zext(value, ir.IntType(64))

    return types.int64(types.int64, types.int64), generate


@kernel(entry=True)
def shuffle(orders, lengths, functions, states, goes_on):
    """Row r of orders begins with a permutation of 0 ... lengths[g] - 1 by generator g.

    orders (epochs n_generators, n); the generators take turns. Where functions[g] is 0 the numbers
    are in order. Where goes_on[g] each order is shuffled into the next, and what is in the first
    row into the first.
    """
    n_generators = lengths.shape[0]
    for r in range(orders.shape[0]):
        order, g = orders[r], r % n_generators
        if not goes_on[g]:
            for i in range(lengths[g]):
                order[i] = i
        elif r >= n_generators:
            for i in range(lengths[g]):
                order[i] = orders[r - n_generators, i]
        if functions[g] != 0:
            i, mask = lengths[g] - 1, 1
            while mask < i:
                mask = 2 * mask + 1
            while i > 0:
                low = mask // 2
                while i > low:  # without a branch, which would often be predicted wrongly
                    drawn = _bits(functions[g], states[g]) & mask
                    taken = drawn <= i
                    j = drawn if taken else i
                    order[i], order[j] = order[j], order[i]
                    i -= taken
                mask = low


def source(rng: Any) -> tuple[int, int] | None:
    """Addresses of a generator's function and state; None where `permutation` must be asked.

    A generator whose permutations are those of another bit generator has that as `of_orders`.
    """
    if hasattr(rng, "of_orders"):
        bits = rng.of_orders
    else:
        numpys = type(rng).permutation is np.random.Generator.permutation
        bits = rng.bit_generator if numpys else None
    return _addresses(bits) if _is_numpys() else None


def _addresses(bits: Any) -> tuple[int, int] | None:
    interface = getattr(bits, "ctypes", None)
    if interface is None:
        return None
    function = ctypes.cast(interface.next_uint32, ctypes.c_void_p).value
    return int(function or 0), int(interface.state_address)


@functools.cache
def _is_numpys() -> bool:
    """Whether this shuffle is that of the NumPy in use, of both kinds of its generators."""
    if numba.config.DISABLE_JIT:
        return False
    bits = np.random.PCG64(0), np.random.MT19937(0)
    known, lengths = [_addresses(one) for one in bits], np.array([100, 7])
    if None in known:
        return False
    orders = np.zeros((4, 100), np.int64)
    shuffle(orders, lengths, *np.array(known, np.int64).T.copy(), np.zeros(2, np.bool_))
    theirs: list[Any] = [np.random.default_rng(0), np.random.RandomState(np.random.MT19937(0))]
    return all(
        np.array_equal(order[:n], rng.permutation(n))
        for order, n, rng in zip(orders, [*lengths] * 2, theirs * 2, strict=True)
    )
