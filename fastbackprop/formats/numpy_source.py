"""A network or an ensemble as one Python file: for places where Numba cannot be, but NumPy."""

import base64
import os
import re
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic
from fastbackprop.formats.dense import Writable, all_parameters, shares
from fastbackprop.formats.expressions import TEMPLATES, expression, graph, safe, said, shared
from fastbackprop.formats.scaling import scaling
from fastbackprop.functions import Activation
from fastbackprop.functions.symbols import ELEMENTARY, Symbol, Z
from fastbackprop.version import __version__

# Python's numbers leave float32 float32.
WORDS = TEMPLATES | {
    **{name: f"np.{name}({{}})" for name in ELEMENTARY},
    **{name: f"np.{name}({{}}, {{}})" for name in ("maximum", "minimum")},
    **{"where": "np.where({}, {}, {})", "absolute": "abs({})", "power": "({} ** {})"},
    **{"logical_and": "({} & {})", "logical_or": "({} | {})", "logical_not": "(~{})"},
    "erf": "erf({})",
    **{"largest": "{}.max(axis=1, keepdims=True)", "total": "{}.sum(axis=1, keepdims=True)"},
    **{"mean": "{}.mean(axis=1, keepdims=True)", "first": "{}[:, :1]"},
}

_ERF = """

def erf(z):
    return np.array([math.erf(v) for v in z.ravel()], z.dtype).reshape(z.shape)
"""

_FILE = '''\
"""{what}.

Written by fastbackprop {version}; needs NumPy and nothing else.
"""

import base64
{math}
import numpy as np


def predict(X):
    """a^L for every row of X, (n_samples, {n_in}) -> (n_samples, {n_out}), {dtype}."""
    a = np.asarray(X, np.{dtype})
    if a.ndim != 2 or a.shape[1] != {n_in}:
        raise ValueError(f"X must have shape (n_samples, {n_in}); got {{a.shape}}")
    with np.errstate(all="ignore"):{scale}
{loop}
    return {out}
{functions}

def array(text, *shape):
    return np.frombuffer(base64.b64decode(text), "{order}").reshape(shape).astype(np.{dtype})


{layers}
{scaling}'''

_LOOP = """\
        for W, b, sigma in LAYERS:
            a = np.asarray(sigma(a @ W + b), np.{dtype})"""

_MEAN = """\
        X, mean = a, np.{dtype}(0)
        for weight, layers in MEMBERS:
            a = X
            for W, b, sigma in layers:
                a = np.asarray(sigma(a @ W + b), np.{dtype})
            mean = mean + np.{dtype}(weight) * a
        a = mean"""

_SCALING = """\
{NAME} = (
    array("{shift}", {n}),
    array("{scale}", {n}),
)
"""

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
        {sigma},
    ),'''


def write_numpy(
    network: Any,
    path: str | os.PathLike[str],
    *,
    scaler: Any = None,
    target_scaler: Any = None,
) -> None:
    """Write the network as one Python file with a `predict(X)` that needs NumPy alone.

    The weights are in the file, as base64: exact. Outputs differ from `Network.predict` by
    rounding, and are of the network's dtype. Of an ensemble they are the mean that its `predict`
    gives. The file is written in one piece or not at all.

    Parameters
    ----------
    network : Network or Ensemble
    path : str or path-like
        Replaced where it exists.
    scaler, target_scaler : scaler of scikit-learn, or pair (shift, scale), optional
        As for `write_c`.

    Raises
    ------
    ValueError
        For parameters that are not finite, or an activation of your own whose formula
        cannot be recorded.
    OSError
        Where the file cannot be written; the old one is still there then.
    """
    parts = shares(network)
    first = parts[0].network
    before = scaling(scaler, first.sizes[0], "scaler")
    after = scaling(target_scaler, first.sizes[-1], "target_scaler")
    order = first.dtype.newbyteorder("<")
    names, written = functions_of(s for part in parts for s in part.network.machine.sigma)
    members = [_layers(part.network, order, names) for part in parts]
    if len(parts) == 1:
        loop, layers = _LOOP, f"LAYERS = [{members[0]}\n]"
    else:
        texts = (f"({p.weight!r}, [{m}\n])," for p, m in zip(parts, members, strict=True))
        loop, layers = _MEAN, "MEMBERS = [\n" + "\n".join(texts) + "\n]"
    text = _FILE.format(
        what=said(parts),
        version=__version__,
        n_in=first.sizes[0],
        n_out=first.sizes[-1],
        dtype=first.dtype,
        order=order.str,
        math="import math\n" if _ERF in written else "",
        functions=written,
        layers=layers,
        loop=loop.format(dtype=first.dtype),
        scale="\n        a = (a - INPUTS[0]) / INPUTS[1]" if before else "",
        out="a * OUTPUTS[1] + OUTPUTS[0]" if after else "a",
        scaling="".join(
            _SCALING.format(
                NAME=name,
                shift=_base64(values.shift.astype(order)),
                scale=_base64(values.scale.astype(order)),
                n=len(values.shift),
            )
            for name, values in (("INPUTS", before), ("OUTPUTS", after))
            if values
        ),
    )
    file = inputs.file_of(path, all_parameters(parts))
    atomic.write(file, [text.encode()])


def functions_of(sigma: Iterable[Activation]) -> tuple[dict[Activation, str], str]:
    """The names of these activations in a file, and the text of their functions.

    The text needs `np`, and `math` where it has erf. Raises ValueError for a function of a user's
    own that cannot be recorded.
    """
    names = {s: f"sigma_{i}" for i, s in enumerate(dict.fromkeys(sigma), 1)}
    written = "".join(_function(name, s) for s, name in names.items())
    return names, (_ERF if re.search(r"\berf\(", written) else "") + written


def _layers(network: Writable, order: np.dtype, names: dict[Activation, str]) -> str:
    """The items of a list of layers."""
    layers = ""
    for W, b, s in zip(network.weights, network.biases, network.machine.sigma, strict=True):
        W64, b64 = (textwrap.fill(_base64(values.astype(order)), 96) for values in (W, b))
        layers += _LAYER.format(W=W64, b=b64, m=len(W), n=len(b), sigma=names[s])
    return layers


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _function(f: str, sigma: Activation) -> str:
    """sigma as a Python function of arrays."""
    root = graph(sigma, "NumPy source")
    names: dict[Symbol, str] = {Z: "z"}
    lines = [f"\n\ndef {f}(z):  # {safe(sigma.name)}"]
    for node in shared(root, lambda node: True):
        text = expression(node, WORDS, repr, names)
        names[node] = f"t{len(names)}"
        lines.append(f"    {names[node]} = {text}")
    return "\n".join([*lines, f"    return {expression(root, WORDS, repr, names)}", ""])
