"""exp, log, tanh, erf, sin and others in compiled code: polynomials without a branch.

LLVM's vectoriser takes a loop over them whole. Calls of the C library it leaves scalar, at 2.5 ns
(exp) to 11 ns (tanh) an element.

They are written in `Value`s, whose arithmetic is LLVM's instructions with flags of their own: the
`reassoc` of a kernel around them cannot fold the rounding away.

NaN goes through every function, infinities and subnormals are right, and odd functions keep the
sign of zero. "Error" is the largest measured, in units in the last place, of float32 and float64:
tests/test_vector_math.py. Coefficients are minimax, constant first.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from fastbackprop.jit.value import Value

INFINITY = math.inf


class Format(NamedTuple):
    """A floating-point type, and the constants that depend on its precision."""

    real: Any
    integer: Any  # of as many bits, so that both fill the same vectors
    point: int  # bits behind the binary point
    bias: int  # of the exponent
    lowest: float  # e^x is 0 below, 1 / (1 + e^-x) too
    highest: float  # e^x is infinite above
    saturation: float  # 1 + e^-x is 1 above
    log_2: tuple  # in two parts; the first times an exponent is exact
    exp: tuple  # (e^r - 1 - r) / r^2 in r, |r| <= log(2) / 2
    log: tuple  # (2 artanh(s) - 2 s) / s^3 in s^2, |s| <= 3 - 2 sqrt(2)
    tanh: tuple  # (tanh(x) / x - 1) / x^2 in x^2, x <= 0.625: numerator, denominator
    erf: tuple  # erf(x) / x - 1 in x^2, x <= 1
    erfc: tuple  # -log(1 - erf(x)) in x, 1 <= x <= erf_one: numerator, denominator
    erf_one: float  # erf(x) is 1 above
    sin: tuple  # (sin(r) / r - 1) / r^2 in r^2, |r| <= pi / 2


# Largest errors of the fits, relative to the result: exp 2^-28 and 2^-58, log 2^-30 and 2^-59,
# tanh 2^-27 and 2^-60, erf 2^-29 and 2^-56, erfc's in erf 2^-29 and 2^-58, sin
# 2^-27 and 2^-61.
# fmt: off
FORMATS = {
    types.float32: Format(
        ir.FloatType(), ir.IntType(32), 23, 127, -104.0, 89.0, 18.2,
        log_2=(0.693359375, -2.12194440e-4),
        exp=(0.500000009, 0.166665186, 0.0416662089, 0.00836891452, 0.00139503025),
        log=(0.666667769, 0.399774604, 0.298741435),
        tanh=((-0.333333086, -0.00154177467), (1.0, 0.404613041)),
        erf=(0.128379166, -0.376126257, 0.112835833, -0.0268537247, 0.00518814135, -0.000800838324,
             7.84732618e-05),
        erfc=((0.00034148745, 1.12708932, 0.638144657, 0.103106869, -0.0218380971, 0.00294766088,
               -0.000186378866), (1.0,)),
        erf_one=4.0,
        sin=(-0.1666666, 0.0083330665, -0.0001980959, 2.6057508e-06),
    ),
    types.float64: Format(
        ir.DoubleType(), ir.IntType(64), 52, 1023, -746.0, 710.0, 38.5,
        log_2=(6.93147180369123816490e-01, 1.90821492927058770002e-10),
        exp=(0.50000000000000133, 0.16666666666666696, 0.041666666666514723, 0.0083333333333087331,
             0.0013888888947195064, 0.00019841269914256375, 2.4801489755686281e-05,
             2.7557218963175543e-06, 2.7631348010913145e-07, 2.5117052360908787e-08),
        log=(0.66666666666667351, 0.39999999999408103, 0.2857142874403325, 0.22222198387009556,
             0.18183574836979297, 0.15313761632618691, 0.14799028979392853),
        tanh=((-0.33333333333333326, -0.020496804578153616, -0.00019908972653462652),
              (1.0, 0.46149041373444605, 0.023288672768876615, 0.00020643915695683779)),
        erf=(0.12837916709551256, -0.37612638903183515, 0.11283791670943981, -0.026866170643077624,
             0.0052239776058318251, -0.00085483259152100571, 0.00012055293145604343,
             -1.4924703854269979e-05, 1.6447025519079739e-06, -1.6205488718381348e-07,
             1.3707359841511964e-08, -7.7726189311709821e-10),
        erfc=((6.412194331770782e-08, 1.1283785536290376, 2.0275896900357, 1.6800309887521421,
               0.79762366662399709, 0.22270769061143517, 0.033082432116799537,
               0.0016800087467231698),
              (1.0, 1.2327125611052856, 0.70233203417428791, 0.21529086236051811,
               0.033037909733503235, 0.0016804524814217744)),
        erf_one=6.0,
        sin=(-0.16666666666666666, 0.008333333333333194, -0.00019841269841209145,
             2.755731921112428e-06, -2.505210687158089e-08, 1.6058939642992198e-10,
             -7.642989814824985e-13, 2.7211569540552255e-15),
    ),
}
# fmt: on


# --- parts of them -------------------------------------------------------------------------------


def absolute(x: Value) -> Value:
    """|x|."""
    return (x.bits & ~_sign_bit(x)).as_float


def with_sign(magnitude: Value, x: Value) -> Value:
    """The magnitude, or a negative number already, with the sign of x."""
    return (magnitude.bits | (x.bits & _sign_bit(x))).as_float


def _sign_bit(x):
    return -(1 << (x.format.integer.width - 1))


def power_of_2(n: Value) -> Value:
    """2^n for the exponents of normal numbers."""
    return ((n + n.format.bias) << n.format.point).as_float


def large(x: Value) -> Value:
    """1.5 2^point: the last bit of a float of that size is worth 1. Adding it rounds to integers.

    That needs no conversion between integers and floats, which AVX2 lacks for 64 bits.
    """
    return x.like(ir.Constant(x.format.real, 1.5 * 2.0**x.format.point))


def polynomial(x: Value, coefficients: tuple) -> Value:
    """Horner's scheme: Estrin's was no faster, the next elements keep the processor busy."""
    total = x.like(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def plus(x: Value, y: Value) -> Value:
    """x + y, an addition that may be reordered: see `words.plus`."""
    return x.like(x.builder.fadd(x.value, y.value, flags=("contract", "reassoc")))


# --- the functions -------------------------------------------------------------------------------


def _reduced_exp(x):
    """q and integer n with e^x = 2^n (1 + q): x = n log 2 + r, q = e^r - 1, |r| <= log(2) / 2.

    q is more precise than e^r, so numbers can be added to it before rounding.
    """
    high, low = x.format.log_2
    shifted = x * math.log2(math.e) + large(x)
    n = shifted - large(x)
    exact = x - n * high
    r = exact - n * low
    q = exact + (r * r * polynomial(r, x.format.exp) - n * low)  # r is rounded
    return q, shifted.bits - large(x).bits


def exp(x: Value) -> Value:
    """e^x. Error 0.9 and 0.9."""
    q, n = _reduced_exp(x.at_most(x.format.highest).at_least(x.format.lowest))
    half = n >> 1  # 2^n itself may be no normal number
    return (q + 1.0) * power_of_2(half) * power_of_2(n - half)


def expm1(x: Value) -> Value:
    """e^x - 1 = 2^n q + (2^n - 1). Error 1.6 and 1.5."""
    q, n = _reduced_exp(x.at_most(x.format.highest).at_least(-x.format.saturation))
    half_scale = power_of_2(n - 1)  # n may be one too large for 2^n
    half = half_scale * q + (half_scale - 0.5)
    return with_sign(q.where(n.compare("==", 0), half + half), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x) = b / (1 + (a q + a b)), with e^-x = 2^n (1 + q), 2^n = a / b, a or b = 1.

    Error 2.0 and 2.0.
    """
    q, n = _reduced_exp((0.0 - x).at_most(-x.format.lowest).at_least(-x.format.saturation))
    exponent = n.at_most(0)
    a, exponent = power_of_2(exponent), exponent - n
    half = exponent >> 1
    b, b_rest = power_of_2(half), power_of_2(exponent - half)
    return 1.0 / (a * q + a * b * b_rest + 1.0) * b * b_rest


