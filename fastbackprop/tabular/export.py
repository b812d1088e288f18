"""The whole model, preprocessing included, as one Python file that needs NumPy alone."""

from __future__ import annotations

import base64
import inspect
import json
import os
import textwrap
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic
from fastbackprop.formats.numpy_source import functions_of
from fastbackprop.tabular import features, standalone
from fastbackprop.version import __version__

_FILE = '''\
"""{title}

Written by fastbackprop {version}; needs NumPy and nothing else.

{usage}
"""

import base64
import json
import math  # noqa: F401
from typing import Any

import numpy as np

{features}{standalone}{functions}

def _loaded(value):
    """Arrays of what the file has as text."""
    if isinstance(value, dict) and "base64" in value:
        values = np.frombuffer(base64.b64decode(value["base64"]), value["dtype"])
        return values.reshape(value["shape"])
    if isinstance(value, dict):
        return {{key: _loaded(item) for key, item in value.items()}}
    return [_loaded(item) for item in value] if isinstance(value, list) else value


MODEL = _loaded(
    json.loads(
        r"""
{model}
"""
    )
)
MODEL["networks"] = [
    [(W, b, globals()[sigma]) for W, b, sigma in network] for network in MODEL["networks"]
]

{functions_of_user}'''

_CLASSIFIER = '''
def predict_proba(columns):
    """Probabilities of `MODEL["classes"]`, (n, n_classes)."""
    return outputs(MODEL, columns)


def predict(columns):
    """The most probable class of each row, (n,)."""
    return np.asarray(MODEL["classes"])[predict_proba(columns).argmax(axis=1)]
'''

_REGRESSOR = '''
def predict(columns):
    """The expected target of each row, (n,) or (n, n_targets)."""
    Y = outputs(MODEL, columns)
    return Y[:, 0] if MODEL["one"] else Y
'''


def write_numpy(model: dict[str, Any], networks: Any, path: str | os.PathLike[str]) -> None:
    """Write the file; `model` is that of `standalone.outputs`, without its networks.

    Raises OSError where it cannot be written; the old one is still there then.
    """
    names, functions = functions_of(s for network in networks for s in network.machine.sigma)
    layers = [
        [
            [W, b, names[s]]
            for W, b, s in zip(net.weights, net.biases, net.machine.sigma, strict=True)
        ]
        for net in networks
    ]
    is_classifier = model["power"] is not None
    used = [name for name, kind in model["kinds"].items() if kind is not None]
    text = _FILE.format(
        title=f"A model of {len(networks)} networks for the columns of a table.",
        version=__version__,
        usage=textwrap.fill(
            f"predict(columns) takes a dict, or a frame, with the columns "
            f"{', '.join(map(ascii, used))}; or a matrix with all columns of the training.",
            96,
        ).translate({ord("\\"): "/", ord('"'): "'"}),
        features=_body(features),
        standalone=_body(standalone),
        functions=functions,
        model=json.dumps(_plain(model | {"networks": layers})),
        functions_of_user=_CLASSIFIER if is_classifier else _REGRESSOR,
    )
    atomic.write(inputs.file_of(path, np.zeros(0)), [text.encode()])


def _body(module: Any) -> str:
    """The functions and constants of a module, without its docstring and imports."""
    source = inspect.getsource(module)
    _, _, body = source.partition("import numpy as np\n")
    lines = [line for line in body.splitlines() if not line.startswith("from fastbackprop")]
    return "\n".join(lines).strip("\n") + "\n\n\n"


def _plain(value: Any) -> Any:
    """What JSON can hold: arrays as base64."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        return value.tolist()
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        text = base64.b64encode(array.tobytes()).decode()
        return {"base64": text, "dtype": array.dtype.str, "shape": list(value.shape)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
