"""Checks of numbers: what is one, and how another value is refused."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.numbers import as_float, flag, number, shown, two, whole

NUMBERS = [1, 0.5, np.float32(0.5), np.float64(1), np.int8(1), Fraction(1, 2), np.longdouble(0.5)]
NO_NUMBERS = [True, np.True_, "1", None, 1j, [1], np.ones(1), np.array(0.5), Decimal(1), b"1"]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_numbers_become_floats(value):
    for result in (number(value, "x"), number(value, "x", 0, 1, ends="[]"), as_float(value, "x")):
        assert type(result) is float and result == value
    assert two((value, value), "x", 0, 2) == (value, value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_another_kind_is_a_type_error_that_tells_it(value):
    for check in (number, whole, as_float):
        with pytest.raises(TypeError, match=f"^x must be a .*; got .*{type(value).__name__}"):
            check(value, "x")
    with pytest.raises(TypeError, match=r"^x\[1\] must be a number; got"):
        two((1, value), "x")


BOTH = "between 0 and 1"


@pytest.mark.parametrize(
    ("ends", "inside", "outside", "expected"),
    [
        ("[)", [0, 0.5], [-1e-9, 1], r"in \[0, 1\)"),
        ("[]", [0, 1], [-1e-9, 1 + 1e-9], r"in \[0, 1\]"),
        ("(]", [1e-9, 1], [0, 2], r"in \(0, 1\]"),
        ("()", [1e-9, 0.5], [0, 1], BOTH),
    ],
)
def test_intervals(ends, inside, outside, expected):
    for value in inside:
        assert number(value, "x", 0, 1, ends=ends) == value
    for value in [*outside, math.nan, math.inf, -math.inf, 10**400, -(10**400)]:
        with pytest.raises(ValueError, match=f"^x must be a number {expected}; got"):
            number(value, "x", 0, 1, ends=ends)


def test_intervals_without_an_end():
    for value in (math.nan, math.inf, -math.inf, 10**400):
        with pytest.raises(ValueError, match=r"^x must be finite; got"):
            number(value, "x")
        with pytest.raises(ValueError, match=r"^x must lie above 0; got"):
            number(value, "x", 0, ends="()", must="lie")
        with pytest.raises(ValueError, match=r"^x must be a number of at least 0; got"):
            number(value, "x", 0)


def test_whole_numbers():
    assert whole(3, "n") == whole(np.uint8(3), "n") == whole(3, "n", 3, 3) == 3
    assert whole(10**400, "n") == 10**400
    with pytest.raises(
        TypeError, match=r"^n must be a whole number, 1 at least; got 3.0 \(float\)"
    ):
        whole(3.0, "n")
    with pytest.raises(ValueError, match=r"^n must be a positive integer; got 0"):
        whole(0, "n", must="be a positive integer")
    with pytest.raises(ValueError, match="1 at least and 9 at most; got 10"):
        whole(10, "n", 1, 9)


def test_flags_and_pairs():
    assert flag(np.True_, "f") is True and flag(False, "f") is False
    with pytest.raises(TypeError, match=r"^f must be True or False; got 1 \(int\)"):
        flag(1, "f")
    for value, error in ((1, TypeError), ((1,), ValueError), ((1, 2, 3), ValueError)):
        with pytest.raises(error, match=r"^x must be two numbers in \[0, 1\); got"):
            two(value, "x", 0, 1)


def test_floats_that_are_not_finite():
    assert math.isnan(as_float(np.float32(np.nan), "x"))
    assert as_float(-math.inf, "x") == -math.inf
    with pytest.raises(ValueError, match="x is too large for a float"):
        as_float(Fraction(10**400), "x")


def test_a_refused_value_fits_a_message():
    assert shown("a") == "'a' (str)"
    assert len(shown("a" * 1000)) < 70
    assert shown(10**5000) == "an integer of 16610 bits (int)"
    assert shown([10**5000]) == "a value (list)"


@pytest.mark.parametrize(
    "make",
    [
        lambda x: fb.LeakyReLU(x),
        lambda x: fb.CELU(x),
        lambda x: fb.LayerNorm("relu", x),
        lambda x: fb.Huber(x),
        lambda x: fb.Tweedie(x),
        lambda x: fb.Quantile([0.5, x]),
        lambda x: fb.CrossEntropy(x),
        lambda x: fb.SGD(x),
        lambda x: fb.Adam(epsilon=x),
        lambda x: fb.Adam(layer_rates=[x]),
        lambda x: fb.SGD(clip_norm=x),
        lambda x: fb.EMA(x),
        lambda x: fb.SWA(x),
        lambda x: fb.Cosine(0.1, x),
        lambda x: fb.Cosine(x, 5),
        lambda x: fb.Plateau(0.1, patience=x),
        lambda x: fb.Warmup(x, then=0.1),
        lambda x: fb.TimeBudget(x),
        lambda x: fb.Network([2, x]),
        lambda x: fb.Network([x, x]),
        lambda x: fb.Network([2, 2], hidden=x),
        lambda x: fb.Network([2, 2], cost=fb.Cost("c", lambda a: a, lambda a: a, p=(x,))),
    ],
)
def test_a_huge_integer_is_refused_in_words(make):
    with pytest.raises((ValueError, TypeError), match=r"must|too large|ask for more"):
        make(10**400)


def test_parameters_of_any_kind_of_number_can_be_saved(tmp_path):
    """JSON holds Python's numbers alone."""
    p = (np.float32(0.5), Fraction(1, 4))
    mine = fb.Activation("mine", lambda z, p: p[0] * z, lambda z, a, p: p[0], p=p)
    square = fb.Cost("half", lambda z, a, y, p: p[0] * (a - y), lambda z, a, y, p: p[0], p=p[:1])
    for hidden in (mine, fb.LayerNorm(mine)):
        net = fb.Network([2, 3, 1], hidden=hidden, cost=square, rng=0, engine="numpy")
        net.save(tmp_path / "net")
        same = fb.Network.load(tmp_path / "net", functions=[mine, square])
        assert repr(same) == repr(net)
        assert same.predict([[1, 2]]).tobytes() == net.predict([[1, 2]]).tobytes()
