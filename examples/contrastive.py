"""Two networks, one loss: pairs of views find each other (InfoNCE, van den Oord et al., 2018).

A hidden state is seen by two instruments, each with its own nonlinear response and noise. An
encoder for each learns to put both views of a state at the same place of the unit sphere, and
views of other states elsewhere, as CLIP does with images and captions (Radford et al., 2021). The
loss of a minibatch is across its samples: no sum over samples, so no built-in cost. Its gradient
by the outputs is ten lines of NumPy; `backward` and `apply` do the rest.

Run it with `python examples/contrastive.py`; PyTorch takes the same steps if it is installed.
"""

import sys
from time import perf_counter

import numpy as np

import fastbackprop as fb

STATE, VIEW, PLACE, BATCH, TEMPERATURE = 4, 20, 8, 128, 0.1
SIZES = [VIEW, 64, PLACE]


class Views:
    """Pairs of views of random states."""

    def __init__(self, rng):
        self.rng = rng
        self.A, self.B = rng.normal(size=(2, STATE, VIEW))

    def __call__(self, n):
        state = self.rng.normal(size=(n, STATE))
        noise = 0.1 * self.rng.normal(size=(2, n, VIEW))
        return [
            (response(state @ M) + e).astype(np.float32)
            for response, M, e in zip((np.tanh, np.sin), (self.A, self.B), noise, strict=True)
        ]


def on_sphere(a):
    """The places a / |a|, and the lengths."""
    length = np.sqrt((a * a).sum(axis=1, keepdims=True))
    return a / length, length


def softmax(logits, axis):
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def loss(a, b):
    """The mean cross-entropy of finding the partner, both ways, and its gradients by a and b."""
    (u, a_length), (v, b_length), n = on_sphere(a), on_sphere(b), len(a)
    logits = u @ v.T / np.float32(TEMPERATURE)
    rows, columns, same = softmax(logits, 1), softmax(logits, 0), np.arange(n)
    value = -np.log(rows[same, same] * columns[same, same]).mean() / 2
    slope = rows + columns
    slope[same, same] -= 2
    slope /= np.float32(2 * n * TEMPERATURE)
    du, dv = slope @ v, slope.T @ u
    da = (du - (du * u).sum(axis=1, keepdims=True) * u) / a_length
    db = (dv - (dv * v).sum(axis=1, keepdims=True) * v) / b_length
    return value, da, db


def found(a, b):
    """The part of the views that are closest to their partner."""
    nearest = (on_sphere(a)[0] @ on_sphere(b)[0].T).argmax(axis=1)
    return np.mean(nearest == np.arange(len(a)))


class Fastbackprop:
    def __init__(self):
        self.encoders = [fb.Network(SIZES, hidden="relu", rng=seed) for seed in (0, 1)]
        self.trainers = [encoder.trainer(fb.Adam(1e-3)) for encoder in self.encoders]

    def step(self, *views):
        value, *gradients = loss(*self.places(*views))
        for net, trainer, X, G in zip(self.encoders, self.trainers, views, gradients, strict=True):
            trainer.apply(net.backward(X, G).parameter_gradient)
        return value

    def places(self, *views):
        return [net.predict(X) for net, X in zip(self.encoders, views, strict=True)]


class Torch:
    def __init__(self):
        import torch

        self.torch = torch
        torch.set_num_threads(1)
        self.encoders = [fb.Network(SIZES, hidden="relu", rng=seed).to_torch() for seed in (0, 1)]
        parameters = [p for encoder in self.encoders for p in encoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, 1e-3)

    def step(self, *views):
        F = self.torch.nn.functional
        u, v = (
            F.normalize(net(self.torch.from_numpy(X)))
            for net, X in zip(self.encoders, views, strict=True)
        )
        logits, same = u @ v.T / TEMPERATURE, self.torch.arange(len(u))
        value = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return value.item()

    def places(self, *views):
        with self.torch.no_grad():
            return [
                net(self.torch.from_numpy(X)).numpy()
                for net, X in zip(self.encoders, views, strict=True)
            ]


def train(learner, n_steps):
    """The losses, the part of 500 new views that finds its partner before and after, seconds."""
    views = Views(np.random.default_rng(0))
    test = Views(np.random.default_rng(0))(500)
    batches = [views(BATCH) for _ in range(n_steps)]
    before = found(*learner.places(*test))
    began = perf_counter()
    losses = [learner.step(*batch) for batch in batches]
    seconds = perf_counter() - began
    return losses, before, found(*learner.places(*test)), seconds


def main(n_steps=3000):
    for name, make in {"fastbackprop": Fastbackprop, "PyTorch": Torch}.items():
        try:
            learner = make()
        except ModuleNotFoundError as error:
            print(f"{name}: {error.name} is not installed")
            continue
        losses, before, after, seconds = train(learner, n_steps)
        print(
            f"{name}: loss {losses[0]:.3f} -> {np.mean(losses[-50:]):.3f}; of 500 views "
            f"{before:.1%} -> {after:.1%} find their partner; {seconds / n_steps * 1e6:.0f} us a "
            f"step",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
