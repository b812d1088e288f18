"""A user's own activations and costs: like built-in ones, everywhere; what is refused, and how."""

import math
import pickle
from dataclasses import replace

import numba
import numpy as np
import pytest
from problems import TOLERANCE, deviation, every_dtype, every_engine, problem

import fastbackprop as fb
from fastbackprop.engines import loops
from fastbackprop.formats import write_c
from fastbackprop.functions.activations import ACTIVATIONS


def swish(z):
    return z * fb.math.sigmoid(z)


@numba.njit
def swish_derivative(z, a):
    s = fb.math.sigmoid(z)
    return s * (1.0 + z * (1.0 - s))


def slope(z, p):
    return z if z > 0.0 else p[0] * z


def slope_derivative(z, a, p):
    return 1.0 if z > 0.0 else p[0]


def half_square(z, a, y):
    return 0.5 * (a - y) ** 2


def distance(z, a, y):
    return a - y


def scaled_square(z, a, y, p):
    return p[0] * (a - y) ** 2


def scaled_distance(z, a, y, p):
    return 2.0 * p[0] * (a - y)


SWISH = fb.Activation("my_swish", swish, swish_derivative)
SLOPE = fb.Activation("my_slope", slope, slope_derivative, p=(0.2,))
SQUARE = fb.Cost("my_square", half_square, distance)
SCALED = fb.Cost("my_scaled", scaled_square, scaled_distance, p=(0.5,))

PAIRS = {  # own, built in
    "activation": ({"hidden": SWISH}, {"hidden": "silu"}),
    "parameter": ({"hidden": SLOPE}, {"hidden": fb.LeakyReLU(0.2)}),
    "output": ({"output": SWISH}, {"output": "silu"}),
    "cost": ({"cost": SQUARE}, {}),
    "cost with a parameter": ({"cost": SCALED}, {}),
}
compiled = pytest.mark.compiled
every_case = pytest.mark.parametrize("case", PAIRS)


@every_dtype
@every_engine
@every_case
def test_the_same_as_built_in(case, engine, dtype):
    own, built_in = (problem([3, 4, 2], 5, engine=engine, dtype=dtype, **o) for o in PAIRS[case])
    traces = [p.net.trace(p.X, p.Y, p.s) for p in (own, built_in)]
    assert deviation(traces[0].cost, traces[1].cost) < TOLERANCE[dtype]
    for name in ("a", "delta", "weight_gradients"):
        for comp, ref in zip(*(getattr(trace, name) for trace in traces), strict=True):
            assert deviation(comp, ref) < TOLERANCE[dtype]
    for p in (own, built_in):
        p.net.fit(p.X, p.Y, epochs=2, batch_size=2, optimizer="sgd", shuffle=False)
    assert deviation(*(p.net.get_parameters() for p in (own, built_in))) < 10 * TOLERANCE[dtype]
    assert deviation(own.net.predict(own.X[:1])[0], own.net.predict(own.X)[0]) < TOLERANCE[dtype]


@every_engine
def test_check_gradient_finds_a_wrong_derivative(engine):
    for options in ({"hidden": SWISH}, {"hidden": SLOPE}, {"cost": SQUARE}, {"cost": SCALED}):
        p = problem([3, 4, 2], 5, engine=engine, **options)
        assert p.net.check_gradient(p.X, p.Y) < 1e-9
    wrong = fb.Activation("wrong", swish, slope_derivative, p=(0.2,))
    p = problem([3, 4, 2], 5, engine=engine, hidden=wrong)
    assert p.net.check_gradient(p.X, p.Y) > 1e-2
    p = problem([3, 4, 2], 5, engine=engine, cost=replace(SCALED, p=(1.0,), terms=half_square))
    assert p.net.check_gradient(p.X, p.Y) > 1e-2


@compiled
def test_the_engine_is_not_compiled_again():
    p = problem([3, 4, 2], 5, engine="loops", dtype="float64", hidden="silu")
    p.net.fit(p.X, p.Y, epochs=1, optimizer="sgd")
    before = len(loops.train.signatures)
    q = problem([3, 4, 2], 5, engine="loops", dtype="float64", hidden=SWISH, cost=SQUARE)
    q.net.fit(q.X, q.Y, epochs=1, optimizer="sgd")
    assert len(loops.train.signatures) == before


