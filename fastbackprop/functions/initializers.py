"""Initial weights: one function each, (generator, n_in, n_out) -> W of shape (n_in, n_out).

Drawn in float64 whatever the network's dtype, so a float32 network starts at its float64 twin,
rounded. Biases start at zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastbackprop.numbers import number

Initializer = Callable[[np.random.Generator, int, int], np.ndarray]


def glorot_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """U(-r, r), r = sqrt(6 / (n_in + n_out)). Glorot and Bengio (2010)."""
    r = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-r, r, (n_in, n_out))


def glorot_normal(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """N(0, 2 / (n_in + n_out)). Glorot and Bengio (2010)."""
    return rng.normal(0, np.sqrt(2 / (n_in + n_out)), (n_in, n_out))


def he_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """U(-r, r), r = sqrt(6 / n_in). He et al. (2015)."""
    r = np.sqrt(6 / n_in)
    return rng.uniform(-r, r, (n_in, n_out))


def he_normal(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """N(0, 2 / n_in). He et al. (2015)."""
    return rng.normal(0, np.sqrt(2 / n_in), (n_in, n_out))


def lecun_normal(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """N(0, 1 / n_in). LeCun et al. (1998)."""
    return rng.normal(0, np.sqrt(1 / n_in), (n_in, n_out))


def orthogonal(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """Orthonormal rows or columns, whichever are fewer. Saxe et al. (2014)."""
    q, r = np.linalg.qr(rng.normal(size=(max(n_in, n_out), min(n_in, n_out))))
    q *= np.where(np.diag(r) < 0, -1, 1)  # without this q is not uniformly distributed
    return q if n_in >= n_out else q.T


def zeros(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """All weights zero: for tests and linear models; hidden neurons would all stay alike."""
    return np.zeros((n_in, n_out))


INITIALIZERS: dict[str, Initializer] = {
    initializer.__name__: initializer
    for initializer in (
        glorot_uniform,
        glorot_normal,
        he_uniform,
        he_normal,
        lecun_normal,
        orthogonal,
        zeros,
    )
}


@dataclass(frozen=True)
class SmallOutput:
    """An `init` of `Network` with small weights of the last layer: those of `init` times `scale`.

    The first outputs are close to the biases, zero, whatever the input: usual for the policy and
    the value of a reinforcement learner. Andrychowicz et al. (2021), "What matters in on-policy
    reinforcement learning?".

    Parameters
    ----------
    init : str
        "auto" or the name of an initializer, for all layers.
    scale : float
        Above 0.
    """

    init: str = "auto"
    scale: float = 0.01

    def __post_init__(self) -> None:
        number(self.scale, "scale of SmallOutput", 0, ends="()")
