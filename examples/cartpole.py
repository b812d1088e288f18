"""Reinforcement learning: a network balances a pole, by Q-learning with a loop of its own.

Deep Q-learning (Mnih et al., 2015) with a target network that follows slowly, and the action of
the next state chosen by the trained network (van Hasselt et al., 2016). The cart-pole (Barto et
al., 1983) is written below. Each step of the loop predicts one row, puts a transition into the
memory, and trains on a minibatch of earlier ones: the target of the action that was taken is
known, those of the others are NaN. The same loop runs with PyTorch if that is installed.

Run it with `python examples/cartpole.py`; it writes cartpole.png if Matplotlib is installed.
"""

import sys
from time import perf_counter

import numpy as np

import fastbackprop as fb

LIMIT, GOAL = 500, 475  # steps of an episode at most, and the mean of 20 tests to reach
SIZES, BATCH, DISCOUNT, RATE, FOLLOW = [4, 64, 64, 2], 64, 0.99, 1e-3, 0.01


class CartPole:
    """A pole on a cart: angles in radians, forces in newtons, steps of 20 ms."""

    def __init__(self, rng):
        self.rng = rng

    def reset(self):
        self.state, self.n_steps = self.rng.uniform(-0.05, 0.05, 4), 0
        return self.state.astype(np.float32)

    def step(self, action):
        """(state, whether the pole has fallen, whether the episode is over)."""
        self.state, self.n_steps = moved(self.state, action), self.n_steps + 1
        fallen = bool(has_fallen(self.state))
        return self.state.astype(np.float32), fallen, fallen or self.n_steps == LIMIT


def moved(state, action):
    """The next states of one pole, (4,), or of several, (n, 4)."""
    _, v, angle, spin = state.T
    force, sin, cos = np.where(action, 10.0, -10.0), np.sin(angle), np.cos(angle)
    push = (force + 0.05 * spin * spin * sin) / 1.1
    turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos * cos / 1.1))
    return state + 0.02 * np.array([v, push - 0.05 * turn * cos / 1.1, spin, turn]).T


def has_fallen(state):
    return (abs(state[..., 0]) > 2.4) | (abs(state[..., 2]) > np.pi / 15)


def tried(learner, n=20, seed=1):
    """Mean steps that n new poles stay up when the best action is always taken."""
    state = np.random.default_rng(seed).uniform(-0.05, 0.05, (n, 4))
    up, total = np.ones(n, bool), 0
    for _ in range(LIMIT):
        state = moved(state, learner.values(state.astype(np.float32)).argmax(axis=1))
        up &= ~has_fallen(state)
        total += up.sum()
        if not up.any():
            break
    return total / n


class Memory:
    """Transitions, the oldest replaced first."""

    def __init__(self, size):
        self.states, self.next_states = np.zeros((2, size, 4), np.float32)
        self.actions, self.fallen = np.zeros(size, int), np.zeros(size, np.float32)
        self.n = 0

    def add(self, state, action, next_state, fallen):
        i = self.n % len(self.actions)
        self.states[i], self.next_states[i] = state, next_state
        self.actions[i], self.fallen[i] = action, fallen
        self.n += 1

    def sample(self, rng):
        rows = rng.integers(0, min(self.n, len(self.actions)), BATCH)
        return self.states[rows], self.actions[rows], self.next_states[rows], self.fallen[rows]


# --- the learners ---------------------------------------------------------------------------------


class Fastbackprop:
    def __init__(self, seed):
        self.net = fb.Network(SIZES, cost=fb.Huber(1.0), rng=seed)
        self.target = fb.Network(SIZES, rng=seed)
        self.trainer = self.net.trainer(fb.Adam(RATE), missing_targets=True)
        self.pairs = [
            *zip(self.target.weights, self.net.weights, strict=True),
            *zip(self.target.biases, self.net.biases, strict=True),
        ]
        self.rows = np.arange(BATCH)

    def values(self, state):
        return self.net.predict(state)

    def learn(self, states, actions, next_states, fallen):
        best = self.net.predict(next_states).argmax(axis=1)
        future = self.target.predict(next_states)[self.rows, best]
        y = np.full((BATCH, 2), np.nan, np.float32)
        y[self.rows, actions] = DISCOUNT * (1 - fallen) * future - fallen
        self.trainer.step(states, y)
        for slow, fast in self.pairs:
            slow += FOLLOW * (fast - slow)


