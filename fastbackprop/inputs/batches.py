"""X as an iterable of batches: (X, y) or (X, y, sample_weight) each."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fastbackprop.numbers import shown
from fastbackprop.samples import Samples


class Batches:
    """An iterable of (X, y) or (X, y, sample_weight) as `Samples`, each checked when it comes."""

    def __init__(self, batches: Any, epochs: int, check: Callable[..., Samples]) -> None:
        if isinstance(batches, Iterator) and epochs > 1:
            raise ValueError(
                f"a {type(batches).__name__} gives its batches once, and there are {epochs} "
                f"epochs: pass a list, or an object whose __iter__ begins anew"
            )
        self._batches, self._check = batches, check

    @property
    def begin_anew(self) -> bool:
        """Whether they can be gone through a second time."""
        return not isinstance(self._batches, Iterator)

    def count(self) -> int | None:
        """How many there are in an epoch, if they say so by `len`."""
        try:
            return len(self._batches)
        except TypeError:
            return None

    def __iter__(self) -> Iterator[Samples]:
        number, count = 0, self.count()
        for number, batch in enumerate(self._batches, 1):
            if count is not None and number > count:
                raise ValueError(
                    f"{shown(self._batches)} has {count} batches by len, and gave more"
                )
            with naming(f"batch {number} of X (no y was passed)"):
                if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                    raise TypeError(f"must be (X, y) or (X, y, sample_weight); got {shown(batch)}")
                samples = self._check(*batch)
            yield samples
        if not number:
            raise ValueError(f"{shown(self._batches)} contains no batches")


def together(batches: Any) -> tuple[Any, ...]:
    """All batches as one: (X, y) or (X, y, sample_weight)."""
    parts = list(batches)
    for number, batch in enumerate(parts, 1):
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise TypeError(
                f"batch {number} must be (X, y) or (X, y, sample_weight); got {shown(batch)}"
            )
        if len(batch) != len(parts[0]):
            raise ValueError(f"batch {number} has {len(batch)} items, the first {len(parts[0])}")
    if not parts:
        raise ValueError(f"{shown(batches)} contains no batches")
    kinds = zip(*parts, strict=True)
    return tuple(np.concatenate([np.asarray(part) for part in kind]) for kind in kinds)


def inputs_of(batches: Any) -> Iterator[Any]:
    """X of each batch: X itself, or the first of (X, y) or (X, y, sample_weight)."""
    for batch in batches:
        arrays = isinstance(batch, list) and batch and hasattr(batch[0], "shape")
        yield batch[0] if isinstance(batch, tuple) or arrays else batch


def are_streamed(X: Any) -> bool:
    """Whether X, without a y, is an iterable of batches rather than an array, a list or a frame."""
    return not isinstance(X, list | tuple) and are_batches(X, None)


def are_batches(X: Any, y: Any) -> bool:
    """Whether X is an iterable of batches: y is left out, and X is neither an array nor a frame."""
    iterable = hasattr(X, "__iter__") or hasattr(X, "__getitem__")
    data = isinstance(X, str | bytes | Mapping) or hasattr(type(X), "columns")
    data = data or hasattr(X, "shape") or hasattr(X, "__array__")
    return y is None and iterable and not data


@contextlib.contextmanager
def naming(argument: str) -> Iterator[None]:
    """Errors raised in the block begin with the argument they are about."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"{argument}: {error}") from None