def tanh(x: Value) -> Value:
    """x + x^3 P(x^2) / Q(x^2) near 0, else 1 - 2 / (e^2x + 1): one division. Error 1.2 and 1.2."""
    y = absolute(x)
    z = y * y
    q, n = _reduced_exp((y + y).at_most(x.format.saturation))
    scale = power_of_2(n)
    numerator, denominator = (polynomial(z, c) for c in x.format.tanh)
    near = y.compare("<", 0.625)
    numerator = (z * y * numerator).where(near, -2.0)
    denominator = denominator.where(near, scale * q + (scale + 1.0))
    return with_sign(y.where(near, 1.0) + numerator / denominator, x)


def erf(x: Value) -> Value:
    """x + x P(x^2) up to 1, then 1 - e^-R(x). Error 1.1 and 1.3."""
    y = absolute(x).at_most(x.format.erf_one)
    near = y * polynomial(y * y, x.format.erf) + y
    numerator, denominator = x.format.erfc
    exponent = polynomial(y, numerator)
    if len(denominator) > 1:
        exponent = exponent / polynomial(y, denominator)
    q, n = _reduced_exp(0.0 - exponent)
    scale = power_of_2(n)
    far = (1.0 - scale) - scale * q
    return with_sign(near.where(y.compare("<", 1.0), far), x)


