"""Activations that are z times a gate between 0 and 1, one block each as in `elementwise`."""

import math

import numpy as np

from fastbackprop.functions.activations import register
from fastbackprop.functions.elementwise import zero
from fastbackprop.jit.words import erf, exp, formula, scalar, sigmoid, where


@formula
def gelu(z):
    T = scalar(z)
    return T(0.5) * z * (T(1) + erf(z * T(math.sqrt(0.5))))


@formula
def gelu_derivative(z, a):
    T = scalar(z)
    density = T(1 / math.sqrt(2 * math.pi)) * exp(T(-0.5) * z * z)
    return T(0.5) * (T(1) + erf(z * T(math.sqrt(0.5)))) + z * density


@formula
def gelu_second(z, a):
    T = scalar(z)
    density = T(1 / math.sqrt(2 * math.pi)) * exp(T(-0.5) * z * z)
    return T(2) * density - z * (z * density)


@formula
def gelu_third(z, a):
    T = scalar(z)
    density = T(1 / math.sqrt(2 * math.pi)) * exp(T(-0.5) * z * z)
    return z * (z * (z * density)) - T(4) * (z * density)


register(
    "gelu",
    gelu,
    gelu_derivative,
    "z (1 + erf(z / sqrt 2)) / 2",
    second=gelu_second,
    third=gelu_third,
)

# gelu_tanh: (1 + tanh u) / 2 = sigmoid(2 u), and the small part is sigmoid(-2 u), not 1 - s
TWICE, CUBE = 2 * math.sqrt(2 / math.pi), 0.044715


@formula
def _gelu_tanh_argument(z):
    """2 u, and du/dz of a z that is near enough for s (1 - s) not to be 0."""
    T = scalar(z)
    near = np.minimum(np.maximum(z, T(-30)), T(30))
    return T(TWICE) * (z + T(CUBE) * (z * z * z)), T(TWICE) * (T(1) + T(3 * CUBE) * (near * near))


@formula
def gelu_tanh(z):
    v, _ = _gelu_tanh_argument(z)
    return z * sigmoid(v)


@formula
def gelu_tanh_derivative(z, a):
    v, slope = _gelu_tanh_argument(z)
    s = sigmoid(v)
    return s + z * (s * sigmoid(-v) * slope)


@formula
def gelu_tanh_second(z, a):
    T = scalar(z)
    v, slope = _gelu_tanh_argument(z)
    s, rest = sigmoid(v), sigmoid(-v)
    near = np.minimum(np.maximum(z, T(-30)), T(30))
    bend = (rest - s) * (slope * slope) + T(6 * TWICE * CUBE) * near
    return s * rest * (T(2) * slope + near * bend)


@formula
def gelu_tanh_third(z, a):
    T = scalar(z)
    v, slope = _gelu_tanh_argument(z)
    s, rest = sigmoid(v), sigmoid(-v)
    near, density = np.minimum(np.maximum(z, T(-30)), T(30)), s * rest
    bend = T(6 * TWICE * CUBE) * near  # d2v/dz2
    second = (rest - s) * (slope * slope) + bend
    third = (T(1) - T(6) * density) * (slope * slope * slope)
    third += T(3) * (rest - s) * (slope * bend) + T(6 * TWICE * CUBE)
    return density * (T(3) * second + near * third)


register(
    "gelu_tanh",
    gelu_tanh,
    gelu_tanh_derivative,
    "z (1 + tanh u) / 2, u = sqrt(2 / pi) (z + 0.044715 z^3)",
    second=gelu_tanh_second,
    third=gelu_tanh_third,
)


@formula
def silu(z):
    return z * sigmoid(z)


@formula
def silu_derivative(z, a):
    T = scalar(z)
    s = sigmoid(z)
    return s * (T(1) + z * (T(1) - s))


@formula
def silu_second(z, a):
    T = scalar(z)
    s, rest = sigmoid(z), sigmoid(-z)
    return s * rest * (T(2) + z * (rest - s))


@formula
def silu_third(z, a):
    T = scalar(z)
    s, rest = sigmoid(z), sigmoid(-z)
    density = s * rest
    return density * (T(3) * (rest - s) + z * (T(1) - T(6) * density))


register("silu", silu, silu_derivative, "z / (1 + e^-z)", second=silu_second, third=silu_third)


@formula
def hard_swish(z):
    T = scalar(z)
    return z * (np.minimum(np.maximum(z + T(3), T(0)), T(6)) / T(6))


@formula
def hard_swish_derivative(z, a):
    T = scalar(z)
    inside = np.minimum(np.maximum(z, T(-3)), T(3)) / T(3) + T(0.5)
    return where(z > T(-3), where(z < T(3), inside, T(1)), T(0))


@formula
def hard_swish_second(z, a):
    T = scalar(z)
    return where((z > T(-3)) & (z < T(3)), T(1 / 3), T(0))


register(
    "hard_swish",
    hard_swish,
    hard_swish_derivative,
    "z min(max(z + 3, 0), 6) / 6",
    second=hard_swish_second,
    third=zero,
)


@formula
def _mish_parts(z):
    """w = tanh(log(1 + e^z)), 1 - w, sigmoid(z) and 1 - sigmoid(z), by e = e^-|z|."""
    T = scalar(z)
    e = exp(-abs(z))
    numerator = where(z > T(0), T(1) + T(2) * e, e * (e + T(2)))
    rest = where(z > T(0), T(2) * e * e, T(2))
    total = numerator + rest
    s, s_rest = where(z > T(0), T(1), e), where(z > T(0), e, T(1))
    return numerator / total, rest / total, s / (T(1) + e), s_rest / (T(1) + e)


@formula
def mish(z):
    w, _, _, _ = _mish_parts(z)
    return z * w


@formula
def mish_derivative(z, a):
    T = scalar(z)
    w, rest, s, _ = _mish_parts(z)
    return w + z * (rest * (T(1) + w) * s)


@formula
def mish_second(z, a):
    T = scalar(z)
    w, rest, s, s_rest = _mish_parts(z)
    slope = rest * (T(1) + w) * s  # dw/dz
    return T(2) * slope + (z * slope) * (s_rest - T(2) * w * s)


@formula
def mish_third(z, a):
    T = scalar(z)
    w, rest, s, s_rest = _mish_parts(z)
    slope = rest * (T(1) + w) * s  # dw/dz
    q = s_rest - T(2) * w * s  # d2w/dz2 / slope
    bend = T(-2) * slope * s - (T(1) + T(2) * w) * (s * s_rest)  # dq/dz
    return T(3) * slope * q + (z * slope) * (q * q + bend)


register(
    "mish",
    mish,
    mish_derivative,
    "z tanh(log(1 + e^z))",
    second=mish_second,
    third=mish_third,
)
