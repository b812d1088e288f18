"""PyTorch: a Sequential of Linear layers and activations, both ways, and state dicts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import safetensors
from fastbackprop.formats.dense import Dense, P, Writable, activation, dense, entry, layer_norm
from fastbackprop.functions import ACTIVATIONS, LayerNorm

# The module of torch.nn and its arguments. Of several values the first is written, all are read.
MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Identity", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": P}),
    "elu": ("ELU", {"alpha": P}),
    "celu": ("CELU", {"alpha": P}),
    "selu": ("SELU", {}),
    # Above its threshold PyTorch takes z: with its own, 20, that is 1e-10 off.
    "softplus": ("Softplus", {"beta": 1.0, "threshold": (40.0, 20.0)}),
    "gelu": ("GELU", {"approximate": "none"}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    "mish": ("Mish", {}),
    "softsign": ("Softsign", {}),
    "hard_sigmoid": ("Hardsigmoid", {}),
    "hard_tanh": ("Hardtanh", {"min_val": -1.0, "max_val": 1.0}),
    "hard_swish": ("Hardswish", {}),
    "relu6": ("ReLU6", {}),
    "softmax": ("Softmax", {"dim": (1, -1)}),
    "log_softmax": ("LogSoftmax", {"dim": (1, -1)}),
}

PASSED_OVER = {"Dropout", "AlphaDropout", "Identity"}


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ImportError("this needs PyTorch: pip install torch") from error
    return torch


def to_torch(network: Writable) -> Any:
    """`Network.to_torch`, which has the description."""
    sigma = network.machine.sigma
    entries = [entry(MODULES, s.inner, "PyTorch") for s in sigma]
    torch = _torch()
    modules, dtype = [], getattr(torch, network.dtype.name)
    layers = zip(network.weights, network.biases, sigma, entries, strict=True)
    for W, b, s, (name, arguments) in layers:
        linear = torch.nn.Linear(*W.shape, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(W.T)))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        modules.append(linear)
        if isinstance(s, LayerNorm):
            norm = {"eps": s.epsilon, "elementwise_affine": False, "dtype": dtype}
            modules.append(torch.nn.LayerNorm(W.shape[1], **norm))
        if s.inner.name != "identity":
            values = {key: _first(v, s.p) for key, v in arguments.items()}
            modules.append(getattr(torch.nn, name)(**values))
    return torch.nn.Sequential(*modules)


def _first(value: Any, p: tuple[float, ...]) -> Any:
    if value is P:
        return p[0]
    return value[0] if isinstance(value, tuple) else value


def from_torch(source: Any, options: Mapping[str, Any]) -> Dense:
    """`Network.from_torch`, which has the description."""
    if isinstance(source, str | os.PathLike):
        return _from_state(_read(source), options, os.fspath(source))
    if isinstance(source, Mapping):
        return _from_state(source, options, "the state dict")
    nn = _torch().nn
    if not isinstance(source, nn.Module):
        raise TypeError(
            f"from_torch takes a torch.nn.Sequential, a state dict or the path of a .safetensors "
            f"file; got {type(source).__name__}"
        )
    layers: list[tuple[Any, Any]] = []
    sigma: list[Any] = []
    epsilon: list[float | None] = []  # of the LayerNorms before sigma
    for name, module in _flat(nn, source, ""):
        if type(module) is nn.Linear:
            W = _array(module.weight).T
            layers.append((W, np.zeros(W.shape[1]) if module.bias is None else _array(module.bias)))
            sigma.append("identity")
            epsilon.append(None)
            continue
        norm = type(module) is nn.LayerNorm
        named = None if norm else _activation(nn, name, module)
        if not sigma or sigma[-1] != "identity" or (norm and epsilon[-1] is not None):
            raise ValueError(
                f"{name} ({type(module).__name__}) does not follow a Linear: an activation of "
                f"a layer must, at most with a LayerNorm in between"
            )
        if norm:
            _refuse_gain(name, module, layers[-1][0].shape[1])
            epsilon[-1] = module.eps
        else:
            sigma[-1] = named
    sigma = [s if e is None else layer_norm(s, e) for s, e in zip(sigma, epsilon, strict=True)]
    return dense(layers, sigma, options, "the module")


def _refuse_gain(where: str, module: Any, n: int) -> None:
    """Refuse a LayerNorm of other than n neurons, or with a gain or a shift."""
    parts = ((module.weight, 1), (module.bias, 0))
    plain = all(part is None or bool((part == value).all()) for part, value in parts)
    if tuple(module.normalized_shape) != (n,) or not plain:
        raise ValueError(
            f"{where} is {module}: from_torch knows those of all {n} neurons of a layer without "
            f"gain and shift, LayerNorm({n}, elementwise_affine=False), or with a gain of ones and "
            f"a shift of zeros"
        )


def _flat(nn: Any, module: Any, name: str) -> Any:
    """Names and modules, with those of Sequentials inside in place."""
    if type(module) is nn.Sequential:
        for key, child in module.named_children():
            yield from _flat(nn, child, f"{name}.{key}" if name else key)
    elif not (
        type(module).__name__ in PASSED_OVER
        or (type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1))
    ):
        yield name or "the module", module


def _activation(nn: Any, where: str, module: Any) -> Any:
    """The activation that this module is. Raises ValueError, with its name."""
    for name, (kind, arguments) in MODULES.items():
        if name not in ACTIVATIONS or type(module) is not getattr(nn, kind):
            continue
        actual = {key: getattr(module, key) for key in arguments}
        p = [actual[key] for key, value in arguments.items() if value is P]
        if all(
            value is P or actual[key] in (value if isinstance(value, tuple) else (value,))
            for key, value in arguments.items()
        ):
            return activation(name, p)
    known_modules = ", ".join(dict.fromkeys(kind for kind, _ in MODULES.values()))
    raise ValueError(
        f"{where} is {module}: from_torch knows Linear, LayerNorm without gain and shift, Dropout, "
        f"which it leaves out, and the activations {known_modules}. Of another kind of module, "
        f"whose layers come one after the other, pass its state_dict() and hidden="
    )


def _from_state(state: Mapping[str, Any], options: Mapping[str, Any], what: str) -> Dense:
    layers = []
    for key in state:
        if not isinstance(key, str):
            raise TypeError(f"the keys of {what} must be names of tensors; one is {key!r}")
        layer, _, kind = key.rpartition(".")
        dot = layer and "."
        if kind not in ("weight", "bias") or f"{layer}{dot}weight" not in state:
            raise ValueError(f"{key!r} in {what} is not the weight or the bias of a linear layer")
        if kind == "weight":
            W, b = _array(state[key]), state.get(f"{layer}{dot}bias")
            if W.ndim != 2:
                raise ValueError(
                    f"{key!r} in {what} must have shape (outputs, inputs); got {W.shape}"
                )
            layers.append((W.T, np.zeros(len(W)) if b is None else _array(b)))
    return dense(layers, None, options, what)


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors of a .safetensors file, in the natural order of their names: 2 before 10."""
    contents = safetensors.Contents(inputs.file_path(path, "source"))
    return {key: contents.read(key) for key in sorted(contents.tensors, key=_natural)}


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _array(values: Any) -> np.ndarray:
    """A NumPy array; half precision, which PyTorch may hold, as float32."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.element_size() < 4 else tensor).numpy()
    return np.asarray(values)
