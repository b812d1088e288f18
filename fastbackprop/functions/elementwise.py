"""Activations of one number: sigma(z), sigma'(z, a) and sigma''(z, a), one block each.

a = sigma(z) is at hand, and often the shorter way to write the derivatives. Values and conventions
(the derivative of relu at 0 is 0) are PyTorch's; the second derivative is 0 at a kink.
"""

import math

import numpy as np

from fastbackprop.jit.words import (
    cos,
    erf,
    exp,
    expm1,
    formula,
    log1p,
    near_cos,
    near_sin,
    scalar,
    sigmoid,
    sin,
    where,
)


@formula
def identity(z):
    return z


@formula
def identity_derivative(z, a):
    return scalar(z)(1)


@formula
def zero(z, a):
    """sigma'' of what is made of straight lines."""
    return scalar(z)(0)


@formula
def sigmoid_derivative(z, a):
    T = scalar(z)
    return a * (T(1) - a)


@formula
def sigmoid_second(z, a):
    T = scalar(z)
    return a * (T(1) - a) * (T(1) - T(2) * a)


@formula
def tanh_derivative(z, a):
    T = scalar(z)
    return T(1) - a * a


@formula
def tanh_second(z, a):
    T = scalar(z)
    return T(-2) * a * (T(1) - a * a)


@formula
def relu(z):
    T = scalar(z)
    return np.maximum(z, T(0))


@formula
def relu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(1), T(0))


@formula
def leaky_relu(z, p):
    T = scalar(z)
    return where(z > T(0), z, p[0] * z)


@formula
def leaky_relu_derivative(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(1), p[0])


@formula
def elu(z, p):
    T = scalar(z)
    return where(z > T(0), z, p[0] * expm1(np.minimum(z, T(0))))


@formula
def elu_derivative(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(1), p[0] * exp(np.minimum(z, T(0))))  # a + p would lose the small ones


@formula
def elu_second(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(0), p[0] * exp(np.minimum(z, T(0))))


@formula
def softplus(z):
    T = scalar(z)
    return np.maximum(z, T(0)) + log1p(exp(-abs(z)))


@formula
def softplus_derivative(z, a):
    return sigmoid(z)


@formula
def softplus_second(z, a):
    return sigmoid(z) * sigmoid(-z)


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
def hard_sigmoid(z):
    T = scalar(z)
    return np.minimum(np.maximum(z + T(3), T(0)), T(6)) / T(6)


@formula
def hard_sigmoid_derivative(z, a):
    T = scalar(z)
    return where((z > T(-3)) & (z < T(3)), T(1 / 6), T(0))


@formula
def hard_tanh(z):
    T = scalar(z)
    return np.minimum(np.maximum(z, T(-1)), T(1))


@formula
def hard_tanh_derivative(z, a):
    T = scalar(z)
    return where((z > T(-1)) & (z < T(1)), T(1), T(0))


@formula
def relu6(z):
    T = scalar(z)
    return np.minimum(np.maximum(z, T(0)), T(6))


@formula
def relu6_derivative(z, a):
    T = scalar(z)
    return where((z > T(0)) & (z < T(6)), T(1), T(0))


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


# Klambauer et al. (2017): with these two, mean 0 and variance 1 are a fixed point.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@formula
def selu(z):
    T = scalar(z)
    return where(
        z > T(0), T(SELU_SCALE) * z, T(SELU_SCALE * SELU_ALPHA) * expm1(np.minimum(z, T(0)))
    )


@formula
def selu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(SELU_SCALE), T(SELU_SCALE * SELU_ALPHA) * exp(np.minimum(z, T(0))))


@formula
def selu_second(z, a):
    T = scalar(z)
    return where(z > T(0), T(0), T(SELU_SCALE * SELU_ALPHA) * exp(np.minimum(z, T(0))))


@formula
def celu(z, p):
    T = scalar(z)
    return where(z > T(0), z, p[0] * expm1(np.minimum(z, T(0)) / p[0]))


@formula
def celu_derivative(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(1), exp(np.minimum(z, T(0)) / p[0]))


@formula
def celu_second(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(0), exp(np.minimum(z, T(0)) / p[0]) / p[0])


# gelu_tanh: (1 + tanh u) / 2 = sigmoid(2 u), and what has to be small is sigmoid(-2 u), not 1 - s
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
def softsign(z):
    T = scalar(z)
    return z / (T(1) + abs(z))


@formula
def softsign_derivative(z, a):
    T = scalar(z)
    rest = T(1) / (T(1) + abs(z))
    return rest * rest


@formula
def softsign_second(z, a):
    T = scalar(z)
    rest = T(1) / (T(1) + abs(z))
    return where(z > T(0), T(-2), where(z < T(0), T(2), T(0))) * (rest * rest * rest)


@formula
def sine(z):
    return sin(z)


@formula
def near_sine(z):
    return near_sin(z)


@formula
def sine_derivative(z, a):
    return cos(z)


@formula
def near_sine_derivative(z, a):
    return near_cos(z)


@formula
def sine_second(z, a):
    return -a


@formula
def gaussian(z):
    return exp(-(z * z))


@formula
def gaussian_derivative(z, a):
    T = scalar(z)
    return T(-2) * (z * a)


@formula
def gaussian_second(z, a):
    T = scalar(z)
    return z * (T(4) * (z * a)) - T(2) * a


@formula
def exponential(z):
    return exp(z)


@formula
def exponential_derivative(z, a):
    return a