@compiled
def test_numbers_in_it_are_of_the_networks_dtype():
    from fastbackprop.functions.own import compiled as compile_for

    f = compile_for(swish_derivative, np.dtype("float32"))
    f.compile((numba.float32, numba.float32))
    assert f.nopython_signatures[0].return_type == numba.float32


SHIFT = 0.5


@numba.njit
def logistic(z):
    return 1.0 / (1.0 + math.exp(-z))  # would raise by itself, for Python's division does


def in_words_of_others(z):
    return np.tanh(SHIFT * z) + z * logistic(z) + math.log1p(abs(z)) * math.log(2)


def in_our_words(z):
    ours = fb.math.tanh(0.5 * z) + z * (1.0 / (1.0 + fb.math.exp(-z)))
    return ours + fb.math.log1p(abs(z)) * math.log(2)


@compiled
@every_dtype
def test_words_of_math_and_numpy_are_ours(dtype):
    """To the last bit, where the C library's differ in some places."""
    from fastbackprop.functions.own import check
    from fastbackprop.functions.own import compiled as compile_for

    comp, ref = (compile_for(f, np.dtype(dtype)) for f in (in_words_of_others, in_our_words))
    check(in_words_of_others, "sigma", "z", np.dtype(dtype), ())
    for z in np.random.default_rng(0).normal(scale=5, size=200).astype(dtype):
        assert comp(z) == ref(z)
    assert any(comp(z) != in_words_of_others(z) for z in np.linspace(-5, 5, 200))


def test_in_other_compiled_code():
    p = problem([3, 4, 2], 2, engine="numpy", dtype="float64", hidden=SWISH)
    f, out = p.net.as_njit(), np.empty(2)
    f(p.X[0], out)
    assert deviation(out, p.net.predict(p.X)[0]) < 1e-13


# --- copies and files ----------------------------------------------------------------------------


def test_pickled():
    p = problem([3, 4, 2], 5, engine="numpy", hidden=SLOPE, cost=SCALED)
    copy = pickle.loads(pickle.dumps(p.net))
    assert np.array_equal(copy.predict(p.X), p.net.predict(p.X))
    assert copy.evaluate(p.X, p.Y) == p.net.evaluate(p.X, p.Y)


def test_saved_and_given_again(tmp_path):
    p, path = problem([3, 4, 2], 5, engine="numpy", hidden=SLOPE, cost=SCALED), tmp_path / "net"
    p.net.save(path)
    with pytest.raises(ValueError, match="'my_slope' is of the user's own making"):
        fb.Network.load(path)
    with pytest.raises(ValueError, match="'my_scaled' is of the user's own making"):
        fb.Network.load(path, functions=[SLOPE])
    given = [replace(SLOPE, p=(9.0,)), SCALED, SWISH]  # the parameters are the file's
    loaded = fb.Network.load(path, functions=given)
    assert repr(loaded) == repr(p.net) and "my_slope(0.2)" in repr(loaded)
    assert np.array_equal(loaded.predict(p.X), p.net.predict(p.X))
    with pytest.raises(TypeError, match=r"must be a list of Activation and Cost objects; one is"):
        fb.Network.load(path, functions=[swish])
    with pytest.raises(TypeError, match="must be a list of Activation and Cost objects; got 3"):
        fb.Network.load(path, functions=3)


def test_a_checkpoint_of_one(tmp_path):
    def run(epochs):
        p = problem([3, 4, 2], 5, engine="numpy", hidden=SLOPE, cost=SCALED)
        p.net.fit(p.X, p.Y, epochs=epochs, callbacks=fb.Checkpoint(tmp_path / "c"))
        return p.net.get_parameters()

    run(2)
    assert np.array_equal(run(4), run(4))
    other = problem([3, 4, 2], 5, engine="numpy", hidden=replace(SLOPE, p=(0.3,)), cost=SCALED)
    with pytest.raises(ValueError, match="is of another training, with hidden"):
        other.net.fit(other.X, other.Y, epochs=4, callbacks=fb.Checkpoint(tmp_path / "c"))


def beyond_recording(z):
    total = 0.0
    while abs(z) > 1.0:  # how often depends on z
        z = z / 2.0
        total = total + 1.0
    return total + z


def test_other_formats_refuse_a_formula_that_cannot_be_recorded(tmp_path):
    net = problem([3, 4, 2], 5, engine="numpy", hidden=replace(SWISH, sigma=beyond_recording)).net
    with pytest.raises(ValueError, match="C source has nothing for the activation 'my_swish'"):
        write_c(net, tmp_path / "net.c")


