"""The polynomials of compiled code against wider arithmetic, over the whole range of each type.

The oracle of float32 is the C library's double precision; that of float64 is its long double, and
for erf, of which NumPy has none, a series of positive terms in 50 decimal digits.
"""

import decimal
import functools
import math
import re

import numpy as np
import pytest

from fastbackprop.jit import words as _words
from fastbackprop.jit.kernels import EXACT, FASTMATH, kernel
from fastbackprop.jit.vector_math import SIN_LIMIT

pytestmark = pytest.mark.compiled

ERROR = 2  # units in the last place; what each function reaches is in its docstring

WIDER = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps
OF_FLOAT64 = pytest.param(
    "float64", marks=pytest.mark.skipif(not WIDER, reason="long double is double here")
)


def sigmoid(x):
    e = np.exp(-abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


ORACLES = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}
PERIODIC = {"sin": np.sin, "cos": np.cos}
every_word = pytest.mark.parametrize("word", ORACLES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

AT_THE_LIMITS = {  # of -inf, -0, 0, inf
    "exp": [0.0, 1.0, 1.0, np.inf],
    "expm1": [-1.0, -0.0, 0.0, np.inf],
    "log": [np.nan, -np.inf, -np.inf, np.inf],
    "log1p": [np.nan, -0.0, 0.0, np.inf],
    "sigmoid": [0.0, 0.5, 0.5, 1.0],
    "tanh": [-1.0, -0.0, 0.0, 1.0],
    "erf": [-1.0, -0.0, 0.0, 1.0],
}


@functools.cache
def loop(word, fastmath):
    function = getattr(_words, word)

    @kernel(entry=True, fastmath=fastmath)
    def of_each(x, result):
        for i in range(x.shape[0]):
            result[i] = function(x[i])

    return of_each


def compiled(word, x, fastmath=FASTMATH):
    """The function in a loop of a kernel, with the flags that would do most harm."""
    result = np.empty_like(x)
    loop(word, fastmath)(x, result)
    return result


def samples(dtype):
    """Numbers of every size and sign, denser where functions bend or end, and the special ones."""
    limits, rng = np.finfo(dtype), np.random.default_rng(3)
    if dtype == "float32":
        x = np.arange(0, 2**32, 997, dtype=np.uint32).view(dtype)  # NaN and subnormals among them
    else:
        x = rng.integers(0, 2**64, 100_000, dtype=np.uint64).view(dtype)
    ends = [-746, -709.78, -103.98, -88.72, 88.72, 709.78, limits.tiny, limits.smallest_subnormal]
    return np.concatenate(
        [x]
        + [rng.uniform(-size, size, 50_000).astype(dtype) for size in (1, 3, 40, 110, 760)]
        + [(2.0 ** rng.uniform(-54, 3, 50_000) - 1).astype(dtype)]  # log1p's pole, log near 1
        + [np.array([*ends, -limits.tiny, -limits.smallest_subnormal, limits.max, 0, -0.0], dtype)]
    )


def error(comp, ref):
    """In units in the last place of comp's type, infinite where only one of both is finite."""
    with np.errstate(all="ignore"):  # overflow where comp has overflowed too
        rounded = ref.astype(comp.dtype)
        unit = np.spacing(abs(rounded)).astype(ref.dtype)
        units = abs(comp.astype(ref.dtype) - ref) / unit
    same = (comp == rounded) | (np.isnan(comp) & np.isnan(rounded))
    units[~np.isfinite(rounded) | ~np.isfinite(comp)] = np.inf
    return np.max(np.where(same, 0, units))


@every_word
@pytest.mark.parametrize("dtype", ["float32", OF_FLOAT64])
def test_over_the_whole_range(word, dtype):
    if (word, dtype) == ("erf", "float64"):
        pytest.skip("its oracle is the series below")
    x = samples(dtype)
    with np.errstate(all="ignore"):
        ref = ORACLES[word](x.astype(np.float64 if dtype == "float32" else np.longdouble))
    assert error(compiled(word, x), ref) <= ERROR


def phases(dtype):
    """Numbers up to where the words are polynomials, and beside the zeros of sine and cosine."""
    rng = np.random.default_rng(5)
    halves = rng.integers(-int(SIN_LIMIT / 1.6), int(SIN_LIMIT / 1.6), 30_000)
    x = [rng.uniform(-size, size, 30_000) for size in (1, 4, 50, 1e4, SIN_LIMIT)]
    x = np.concatenate([*x, halves * (np.pi / 2), 2.0 ** rng.uniform(-149, 0, 5000)]).astype(dtype)
    return np.concatenate([x, np.nextafter(x, np.array(np.inf, dtype))])


@pytest.mark.parametrize("word", PERIODIC)
@pytest.mark.parametrize("dtype", ["float32", OF_FLOAT64])
def test_periodic_words(word, dtype):
    """As polynomials near 0, by the C library beyond."""
    x = phases(dtype)
    wide = x.astype(np.float64 if dtype == "float32" else np.longdouble)
    ref = PERIODIC[word](wide)
    near = abs(x) <= SIN_LIMIT
    comp = compiled(f"near_{word}", x[near])
    assert error(comp, ref[near]) <= ERROR
    assert np.array_equal(comp, compiled(f"near_{word}", x[near], EXACT))
    x = np.array([*x[:100], SIN_LIMIT, 1e7, -1e30, np.finfo(dtype).max, -0.0], dtype)
    comp = compiled(word, x)
    assert error(comp, PERIODIC[word](x.astype(np.float64))) <= ERROR
    assert np.signbit(comp[-1]) == (word == "sin")
    assert np.isnan(compiled(word, np.array([np.nan, np.inf, -np.inf], dtype))).all()


def erf_in_decimals(x):
    """erf(x) = 2 x e^(-x^2) / sqrt(pi) sum_n (2 x^2)^n / (1 3 5 ... (2n + 1))"""
    z = 2 * x * x
    term = total = decimal.Decimal(1)
    n = 0
    while term > total * decimal.Decimal("1e-45"):
        n += 1
        term *= z / (2 * n + 1)
        total += term
    pi = decimal.Decimal("3.14159265358979323846264338327950288419716939937510582")
    return 2 * x * (-x * x).exp() / pi.sqrt() * total


def test_erf_in_float64():
    rng = np.random.default_rng(4)
    x = [rng.uniform(0, 1.2, 1500), rng.uniform(0.9, 6.5, 1500), 2.0 ** rng.uniform(-1074, 0, 500)]
    x = np.concatenate([*x, [1.0, np.nextafter(1, 0), 5.9, 5.95, 6.0, 6.05]])
    x[::2] *= -1
    with decimal.localcontext(prec=50):
        units = [
            abs(decimal.Decimal(a) - erf_in_decimals(decimal.Decimal(v)))
            / decimal.Decimal(math.ulp(a))
            for v, a in zip(x.tolist(), compiled("erf", x).tolist(), strict=True)
        ]
    assert max(units) <= ERROR
    far = np.array([7.0, 30.0, 1e300, -1e300])
    assert np.array_equal(compiled("erf", far), np.sign(far))


@every_dtype
@every_word
def test_at_the_limits(word, dtype):
    x = np.array([-np.inf, -0.0, 0.0, np.inf, np.nan], dtype)
    comp = compiled(word, x)
    ref = np.array([*AT_THE_LIMITS[word], np.nan], dtype)
    assert np.array_equal(comp, ref, equal_nan=True)
    numbers = ~np.isnan(ref)
    assert np.array_equal(np.signbit(comp[numbers]), np.signbit(ref[numbers]))


@every_dtype
def test_logarithms_at_and_below_their_poles(dtype):
    below = np.array([-np.finfo(dtype).smallest_subnormal, -0.5, -3.0, -np.finfo(dtype).max], dtype)
    assert np.isnan(compiled("log", below)).all()
    x = np.array([-1, np.nextafter(np.array(-1, dtype), -2), -3.0, -np.finfo(dtype).max], dtype)
    assert np.array_equal(compiled("log1p", x), [-np.inf, *[np.nan] * 3], equal_nan=True)


@every_dtype
@every_word
def test_a_caller_has_no_say(word, dtype):
    """Neither its flags nor the place in the loop, vector or remainder, change a result."""
    x = samples(dtype)[::501].copy()
    comp = compiled(word, x)
    one_by_one = np.concatenate([compiled(word, x[i : i + 1]) for i in range(x.size)])
    assert np.array_equal(comp, compiled(word, x, EXACT), equal_nan=True)
    assert np.array_equal(comp, one_by_one, equal_nan=True)


@every_dtype
@pytest.mark.parametrize("word", [*ORACLES, "near_sin", "near_cos"])
def test_loops_are_vectorised(word, dtype):
    x = np.ones(1, dtype)
    compiled(word, x)
    (code,) = (
        code
        for signature, code in loop(word, FASTMATH).inspect_llvm().items()
        if signature[0].dtype.name == dtype
    )
    element = {"float32": "float", "float64": "double"}[dtype]
    assert re.search(rf"fmul contract <\d+ x {element}>", code)


@every_dtype
def test_sums_in_any_order(dtype):
    """`plus` splits a sum over lanes, and leaves alone what is added: (1 + u) - u is 0 or 1."""

    @kernel(entry=True, fastmath=EXACT)
    def total(x, u):
        result = x.dtype.type(0)
        for i in range(x.shape[0]):
            result = _words.plus(result, (x[i] + u) - u)
        return result

    x = np.ones(100, dtype)
    assert total(x, x.dtype.type(0)) == 100
    assert total(x, x.dtype.type(1e20)) == 0
