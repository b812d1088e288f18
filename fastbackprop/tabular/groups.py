"""Groups of networks, one network for each fold, trained together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.functions import CrossEntropy
from fastbackprop.network import Network
from fastbackprop.optimizers import AdamW
from fastbackprop.optimizers.schedules import Cosine
from fastbackprop.sklearn.on_client import fit_many_of
from fastbackprop.tabular import recipe
from fastbackprop.tabular.blend import Blend
from fastbackprop.training import Dropout, EarlyStopping, Interrupted


@dataclass
class Problem:
    """What the networks learn: features, targets, weights and folds of the rows.

    F : ndarray, (n, n_features) float32
    targets : ndarray, (n, n_outputs) float32, or (n,) of labels
    s : ndarray, (n,), or None
    folds : ndarray, (n,)
    n_outputs : int
    """

    F: np.ndarray
    targets: np.ndarray
    s: np.ndarray | None
    folds: np.ndarray
    n_outputs: int

    @property
    def is_regression(self) -> bool:
        """Whether the targets are numbers."""
        return self.targets.dtype.kind == "f"

    def rows(self, some: np.ndarray) -> tuple[np.ndarray, ...]:
        """Features, targets, and weights if there are any, of some rows: copies."""
        weights = () if self.s is None else (self.s[some],)
        return self.F[some], self.targets[some], *weights


@dataclass
class Members:
    """Trained networks, and the group and fold of each."""

    networks: list[Network]
    group: np.ndarray
    fold: np.ndarray

    def without_fold(self, F: np.ndarray, k: int, n_threads: int | None) -> np.ndarray:
        """What each group's networks say that did not see fold k, (n_groups, n, n_outputs).

        float64; the mean over repetitions.
        """
        means = []
        for g in range(int(self.group.max()) + 1):
            own = np.flatnonzero((self.group == g) & (self.fold == k))
            each = [self.networks[i].predict(F, n_threads=n_threads) for i in own]
            means.append(np.mean(each, axis=0, dtype=np.float64))
        return np.stack(means)

    def held_out(self, problem: Problem, n_threads: int | None) -> np.ndarray:
        """What each group's networks say of the rows that they did not see, as `without_fold`."""
        n_groups = int(self.group.max()) + 1
        out = np.empty((n_groups, len(problem.F), problem.n_outputs))
        for k in range(int(self.fold.max()) + 1):
            rows = problem.folds == k
            out[:, rows] = self.without_fold(problem.F[rows], k, n_threads)
        return out

    def of_folds(self, F: np.ndarray, blend: Blend, n_threads: int | None) -> np.ndarray:
        """What the networks that did not see each fold say, blended, (n_folds, n, n_outputs)."""
        folds = range(int(self.fold.max()) + 1)
        return np.stack([blend(self.without_fold(F, k, n_threads)) for k in folds])


def new_network(problem: Problem, hidden: Sequence[int], seed: Any) -> Network:
    """N(0, 1 / n_in) weights and N(0, 1) biases; zeros in the last layer."""
    rng = np.random.default_rng(seed)
    sizes = [problem.F.shape[1], *hidden, problem.n_outputs]
    if problem.is_regression:
        network = Network(sizes, hidden="mish", init="lecun_normal", rng=rng)
    else:
        cost = CrossEntropy(label_smoothing=recipe.SMOOTHING)
        network = Network(
            sizes, hidden="selu", output="softmax", cost=cost, init="lecun_normal", rng=rng
        )
    for b in network.biases:
        b[...] = rng.normal(size=len(b))
    network.weights[-1][...], network.biases[-1][...] = 0, 0
    return network


def optimizer_of(problem: Problem, network: Network, epochs: int) -> AdamW:
    """A layer's rate is that of the recipe over the root of its inputs."""
    return AdamW(
        Cosine(recipe.RATE[problem.is_regression], epochs=epochs),
        betas=recipe.BETAS,
        weight_decay=recipe.DECAY,
        layer_rates=[n**-0.5 for n in network.sizes[:-1]],
    )


def train(
    problem: Problem,
    groups: Sequence[recipe.Group],
    seeds: Any,
    repeats: int = 1,
    client: Any = None,
    **options: Any,
) -> tuple[Members, Interrupted | None]:
    """Train a network for each group, fold and repetition, all at once; options of `fit_many`.

    After Ctrl-C the networks are as they were then, and the interrupt is returned. With a client it
    is raised, because networks of unfinished tasks are untrained.
    """
    n_folds = int(problem.folds.max()) + 1
    places = [(g, k, r) for r in range(repeats) for g in range(len(groups)) for k in range(n_folds)]
    networks = [new_network(problem, groups[g].hidden, [*seeds, g, k, r]) for g, k, r in places]
    of_each = [groups[g] for g, _, _ in places]
    rows = [np.flatnonzero(problem.folds != k) for k in range(n_folds)]
    held = [problem.rows(problem.folds == k) for k in range(n_folds)]
    interrupted = None
    try:
        fit_many_of(client)(
            networks,
            problem.F,
            problem.targets,
            rows=[rows[k] for _, k, _ in places],
            validation=[held[k] for _, k, _ in places],
            sample_weight=problem.s,
            epochs=[group.epochs for group in of_each],
            batch_size=[
                min(group.batch_size, len(rows[k]))
                for group, (_, k, _) in zip(of_each, places, strict=True)
            ],
            dropout=[Dropout(group.dropout) for group in of_each],
            optimizers=[
                optimizer_of(problem, network, group.epochs)
                for network, group in zip(networks, of_each, strict=True)
            ],
            early_stopping=[EarlyStopping(patience=group.epochs) for group in of_each],
            **options,
        )
    except Interrupted as error:
        if client is not None:
            raise
        interrupted = error
    group, fold, _ = np.array(places).T
    return Members(networks, group, fold), interrupted
