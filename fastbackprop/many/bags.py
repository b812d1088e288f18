"""Bags: which samples each network of an ensemble sees."""

from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.numbers import shown

LEFT_OUT = "left_out"
BAGS = ("bootstrap", "folds")


def drawn_bags(bags: Any, rng: Any, n: int, X: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `fit_many` for n networks. Raises TypeError or ValueError."""
    left_out = isinstance(options.get("validation"), str)
    if left_out and options["validation"] != LEFT_OUT:
        raise ValueError(
            f"validation must be {LEFT_OUT!r}, or as for fit_many; got {options['validation']!r}"
        )
    if "rows" in options:
        raise TypeError("rows are what bags choose: leave them out, or call fit_many")
    if bags is None:
        if left_out:
            raise ValueError(f"validation={LEFT_OUT!r} needs bags: without, no sample is left out")
        return {}
    generator = inputs.generator(rng)
    n_samples = _n_samples(X)
    weights = options.get("sample_weight")
    if weights is not None and np.ndim(weights) != 1:
        raise ValueError(
            f"with bags, sample_weight must be (n_samples,), for all networks; got shape "
            f"{np.shape(weights)}"
        )
    if inputs.choice(bags, BAGS, "bags") == "folds":
        if not 2 <= n <= n_samples:
            raise ValueError(
                f"folds need 2 networks or more, and a sample for each; got {n} networks and "
                f"{n_samples} samples"
            )
        fold = generator.permutation(n_samples) % n
        rows = [np.flatnonzero(fold != k) for k in range(n)]
        arguments: dict[str, Any] = {"rows": rows}
    else:
        draws = generator.multinomial(n_samples, np.full(n_samples, 1 / n_samples), n)
        rows = [np.flatnonzero(of_one) for of_one in draws]
        own = 1.0 if weights is None else np.asarray(weights, np.float64)
        # Those that are left out may be validation samples: each counts once.
        arguments = {"rows": rows, "sample_weight": list(np.maximum(draws, 1) * own)}
    if left_out:
        arguments["validation"] = [np.setdiff1d(np.arange(n_samples), seen) for seen in rows]
        empty = [k for k, numbers in enumerate(arguments["validation"]) if not len(numbers)]
        if empty:
            raise ValueError(f"networks[{empty[0]}] sees every sample: none is left out")
    return arguments


def _n_samples(X: Any) -> int:
    n = getattr(X, "shape", (None,))[0] if hasattr(X, "shape") else len(X)
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"X must be (n_samples, n_0) with a row at least; got {shown(X)}")
    return int(n)
