"""Layer normalisation before an activation: Ba, Kiros and Hinton (2016), without gain and shift.

With means over the n neurons k of a layer, for each sample,

    m = mean z,   v = mean (z - m)^2,   r = 1 / sqrt(v + epsilon),   x_k = (z_k - m) r,
    a_k = sigma(x_k),   dx_k/dz_j = r (1[k=j] - 1/n - x_k x_j / n), symmetric.

That matrix takes a vector g to r (g - mean g - x mean(g x)), here r `projected`. When z moves along
R z, x moves along R x = r projected(R z), and r along R r = -r^2 mean(x R z).

z_0 is subtracted first, which changes neither x nor v: equal z give x = 0 whatever their size.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fastbackprop.functions.activations import ACTIVATIONS, Activation, Coupled
from fastbackprop.functions.named import parameter

EPSILON = 1e-5  # PyTorch's

# --- of arrays (n_samples, n_l) ------------------------------------------------------------------


def _mean(Z: np.ndarray) -> np.ndarray:
    return Z.mean(axis=1, keepdims=True)


def normalised(Z: np.ndarray, epsilon: Any) -> tuple[np.ndarray, np.ndarray]:
    """X, and r, (n_samples, 1)."""
    D = Z - Z[:, :1]
    D = D - _mean(D)
    r = 1 / np.sqrt(_mean(D * D) + epsilon)
    return D * r, r


def _projected(G: np.ndarray, X: np.ndarray) -> np.ndarray:
    return (G - _mean(G)) - X * _mean(G * X)


def of_arrays(of: Activation, epsilon: Any, name: str) -> Coupled:
    """The normalisation and then `of`, whose functions are of arrays, as one function of Z."""

    def sigma(Z):
        X, _ = normalised(Z, epsilon)
        return of.sigma(X)

    def pull_back(G, Z, A):
        X, r = normalised(Z, epsilon)
        return r * _projected(G * of.derivative(X, A), X)

    def push_forward(RZ, Z, A):
        X, r = normalised(Z, epsilon)
        return of.derivative(X, A) * (r * _projected(RZ, X))

    def second(U, RZ, RA, Z, A):
        X, r = normalised(Z, epsilon)
        RX, G = r * _projected(RZ, X), U * of.derivative(X, A)
        assert of.second is not None
        H = U * of.second(X, A) * RX - r * _mean(X * RZ) * G
        return r * (_projected(H, X) - RX * _mean(G * X) - X * _mean(G * RX))

    return Coupled(
        name, sigma, pull_back, second=second if of.has_second else None, push_forward=push_forward
    )


# --- the activation ------------------------------------------------------------------------------


@dataclass(frozen=True, init=False, repr=False)
class LayerNorm(Activation):
    """Layer normalisation, and an activation after it: for any layer of two or more neurons.

    Of exactly two, little more than which z is the larger is left: normalised they are 1 and -1.

    a_k = sigma((z_k - mean z) / sqrt(var z + epsilon)): mean and variance (divided by n, not by
    n - 1) are over the neurons of the layer, of each sample by itself, in training and prediction
    alike. It is torch.nn.LayerNorm(n, eps=epsilon, elementwise_affine=False) between Linear and
    activation. Ba, Kiros and Hinton (2016).

    It has no gain and no shift of its own. Xu et al. (2019), "Understanding and Improving Layer
    Normalization", found that these raise the risk of overfitting and in most cases do not help.
    After the identity, and in part after others, the next layer's W and b can absorb them.

    Parameters
    ----------
    activation : str or Activation
        sigma: any that takes each neuron by itself; also one of your own.
    epsilon : float
        Positive. It bounds the slope where the neurons of a layer hardly differ.

    Raises
    ------
    ValueError, TypeError
        For another activation or epsilon.
    """

    coupled: ClassVar[bool] = True
    normalised: ClassVar[bool] = True

    of: Activation = field(init=False)  # sigma, sigma' and sigma'' are its own
    epsilon: float = field(init=False)

    def __init__(self, activation: str | Activation = "relu", epsilon: float = EPSILON) -> None:
        of = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
        if of is None:
            known = ", ".join(repr(a.name) for a in ACTIVATIONS.values() if not a.coupled)
            raise ValueError(f"LayerNorm knows no activation {activation!r}; known are {known}")
        if not isinstance(of, Activation):
            raise TypeError(
                f"LayerNorm takes the name of an activation, or an Activation; got {of!r}"
            )
        if of.coupled:
            raise ValueError(
                f"LayerNorm needs an activation that takes each neuron by itself; got {str(of)!r}"
            )
        if not parameter("LayerNorm", "epsilon", epsilon) > 0:
            raise ValueError(f"LayerNorm(epsilon) must have epsilon > 0; got {epsilon!r}")
        formula = of.formula and f"{of.formula} of layer-normalised z"
        own = {"name": f"layer_norm({of.name})", "formula": formula}
        self.__dict__.update(vars(of) | own | {"of": of, "epsilon": float(epsilon)})

    @property
    def inner(self) -> Activation:
        return self.of

    @property
    def is_registered(self) -> bool:
        """Whether the activation in it is registered."""
        return self.of.is_registered

    def __repr__(self) -> str:
        simple = self.of.is_registered and str(self.of) == self.of.name
        epsilon = "" if self.epsilon == EPSILON else f", epsilon={self.epsilon!r}"
        return f"LayerNorm({(self.of.name if simple else self.of)!r}{epsilon})"

    def __str__(self) -> str:
        epsilon = "" if self.epsilon == EPSILON else f", {self.epsilon!r}"
        return f"layer_norm({self.of}{epsilon})"
