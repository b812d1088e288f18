"""A network, or an ensemble, as one C99 file: constant weights, no heap, no library but libm."""

import os
import re
import textwrap
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic
from fastbackprop.formats.dense import Writable, all_parameters, shares
from fastbackprop.formats.expressions import TEMPLATES, expression, graph, said, shared
from fastbackprop.formats.scaling import Scaling, scaling
from fastbackprop.functions import Activation
from fastbackprop.functions.symbols import ELEMENTARY, REDUCTIONS, Symbol, Z, is_leaf, nodes
from fastbackprop.version import __version__

# Functions of libm get an f where the network is float32.
FUNCTIONS = {
    **{name: name for name in ELEMENTARY},
    **{"absolute": "fabs", "maximum": "fmax", "minimum": "fmin", "power": "pow"},
}
LOGIC = {"logical_and": "({} && {})", "logical_or": "({} || {})", "logical_not": "(!{})"}

# Its start, a step, and the end; r is the result so far, x a neuron's part in it.
LOOPS = {
    "largest": ("-INFINITY", "{r} = fmax{f}({r}, {x})", ""),
    "total": ("0", "{r} += {x}", ""),
    "mean": ("0", "{r} += {x}", "{r} /= (real)n;"),
    "first": ("0", "{r} = {x}", ""),
}

_FILE = """\
/* {what}.

   Written by fastbackprop {version}. C99, to be linked with -lm. It keeps no state and takes some
   {stack} bytes of stack: any number of threads may call it. Declare it elsewhere as

       void {name}(const {real} x[{n_in}], {real} out[{n_out}]);

   x     one sample, {n_in} numbers; may be the same memory as out
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
    real {layers};
{body}\
    for (int k = 0; k < {n_out}; k++) out[k] = {out};
}}
"""
_ADD = "    for (int k = 0; k < {n}; k++) mean[k] += {weight} * {a}[k];\n"
_SCALE_INPUTS = """\
    for (int j = 0; j < {n}; j++) scaled[j] = (x[j] - shift_of_inputs[j]) / scale_of_inputs[j];
"""


def write_c(
    network: Any,
    path: str | os.PathLike[str],
    *,
    name: str = "predict",
    scaler: Any = None,
    target_scaler: Any = None,
) -> None:
    """Write the network as one C99 file with a function of one sample.

    Of an ensemble the function gives the mean that its `predict` gives.

    `void NAME(const T x[n_0], T out[n_L])`, where T is float or double as the network's dtype says.
    The weights are constants of the file; it allocates nothing, keeps no state and needs libm only.
    The sums have the order of the "loops" engine; outputs differ from `predict` by rounding. The
    file is written in one piece or not at all.

    Parameters
    ----------
    network : Network or Ensemble
    path : str or path-like
        Replaced where it exists.
    name : str
        Of the function, a C identifier.
    scaler, target_scaler : scaler of scikit-learn, or pair (shift, scale), optional
        Fitted scalers of the inputs and of the targets: the function then takes inputs as they
        come, x becoming (x - shift) / scale, and returns targets, a scale + shift.

    Raises
    ------
    ValueError
        For a name that C does not take, parameters that are not finite, or an activation
        of your own whose formula cannot be recorded.
    OSError
        Where the file cannot be written; the old one is still there then.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError(f"name must be a C identifier, such as 'predict'; got {name!r}")
    parts = shares(network)
    file = inputs.file_of(path, all_parameters(parts))
    sizes = parts[0].network.sizes
    before = scaling(scaler, sizes[0], "scaler")
    after = scaling(target_scaler, sizes[-1], "target_scaler")
    atomic.write(file, [c_source(network, name, before, after).encode()])


def c_source(
    network: Any, name: str, before: Scaling | None = None, after: Scaling | None = None
) -> str:
    """The text of the file."""
    parts = shares(network)
    file = _Parts(parts[0].network.dtype)
    n_in, n_out = parts[0].network.sizes[0], parts[0].network.sizes[-1]
    for of, values in (("inputs", before), ("outputs", after)):
        for part, array in values._asdict().items() if values else ():
            file.constants += _constant(f"{part}_of_{of}", array.astype(file.dtype))
    body, x = (_SCALE_INPUTS.format(n=n_in), "scaled") if before else ("", "x")
    arrays = {"scaled": n_in} if before else {}
    if len(parts) == 1:
        text, a = file.layers(parts[0].network, x)
        body += text
    else:
        a, arrays["mean"] = "mean", n_out
        body += f"    for (int k = 0; k < {n_out}; k++) mean[k] = 0;\n"
        for k, (member, weight) in enumerate(parts, 1):
            text, z = file.layers(member, x, f"_of_{k}")
            share = _decimal(file.dtype.type(weight)) + file.suffix
            body += text + _ADD.format(n=n_out, weight=share, a=z)
    arrays = {f"z{i}": n for i, n in enumerate(file.widths) if n} | arrays
    return _FILE.format(
        what=said(parts),
        version=__version__,
        name=name,
        real="float" if file.dtype == np.float32 else "double",
        n_in=n_in,
        n_out=n_out,
        stack=sum(arrays.values()) * file.dtype.itemsize,
        functions="\n".join(text for _, text in file.functions.values()),
        constants=file.constants,
        layers=", ".join(f"{array}[{n}]" for array, n in arrays.items()),
        body=body,
        out=f"{a}[k] * scale_of_outputs[k] + shift_of_outputs[k]" if after else f"{a}[k]",
    )


class _Parts:
    """What the layers of some networks need in a file."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype, self.suffix = dtype, "f" if dtype == np.float32 else ""
        self.constants = ""
        self.functions: dict[Activation, tuple[str, str]] = {}  # name and text
        self.widths = [0, 0]  # of z0 and z1

    def layers(self, network: Writable, a: str, of: str = "") -> tuple[str, str]:
        """Statements that take a through the layers, and the name of the result."""
        body, sigma = "", network.machine.sigma
        for l, (W, b, s) in enumerate(zip(network.weights, network.biases, sigma, strict=True), 1):
            z, (m, n) = f"z{l % 2}", W.shape
            self.widths[l % 2] = max(self.widths[l % 2], n)
            self.constants += _constant(f"w{l}{of}", W) + _constant(f"b{l}{of}", b)
            body += f"    weighted_input({m}, {n}, {a}, w{l}{of}, b{l}{of}, {z});\n"
            if s not in self.functions:
                number, inner = len(self.functions) + 1, re.sub(r"[^A-Za-z0-9_]", "_", s.inner.name)
                f, root = f"sigma_{number}_{inner}", graph(s, "C source")
                self.functions[s] = f, _function(f, root, self.dtype == np.float32)
            body += f"    {self.functions[s][0]}({n}, {z});\n"
            a = z
        return body, a


