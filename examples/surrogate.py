"""A surrogate of an expensive function, from few values with slopes.

Simulations with adjoints give the gradient of a result for the price of another result. Here the
function is Branin's, scaled to the unit square; 20 values are known with their slopes. One network
is trained on the values alone, another on both. The errors are on a grid. Run it with
`python examples/surrogate.py`.
"""

import sys

import numpy as np

import fastbackprop as fb

N = 20


def branin(X):
    """(n, 2) -> values (n, 1) and slopes (n, 1, 2)."""
    x, y = 15 * X[:, 0] - 5, 15 * X[:, 1]
    bend = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    wave = 10 * (1 - 1 / (8 * np.pi))
    value = (bend**2 + wave * np.cos(x) + 10 - 54.8) / 51.95  # mean 0, deviation 1
    by_x = 2 * bend * (5 / np.pi - 5.1 / (2 * np.pi**2) * x) - wave * np.sin(x)
    slopes = np.stack([by_x, 2 * bend], axis=1) * 15 / 51.95
    return value[:, None], slopes[:, None]


def samples(rng):
    """A Latin square: each row and each column of an N x N grid has one."""
    cells = np.stack([rng.permutation(N), rng.permutation(N)], axis=1)
    return (cells + rng.random((N, 2))) / N


def grid(n):
    x = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)


def trained(X, epochs, on_slopes):
    values, slopes = branin(X)
    net = fb.Network([2, 32, 32, 1], hidden="softplus", dtype="float64", rng=0)
    options = {"slopes": slopes, "slope_weight": 0.1} if on_slopes else {}
    rate = fb.Cosine(1e-2, epochs=epochs)
    net.fit(X, values, epochs=epochs, batch_size=None, optimizer=fb.Adam(rate), **options)
    return net


def draw(X, nets, file):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    points = grid(60)
    pictures = {"Branin's function": branin(points)[0]}
    pictures |= {title: net.predict(points) for title, net in nets.items()}
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, (title, values) in zip(axes, pictures.items(), strict=True):
        levels, x = np.linspace(-1.2, 5, 26), (np.arange(60) + 0.5) / 60
        axis.contourf(x, x, values.reshape(60, 60), levels=levels, extend="both")
        axis.plot(*X.T, "w.")
        axis.set(title=title, aspect="equal")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def main(epochs=4000, file=None):
    X, points = samples(np.random.default_rng(0)), grid(60)
    nets = {
        "values alone": trained(X, epochs, on_slopes=False),
        "values and slopes": trained(X, epochs, on_slopes=True),
    }
    errors = []
    for title, net in nets.items():
        difference = net.predict(points) - branin(points)[0]
        errors.append(float(np.sqrt(np.mean(difference**2))))
        print(f"{title:20} root mean square error {errors[-1]:.3f}")
    if file:
        draw(X, nets, file)
    return errors


if __name__ == "__main__":
    main(file=sys.argv[1] if len(sys.argv) > 1 else None)
