"""The common part of activations and costs: name, parameters, formulas, an entry in a registry."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

from fastbackprop.numbers import number

CALLS: dict[str, tuple[str, bool]] = {}  # constructors; whether they take p as a list


class Named:
    """A named function with parameters, one or more formulas and, if registered, an entry."""

    # Formulas and the number of their arguments, without p. The first two define the function.
    FORMULAS: ClassVar[dict[str, int]]
    KIND: ClassVar[str]  # the class for people
    coupled: ClassVar[bool] = False  # whether an output depends on all neurons of the layer

    name: str
    p: tuple[float, ...]

    @property
    def usual(self) -> Any:
        """The registered function of this name, with the usual parameters, or None."""
        raise NotImplementedError

    @property
    def is_registered(self) -> bool:
        """Whether it is a registered function, with any parameters; else it is a user's own."""
        usual, defining = self.usual, list(self.FORMULAS)[:2]
        return usual is not None and all(
            getattr(self, formula) == getattr(usual, formula) for formula in defining
        )

    def __str__(self) -> str:
        """Its name, followed by its parameters where they are not the usual ones."""
        usual = self.usual
        if not self.p or (usual is not None and usual.p == self.p):
            return self.name
        return f"{self.name}({', '.join(map(repr, self.p))})"

    def __repr__(self) -> str:
        """A call, or the place in a registry, that makes it again."""
        usual, name = self.usual, self.name
        if not self.is_registered:
            functions = [called(getattr(self, formula)) for formula in list(self.FORMULAS)[:2]]
            p = [f"p={self.p!r}"] if self.p else []
            return f"{self.KIND}({', '.join([repr(name), *functions, *p])})"
        if usual.p == self.p:
            return self._place()
        constructor, several = CALLS[name]
        arguments = repr(list(self.p)) if several else ", ".join(map(repr, self.p))
        return f"{constructor}({arguments})"

    def _place(self) -> str:
        """Of a registered function with the usual parameters, in its registry."""
        raise NotImplementedError

    def with_parameters(self, **p: Any) -> Self:
        """The same function with these parameters, in the order of p, checked."""
        values = (parameter(self.name, name, value) for name, value in p.items())
        return replace(self, p=tuple(values))  # type: ignore[type-var] # a dataclass


def called(function: Callable[..., Any] | Any) -> str:
    """The name of a function, or the text of another object."""
    return getattr(function, "__name__", None) or repr(function)


def parameter(function: str, name: str, value: Any) -> float:
    """A finite number. Raises TypeError or ValueError."""
    return number(value, f"{name} of {function}")