# --- what is refused -----------------------------------------------------------------------------


@numba.njit
def raises_below(z):
    if z < 0.0:
        raise ValueError("negative")
    return z


def calls_what_raises(z):
    return raises_below(z) + 1.0


@numba.njit
def halves(z):
    return z if z < 1.0 else halves_too(z / 2.0)


@numba.njit
def halves_too(z):
    return z if z < 1.0 else halves(z / 2.0)


def calls_two_that_call_each_other(z):
    return halves(z)


def prints(z):
    print(z)
    return z


def indexes(z):
    return (1.0, 2.0)[int(z)]


def allocates(z):
    return np.array([z, 1.0]).sum()


TABLE = np.arange(4.0)


tables = type(math)("tables")  # another module
tables.TABLE = TABLE


@numba.njit
def looks_up(z):
    return TABLE[int(z)]


tables.looks_up = looks_up


def calls_what_looks_up(z):
    return looks_up(z)


def looks_up_flat(z):
    return TABLE.flat[int(z)]


def looks_up_elsewhere(z):
    return tables.TABLE[int(z)]


def calls_elsewhere(z):
    return tables.looks_up(z)


@numba.njit
def countdown(z):
    return 0.0 if z < 1.0 else 1.0 + countdown(z - 1.0)


def calls_itself(z):
    return countdown(z)


def makes_a_pair(z):
    return z, z


def calls_what_is_not_there(z):
    return no_such_name(z)  # noqa: F821


BAD_SIGMAS = {
    "a number": (3, TypeError, r"sigma of the activation 'bad' must be a function of \(z\); got 3"),
    "a function of C": (math.sin, TypeError, r"wrap it, as in lambda z: sin\(z\)"),
    "a ufunc": (np.sin, TypeError, r"wrap it, as in lambda z: sin\(z\)"),
    "no argument": (lambda: 1.0, TypeError, r"function of \(z\), or \(z, p\) .*; got <lambda>\(\)"),
    "keywords": (lambda z, *, k=1: z, TypeError, r"must be a function of \(z\)"),
    "many arguments": (lambda *z: z, TypeError, r"must be a function of \(z\)"),
}
DO_NOT_COMPILE = {
    "raises": (calls_what_raises, "calls_what_raises, could raise an exception"),
    "each other": (calls_two_that_call_each_other, "could raise an exception"),
    "itself": (calls_itself, "could raise an exception"),
    "an array": (looks_up.py_func, "uses an array in looks_up"),
    "an array, called": (calls_what_looks_up, "uses an array in looks_up"),
    "an array, flat": (looks_up_flat, "uses an array in looks_up_flat"),
    "an array elsewhere": (looks_up_elsewhere, "uses an array in looks_up_elsewhere"),
    "an array, called elsewhere": (calls_elsewhere, "uses an array in looks_up"),
    "prints": (prints, "could raise an exception"),
    "indexes": (indexes, "could raise an exception"),
    "allocates": (allocates, "allocates, cannot be compiled for float32"),
    "a pair": (makes_a_pair, r"must return a number; it returns UniTuple\(float32"),
    "p_1": (lambda z, p: z * p[1], "cannot be compiled for float32: tuple index out of range"),
    "a name": (calls_what_is_not_there, "cannot be compiled for float32: NameError.*no_such_name"),
}


def refused(error, message, **options):
    with pytest.raises(error, match=message) as info:
        fb.Network([2, 3, 2], engine="numpy", **options)
    assert len(str(info.value)) < 600


@pytest.mark.parametrize("case", BAD_SIGMAS)
def test_what_is_no_function_of_z(case):
    sigma, error, message = BAD_SIGMAS[case]
    refused(error, message, hidden=fb.Activation("bad", sigma, swish_derivative))


