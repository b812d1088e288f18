"""A network as one C99 file: constant weights, no heap, no library but libm."""

import os
import re
import textwrap
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic
from fastbackprop.formats.dense import Writable, entry
from fastbackprop.functions import Activation, LayerNorm

# Of one number z; {0} is the activation's first parameter. Functions and constants are written as
# for double; where the network is float32 each gets its f.
EXPRESSIONS = {
    "identity": "z",
    "sigmoid": "z >= 0.0 ? 1.0 / (1.0 + exp(-z)) : exp(z) / (1.0 + exp(z))",
    "tanh": "tanh(z)",
    "relu": "z > 0.0 ? z : 0.0",
    "leaky_relu": "z > 0.0 ? z : {0} * z",
    "elu": "z > 0.0 ? z : {0} * expm1(z)",
    "celu": "z > 0.0 ? z : {0} * expm1(z / {0})",
    "selu": "1.0507009873554805 * (z > 0.0 ? z : 1.6732632423543772 * expm1(z))",
    "softplus": "fmax(z, 0.0) + log1p(exp(-fabs(z)))",
    "gelu": "0.5 * z * (1.0 + erf(z * 0.7071067811865476))",
    "gelu_tanh": "0.5 * z * (1.0 + tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)))",
    "silu": "z >= 0.0 ? z / (1.0 + exp(-z)) : z * exp(z) / (1.0 + exp(z))",
    "mish": "z * tanh(fmax(z, 0.0) + log1p(exp(-fabs(z))))",
    "softsign": "z / (1.0 + fabs(z))",
    "hard_sigmoid": "fmin(fmax(z + 3.0, 0.0), 6.0) / 6.0",
    "hard_tanh": "fmin(fmax(z, -1.0), 1.0)",
    "hard_swish": "z * fmin(fmax(z + 3.0, 0.0), 6.0) / 6.0",
    "relu6": "fmin(fmax(z, 0.0), 6.0)",
    "sin": "sin(z)",
    "gaussian": "exp(-z * z)",
    "exp": "exp(z)",
}

_LARGEST = """\
    real m = row[0], total = 0;
    for (int k = 1; k < n; k++) if (row[k] > m) m = row[k];
"""

# Of a whole row, in place.
ROWS = {
    "softmax": f"""{_LARGEST}\
    for (int k = 0; k < n; k++) total += row[k] = exp(row[k] - m);
    for (int k = 0; k < n; k++) row[k] /= total;""",
    "log_softmax": f"""{_LARGEST}\
    for (int k = 0; k < n; k++) total += exp(row[k] - m);
    total = log(total);
    for (int k = 0; k < n; k++) row[k] = (row[k] - m) - total;""",
}

FUNCTIONS = EXPRESSIONS | ROWS

# {0} is epsilon.
_NORMALISE = """\
    const real first = row[0];
    real mean = 0, variance = 0;
    for (int k = 0; k < n; k++) mean += (row[k] -= first);
    mean /= (real)n;
    for (int k = 0; k < n; k++) row[k] -= mean;
    for (int k = 0; k < n; k++) variance += row[k] * row[k];
    const real deviation = sqrt(variance / (real)n + {0});
    for (int k = 0; k < n; k++) row[k] /= deviation;
"""

_FILE = """\
/* The network {shape}: {sigma}.

   Written by fastbackprop {version}. C99, to be linked with -lm. It keeps no state and takes some
   {stack} bytes of stack: any number of threads may call it. Declare it elsewhere as

       void {name}(const {real} x[{n_in}], {real} out[{n_out}]);

   x     one row of input, {n_in} numbers; may be the same memory as out
   out   receives the outputs a^L, {n_out} numbers
*/

#include <math.h>

typedef {real} real;

void {name}(const real x[{n_in}], real out[{n_out}]);

{constants}
/* z_k = sum_j a_j w_jk + b_k */
static void weighted_input(int m, int n, const real *a, const real *w, const real *b, real *z)
{{
    for (int k = 0; k < n; k++) z[k] = b[k];
    for (int j = 0; j < m; j++)
        for (int k = 0; k < n; k++) z[k] += a[j] * w[j * n + k];
}}

{functions}
void {name}(const real x[{n_in}], real out[{n_out}])
{{
    real {rows};
{body}\
    for (int k = 0; k < {n_out}; k++) out[k] = {last}[k];
}}
"""


