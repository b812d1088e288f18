"""A network as a function of a user's own compiled code: one sample in, its outputs out.

Layers are composed: each is a closure over its W, b and sigma and over the function of the layers
before it, so the compiler knows every size and every function. Values between layers are on the
stack: nothing is allocated, and any number of threads may call the result.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload_attribute

from fastbackprop import inputs
from fastbackprop.engines.functions import normalised_formulas
from fastbackprop.engines.functions.rows import (
    activate_row,
    log_sum,
    push_forward_row,
    softmax_pull_back_row,
    softmax_row,
)
from fastbackprop.formats.dense import Writable, entry
from fastbackprop.functions.activations import Activation, Coupled
from fastbackprop.functions.arrays import with_p
from fastbackprop.functions.layer_norms import LayerNorm
from fastbackprop.functions.own import Function
from fastbackprop.jit.kernels import EXACT, FASTMATH, OPTIONS
from fastbackprop.jit.numba_internals import cgutils
from fastbackprop.jit.numba_internals.arrays import array_at
from fastbackprop.jit.tile import VECTOR_BYTES, load, outer_along, plus, store, zeros
from fastbackprop.jit.words import exp

VECTORS = 8  # of a sum that stays in registers, twice
STACK = 1 << 18  # bytes: half of the smallest stack that a system gives a thread (macOS)

_kept: list[Any] = []  # machine code may have their addresses as long as the process lives

_compile = numba.njit(fastmath=set(FASTMATH), **OPTIONS)
_compile_exactly = numba.njit(fastmath=set(EXACT), **OPTIONS)


def as_njit(network: Writable) -> Any:
    """`Network.as_njit`, which has the description."""
    _refuse_wide(network)
    function = jvp = None
    layers = zip(network.weights, network.biases, network.machine.sigma, strict=True)
    for W, b, sigma in layers:
        weighted_input, product = _products(W, b)
        activate, push_forward = _rows(sigma, network.dtype)
        function = _layer(function, W, weighted_input, activate)
        jvp = _layer_jvp(jvp, W, weighted_input, product, activate, push_forward)
    function.jvp = jvp  # type: ignore[union-attr]
    return function


@overload_attribute(types.Dispatcher, "jvp", inline="always")
def _jvp_of_a_function(function):
    """`f.jvp` means the same in compiled code as in Python."""
    jvp = getattr(function.dispatcher, "jvp", None)
    return None if jvp is None else lambda function: jvp


# --- layers --------------------------------------------------------------------------------------


def _stack(n: int, dtype: np.dtype) -> Any:
    """A function that gives n elements for as long as its caller runs, (n,)."""
    if numba.config.DISABLE_JIT:
        return lambda: np.empty(n, dtype)
    return _view(n, dtype, lambda context, builder, T: cgutils.alloca_once(builder, T, size=n))


def _frozen(values: np.ndarray) -> Any:
    """A function that gives a copy of these values.

    Compiled code has its address, not its values as constants: then it is never kept on disk, where
    a function with `cache=True` that calls this one would find the parameters of another day. The
    copy lives as long as the process: so may a user's code with the address in it.
    """
    copy = np.array(values)
    _kept.append(copy)
    if numba.config.DISABLE_JIT:
        return lambda: copy

    def data(context: Any, builder: Any, T: Any) -> Any:
        address = context.add_dynamic_addr(builder, copy.ctypes.data, info="parameters")
        return builder.bitcast(address, T.as_pointer())

    return _view(copy.size, copy.dtype, data)


def _view(n: int, dtype: np.dtype, data: Function) -> Any:
    """A compiled function that gives an array, (n,); `data` writes the code for its address."""
    array = types.Array(numba.from_dtype(dtype), 1, "C")

    @intrinsic
    def view(typing):
        def codegen(context, builder, signature, arguments):
            pointer = data(context, builder, context.get_data_type(array.dtype))
            length, itemsize = (context.get_constant(types.intp, i) for i in (n, dtype.itemsize))
            return array_at(context, builder, array, pointer, length, itemsize)

        return array(), codegen

    return view


def _products(W: np.ndarray, b: np.ndarray) -> tuple[Any, Any]:
    """(a, z): z = a W + b, and the same without b; a (m,), z (n,) and padding to whole vectors."""
    m, n, V = *W.shape, VECTOR_BYTES // W.itemsize
    width, C = _padded(n, W.dtype), min(-(-n // V), VECTORS)
    w = _frozen(np.pad(W, ((0, 0), (0, width - n))).ravel())

    def with_bias(b: np.ndarray) -> Any:
        bias = _frozen(np.pad(b, (0, width - n)))

        def plain(a, z):
            z[:] = a @ w().reshape(m, width) + bias()

        def tiled(a, z):
            w_l, b_l = w(), bias()
            for k in range(0, width, C * V):  # the last may overlap: no vector is left over
                k = min(k, width - C * V)
                even, odd = load(b_l, k, 0, 1, C), zeros(b_l, 1, C)  # each sum waits for itself
                for j in range(0, m - 1, 2):
                    even = outer_along(even, a, j, 0, w_l, j * width + k, 0, 1)
                    odd = outer_along(odd, a, j + 1, 0, w_l, (j + 1) * width + k, 0, 1)
                if m % 2:
                    even = outer_along(even, a, m - 1, 0, w_l, (m - 1) * width + k, 0, 1)
                store(plus(even, odd), z, k, 0)

        return plain if numba.config.DISABLE_JIT else _compile(tiled)

    return with_bias(b), with_bias(np.zeros_like(b))


def _padded(n: int, dtype: np.dtype) -> int:
    """n, rounded up to whole vectors."""
    V = VECTOR_BYTES // dtype.itemsize
    return -(-n // V) * V


def _layer(
    before: Function | None, W: np.ndarray, weighted_input: Function, activate: Function
) -> Any:
    """(x, out): out = sigma(before(x) W + b)."""
    (m, n), dtype = W.shape, W.dtype
    a_row, z_row = _stack(m, dtype), _stack(_padded(n, dtype), dtype)
    before = before or _copy

    @_compile
    def layer(x, out):
        a, z = a_row(), z_row()
        before(x, a)
        weighted_input(a, z)
        activate(z[:n], out)

    return layer


def _layer_jvp(
    before: Function | None,
    W: np.ndarray,
    weighted_input: Function,
    product: Function,
    activate: Function,
    push_forward: Function,
) -> Any:
    """(x, v, out, out_v): the same, and out_v = (d out / d x) v."""
    (m, n), dtype = W.shape, W.dtype
    a_row, z_row = _stack(m, dtype), _stack(_padded(n, dtype), dtype)
    before = before or _copy_both

    @_compile
    def layer_jvp(x, v, out, out_v):
        a, a_v, z, z_v, s = a_row(), a_row(), z_row(), z_row(), z_row()
        before(x, v, a, a_v)
        weighted_input(a, z)
        product(a_v, z_v)
        activate(z[:n], s)
        push_forward(z[:n], s, z_v)
        for k in range(n):
            out[k] = s[k]
            out_v[k] = z_v[k]

    return layer_jvp


@_compile
def _copy(x, out):
    for j in range(out.shape[0]):
        out[j] = x[j]


@_compile
def _copy_both(x, v, out, out_v):
    for j in range(out.shape[0]):
        out[j] = x[j]
        out_v[j] = v[j]


# --- activations of one sample -------------------------------------------------------------------


def _rows(activation: Activation, dtype: np.dtype) -> tuple[Any, Any]:
    """(z, out): out = sigma(z), and (z, a, v): v = (d sigma / d z) v."""
    if isinstance(activation, Coupled):
        rows: tuple[Any, Any] = entry(COUPLED, activation, "compiled code")
        return rows
    p = tuple(dtype.type(value) for value in activation.p)
    if isinstance(activation, LayerNorm):
        sigma, derivative, _ = normalised_formulas(activation, dtype)
        return _layer_norm(sigma, derivative, activation.epsilon, p)
    sigma, derivative = with_p(activation.sigma, 1, dtype), with_p(activation.derivative, 2, dtype)

    @_compile_exactly
    def activate(z, out):
        for k in range(z.shape[0]):
            out[k] = sigma(z[k], p)

    @_compile_exactly
    def push_forward(z, a, v):
        for k in range(z.shape[0]):
            v[k] *= derivative(z[k], a[k], p)

    return activate, push_forward


def _own_text(kernel: Any) -> Any:
    """The text of a kernel, compiled here.

    A user's function may be kept on the disk by Numba, which knows nothing of the kernels that the
    package keeps there.
    """
    return _compile_exactly(getattr(kernel, "py_func", kernel))


_softmax_row, _softmax_pull_back_row, _log_sum = map(
    _own_text, (softmax_row, softmax_pull_back_row, log_sum)
)


def _layer_norm(sigma: Function, derivative: Function, epsilon: float, p: Any) -> tuple[Any, Any]:
    row = _own_text(activate_row(sigma, epsilon))
    forward_row = _own_text(push_forward_row(derivative, epsilon))

    @_compile_exactly
    def activate(z, out):
        row(z, out, p)

    @_compile_exactly
    def push_forward(z, a, v):
        forward_row(z, a, v, p)

    return activate, push_forward


@_compile_exactly
def _softmax(z, out):
    _softmax_row(z, z, ())  # in place: out may be of another dtype
    for k in range(z.shape[0]):
        out[k] = z[k]


@_compile_exactly
def _softmax_push_forward(z, a, v):
    _softmax_pull_back_row(z, a[: z.shape[0]], v, ())  # the Jacobian is symmetric


@_compile_exactly
def _log_softmax(z, out):
    m, log_total = _log_sum(z)
    for k in range(z.shape[0]):
        out[k] = (z[k] - m) - log_total


@_compile_exactly
def _log_softmax_push_forward(z, a, v):
    total = z.dtype.type(0)
    for j in range(z.shape[0]):
        total += exp(a[j]) * v[j]
    for k in range(z.shape[0]):
        v[k] -= total


COUPLED = {
    "softmax": (_softmax, _softmax_push_forward),
    "log_softmax": (_log_softmax, _log_softmax_push_forward),
}


# --- callbacks for C -----------------------------------------------------------------------------

_X = _OUT = types.CPointer(types.float64)
SIGNATURES = {
    "row": types.void(_X, _OUT),
    "quad": types.float64(types.intc, _X),
    "filter": types.intc(_X, types.intp, _OUT, types.voidptr),
}


def as_cfunc(network: Writable, kind: str) -> Any:
    """`Network.as_cfunc`, which has the description."""
    kind = inputs.choice(kind, SIGNATURES, "kind")
    n_in, n_out = network.sizes[0], network.sizes[-1]
    if kind != "row" and n_out != 1:
        raise ValueError(
            f"a callback of the kind {kind!r} returns one number; the network has {n_out} outputs: "
            f"pass kind='row'"
        )
    f, one = as_njit(network), _stack(1, np.dtype(np.float64))

    def row(x, out):
        f(numba.carray(x, n_in), numba.carray(out, n_out))

    def quad(n, x):
        if n != n_in:
            return np.nan
        out = one()
        f(numba.carray(x, n_in), out)
        return out[0]

    def filter(x, n, out, user_data):
        if n != n_in:
            return 0
        f(numba.carray(x, n_in), numba.carray(out, 1))
        return 1

    callback = numba.cfunc(SIGNATURES[kind])({"row": row, "quad": quad, "filter": filter}[kind])
    _kept.append(callback)
    return callback


def _refuse_wide(network: Writable) -> None:
    widths = [_padded(n, network.dtype) for n in network.sizes]
    needed = 5 * sum(widths) * network.dtype.itemsize
    if needed > STACK:
        raise ValueError(
            f"a compiled function of a row keeps it on the stack, at most {STACK} bytes of it; "
            f"this network needs {needed}: call predict"
        )
