"""A network as the right-hand side of an ODE: x' = f(x).

A network learns the equation of motion of a pendulum from samples. Then the Runge-Kutta method
integrates one swing, with four calls of the network per step, each with one row. The same loop runs
with the network as a compiled function (`Network.as_njit`), in NumPy, and in PyTorch and JAX if
these are installed. All must reach the same end point. Run it with `python examples/ode.py`.
"""

from time import perf_counter

import numba
import numpy as np

import fastbackprop as fb

STEP, STEPS = 0.01, 2000
START = np.array([2.0, 0.0])  # angle and angular velocity


def law(x):
    """Equation of motion of the pendulum, (n, 2) -> (n, 2)."""
    return np.stack([x[:, 1], -np.sin(x[:, 0])], axis=1)


def learned():
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, (2000, 2))
    net = fb.Network([2, 32, 32, 2], hidden="tanh", dtype="float64", rng=0)
    for rate in (3e-3, 1e-3, 1e-4):
        net.fit(X, law(X), epochs=200, optimizer=fb.Adam(learning_rate=rate))
    print(f"{net}\nmean cost {net.evaluate(X, law(X)):.1e}\n")
    return net


# --- the solver ----------------------------------------------------------------------------------


def runge_kutta(f, x, h, steps):
    """Integrate x' = f(x); f returns a new array."""
    for _ in range(steps):
        k1 = f(x)
        k2 = f(x + h / 2 * k1)
        k3 = f(x + h / 2 * k2)
        k4 = f(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def compiled_solver(net):
    """The same as one compiled function that calls the network and allocates nothing per step."""
    f = net.as_njit()

    @numba.njit
    def solve(x, h, steps):
        x, y, k, total = x.copy(), x.copy(), np.empty_like(x), np.empty_like(x)
        for _ in range(steps):
            f(x, k)
            for i in range(x.size):
                total[i] = k[i]
                y[i] = x[i] + h / 2 * k[i]
            f(y, k)
            for i in range(x.size):
                total[i] += 2 * k[i]
                y[i] = x[i] + h / 2 * k[i]
            f(y, k)
            for i in range(x.size):
                total[i] += 2 * k[i]
                y[i] = x[i] + h * k[i]
            f(y, k)
            for i in range(x.size):
                x[i] += h / 6 * (total[i] + k[i])
        return x

    return lambda: solve(START, STEP, STEPS)


# --- the same loop in other libraries ------------------------------------------------------------


def with_numpy(net):
    layers = [(W.copy(), b.copy()) for W, b in zip(net.weights, net.biases, strict=True)]

    def f(x):
        for W, b in layers[:-1]:
            x = np.tanh(x @ W + b)
        W, b = layers[-1]
        return x @ W + b

    return lambda: runge_kutta(f, START, STEP, STEPS)


def with_predict(net):
    return lambda: runge_kutta(net.predict, START[None], STEP, STEPS)[0]


def with_torch(net):
    import torch

    torch.set_num_threads(1)
    module = net.to_torch()

    def solve():
        with torch.inference_mode():
            return runge_kutta(module, torch.from_numpy(START), STEP, STEPS).numpy()

    return solve


def jax_network(net):
    import jax

    jax.config.update("jax_enable_x64", True)
    layers = jax.device_put(list(zip(net.weights, net.biases, strict=True)))

    def f(x):
        for W, b in layers[:-1]:
            x = jax.numpy.tanh(x @ W + b)
        W, b = layers[-1]
        return x @ W + b

    return jax, f


def with_jax(net):
    """JAX compiles f; the loop runs in Python."""
    jax, f = jax_network(net)
    f = jax.jit(f)
    return lambda: np.asarray(runge_kutta(f, jax.numpy.asarray(START), STEP, STEPS))


def with_jax_loop(net):
    """JAX compiles f and the loop."""
    jax, f = jax_network(net)
    step = lambda _, x: runge_kutta(f, x, STEP, 1)  # noqa: E731
    solve = jax.jit(lambda x: jax.lax.fori_loop(0, STEPS, step, x))
    return lambda: np.asarray(solve(START))


SYSTEMS = {
    "fastbackprop: as_njit in a compiled loop": compiled_solver,
    "JAX: f and loop in one jit": with_jax_loop,
    "fastbackprop: predict from Python": with_predict,
    "NumPy": with_numpy,
    "JAX: jit of f, loop in Python": with_jax,
    "PyTorch (eager)": with_torch,
}


def main():
    net = learned()
    reference = with_numpy(net)()
    truth = runge_kutta(lambda x: law(x[None])[0], START, STEP, STEPS)
    print(f"after {STEPS} steps of {STEP}: {reference}; with the exact equation {truth}\n")
    print(f"{'microseconds a step (four calls of the network)':50}{'':>8}  of the first")
    first = None
    for name, make in SYSTEMS.items():
        try:
            solve = make(net)
        except ModuleNotFoundError as error:
            print(f"{name:50}{error.name} is not installed")
            continue
        np.testing.assert_allclose(solve(), reference, rtol=1e-8)  # also compiles
        seconds = []
        for _ in range(5):
            start = perf_counter()
            solve()
            seconds.append(perf_counter() - start)
        step = min(seconds) / STEPS * 1e6
        first = first or step
        print(f"{name:50}{step:8.2f}{step / first:12.1f}x")


if __name__ == "__main__":
    main()
