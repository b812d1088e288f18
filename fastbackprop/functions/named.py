"""The common part of activations and costs: name, parameters, formulas, an entry in a registry."""

from dataclasses import replace
from typing import Any, ClassVar, Self

from fastbackprop.numbers import number


class Named:
    """A named function with parameters, one or more formulas and, if registered, an entry."""

    # Formulas and the number of their arguments, without p. The first two define the function.
    FORMULAS: ClassVar[dict[str, int]]
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

    def with_parameters(self, **p: Any) -> Self:
        """The same function with these parameters, in the order of p, checked."""
        values = (parameter(self.name, name, value) for name, value in p.items())
        return replace(self, p=tuple(values))  # type: ignore[type-var] # a dataclass


def parameter(function: str, name: str, value: Any) -> float:
    """A finite number. Raises TypeError or ValueError."""
    return number(value, f"{name} of {function}")
