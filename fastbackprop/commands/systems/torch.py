"""PyTorch: its layers, loss and optimisers, as its tutorials write the loop."""

import os
import shutil
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from fastbackprop.commands import require
from fastbackprop.commands.work import (
    ADAM_RATE,
    BETA_1,
    BETA_2,
    EPSILON,
    NOT_INSTALLED,
    SGD_RATE,
    System,
    Unavailable,
    Work,
    flat,
    repeated,
)


def _network(torch: ModuleType, work: Work) -> tuple[Any, list[Any]]:
    """The network up to z^L, with the initial weights, and its linear layers."""
    torch.set_num_threads(work.threads)
    sigma = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": torch.nn.GELU}[work.activation]
    dtype = getattr(torch, work.dtype)
    linear = [torch.nn.Linear(*W.shape, dtype=dtype) for W, _ in work.layers]
    _set_weights(torch, linear, work)
    modules = [module for layer in linear for module in (layer, sigma())]
    return torch.nn.Sequential(*modules[:-1]), linear


def _set_weights(torch: ModuleType, linear: list[Any], work: Work) -> None:
    with torch.no_grad():
        for layer, (W, b) in zip(linear, work.layers, strict=True):
            layer.weight.copy_(torch.from_numpy(W.T))
            layer.bias.copy_(torch.from_numpy(b))


def _check_compiler() -> None:
    compilers = (os.environ.get("CXX", "g++"), "clang++", "cl")
    if not any(map(shutil.which, compilers)):
        raise Unavailable("needs a C++ compiler")


def train(work: Work, compiled: bool = False) -> System:
    """The eager loop; `compiled` has network and cost in `torch.compile` and a fused optimiser."""
    torch = require("torch", NOT_INSTALLED)
    X, labels = map(torch.from_numpy, work.data)
    network, linear = _network(torch, work)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def cost(X: Any, labels: Any) -> Any:
        return cross_entropy(network(X), labels)

    if compiled:
        _check_compiler()
        torch.compiler.reset()  # the code of earlier shapes counts against a limit
        cost = torch.compile(cost)
    parameters = list(network.parameters())
    if work.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=SGD_RATE, fused=compiled)
    else:
        optimizer = torch.optim.Adam(
            parameters, ADAM_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=compiled
        )

    def reset() -> None:
        _set_weights(torch, linear, work)
        optimizer.state.clear()

    def run() -> None:
        size = work.batch_size
        for start in range(0, len(X), size):
            optimizer.zero_grad()
            cost(X[start : start + size], labels[start : start + size]).backward()
            optimizer.step()

    def result() -> Any:
        return flat((i.weight.detach().numpy().T, i.bias.detach().numpy()) for i in linear)

    return System(run, result, reset)


def together(work: Work) -> System:
    """The networks' matrices in stacks, one `baddbmm` a layer, and one optimiser for all."""
    torch = require("torch", NOT_INSTALLED)
    torch.set_num_threads(work.threads)
    X, labels = map(torch.from_numpy, work.data)
    each = [work.layers_of(k) for k in range(work.networks)]
    shapes = [
        (-1, *W.shape) if part == 0 else (-1, 1, len(b)) for W, b in each[0] for part in (0, 1)
    ]
    arrays = [[values for layer in layers for values in layer] for layers in each]
    stacks = [
        torch.from_numpy(np.stack(of_all)).reshape(shape)
        for of_all, shape in zip(zip(*arrays, strict=True), shapes, strict=True)
    ]
    parameters = [stack.clone().requires_grad_() for stack in stacks]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[work.optimizer]
    options: dict[str, Any] = {"lr": SGD_RATE}
    if work.optimizer == "adam":
        options = {"lr": ADAM_RATE, "betas": (BETA_1, BETA_2), "eps": EPSILON}
    optimizer = kind(parameters, fused=True, **options)
    sigma = getattr(torch.nn.functional, work.activation)

    def reset() -> None:
        with torch.no_grad():
            for parameter, stack in zip(parameters, stacks, strict=True):
                parameter.copy_(stack)
        optimizer.state.clear()

    def run() -> None:
        size, K = work.batch_size, work.networks
        for start in range(0, len(X), size):
            optimizer.zero_grad()
            a = X[start : start + size].expand(K, -1, -1)
            for W, b in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
                a = sigma(torch.baddbmm(b, a, W))
            z = torch.baddbmm(parameters[-1], a, parameters[-2])
            y = labels[start : start + size].repeat(K)
            cost = torch.nn.functional.cross_entropy(z.reshape(-1, z.shape[2]), y)
            (cost * K).backward()
            optimizer.step()

    def result() -> Any:
        parts = [p.detach().reshape(work.networks, -1) for p in parameters]
        return torch.cat(parts, dim=1).numpy().ravel()

    return System(run, result, reset)


def predict(work: Work) -> System:
    """Eager, in inference mode."""
    torch = require("torch", NOT_INSTALLED)
    layers, _ = _network(torch, work)
    network = torch.nn.Sequential(layers, torch.nn.Softmax(dim=1)).eval()
    system = repeated(work, partial(network, torch.from_numpy(work.data[0])))
    system.run = torch.inference_mode()(system.run)
    return system


def residual(work: Work) -> System:
    """Derivatives by automatic differentiation, twice, as libraries for such networks do it."""
    torch = require("torch", NOT_INSTALLED)
    network, _ = _network(torch, work)
    X, f = torch.from_numpy(work.data[0]).requires_grad_(), torch.from_numpy(work.f)
    grad, parameters = torch.autograd.grad, list(network.parameters())

    def laplacian(output: Any) -> Any:
        (slopes,) = grad(output.sum(), X, create_graph=True)
        columns = range(X.shape[1])
        return sum(grad(slopes[:, j].sum(), X, create_graph=True)[0][:, j] for j in columns)

    def gradient() -> Any:
        outputs = network(X)
        laplacians = [laplacian(outputs[:, k]) for k in range(outputs.shape[1])]
        cost = 0.5 * (torch.stack(laplacians, dim=1) - f).square().mean()
        # That by the last bias is zero: no derivative of the outputs depends on it.
        return grad(cost, parameters, allow_unused=True, materialize_grads=True)

    return repeated(work, gradient, lambda parts: flat([[part.T for part in parts]]))
