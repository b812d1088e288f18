"""Activations of each neuron by itself: sigma(z) and three derivatives of (z, a), one block each.

Here are the identity, sigmoids and rectifiers; `gated` and `curves` have others. A block ends with
the line of the registry; nothing else of the package knows the activation. C, NumPy and ONNX files
are made from sigma's text (`fastbackprop.functions.symbols`).

a = sigma(z) is at hand, and often the shorter way to write the derivatives. Values and conventions
(the derivative of relu at 0 is 0) are PyTorch's; the second and the third are 0 at a kink.
"""

import numpy as np

from fastbackprop.functions.activations import ACTIVATIONS, GLOROT, Activation, parametric, register
from fastbackprop.functions.named import parameter
from fastbackprop.jit.words import exp, expm1, formula, log1p, scalar, sigmoid, tanh, where


@formula
def identity(z):
    return z


@formula
def identity_derivative(z, a):
    return scalar(z)(1)


@formula
def zero(z, a):
    """sigma'' and sigma''' of piecewise linear functions."""
    return scalar(z)(0)


register("identity", identity, identity_derivative, "z", GLOROT, second=zero, third=zero)


@formula
def sigmoid_derivative(z, a):
    T = scalar(z)
    return a * (T(1) - a)


@formula
def sigmoid_second(z, a):
    T = scalar(z)
    return a * (T(1) - a) * (T(1) - T(2) * a)


@formula
def sigmoid_third(z, a):
    T = scalar(z)
    slope = a * (T(1) - a)
    return slope * (T(1) - T(6) * slope)


register(
    "sigmoid",
    sigmoid,
    sigmoid_derivative,
    "1 / (1 + e^-z)",
    GLOROT,
    second=sigmoid_second,
    third=sigmoid_third,
)


@formula
def hard_sigmoid(z):
    T = scalar(z)
    return np.minimum(np.maximum(z + T(3), T(0)), T(6)) / T(6)


@formula
def hard_sigmoid_derivative(z, a):
    T = scalar(z)
    return where((z > T(-3)) & (z < T(3)), T(1 / 6), T(0))


register(
    "hard_sigmoid",
    hard_sigmoid,
    hard_sigmoid_derivative,
    "min(max(z + 3, 0), 6) / 6",
    GLOROT,
    second=zero,
    third=zero,
)


@formula
def tanh_derivative(z, a):
    T = scalar(z)
    return T(1) - a * a


@formula
def tanh_second(z, a):
    T = scalar(z)
    return T(-2) * a * (T(1) - a * a)


@formula
def tanh_third(z, a):
    T = scalar(z)
    return (T(1) - a * a) * (T(6) * (a * a) - T(2))


register("tanh", tanh, tanh_derivative, "tanh z", GLOROT, second=tanh_second, third=tanh_third)


@formula
def hard_tanh(z):
    T = scalar(z)
    return np.minimum(np.maximum(z, T(-1)), T(1))


@formula
def hard_tanh_derivative(z, a):
    T = scalar(z)
    return where((z > T(-1)) & (z < T(1)), T(1), T(0))


register(
    "hard_tanh",
    hard_tanh,
    hard_tanh_derivative,
    "min(max(z, -1), 1)",
    GLOROT,
    second=zero,
    third=zero,
)


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
def softsign_third(z, a):
    T = scalar(z)
    rest = T(1) / (T(1) + abs(z))
    return T(6) * ((rest * rest) * (rest * rest))


register(
    "softsign",
    softsign,
    softsign_derivative,
    "z / (1 + abs(z))",
    GLOROT,
    second=softsign_second,
    third=softsign_third,
)


@formula
def relu(z):
    T = scalar(z)
    return np.maximum(z, T(0))


@formula
def relu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(1), T(0))


register("relu", relu, relu_derivative, "max(z, 0)", second=zero, third=zero)


@formula
def relu6(z):
    T = scalar(z)
    return np.minimum(np.maximum(z, T(0)), T(6))


@formula
def relu6_derivative(z, a):
    T = scalar(z)
    return where((z > T(0)) & (z < T(6)), T(1), T(0))


register("relu6", relu6, relu6_derivative, "min(max(z, 0), 6)", second=zero, third=zero)


@formula
def leaky_relu(z, p):
    T = scalar(z)
    return where(z > T(0), z, p[0] * z)


@formula
def leaky_relu_derivative(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(1), p[0])


register(
    "leaky_relu",
    leaky_relu,
    leaky_relu_derivative,
    "z for z > 0, else p z",
    p=(0.01,),
    second=zero,
    third=zero,
)


@parametric("leaky_relu")
def LeakyReLU(negative_slope: float = 0.01) -> Activation:
    """The activation leaky_relu, z for z > 0, else `negative_slope` z: any finite number."""
    return ACTIVATIONS["leaky_relu"].with_parameters(negative_slope=negative_slope)


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


register(
    "elu",
    elu,
    elu_derivative,
    "z for z > 0, else p (e^z - 1)",
    p=(1.0,),
    second=elu_second,
    third=elu_second,
)


@parametric("elu")
def ELU(alpha: float = 1.0) -> Activation:
    """The activation elu, z for z > 0, else `alpha` (e^z - 1): any finite number."""
    return ACTIVATIONS["elu"].with_parameters(alpha=alpha)


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


@formula
def celu_third(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(0), exp(np.minimum(z, T(0)) / p[0]) / p[0] / p[0])


register(
    "celu",
    celu,
    celu_derivative,
    "z for z > 0, else p (e^(z / p) - 1)",
    p=(1.0,),
    second=celu_second,
    third=celu_third,
)


@parametric("celu")
def CELU(alpha: float = 1.0) -> Activation:
    """The activation celu, z for z > 0, else `alpha` (e^(z / `alpha`) - 1), with `alpha` > 0."""
    if not parameter("CELU", "alpha", alpha) > 0:
        raise ValueError(f"CELU(alpha) must have alpha > 0; got {alpha!r}")
    return ACTIVATIONS["celu"].with_parameters(alpha=alpha)


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


register(
    "selu",
    selu,
    selu_derivative,
    "s z for z > 0, else s t (e^z - 1)",
    "lecun_normal",
    second=selu_second,
    third=selu_second,
)


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
def softplus_third(z, a):
    s, rest = sigmoid(z), sigmoid(-z)
    return s * rest * (rest - s)


register(
    "softplus",
    softplus,
    softplus_derivative,
    "log(1 + e^z)",
    second=softplus_second,
    third=softplus_third,
)