class Torch:
    def __init__(self, seed):
        import torch

        self.torch = torch
        torch.set_num_threads(1)
        start = fb.Network(SIZES, rng=seed)  # the same parameters
        self.net, self.target = start.to_torch(), start.to_torch()
        self.optimizer = torch.optim.Adam(self.net.parameters(), RATE)
        self.loss = torch.nn.HuberLoss(reduction="sum")

    def values(self, state):
        with self.torch.no_grad():
            return self.net(self.torch.from_numpy(state)).numpy()

    def learn(self, states, actions, next_states, fallen):
        torch = self.torch
        states, actions, next_states, fallen = map(
            torch.from_numpy, (states, actions, next_states, fallen)
        )
        with torch.no_grad():
            best = self.net(next_states).argmax(dim=1, keepdim=True)
            future = self.target(next_states).gather(1, best)[:, 0]
            y = DISCOUNT * (1 - fallen) * future - fallen
        self.optimizer.zero_grad()
        values = self.net(states).gather(1, actions[:, None])[:, 0]
        (self.loss(values, y) / BATCH).backward()
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, FOLLOW)


# --- the loop -------------------------------------------------------------------------------------


def play(learner, most_steps, seed=0):
    """Lengths of the episodes, means of the tests until the goal, and seconds of learning."""
    rng = np.random.default_rng(seed)
    pole, memory = CartPole(rng), Memory(20_000)
    lengths, tests, seconds = [], [], 0.0
    state = pole.reset()
    for step in range(1, most_steps + 1):
        began = perf_counter()
        curious = rng.random() < max(0.02, 1 - step / 3000)
        action = int(rng.integers(2) if curious else learner.values(state[None]).argmax())
        seconds += perf_counter() - began
        next_state, fallen, over = pole.step(action)
        memory.add(state, action, next_state, fallen)
        state = next_state
        if step >= 500:
            batch = memory.sample(rng)
            began = perf_counter()
            learner.learn(*batch)
            seconds += perf_counter() - began
        if over:
            lengths.append(pole.n_steps)
            state = pole.reset()
        if step % 1000 == 0:
            tests.append(tried(learner))
            if tests[-1] >= GOAL:
                break
    return lengths, tests, seconds


def picture(lengths, tests, path="cartpole.png"):
    from matplotlib.figure import Figure

    figure = Figure((7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.cumsum(lengths) / 1000, lengths, ".", color="0.7", label="episode of training")
    axes.plot(range(1, len(tests) + 1), tests, "o-", label="mean of 20 tests")
    axes.axhline(GOAL, color="0.5", ls=":", lw=1)
    axes.set(xlabel="thousand steps of training", ylabel="steps balanced")
    axes.legend()
    figure.savefig(path, dpi=150)


def main(most_steps=100_000):
    for name, make in {"fastbackprop": Fastbackprop, "PyTorch": Torch}.items():
        try:
            learner = make(0)
        except ModuleNotFoundError as error:
            print(f"{name}: {error.name} is not installed")
            continue
        lengths, tests, seconds = play(learner, most_steps)
        steps = 1000 * len(tests)
        print(
            f"{name}: the pole stays up for {tests[-1]:.0f} of {LIMIT} steps after {steps} steps, "
            f"{len(lengths)} episodes; learning took {seconds:.1f} s, "
            f"{seconds / steps * 1e6:.0f} us a step",
            flush=True,
        )
        if name == "fastbackprop":
            try:
                picture(lengths, tests)
            except ModuleNotFoundError:
                print("no picture: Matplotlib is not installed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
