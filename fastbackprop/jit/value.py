"""Python expressions that write LLVM's instructions.

Numba neither types nor inlines them. Each float instruction carries the flag `contract` (a product
and a sum may become one instruction), and Numba adds a kernel's flags only to instructions that
have none.
"""

from typing import Any

from llvmlite import ir


class Value:
    """A float or an integer of the compiled code; arithmetic on it writes instructions.

    `format` has LLVM's types of the two, `real` and `integer`.
    """

    def __init__(self, builder: Any, format: Any, value: Any) -> None:
        self.builder, self.format, self.value = builder, format, value

    def like(self, value: Any) -> "Value":
        """An instruction's result, or a constant of this value's type."""
        if isinstance(value, Value):
            return value
        if not isinstance(value, ir.Value):
            value = ir.Constant(self.value.type, value)
        return Value(self.builder, self.format, value)

    def _binary(self, name, x, y):
        x, y = self.like(x).value, self.like(y).value
        if self.value.type == self.format.integer:
            return self.like(getattr(self.builder, name)(x, y))
        return self.like(getattr(self.builder, "f" + name)(x, y, flags=("contract",)))

    def __add__(self, other):
        return self._binary("add", self, other)

    def __radd__(self, other):
        return self._binary("add", other, self)

    def __sub__(self, other):
        return self._binary("sub", self, other)

    def __rsub__(self, other):
        return self._binary("sub", other, self)

    def __mul__(self, other):
        return self._binary("mul", self, other)

    def __rmul__(self, other):
        return self._binary("mul", other, self)

    def __truediv__(self, other):
        return self._binary("div", self, other)

    def __rtruediv__(self, other):
        return self._binary("div", other, self)

    def __lshift__(self, bits):
        return self._binary("shl", self, bits)

    def __rshift__(self, bits):
        return self._binary("ashr", self, bits)

    def __and__(self, other):
        return self._binary("and_", self, other)

    def __or__(self, other):
        return self._binary("or_", self, other)

    def compare(self, relation: str, other: Any) -> Any:
        """The condition self < other and so on; false where either is NaN."""
        integer = self.value.type == self.format.integer
        compare = self.builder.icmp_signed if integer else self.builder.fcmp_ordered
        return compare(relation, self.value, self.like(other).value)

    def where(self, condition: Any, other: Any) -> "Value":
        """This value where the condition holds, else the other."""
        return self.like(self.builder.select(condition, self.value, self.like(other).value))

    def at_most(self, bound: Any) -> "Value":
        """The smaller of the two; NaN stays."""
        return self.like(bound).where(self.compare(">", bound), self)

    def at_least(self, bound: Any) -> "Value":
        """The larger of the two; NaN stays."""
        return self.like(bound).where(self.compare("<", bound), self)

    @property
    def bits(self) -> "Value":
        """The float's bits as an integer."""
        return self.like(self.builder.bitcast(self.value, self.format.integer))

    @property
    def as_float(self) -> "Value":
        """The float that has this integer's bits."""
        return self.like(self.builder.bitcast(self.value, self.format.real))

    def widened(self, format: Any) -> "Value":
        """This float in a format of no fewer bits."""
        same = self.format.real == format.real
        value = self.value if same else self.builder.fpext(self.value, format.real)
        return Value(self.builder, format, value)

    def narrowed(self, format: Any) -> "Value":
        """This float, rounded to a format of no more bits."""
        same = self.format.real == format.real
        value = self.value if same else self.builder.fptrunc(self.value, format.real)
        return Value(self.builder, format, value)
