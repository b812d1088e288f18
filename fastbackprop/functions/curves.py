"""Other smooth activations: sin, gaussian and exp, one block each as in `elementwise`."""

from fastbackprop.functions.activations import GLOROT, register
from fastbackprop.jit.words import cos, exp, formula, near_cos, near_sin, scalar, sin


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
def sine_third(z, a):
    return -cos(z)


@formula
def near_sine_third(z, a):
    return -near_cos(z)


register("sin", sine, sine_derivative, "sin z", GLOROT, second=sine_second, third=sine_third)


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
def gaussian_third(z, a):
    T = scalar(z)
    return T(12) * (z * a) - z * (z * (T(8) * (z * a)))


register(
    "gaussian",
    gaussian,
    gaussian_derivative,
    "e^(-z^2)",
    GLOROT,
    second=gaussian_second,
    third=gaussian_third,
)


@formula
def exponential(z):
    return exp(z)


@formula
def exponential_derivative(z, a):
    return a


register(
    "exp",
    exponential,
    exponential_derivative,
    "e^z",
    GLOROT,
    second=exponential_derivative,
    third=exponential_derivative,
)