@compiled
@pytest.mark.parametrize("case", DO_NOT_COMPILE)
def test_what_cannot_be_in_a_kernel(case):
    sigma, message = DO_NOT_COMPILE[case]
    bad = fb.Activation("bad", sigma, swish_derivative, p=(0.1,))
    refused(ValueError, message, hidden=bad)
    refused(ValueError, message, output=bad)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden": fb.Activation("bad", swish, swish)}, TypeError, r"derivative .* \(z, a\)"),
        ({"hidden": replace(SWISH, second=swish)}, TypeError, r"second of the activation"),
        ({"hidden": replace(SWISH, name="relu")}, ValueError, "'relu' is the name of a built-in"),
        ({"hidden": replace(SWISH, name=3)}, TypeError, "the name of an activation"),
        ({"hidden": replace(SWISH, p=(1, 2, 3))}, ValueError, "has at most 2 parameters"),
        ({"hidden": replace(SWISH, p=0.1)}, TypeError, "p of the activation .* tuple of numbers"),
        ({"hidden": replace(SWISH, initializer="x")}, ValueError, "unknown initializer 'x'"),
        ({"hidden": replace(SLOPE, p=())}, ValueError, r"takes parameters p, and has none: p=\(\)"),
        ({"cost": fb.Cost("bad", swish, distance)}, TypeError, r"terms of .* \(z, a, y\)"),
        ({"cost": replace(SQUARE, name="huber")}, ValueError, "'huber' is the name of a built-in"),
        ({"cost": replace(SQUARE, targets="int")}, ValueError, "unknown kind of targets 'int'"),
        ({"cost": replace(SQUARE, output="relu")}, ValueError, "goes with output='relu'"),
        ({"hidden": fb.LeakyReLU}, TypeError, "hidden"),
    ],
)
def test_refused(options, error, message):
    refused(error, message, **options)


# --- built-in ones with parameters ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "name", "p"),
    [
        (fb.LeakyReLU(0.2), "leaky_relu", (0.2,)),
        (fb.ELU(alpha=0.5), "elu", (0.5,)),
        (fb.CELU(2), "celu", (2.0,)),
        (fb.LeakyReLU(), "leaky_relu", ACTIVATIONS["leaky_relu"].p),
    ],
)
def test_activations_with_parameters(activation, name, p, tmp_path):
    torch = pytest.importorskip("torch")
    q = problem([3, 4, 2], 6, hidden=activation, dtype="float64", engine="numpy")
    assert activation.p == p and q.net.hidden == (name,)
    assert (f"{name}{p}".replace(",)", ")") in repr(q.net)) == (p != ACTIVATIONS[name].p)
    assert q.net.check_gradient(q.X, q.Y) < 1e-9
    module = q.net.to_torch()
    ref = module(torch.from_numpy(q.X)).detach()
    assert deviation(q.net.predict(q.X), ref) < 1e-13
    assert repr(fb.Network.from_torch(module, engine="numpy")) == repr(q.net)
    q.net.save(tmp_path / "net")
    assert repr(fb.Network.load(tmp_path / "net")) == repr(q.net)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fb.LeakyReLU("0.2"), TypeError, "negative_slope of leaky_relu must be a number"),
        (lambda: fb.ELU(np.nan), ValueError, "alpha of elu must be finite"),
        (lambda: fb.CELU(0), ValueError, "alpha > 0; got 0"),
        (lambda: fb.Huber(-1), ValueError, "delta of Huber must lie above 0; got -1"),
        (lambda: fb.Quantile(1.0), ValueError, "levels of Quantile must lie between 0 and 1"),
        (lambda: fb.Quantile([]), ValueError, "must ascend"),
        (lambda: fb.Quantile([0.9, 0.1]), ValueError, "must ascend"),
        (lambda: fb.Tweedie(2), ValueError, "power of Tweedie must lie between 1 and 2; got 2"),
        (lambda: fb.Focal(0), ValueError, "gamma of Focal must lie above 0; got 0"),
        (lambda: fb.CrossEntropy(1), ValueError, "must lie between 0 and 1; got 1"),
        (lambda: fb.CrossEntropy(True), TypeError, "must be a number; got True"),
    ],
)
def test_parameters_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "p", [["x"], [float("nan")], [1, 2, 3], [], "0.2", [[1]], [1e400], {"a": 1}], ids=str
)
@pytest.mark.parametrize("what", ["hidden", "cost"])
def test_no_file_makes_parameters_that_make_no_sense(what, p, tmp_path):
    from test_formats import in_network

    net = problem([3, 4, 2], hidden=fb.CELU(2), cost=fb.Huber(2), engine="numpy").net
    net.save(tmp_path / "net")
    described = {"name": {"hidden": "celu", "cost": "huber"}[what], "p": p}
    change = in_network(**{what: [described] if what == "hidden" else described})
    (tmp_path / "net").write_bytes(change((tmp_path / "net").read_bytes()))
    if p == []:  # the usual ones
        assert fb.Network.load(tmp_path / "net")
        return
    with pytest.raises((ValueError, TypeError), match="cannot read"):
        fb.Network.load(tmp_path / "net")