def write_c(network: Writable, path: str | os.PathLike[str], *, name: str = "predict") -> None:
    """Write the network as one C99 file with a function that takes a row and fills a row.

    `void NAME(const T x[n_0], T out[n_L])`, where T is float or double as the network's dtype says.
    The weights are constants of the file; it allocates nothing, keeps no state and needs libm only.
    The sums have the order of the "loops" engine; outputs differ from `predict` by rounding. The
    file is written in one piece or not at all.

    Parameters
    ----------
    network : Network
    path : str or path-like
        Replaced where it exists.
    name : str
        Of the function, a C identifier.

    Raises
    ------
    ValueError
        For a name that C does not take, parameters that are not finite, or an activation that
        `FUNCTIONS` lacks.
    OSError
        Where the file cannot be written; what was there is still there then.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError(f"name must be a C identifier, such as 'predict'; got {name!r}")
    file = inputs.file_of(path, network.get_parameters())
    atomic.write(file, [c_source(network, name).encode()])


def c_source(network: Writable, name: str) -> str:
    """The text of the file."""
    from fastbackprop import __version__

    sizes, sigma = network.sizes, network.machine.sigma
    single = network.dtype == np.float32
    functions: dict[Any, tuple[str, str]] = {}  # name and text, by what it computes
    constants, body, a = "", "", "x"
    for l, (W, b, s) in enumerate(zip(network.weights, network.biases, sigma, strict=True), 1):
        z, (m, n) = f"z{l % 2}", W.shape
        constants += _constant(f"w{l}", W) + _constant(f"b{l}", b)
        body += f"    weighted_input({m}, {n}, {a}, w{l}, b{l}, {z});\n"
        of = s.inner
        text = entry(FUNCTIONS, of, "C source")
        f = f"sigma_{len(functions) + 1}_{of.name}"
        f, _ = functions.setdefault(str(s), (f, _function(f, s, of.name, text, single)))
        body += f"    {f}({n}, {z});\n"
        a = z
    widths = [max(sizes[l::2][1 - l :], default=0) for l in (0, 1)]  # of z0 and z1, without n_0
    return _FILE.format(
        shape=" -> ".join(map(str, sizes)),
        sigma=", ".join(s.name for s in sigma),
        version=__version__,
        name=name,
        real="float" if single else "double",
        n_in=sizes[0],
        n_out=sizes[-1],
        stack=sum(widths) * network.dtype.itemsize,
        functions="\n".join(text for _, text in functions.values()),
        constants=constants,
        rows=", ".join(f"z{i}[{n}]" for i, n in enumerate(widths) if n),
        body=body,
        last=a,
    )


def _function(f: str, s: Activation, name: str, text: str, single: bool) -> str:
    """A C function that takes a row through sigma, in place."""
    if name in EXPRESSIONS:
        text = f"""\
    for (int i = 0; i < n; i++) {{
        const real z = row[i];
        row[i] = {text.format(*map(_decimal, s.p))};
    }}"""
    if isinstance(s, LayerNorm):
        text = _NORMALISE.format(_decimal(s.epsilon)) + text
    if single:
        text = re.sub(r"\b(sqrt|exp|expm1|log|log1p|tanh|erf|sin|fabs|fmin|fmax)\(", r"\1f(", text)
        text = re.sub(r"\b\d+\.\d+(e[-+]?\d+)?\b", r"\g<0>f", text)
    return f"static void {f}(int n, real *row)\n{{\n{text}\n}}\n"


def _decimal(value: float) -> str:
    """Shortest digits with a point, as C's floating constants are recognised by."""
    return np.format_float_scientific(value, trim="0")


def _constant(name: str, values: np.ndarray) -> str:
    """A constant array; NumPy's shortest digits are read back as the same number."""
    suffix = "f" if values.dtype == np.float32 else ""
    digits = [_decimal(v) + suffix for v in values.ravel()]
    lines = textwrap.fill(", ".join(digits), 98, initial_indent="    ", subsequent_indent="    ")
    return f"static const real {name}[{values.size}] = {{\n{lines}\n}};\n"
