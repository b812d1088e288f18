"""An evolution strategy balances a pole on a cart: no gradients, a population of networks.

The cart-pole of Barto, Sutton and Anderson (1983): a force of 10 N to either side on a cart of 1 kg
that carries a pole of 0.1 kg and 1 m. An episode ends when the pole is 12 degrees from upright, or
the cart 2.4 m from the middle, or after 500 steps of 20 ms. All networks act in one call, each on
the state of its own cart. The strategy is that of Salimans et al. (2017), with antithetic noise and
ranks.

    python examples/evolution.py
"""

import time

import numpy as np

import fastbackprop as fb

PAIRS, STEPS, GENERATIONS = 32, 500, 30
SIGMA, RATE = 0.5, 3.0  # of the noise, and of a step of the mean
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02


def moved(state: np.ndarray, push: np.ndarray) -> np.ndarray:
    """The states, (n, 4), after a step: place, its speed v, angle, its speed w."""
    _, v, angle, w = state.T
    force = np.where(push > 0, FORCE, -FORCE)
    total, sine, cosine = CART + POLE, np.sin(angle), np.cos(angle)
    part = (force + POLE * HALF_LENGTH * w**2 * sine) / total
    turning = (GRAVITY * sine - cosine * part) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / total))
    pushing = part - POLE * HALF_LENGTH * turning * cosine / total
    return state + SECONDS * np.column_stack([v, pushing, w, turning])


def steps_balanced(population: fb.Ensemble, rng: np.random.Generator) -> np.ndarray:
    """How long each network keeps its pole up, from a start near the middle."""
    n = len(population)
    state, up = rng.uniform(-0.05, 0.05, (n, 4)), np.ones(n, bool)
    steps = np.zeros(n)
    for _ in range(STEPS):
        push = population.each(state[:, None])[:, 0, 0]
        state = np.where(up[:, None], moved(state, push), state)
        up &= (abs(state[:, 0]) < 2.4) & (abs(state[:, 2]) < np.pi / 15)
        if not up.any():
            break
        steps += up
    return steps


def evolve(generations: int = GENERATIONS, seed: int = 0) -> list[float]:
    """The mean steps of each generation, until all carts reach the end."""
    rng = np.random.default_rng(seed)
    population = fb.Ensemble(
        [fb.Network([4, 8, 1], hidden="tanh", init="zeros") for _ in range(2 * PAIRS)]
    )
    mean = np.zeros(population.get_parameters().shape[1])
    means: list[float] = []
    for _ in range(generations):
        noise = rng.normal(size=(PAIRS, mean.size))
        noise = np.concatenate([noise, -noise])
        population.set_parameters(mean + SIGMA * noise)
        steps = steps_balanced(population, rng)
        means.append(float(steps.mean()))
        ranks = steps.argsort().argsort() / (len(steps) - 1) - 0.5
        mean += RATE * (ranks @ noise) / (len(steps) * SIGMA) * 2
        if steps.min() == STEPS:
            break
    return means


if __name__ == "__main__":
    began = time.perf_counter()
    means = evolve()
    for generation, steps in enumerate(means, 1):
        print(f"generation {generation:2d}: {steps:5.0f} steps of {STEPS} on average")
    print(f"{time.perf_counter() - began:.1f} s")