def _function(f: str, root: Symbol, single: bool) -> str:
    """A C function that takes the z of a layer through sigma, in place."""
    suffix = "f" if single else ""
    templates = TEMPLATES | LOGIC | {"where": "({} ? {} : {})"}
    for word, name in FUNCTIONS.items():
        arguments = "{}, {}" if word in ("maximum", "minimum", "power") else "{}"
        templates[word] = f"{name}{suffix}({arguments})"

    def decimal(value: float) -> str:
        digits = "INFINITY" if np.isinf(value) else repr(abs(value)) + suffix
        return digits if value >= 0 else f"(-{digits})"

    names: dict[Symbol, str] = {Z: "z"}
    of_each = {Z}  # symbols that differ from neuron to neuron

    def text(node: Symbol, more: dict[Symbol, str]) -> str:
        return expression(node, templates, decimal, names | more)

    def loop(target: Symbol, statement: str, n: str = "n") -> list[str]:
        more: dict[Symbol, str] = {}
        lines = [f"    for (int i = 0; i < {n}; i++) {{", "        const real z = z_l[i];"]
        for node in shared(target, lambda node: node not in names):
            if not node.is_condition:
                lines.append(f"        const real t{len(more) + 1} = {text(node, more)};")
                more[node] = f"t{len(more) + 1}"
        return [*lines, f"        {statement.format(x=text(target, more))};", "    }"]

    lines: list[str] = []
    for node in nodes(root):
        if node.word in REDUCTIONS:
            r, (start, statement, end) = f"r{len(names)}", LOOPS[node.word]
            statement = statement.format(r=r, x="{x}", f=suffix)
            lines.append(f"    real {r} = {start};")
            lines += loop(node.parts[0], statement, "1" if node.word == "first" else "n")
            lines += [f"    {end.format(r=r)}"] * bool(end)
            names[node] = r
        elif of_each & {*node.parts}:
            of_each.add(node)
        elif not is_leaf(node):
            r = f"r{len(names)}"
            lines.append(f"    const real {r} = {text(node, {})};")
            names[node] = r
    lines += loop(root, "z_l[i] = {x}")
    body = "\n".join(lines)
    return f"static void {f}(int n, real *z_l)\n{{\n{body}\n}}\n"


def _decimal(value: float) -> str:
    """Shortest digits with a point, as C's floating constants are recognised by."""
    return np.format_float_scientific(value, trim="0")


def _constant(name: str, values: np.ndarray) -> str:
    """A constant array; NumPy's shortest digits are read back as the same number."""
    suffix = "f" if values.dtype == np.float32 else ""
    digits = [_decimal(v) + suffix for v in values.ravel()]
    lines = textwrap.fill(", ".join(digits), 98, initial_indent="    ", subsequent_indent="    ")
    return f"static const real {name}[{values.size}] = {{\n{lines}\n}};\n"