def _exponent(x):
    """k of x = 2^k m, sqrt(1/2) <= m < sqrt(2), for a normal number."""
    return (x.bits - x.like(math.sqrt(0.5)).bits) >> x.format.point


def _log(k, f):
    """k log 2 + log(1 + f), with s = f / (2 + f), log(1 + f) = 2 artanh(s)."""
    high, low = f.format.log_2
    s, h = f / (f + 2.0), 0.5 * f * f
    z = s * s
    R = z * polynomial(z, f.format.log)
    k = (k + large(f).bits).as_float - large(f)
    return k * high - ((h - (s * (h + R) + k * low)) - f)


def _log_or_limit(result, x, pole):
    """The logarithm where x is between the pole and infinity, else its limit."""
    result = result.where(x.compare("<", INFINITY), x)
    at_pole = x.like(-INFINITY).where(x.compare("==", pole), math.nan)
    return result.where(x.compare(">", pole), at_pole)


def log(x: Value) -> Value:
    """log x = k log 2 + log(1 + f), x = 2^k (1 + f). Error 0.8 and 0.9."""
    subnormal, places = x.compare("<", 2.0 ** (1 - x.format.bias)), x.format.point
    y = (x * 2.0**places).where(subnormal, x)
    k = _exponent(y)
    f = (y.bits - (k << places)).as_float - 1.0
    return _log_or_limit(_log(k - k.like(places).where(subnormal, 0), f), x, 0.0)


def log1p(x: Value) -> Value:
    """log(1 + x), by f = 2^-k x + (2^-k - 1): 1 + x may be rounded, f is not. Error 1.4 and 1.4."""
    u = x + 1.0
    k = _exponent(u)
    scale = power_of_2(0 - k)
    f = scale * x + (scale - 1.0)
    without_1 = (u.bits - (k << x.format.point)).as_float - 1.0
    f = without_1.where(u.compare(">", 2.0 ** (x.format.point + 3)), f)
    return with_sign(_log_or_limit(_log(k, f), x, -1.0), x)


# Up to here n pi, n = round(x / pi), is exact enough: pi is in parts of 32 bits, whose products
# with n are exact. Larger x need hundreds of bits of pi and are left to the C library.
SIN_LIMIT = 2.0**21

PI = (3.1415926534682512, 1.2154201012607932e-10, 4.044532497422333e-21, 1.69568553207378e-31)


def _sin(x, shift):
    """(-1)^n sin(x - (n + shift) pi), n the integer that leaves the least."""
    wide = x.widened(FORMATS[types.float64])
    shifted = (wide * (1 / math.pi) - shift) + large(wide)
    n = (shifted - large(wide)) + shift
    exact = wide - n * PI[0]
    second = exact - n * PI[1]
    third = second - n * PI[2]
    lost = ((exact - second) - n * PI[1]) + ((second - third) - n * PI[2])  # by these two roundings
    r = (third - (n * PI[3] - lost)).narrowed(x.format)
    result = with_sign(r + r * (r * r * polynomial(r * r, x.format.sin)), r)
    return result.where((shifted.bits & 1).compare("==", 0), 0.0 - result)


def sin(x: Value) -> Value:
    """sin x, |x| <= SIN_LIMIT. Error 1.8 and 1.8."""
    return _sin(x, 0.0)


def cos(x: Value) -> Value:
    """cos x = -(-1)^n sin(x - (n + 1/2) pi), |x| <= SIN_LIMIT. Error 1.8 and 1.8."""
    return 0.0 - _sin(x, 0.5)


# --- Numba ---------------------------------------------------------------------------------------


def compile_as(word: Callable, recipe: Callable[..., Value]) -> None:
    """Let calls of the word, in a kernel, compile to this recipe."""

    def of_one(x):
        return x if x in FORMATS else None

    def of_two(x, y):
        return x if x in FORMATS and y == x else None

    @type_callable(word)
    def _(context):
        return of_two if recipe is plus else of_one

    @lower_builtin(word, types.VarArg(types.Float))
    def _(context, builder, signature, args):
        number_format = FORMATS[signature.return_type]
        return recipe(*(Value(builder, number_format, arg) for arg in args)).value
