"""A network as one Python file that needs NumPy alone, for places where Numba cannot be."""

import base64
import os
import textwrap

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic
from fastbackprop.formats.dense import Writable, entry

# Of an array z, (n_samples, n_l); {0} is the activation's first parameter. Python's numbers leave
# float32 float32.
EXPRESSIONS = {
    "identity": "z",
    "sigmoid": "sigmoid(z)",
    "tanh": "np.tanh(z)",
    "relu": "np.maximum(z, 0)",
    "leaky_relu": "np.where(z > 0, z, {0} * z)",
    "elu": "np.where(z > 0, z, {0} * expm1_below(z))",
    "celu": "np.where(z > 0, z, {0} * expm1_below(z / {0}))",
    "selu": "1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * expm1_below(z))",
    "softplus": "softplus(z)",
    "gelu": "0.5 * z * (1 + erf(z * 0.7071067811865476))",
    "gelu_tanh": "0.5 * z * (1 + np.tanh(0.7978845608028654 * (z + 0.044715 * z**3)))",
    "silu": "z * sigmoid(z)",
    "mish": "z * np.tanh(softplus(z))",
    "softsign": "z / (1 + abs(z))",
    "hard_sigmoid": "np.clip(z + 3, 0, 6) / 6",
    "hard_tanh": "np.clip(z, -1, 1)",
    "hard_swish": "z * np.clip(z + 3, 0, 6) / 6",
    "relu6": "np.clip(z, 0, 6)",
    "sin": "np.sin(z)",
    "gaussian": "np.exp(-z * z)",
    "exp": "np.exp(z)",
    "softmax": "np.exp(log_softmax(z))",
    "log_softmax": "log_softmax(z)",
}

_FILE = '''\
"""The network {shape}: {sigma}.

Written by fastbackprop {version}; needs NumPy and nothing else.
"""

import base64
import math

import numpy as np


def predict(X):
    """a^L for every row of X, (n_samples, {n_in}) -> (n_samples, {n_out}), {dtype}."""
    a = np.asarray(X, np.{dtype})
    if a.ndim != 2 or a.shape[1] != {n_in}:
        raise ValueError(f"X must have shape (n_samples, {n_in}); got {{a.shape}}")
    with np.errstate(over="ignore", under="ignore"):
        for W, b, sigma in LAYERS:
            a = sigma(a @ W + b)
    return a


def sigmoid(z):
    e = np.exp(-abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def expm1_below(z):
    return np.expm1(np.minimum(z, 0))


def softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-abs(z)))


def erf(z):
    return np.array([math.erf(v) for v in z.ravel()], z.dtype).reshape(z.shape)


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def layer_norm(z, epsilon):
    z = z - z[:, :1]
    z = z - z.mean(axis=1, keepdims=True)
    return z / np.sqrt((z * z).mean(axis=1, keepdims=True) + epsilon)


def array(text, *shape):
    return np.frombuffer(base64.b64decode(text), "{order}").reshape(shape).astype(np.{dtype})


LAYERS = [{layers}
]
'''

_LAYER = '''
    (
        array(
            """
{W}
            """,
            {m},
            {n},
        ),
        array(
            """
{b}
            """,
            {n},
        ),
        lambda z: {sigma},
    ),'''


def write_numpy(network: Writable, path: str | os.PathLike[str]) -> None:
    """Write the network as one Python file with a `predict(X)` that needs NumPy alone.

    The weights are in the file, as base64: exact. Outputs differ from `Network.predict` by
    rounding, and are of the network's dtype. The file is written in one piece or not at all.

    Parameters
    ----------
    network : Network
    path : str or path-like
        Replaced where it exists.

    Raises
    ------
    ValueError
        For parameters that are not finite, or an activation that `EXPRESSIONS` lacks.
    OSError
        Where the file cannot be written; what was there is still there then.
    """
    from fastbackprop import __version__

    sigma = network.machine.sigma
    order = network.dtype.newbyteorder("<")
    layers = ""
    for W, b, s in zip(network.weights, network.biases, sigma, strict=True):
        text = entry(EXPRESSIONS, s.inner, "NumPy source").format(*s.p)
        if s.normalised:
            text = f"(lambda z: {text})(layer_norm(z, {s.epsilon!r}))"
        W64, b64 = (textwrap.fill(_base64(values.astype(order)), 96) for values in (W, b))
        layers += _LAYER.format(W=W64, b=b64, m=len(W), n=len(b), sigma=text)
    text = _FILE.format(
        shape=" -> ".join(map(str, network.sizes)),
        sigma=", ".join(s.name for s in sigma),
        version=__version__,
        n_in=network.sizes[0],
        n_out=network.sizes[-1],
        dtype=network.dtype,
        order=order.str,
        layers=layers,
    )
    file = inputs.file_of(path, network.get_parameters())
    atomic.write(file, [text.encode()])


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
