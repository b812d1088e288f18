"""A physics-informed network: Poisson's equation, with a solution that is known.

u_xx + u_yy = f in the unit square, u = 0 on its boundary, and f such that u = sin(pi x) sin(pi y).
The network is u. Its cost is the mean of half the squared residual at points in the square, plus,
times a weight, the mean of half of u^2 at points of the boundary. It is trained by Adam, then by
L-BFGS through SciPy. Then one step, the cost and its gradient, is timed beside PyTorch and JAX
where these are installed. Run it with `python examples/poisson.py`.
"""

import sys
from time import perf_counter

import numpy as np

import fastbackprop as fb

SIZES = [2, 32, 32, 32, 1]
BOUNDARY_WEIGHT = 50.0
DIRECTIONS = np.eye(2)  # the sum of the second derivatives along them is the Laplacian


def solution(X):
    return np.prod(np.sin(np.pi * X), axis=1, keepdims=True)


def points(n, rng):
    """Of the square, (n, 2), with f there; of the boundary, (n / 5, 2)."""
    inside, edge = rng.random((n, 2)), rng.random((max(n // 5, 4), 2))
    side = np.arange(len(edge)) % 4
    edge[np.arange(len(edge)), side % 2] = side // 2
    return inside, -2 * np.pi**2 * solution(inside), edge


def cost_and_gradient(net, inside, f, edge):
    n, m = len(inside), len(edge)
    jet = net.jet(inside, DIRECTIONS)
    residual = jet.d2a.sum(axis=0) - f
    none = np.zeros_like(jet.a), np.zeros_like(jet.da)
    of_d2a = np.broadcast_to(residual / n, jet.d2a.shape)
    gradient, _ = net.jet_backward(inside, DIRECTIONS, *none, of_d2a)
    cost_of_edge, _, gradient_of_edge = net.gradient_sums(edge, np.zeros(m))
    cost = 0.5 * np.mean(residual**2) + BOUNDARY_WEIGHT / m * cost_of_edge
    return cost, gradient + BOUNDARY_WEIGHT / m * gradient_of_edge


# --- training ------------------------------------------------------------------------------------


def adam(net, function, steps, rate=3e-3):
    theta = net.get_parameters()
    mean, squares = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        _, gradient = function(net)
        mean += 0.1 * (gradient - mean)
        squares += 0.001 * (gradient**2 - squares)
        theta -= rate * mean / (1 - 0.9**t) / (np.sqrt(squares / (1 - 0.999**t)) + 1e-8)
        net.set_parameters(theta)


def lbfgs(net, function, steps):
    from scipy.optimize import minimize

    def of_parameters(theta):
        net.set_parameters(theta)
        return function(net)

    options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 50, "ftol": 0, "gtol": 1e-9}
    result = minimize(
        of_parameters, net.get_parameters(), jac=True, method="L-BFGS-B", options=options
    )
    net.set_parameters(result.x)


def error(net):
    """Of u on a grid, relative to the largest u, which is 1."""
    x = np.linspace(0, 1, 51)
    X = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    return float(np.abs(net.predict(X) - solution(X)).max())


# --- the same cost in other libraries ------------------------------------------------------------


def with_fastbackprop(net, data):
    return lambda: cost_and_gradient(net, *data)


def with_torch(net, data):
    """Derivatives by automatic differentiation, twice, as libraries for such networks do it."""
    import torch

    module = net.to_torch()
    inside, f, edge = (torch.from_numpy(array) for array in data)
    inside.requires_grad_()
    parameters = list(module.parameters())

    def step():
        (slopes,) = torch.autograd.grad(module(inside).sum(), inside, create_graph=True)
        second = [
            torch.autograd.grad(slopes[:, j].sum(), inside, create_graph=True)[0][:, j]
            for j in range(2)
        ]
        cost = 0.5 * ((second[0] + second[1])[:, None] - f).square().mean()
        cost = cost + 0.5 * BOUNDARY_WEIGHT * module(edge).square().mean()
        gradients = torch.autograd.grad(cost, parameters)
        return cost.item(), torch.cat([g.t().flatten() for g in gradients]).numpy()

    return step


def with_jax(net, data):
    """All in one jit. `jax.hessian` took half the time of `jvp` of `jvp`, and of `jet`."""
    import jax

    jnp = jax.numpy
    jax.config.update("jax_enable_x64", True)
    inside, f, edge = map(jnp.asarray, data)

    def u(layers, X):
        for W, b in layers[:-1]:
            X = jnp.tanh(X @ W + b)
        W, b = layers[-1]
        return X @ W + b

    def cost(layers):
        laplacian = lambda x: jnp.trace(jax.hessian(lambda x: u(layers, x)[0])(x))  # noqa: E731
        residual = jax.vmap(laplacian)(inside)[:, None] - f
        of_edge = 0.5 * BOUNDARY_WEIGHT * jnp.mean(u(layers, edge) ** 2)
        return 0.5 * jnp.mean(residual**2) + of_edge

    layers = [tuple(map(jnp.asarray, pair)) for pair in zip(net.weights, net.biases, strict=True)]
    function = jax.jit(jax.value_and_grad(cost))

    def step():
        value, gradients = function(layers)
        return float(value), np.concatenate([np.ravel(g) for pair in gradients for g in pair])

    return step


SYSTEMS = {
    "fastbackprop": with_fastbackprop,
    "JAX, all in one jit": with_jax,
    "PyTorch": with_torch,
}


def compare(net, data, repeats=30):
    """Milliseconds of a step; all systems must have the same cost and gradient."""
    print(f"{'milliseconds a step':24}{'':>8}  of the first")
    cost, gradient = cost_and_gradient(net, *data)
    times = {}
    for name, make in SYSTEMS.items():
        try:
            step = make(net, data)
        except ModuleNotFoundError as missing:
            print(f"{name:24}{missing.name} is not installed")
            continue
        its_cost, its_gradient = step()  # compiles
        np.testing.assert_allclose(its_cost, cost, rtol=1e-9)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(its_gradient, gradient, rtol=0, atol=1e-9 * scale)
        seconds = []
        for _ in range(repeats):
            start = perf_counter()
            step()
            seconds.append(perf_counter() - start)
        times[name] = min(seconds) * 1e3
        first = next(iter(times.values()))
        print(f"{name:24}{times[name]:8.2f}{times[name] / first:12.1f}x")
    return times


def draw(net, file):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    x = np.linspace(0, 1, 101)
    X = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    u = net.predict(X)
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, values, title in zip(
        axes, (u, u - solution(X)), ("network u", "u - solution"), strict=True
    ):
        image = axis.pcolormesh(x, x, values.reshape(101, 101), shading="gouraud")
        figure.colorbar(image, ax=axis)
        axis.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def main(n=1000, adam_steps=1000, lbfgs_steps=1000, file=None):
    rng = np.random.default_rng(0)
    net = fb.Network(SIZES, hidden="tanh", dtype="float64", rng=0)
    data = points(n, rng)
    function = lambda net: cost_and_gradient(net, *data)  # noqa: E731
    for name, train, steps in (("Adam", adam, adam_steps), ("L-BFGS", lbfgs, lbfgs_steps)):
        start = perf_counter()
        train(net, function, steps)
        seconds = perf_counter() - start
        cost, _ = function(net)
        print(
            f"{name:8}{steps:6} steps {seconds:7.1f} s   cost {cost:.1e}   error {error(net):.1e}"
        )
    compare(net, data)
    if file:
        draw(net, file)
    return net


if __name__ == "__main__":
    main(file=sys.argv[1] if len(sys.argv) > 1 else None)
