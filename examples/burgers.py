"""A physics-informed network: Burgers' equation, whose solution becomes steep.

u_t + u u_x = nu u_xx for x in (-1, 1) and t in (0, 1), with u = -sin(pi x) at t = 0 and u = 0 at
x = -1 and 1; nu is 0.05 / pi. With 0.01 / pi (Raissi et al., 2019) it is steeper, and takes several
times as many steps. The network is u. Its cost is the mean of half the squared residual at points
inside, plus, times a weight, the mean of half the squared error at points where u is given. It is
trained by Adam, then by L-BFGS through SciPy. The error is that from the solution after Hopf (1950)
and Cole (1951), two integrals that are computed by quadrature.

Run it with `python examples/burgers.py`, or with the name of a file for a picture.
"""

import sys
from time import perf_counter

import numpy as np

import fastbackprop as fb

SIZES = [2, 32, 32, 32, 1]  # x and t, three layers, u
NU = 0.05 / np.pi
GIVEN_WEIGHT = 20.0
DIRECTIONS = np.eye(2)  # along x and along t


def solution(x, t, n_nodes=200):
    """u(x, t) of arrays of one shape: with f(y) = exp(-cos(pi y) / (2 pi nu)),

    -int sin(pi (x - s)) f(x - s) w(s) ds / int f(x - s) w(s) ds,    w(s) = exp(-s^2 / (4 nu t)).
    """
    nodes, weights = np.polynomial.hermite.hermgauss(n_nodes)
    y = x[..., None] - np.sqrt(4 * NU * t)[..., None] * nodes
    exponent = -np.cos(np.pi * y) / (2 * np.pi * NU)
    f = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    return -np.sum(np.sin(np.pi * y) * f, axis=-1) / np.sum(f, axis=-1)


def points(n, rng):
    """(x, t) inside, half of them near x = 0; (x, t) where u is given, and u there."""
    inside = rng.uniform([-1, 0], 1, (n, 2))
    inside[::2, 0] = 0.1 * rng.normal(size=len(inside[::2])).clip(-9, 9)
    m = max(n // 10, 4)
    start = np.stack([np.linspace(-1, 1, m), np.zeros(m)], axis=1)
    sides = np.stack([np.tile([-1.0, 1.0], m // 2), rng.random(m // 2 * 2)], axis=1)
    given = np.concatenate([start, sides])
    u = np.where(given[:, 1] == 0, -np.sin(np.pi * given[:, 0]), 0.0)
    return inside, given, u[:, None]


def cost_and_gradient(net, inside, given, u_given):
    n, m = len(inside), len(given)
    u, (u_x, u_t), (u_xx, _) = net.jet(inside, DIRECTIONS)
    residual = u_t + u * u_x - NU * u_xx
    of_residual = residual / n
    gradient, _ = net.jet_backward(
        inside,
        DIRECTIONS,
        of_residual * u_x,
        [of_residual * u, of_residual],
        [-NU * of_residual, np.zeros_like(u)],
    )
    cost_given, _, gradient_given = net.gradient_sums(given, u_given)
    cost = 0.5 * np.mean(residual**2) + GIVEN_WEIGHT / m * cost_given
    return cost, gradient + GIVEN_WEIGHT / m * gradient_given


def adam(net, function, steps):
    trainer = net.trainer(fb.Adam(fb.Cosine(3e-3, epochs=steps)))
    for _ in range(steps):
        trainer.apply(function(net)[1])


def lbfgs(net, function, steps):
    options = {"maxcor": 50, "ftol": 0.0, "gtol": 1e-9, "maxfun": 2 * steps}
    fb.minimize(net, function, iterations=steps, options=options)


def error(net, n=101):
    """Of u on a grid, relative to the root mean square of u; and the largest."""
    x, t = np.meshgrid(np.linspace(-1, 1, n), np.linspace(0, 1, n)[1:])
    u = solution(x, t).reshape(-1, 1)
    difference = net.predict(np.stack([x, t], axis=-1).reshape(-1, 2)) - u
    return np.linalg.norm(difference) / np.linalg.norm(u), np.abs(difference).max()


def draw(net, file):
    from matplotlib.figure import Figure

    x, t = np.linspace(-1, 1, 401), np.linspace(0, 1, 101)
    X, T = np.meshgrid(x, t)
    u = net.predict(np.stack([X, T], axis=-1).reshape(-1, 2)).reshape(X.shape)
    figure = Figure((9, 3.4), layout="constrained")
    field, lines = figure.subplots(1, 2)
    image = field.pcolormesh(t, x, u.T, shading="gouraud", cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(image, ax=field, label="u, network")
    field.set(xlabel="t", ylabel="x")
    for time in (0.25, 0.5, 1.0):
        ref = solution(x, np.full_like(x, time))
        (line,) = lines.plot(x, u[round(100 * time)], lw=2, label=f"t = {time}")
        lines.plot(x, ref, ":", color="k", lw=1)
        field.axvline(time, color=line.get_color(), lw=1)
    lines.set(xlabel="x", ylabel="u; dotted: the solution")
    lines.legend()
    figure.savefig(file, dpi=120)


def main(n=1500, adam_steps=500, lbfgs_steps=1500, file=None):
    net = fb.Network(SIZES, hidden="tanh", dtype="float64", rng=0)
    data = points(n, np.random.default_rng(0))
    function = lambda net: cost_and_gradient(net, *data)  # noqa: E731
    for name, train, steps in (("Adam", adam, adam_steps), ("L-BFGS", lbfgs, lbfgs_steps)):
        start = perf_counter()
        train(net, function, steps)
        seconds = perf_counter() - start
        (relative, largest), (cost, _) = error(net), function(net)
        print(
            f"{name:8}{steps:6} steps {seconds:7.1f} s   cost {cost:.1e}   error {relative:.1e}, "
            f"at most {largest:.1e}",
            flush=True,
        )
    if file:
        draw(net, file)
    return net


if __name__ == "__main__":
    main(file=sys.argv[1] if len(sys.argv) > 1 else None)
