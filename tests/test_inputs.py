"""What a user passes: it works, with the right numbers, or it is refused in words.

Refused means a ValueError or TypeError that says what was passed and what is expected, with the
parameters, the generator and the optimizer as they were.
"""

import pickle
from contextlib import contextmanager
from fractions import Fraction

import naive
import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.engines import ENGINES
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS
from fastbackprop.functions.initializers import INITIALIZERS
from fastbackprop.optimizers import OPTIMIZERS

N, N_IN, N_OUT = 5, 3, 2
KINDS = {
    "real": {"output": "identity", "cost": "squared_error"},
    "unit": {"output": "sigmoid", "cost": "cross_entropy"},
    "distribution": {"output": "softmax", "cost": "cross_entropy"},
}
# Small integers: every dtype holds them.
X = np.random.default_rng(1).integers(0, 2, (N, N_IN)).astype(np.float32)
Y = {
    "real": np.random.default_rng(2).integers(0, 2, (N, N_OUT)).astype(np.float32),
    "unit": np.random.default_rng(3).integers(0, 2, (N, N_OUT)).astype(np.float32),
    "distribution": np.eye(N_OUT, dtype=np.float32)[[1, 0, 1, 1, 0]],
}
S = np.array([1.0, 0.0, 2.0, 1.0, 3.0])

every_engine = pytest.mark.parametrize("engine", ENGINES)
every_kind = pytest.mark.parametrize("kind", KINDS)

METHODS = {
    "predict": lambda net, X, y, s: net.predict(X),
    "activations": lambda net, X, y, s: net.activations(X),
    "evaluate": lambda net, X, y, s: net.evaluate(X, y, s),
    "gradient": lambda net, X, y, s: net.gradient(X, y, s),
    "gradient_sums": lambda net, X, y, s: net.gradient_sums(X, y, s),
    "trace": lambda net, X, y, s: net.trace(X, y, s),
    "check_gradient": lambda net, X, y, s: net.check_gradient(X, y, s),
    "hessian_vector_product": lambda net, X, y, s: net.hessian_vector_product(
        X, y, np.ones(net.n_parameters), s
    ),
    "fit": lambda net, X, y, s: net.fit(X, y, sample_weight=s, epochs=1, batch_size=2),
    "validation": lambda net, X_v, y, s: net.fit(X, Y[kind_of(net)], validation=(X_v, y, s)),
    "partial_fit": lambda net, X, y, s: net.partial_fit(X, y, sample_weight=s, batch_size=2),
}
METHODS_WITH_TARGETS = [name for name in METHODS if name not in ("predict", "activations")]


def kind_of(net):
    return next(kind for kind, names in KINDS.items() if net.output == names["output"])


def network(engine, kind="real", sizes=(N_IN, 4, N_OUT), **options):
    """A network that has been trained: there is an optimizer whose state could change."""
    net = fb.Network(sizes, hidden="tanh", **KINDS[kind], rng=0, engine=engine, **options)
    if sizes == (N_IN, 4, N_OUT):
        net.fit(X, Y[kind], epochs=1, batch_size=2)
    return net


def state(net):
    optimizer = pickle.dumps(net._optimizer)
    return net.get_parameters().tobytes(), net._rng.bit_generator.state, optimizer


def refused_by(net, methods, words, X, y, s):
    """Every one of these methods refuses the arguments; `validation` says that it is about that."""
    for method in methods:
        with refused(net, *words, *["validation: "] * (method == "validation")):
            METHODS[method](net, X, y, s)


@contextmanager
def refused(net, *words, error=(ValueError, TypeError)):
    """The block raises ValueError or TypeError with these words, and the network is as before."""
    before = state(net)
    with pytest.raises(error) as info:
        yield
    assert type(info.value) in (ValueError, TypeError), "not somebody else's subclass"
    for word in words:
        assert word in str(info.value)
    assert state(net) == before


def same_bits(a, b):
    """Equal to the bit, through lists, tuples and dicts; seconds are nobody's promise."""
    if isinstance(a, fb.History):
        a, b = a.cost + a.validation_cost, b.cost + b.validation_cost
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    return np.shape(a) == np.shape(b) and np.asarray(a).tobytes() == np.asarray(b).tobytes()


# --- X -------------------------------------------------------------------------------------------


def with_value(value, place=(1, 2), dtype=np.float64):
    array = np.ones((N, N_IN), dtype)
    array[place] = value
    return array


def sparse():
    return pytest.importorskip("scipy.sparse").csr_array(X)


BAD_X = {  # name: a function that makes X, words of the message
    "one sample": (lambda: np.ones(N_IN), "(n_samples, 3)", "(3,)", "reshape(1, -1)"),
    "too many columns": (lambda: np.ones((N, 4)), "(n_samples, 3)", "(5, 4)"),
    "transposed": (lambda: np.ones((N_IN, N)), "(n_samples, 3)", "(3, 5)"),
    "three dimensions": (lambda: np.ones((N, N_IN, 1)), "(n_samples, 3)", "(5, 3, 1)"),
    "a number": (lambda: 1.0, "(n_samples, 3)", "()"),
    "empty list": (lambda: [], "(n_samples, 3)", "(0,)"),
    "empty rows": (lambda: [[], []], "(n_samples, 3)", "(2, 0)"),
    "no rows": (lambda: np.ones((0, N_IN)), "at least one row", "(0, 3)"),
    "no columns": (lambda: np.ones((N, 0)), "(n_samples, 3)", "(5, 0)"),
    "ragged": (lambda: [[1, 2, 3], [1, 2]], "rectangular", "differ in length"),
    "None": (lambda: None, "None"),
    "a string": (lambda: "abc", "real numbers", "<U3"),
    "strings": (lambda: [["1", "2", "3"]], "real numbers", "<U1"),
    "bytes": (lambda: np.full((N, N_IN), b"1"), "real numbers", "|S1"),
    "complex": (lambda: np.ones((N, N_IN), np.complex64), "real numbers", "complex64"),
    "dates": (lambda: np.zeros((N, N_IN), "M8[s]"), "real numbers", "datetime64"),
    "records": (lambda: np.zeros((N, N_IN), [("a", float)]), "real numbers", "('a'"),
    "an object": (lambda: object(), "real numbers", "object"),
    "objects": (lambda: [[object()] * N_IN], "real numbers", "object"),
    "complex objects": (lambda: [[1, 2, 3j]], "real numbers"),
    "objects of numbers and None": (lambda: [[1, None, 3]], "X[0, 1]"),
    "dict": (lambda: {"a": 1}, "real numbers", "dict"),
    "set": (lambda: {1, 2, 3}, "real numbers", "set"),
    "generator": (lambda: (row for row in X), "real numbers", "generator"),
    "nan": (lambda: with_value(np.nan), "X[1, 2]", "nan", "finite"),
    "inf": (lambda: with_value(np.inf, (4, 0)), "X[4, 0]", "inf", "finite"),
    "-inf": (lambda: with_value(-np.inf, (0, 0)), "X[0, 0]", "-inf", "finite"),
    "nan, float16": (lambda: with_value(np.nan, dtype=np.float16), "X[1, 2]", "nan"),
    "nan, float32": (lambda: with_value(np.nan, dtype=np.float32), "X[1, 2]", "nan"),
    "nan, byte-swapped": (lambda: with_value(np.nan, dtype=">f4"), "X[1, 2]", "nan"),
    "nan, Fortran order": (lambda: np.asfortranarray(with_value(np.nan)), "X[1, 2]", "nan"),
    "nan, objects": (lambda: with_value(np.nan, dtype=object), "X[1, 2]", "nan"),
    "too large": (lambda: with_value(1e39), "X[1, 2]", "1e+39", "float32"),
    "too large, negative": (lambda: with_value(-1e39), "X[1, 2]", "-1e+39", "float32"),
    "too large an integer": (lambda: [[10**400, 1, 1]], "X"),
    "masked": (lambda: np.ma.masked_equal(X, 1), "X", "masked"),
}


@every_engine
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_is_refused(case, engine):
    make, *words = BAD_X[case]
    methods = set(METHODS) - {"check_gradient"} if "float32" in words else set(METHODS)
    methods -= {"predict"} if case == "no rows" else set()
    if case in ("set", "generator"):  # of batches, to `predict`
        methods -= {"predict"}
        with refused(network(engine), "X must have shape (n_samples, 3)"):
            network(engine).predict(make())
    refused_by(network(engine), methods, ["X", *words], make(), Y["real"], None)


@every_engine
def test_too_large_depends_on_the_network(engine):
    large = with_value(1e39)
    assert np.isfinite(network(engine, dtype="float64").predict(large)).all()
    with refused(network(engine), "too large for float32"):
        network(engine).predict(large)
    if np.finfo("g").maxexp > np.finfo("f8").maxexp:  # not on every platform
        with refused(network(engine, dtype="float64"), "X[1, 2]", "too large for float64"):
            network(engine, dtype="float64").predict(with_value(np.finfo("g").max, dtype="g"))


@every_engine
def test_one_column_wants_a_column(engine):
    net = network(engine, sizes=(1, 2, 1))
    with refused(net, "(n_samples, 1)", "(5,)", "X.reshape(-1, 1)"):
        net.predict(np.ones(5))


def test_the_first_bad_value_is_named_in_large_arrays():
    net = network("numpy")
    large = np.ones((1_000_000, N_IN), np.float32)
    large[654_321, 1] = np.inf
    large[700_000, 0] = np.nan
    with refused(net, "X[654321, 1] is inf"):
        net.predict(large)


# --- y -------------------------------------------------------------------------------------------


def targets(kind, value, place=(1, 1)):
    array = Y[kind].astype(np.float64)
    array[place] = value
    return array


BAD_Y_OF_EVERY_KIND = {
    "too few rows": (lambda kind: Y[kind][:4], "(5, 2)", "(4, 2)"),
    "too many rows": (lambda kind: np.vstack([Y[kind], Y[kind]]), "(5, 2)", "(10, 2)"),
    "too many columns": (lambda kind: np.eye(N, 3), "(n_samples, 2)", "(5, 3)"),
    "transposed": (lambda kind: Y[kind].T, "(n_samples, 2)", "(2, 5)"),
    "three dimensions": (lambda kind: Y[kind][:, :, None], "(n_samples, 2)", "(5, 2, 1)"),
    "a number": (lambda kind: 1, "(n_samples, 2)", "()"),
    "no rows": (lambda kind: np.ones((0, N_OUT)), "(n_samples, 2)", "(0, 2)"),
    "one column": (lambda kind: np.ones((N, 1), int), "(n_samples, 2)", "(5, 1)"),
    "ragged": (lambda kind: [[1, 0], [1]], "rectangular", "differ in length"),
    "None": (lambda kind: None, "None"),
    "a string": (lambda kind: "ab", "y"),
    "strings": (lambda kind: Y[kind].astype(str), "real numbers", "<U"),
    "complex": (lambda kind: Y[kind].astype(complex), "real numbers", "complex128"),
    "objects": (lambda kind: [[object(), 1]] * N, "real numbers", "object"),
    "nan": (lambda kind: targets(kind, np.nan), "y[1, 1]", "nan", "finite"),
    "inf": (lambda kind: targets(kind, np.inf), "y[1, 1]", "inf", "finite"),
    "-inf": (lambda kind: targets(kind, -np.inf), "y[1, 1]", "-inf", "finite"),
    "too large": (lambda kind: targets(kind, 1e39), "y[1, 1]", "1e+39", "float32"),
    "too large an integer": (lambda kind: [[10**400, 0]] * N, "y"),
    "masked": (lambda kind: np.ma.masked_equal(Y[kind], 0), "masked"),
    "sparse": (lambda kind: sparse()[:, :2], "sparse", "y.toarray()"),
}
BAD_Y = {
    "real": {
        "labels": (lambda: np.zeros(N, int), "(n_samples, 2)", "(5,)"),
        "empty list": (lambda: [], "(n_samples, 2)", "(0,)"),
    },
    "unit": {
        "labels": (lambda: np.zeros(N, int), "(n_samples, 2)", "(5,)"),
        "above one": (lambda: targets("unit", 1.5), "[0, 1]", "1.5"),
        "negative": (lambda: targets("unit", -0.25), "[0, 1]", "-0.25"),
        "-1 for no": (lambda: 2 * Y["unit"] - 1, "[0, 1]", "-1"),
    },
    "distribution": {
        "label too large": (lambda: [0, 1, 2, 0, 1], "0 ... 1", "0 ... 2"),
        "label negative": (lambda: [0, 1, -1, 0, 1], "0 ... 1", "-1 ... 1"),
        "label huge": (lambda: np.full(N, 2**64 - 1, np.uint64), "0 ... 1", str(2**64 - 1)),
        "labels as floats": (lambda: np.zeros(N), "integer labels", "float64"),
        "labels with nan": (lambda: [0, 1, np.nan, 0, 1], "integer labels", "float64"),
        "labels as strings": (lambda: list("abcde"), "integer labels", "<U1"),
        "labels as complex": (lambda: np.zeros(N, complex), "integer labels", "complex128"),
        "too few labels": (lambda: [0, 1], "5", "2"),
        "too many labels": (lambda: [0, 1] * N, "5", "10"),
        "no labels": (lambda: np.zeros(0, int), "5", "0"),
        "labels masked": (lambda: np.ma.masked_equal([0, 1, 0, 1, 1], 1), "masked"),
        "rows sum to two": (lambda: np.ones((N, N_OUT)), "sum to one", "row 0", "2.0"),
        "rows sum to zero": (lambda: np.zeros((N, N_OUT)), "sum to one", "row 0", "0.0"),
        "a row sums to 1.5": (
            lambda: targets("distribution", 0.5, (2, 0)),
            "sum to one",
            "row 2",
            "1.5",
        ),
        "above one": (lambda: targets("distribution", [2, -1], 3), "[0, 1]", "-1.0 ... 2.0"),
    },
}


def bad_targets():
    for kind in KINDS:
        for case in (*BAD_Y_OF_EVERY_KIND, *BAD_Y[kind]):
            yield kind, case


@every_engine
@pytest.mark.parametrize(("kind", "case"), list(bad_targets()))
def test_bad_y_is_refused(kind, case, engine):
    if case in BAD_Y_OF_EVERY_KIND:
        make, *words = BAD_Y_OF_EVERY_KIND[case]
        bad = make(kind)
    else:
        make, *words = BAD_Y[kind][case]
        bad = make()
    methods = set(METHODS_WITH_TARGETS) - ({"check_gradient"} if "float32" in words else set())
    refused_by(network(engine, kind), methods, ["y", *words], X, bad, None)


@every_engine
@every_kind
def test_probabilities_need_to_sum_to_one_for_softmax_only(kind, engine):
    y = np.full((N, N_OUT), 0.75)
    net = network(engine, kind)
    if kind == "distribution":
        with refused(net, "row 0 sums to 1.5", "sigmoid"):
            net.evaluate(X, y)
    else:
        assert np.isfinite(net.evaluate(X, y))


@every_engine
def test_rounded_probabilities_are_probabilities(engine):
    net = network(engine, "distribution")
    y = np.tile(np.float16([1 / 3, 2 / 3]), (N, 1))  # sum to 1 - 1/8192
    assert (y.astype(float).sum(axis=1) != 1).all()
    expected = naive.gradient(
        net.weights, net.biases, net.hidden, net.output, net.cost, X, y.astype(float)
    )[0]
    assert net.evaluate(X, y) == pytest.approx(expected, rel=1e-5)


@every_engine
@pytest.mark.parametrize("kind", ["real", "unit"])
def test_one_output_takes_a_flat_y(kind, engine):
    net = network(engine, kind, sizes=(N_IN, 4, 1))
    y = np.array([0, 1, 1, 0, 1])
    for method in METHODS:
        if method != "validation":
            results = [METHODS[method](network_like(net), X, t, S) for t in (y, y[:, None])]
            assert same_bits(*results)
    with refused(net, "(5, 1)", "(n_samples,)", "(4,)"):
        net.evaluate(X, y[:4])


def network_like(net):
    return pickle.loads(pickle.dumps(net))


# --- sample weights ------------------------------------------------------------------------------

BAD_WEIGHTS = {
    "too few": (np.ones(4), "(5,)", "(4,)"),
    "too many": (np.ones(6), "(5,)", "(6,)"),
    "a column": (np.ones((N, 1)), "(5,)", "(5, 1)"),
    "a number": (2.0, "(5,)", "()"),
    "empty": ([], "(5,)", "(0,)"),
    "negative": ([1, 1, -0.5, 1, 1], "negative", "-0.5"),
    "all zero": (np.zeros(N), "zero for every sample"),
    "summing to zero": ([1, -1, 0, 0, 0], "negative", "-1"),
    "nan": ([1, 1, np.nan, 1, 1], "sample_weight[2]", "nan"),
    "inf": ([1, 1, 1, 1, np.inf], "sample_weight[4]", "inf"),
    "strings": (["1"] * N, "real numbers", "<U1"),
    "a name": ("balanced", "integer labels"),
    "complex": (np.ones(N, complex), "real numbers", "complex128"),
    "objects": ([object()] * N, "real numbers"),
    "dict": ({0: 1.0, 1: 2.0}, "integer labels"),
    "ragged": ([[1], [1, 2]], "rectangular"),
    "masked": (np.ma.masked_equal(S, 0), "masked"),
}


@every_engine
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_refused(case, engine):
    bad, *words = BAD_WEIGHTS[case]
    words = ["sample_weight", *words]
    refused_by(network(engine), METHODS_WITH_TARGETS, words, X, Y["real"], bad)


@every_engine
@every_kind
@pytest.mark.parametrize("factor", [1e-320, 1e-300, 1e-30, 1e30, 1e300, 5e307])
def test_weights_of_any_size(factor, kind, engine):
    """Only their proportions count, or they are refused: never a NaN."""
    net = network(engine, kind)
    W_b = net.weights, net.biases, net.hidden, net.output, net.cost
    cost, dW, db = naive.gradient(*W_b, X, Y[kind], S)
    try:
        gradient = net.gradient(X, Y[kind], factor * S)
    except ValueError:
        refused_by(net, METHODS_WITH_TARGETS, ["sample_weight"], X, Y[kind], factor * S)
        return
    assert gradient.cost == pytest.approx(cost, rel=1e-5)
    assert net.evaluate(X, Y[kind], factor * S) == pytest.approx(cost, rel=1e-5)
    flat = naive.flatten(gradient.weights, gradient.biases)
    expected = naive.flatten(dW, db)
    assert flat == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())
    history = net.fit(X, Y[kind], sample_weight=factor * S, epochs=1, batch_size=None)
    assert history.cost == pytest.approx([cost], rel=1e-5)
    assert np.isfinite(net.get_parameters()).all()


@every_engine
def test_gradient_sums_are_finite_or_refused(engine):
    net = network(engine)
    try:
        cost, weight, gradient = net.gradient_sums(X, Y["real"], 1e60 * S)
    except ValueError:
        with refused(net, "sample_weight"):
            net.gradient_sums(X, Y["real"], 1e60 * S)
    else:
        assert np.isfinite([cost, weight, *gradient]).all()


# --- arrays that work ----------------------------------------------------------------------------


class ArrayLike:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class Subclass(np.ndarray):
    pass


def strided(array, folder):
    return np.repeat(array, 2, axis=0)[::2]


def reverse_of_reverse(array, folder):
    return array[::-1].copy()[::-1]


def columns_of_a_larger_array(array, folder):
    larger = np.full((len(array), 7), 99, array.dtype)
    columns = larger[:, 2 : 2 + array[0].size]
    columns[...] = array.reshape(len(array), -1)
    return columns.reshape(array.shape)


def unaligned(array, folder):
    buffer = bytearray(array.nbytes + 1)
    result = np.frombuffer(buffer, array.dtype, offset=1, count=array.size).reshape(array.shape)
    result[...] = array
    assert not result.flags.aligned
    return result


def read_only(array, folder):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def memory_mapped(array, folder):
    path = folder / f"{array.ndim}{array.shape[-1]}{array.dtype.kind}.npy"
    np.save(path, array)
    mapped = np.load(path, mmap_mode="r")
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    return mapped


def tuples(values):
    return tuple(map(tuples, values)) if isinstance(values, list) else values


def of_dtype(dtype):
    return lambda array, folder: array.astype(dtype)


ARRAYS = {
    "a copy": lambda array, folder: array.copy(),
    "Fortran order": lambda array, folder: np.asfortranarray(array),
    "strided": strided,
    "negative strides": reverse_of_reverse,
    "columns of a larger array": columns_of_a_larger_array,
    "unaligned": unaligned,
    "read-only": read_only,
    "memory-mapped": memory_mapped,
    "byte-swapped": lambda array, folder: array.astype(array.dtype.newbyteorder()),
    "list": lambda array, folder: array.tolist(),
    "tuples": lambda array, folder: tuples(array.tolist()),
    "list of arrays": lambda array, folder: list(array),
    "objects": of_dtype(object),
    "fractions": lambda array, folder: np.vectorize(Fraction, otypes=[object])(array),
    "array-like": lambda array, folder: ArrayLike(array),
    "subclass": lambda array, folder: array.view(Subclass),
    "nothing masked": lambda array, folder: np.ma.MaskedArray(array, mask=np.zeros(array.shape)),
    **{dtype: of_dtype(dtype) for dtype in ("f2", "f4", "f8", ">f8", "g", "i1", ">i4", "u8")},
}
LABELS = {
    name: make
    for name, make in ARRAYS.items()
    if name not in ("objects", "fractions", "f2", "f4", "f8", ">f8", "g")
} | {"bool": of_dtype(bool), "u1": of_dtype("u1"), "intp": of_dtype(np.intp)}


def results_of_all_methods(net, X, y, s):
    results = {}
    for method, call in METHODS.items():
        if method != "check_gradient":  # the same samples, in float64: slow and no other code
            twin = network_like(net)
            results[method] = call(twin, X, y, s), twin.get_parameters()
    return results


@pytest.fixture(scope="module")
def expected():
    """Results for contiguous arrays of the network's dtype, once for each engine and kind."""
    known = {}

    def look_up(engine, kind, y):
        key = engine, kind, np.ndim(y)
        if key not in known:
            net = network(engine, kind)
            known[key] = results_of_all_methods(net, X, y, S)
        return known[key]

    return look_up


@every_engine
@every_kind
@pytest.mark.parametrize("case", ARRAYS)
def test_every_kind_of_array_gives_the_same_bits(case, kind, engine, expected, tmp_path):
    arrays = X, Y[kind], S
    passed = [ARRAYS[case](array, tmp_path) for array in arrays]
    computed = results_of_all_methods(network(engine, kind), *passed)
    for method, result in expected(engine, kind, Y[kind]).items():
        assert same_bits(computed[method], result), method
    for array, now in zip(arrays, passed, strict=True):
        assert (np.array(now) == array).all()  # nothing was written into what was passed


@every_engine
@every_kind
def test_bool_arrays(kind, engine):
    net = network(engine, kind)
    s = S > 0
    computed = results_of_all_methods(net, X.astype(bool), Y[kind].astype(bool), s)
    for method, result in results_of_all_methods(net, X, Y[kind], s.astype(float)).items():
        assert same_bits(computed[method], result), method


@every_engine
@pytest.mark.parametrize("case", LABELS)
def test_every_kind_of_labels_gives_the_same_bits(case, engine, expected, tmp_path):
    labels = Y["distribution"].argmax(axis=1)
    net = network(engine, "distribution")
    computed = results_of_all_methods(net, X, LABELS[case](labels, tmp_path), S)
    for method, result in expected(engine, "distribution", labels).items():
        assert same_bits(computed[method], result), method


@every_engine
def test_labels_mean_one_hot_rows(engine, expected):
    labels = Y["distribution"].argmax(axis=1)
    by_labels = expected(engine, "distribution", labels)
    for method, result in expected(engine, "distribution", Y["distribution"]).items():
        assert same_bits(by_labels[method], result), method


@every_engine
@every_kind
def test_numbers_are_right(kind, engine, expected):
    net = network(engine, kind)
    trace = naive.trace(net.weights, net.biases, net.hidden, net.output, net.cost, X, Y[kind], S)
    computed = expected(engine, kind, Y[kind])
    np.testing.assert_allclose(computed["predict"][0], trace.a[-1], rtol=1e-5, atol=1e-6)
    assert computed["evaluate"][0] == pytest.approx(trace.cost, rel=1e-5)
    flat = naive.flatten(trace.weight_gradients, trace.bias_gradients)
    np.testing.assert_allclose(computed["gradient_sums"][0][2] / S.sum(), flat, atol=1e-5)


@every_engine
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_large_integers_are_rounded(dtype, engine):
    net = network(engine, dtype=dtype)
    large = np.array([[2**62 + 1, -(2**62), 2**53 + 1]])
    assert same_bits(net.predict(large), net.predict(large.astype(dtype)))
    assert same_bits(net.predict([[2**64 + 1, 0, 0]]), net.predict(np.array([[2.0**64, 0, 0]])))


@every_engine
def test_tiny_numbers_become_zero(engine):
    net = network(engine)
    assert same_bits(net.predict(np.full((N, N_IN), 1e-300)), net.predict(np.zeros((N, N_IN))))


@every_engine
def test_batch_larger_than_the_data_is_all_of_it(engine):
    nets = [network(engine) for _ in range(3)]
    for net, batch_size in zip(nets, (None, N, 10**30), strict=True):
        net.fit(X, Y["real"], epochs=2, batch_size=batch_size)
    assert same_bits(nets[0].get_parameters(), nets[1].get_parameters())
    assert same_bits(nets[0].get_parameters(), nets[2].get_parameters())


# --- arrays that somebody else writes into --------------------------------------------------------


@every_engine
@pytest.mark.parametrize("junk", [10**9, -1])
def test_labels_overwritten_during_training_reach_no_kernel(junk, engine):
    labels = Y["distribution"].argmax(axis=1)
    net, twin = network(engine, "distribution"), network(engine, "distribution")
    options = {"epochs": 3, "batch_size": 2, "metrics": "accuracy"}
    twin.fit(X, labels.copy(), validation=(X, labels.copy()), **options)

    def spoil(net, epoch, logs):
        labels[:] = junk

    net.fit(X, labels, validation=(X, labels), callbacks=spoil, **options)
    assert same_bits(net.get_parameters(), twin.get_parameters())
    assert (labels == junk).all()


@every_engine
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_sparse_indices_overwritten_during_training_reach_no_kernel(dtype, engine):
    net, twin = network(engine), network(engine)
    a = sparse()
    a.indices, a.indptr = a.indices.astype(dtype), a.indptr.astype(dtype)
    twin.fit(a.copy(), Y["real"], epochs=3, batch_size=2)

    def spoil(net, epoch, logs):
        a.indices[:] = a.indptr[:] = 10**9

    net.fit(a, Y["real"], epochs=3, batch_size=2, callbacks=spoil)
    assert same_bits(net.get_parameters(), twin.get_parameters())


def test_sparse_indices_do_not_wrap_around():
    a = sparse()
    a.indices = a.indices.astype(np.int64) + 2**32
    with refused(network("numpy"), "its indices span 4294967296"):
        network("numpy").predict(a)


@every_engine
def test_sample_gradients_may_be_written_into_the_memory_of_labels(engine):
    net = network(engine, "distribution")
    labels = Y["distribution"].argmax(axis=1)
    expected = net.sample_gradients(X, labels)
    memory = np.zeros(expected.size, np.int64)
    memory[:N] = labels
    out = memory.view(np.float32)[: expected.size].reshape(expected.shape)
    assert same_bits(net.sample_gradients(X, memory[:N], out=out), expected)


# --- out -----------------------------------------------------------------------------------------

BAD_OUT = {
    "list": (lambda: [[0.0] * N_OUT] * N, "NumPy array", "list"),
    "a number": (lambda: 3, "NumPy array", "int"),
    "transposed": (lambda: np.zeros((N_OUT, N), np.float32), "(5, 2)", "(2, 5)"),
    "too long": (lambda: np.zeros((N + 1, N_OUT), np.float32), "(5, 2)", "(6, 2)"),
    "flat": (lambda: np.zeros(N * N_OUT, np.float32), "(5, 2)", "(10,)"),
    "float64": (lambda: np.zeros((N, N_OUT)), "float32", "float64"),
    "integers": (lambda: np.zeros((N, N_OUT), np.int32), "float32", "int32"),
    "byte-swapped": (lambda: np.zeros((N, N_OUT), ">f4"), "float32", ">f4"),
    "Fortran order": (lambda: np.zeros((N, N_OUT), "f4", "F"), "not C-contiguous"),
    "strided": (lambda: np.zeros((2 * N, N_OUT), "f4")[::2], "not C-contiguous"),
    "read-only": (lambda: read_only(np.zeros((N, N_OUT), "f4"), None), "writable", "read-only"),
}


@every_engine
@pytest.mark.parametrize("case", BAD_OUT)
def test_bad_out_is_refused(case, engine):
    make, *words = BAD_OUT[case]
    net, out = network(engine), make()
    before = np.array(out)
    with refused(net, "out", *words):
        net.predict(X, out=out)
    assert same_bits(np.array(out), before)


@every_engine
def test_out_is_untouched_when_X_is_refused(engine):
    net, out = network(engine), np.full((N, N_OUT), 7, np.float32)
    with refused(net, "X[1, 2]"):
        net.predict(with_value(np.nan), out=out)
    assert (out == 7).all()


@every_engine
def test_out_may_be_X(engine):
    net = network(engine, sizes=(3, 4, 3))
    expected = net.predict(X)
    buffer = X.copy()
    assert net.predict(buffer, out=buffer) is buffer
    assert same_bits(buffer, expected)


@every_engine
@pytest.mark.parametrize("rows", [-2, -1, 1, 2])
def test_out_may_overlap_X(rows, engine):
    net = network(engine, sizes=(3, 4, 3))
    expected = net.predict(X)
    buffer = np.zeros((N + 4, 3), np.float32)
    source, out = buffer[2 : 2 + N], buffer[2 + rows : 2 + rows + N]
    source[...] = X
    net.predict(source, out=out)
    assert same_bits(out, expected)


@every_engine
def test_out_may_be_the_weights_or_is_refused(engine):
    net = network(engine, sizes=(3, 3))
    x = np.random.default_rng(5).standard_normal((3, 3))
    expected = net.predict(x)
    try:
        net.predict(x, out=net.weights[0])
    except ValueError:
        with refused(net, "out"):
            net.predict(x, out=net.weights[0])
    else:
        assert same_bits(net.weights[0], expected)


@every_engine
def test_out_may_be_memory_mapped(engine, tmp_path):
    net = network(engine)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", "f4", (N, N_OUT))
    assert net.predict(X, out=out) is out
    out.flush()
    assert same_bits(np.load(tmp_path / "out.npy"), net.predict(X))


# --- the constructor -----------------------------------------------------------------------------

BAD_NETWORKS = {
    "no sizes": ({"sizes": []}, ValueError, "sizes", "[]"),
    "one size": ({"sizes": [3]}, ValueError, "sizes", "[3]"),
    "zero": ({"sizes": [3, 0, 2]}, ValueError, "sizes[1]", "positive integer", "0"),
    "negative": ({"sizes": [3, 4, -2]}, ValueError, "sizes[2]", "positive integer", "-2"),
    "float": ({"sizes": [3, 4.0, 2]}, TypeError, "sizes[1]", "4.0 (float)"),
    "float array": ({"sizes": np.array([3.0, 2.0])}, TypeError, "sizes[0]", "3.0"),
    "nan": ({"sizes": [3, np.nan]}, TypeError, "sizes[1]", "nan"),
    "bool": ({"sizes": [3, True]}, TypeError, "sizes[1]", "True (bool)"),
    "names": ({"sizes": ["3", 2]}, TypeError, "sizes[0]", "'3' (str)"),
    "string": ({"sizes": "32"}, TypeError, "sizes", "'32' (str)"),
    "a number": ({"sizes": 5}, TypeError, "sizes", "5 (int)"),
    "None": ({"sizes": None}, TypeError, "sizes", "None"),
    "None inside": ({"sizes": [3, None]}, TypeError, "sizes[1]", "None"),
    "nested": ({"sizes": [[3, 4], 2]}, TypeError, "sizes[0]", "[3, 4] (list)"),
    "two dimensions": ({"sizes": np.ones((2, 2), int)}, TypeError, "sizes[0]"),
    "set": ({"sizes": {3, 4}}, TypeError, "sizes", "set"),
    "generator": ({"sizes": (n for n in (3, 2))}, TypeError, "sizes", "generator"),
    "hidden of a wrong type": ({"hidden": 3}, TypeError, "hidden", "3 (int)"),
    "hidden None": ({"hidden": None}, TypeError, "hidden", "None"),
    "hidden with a wrong type": ({"hidden": [3]}, TypeError, "hidden activation", "3 (int)"),
    "hidden for no layer": ({"hidden": []}, ValueError, "hidden", "1", "got 0"),
    "hidden for two layers": ({"hidden": ["relu"] * 2}, ValueError, "hidden", "1", "got 2"),
    "hidden softmax": ({"hidden": "softmax"}, ValueError, "softmax", "output="),
    "output None": ({"output": None}, TypeError, "output activation", "None"),
    "output list": ({"output": ["relu"]}, TypeError, "output activation", "list"),
    "softmax of one": (
        {"sizes": [3, 1], "output": "softmax", "cost": "cross_entropy"},
        ValueError,
        "softmax",
        "sigmoid",
    ),
    "cost None": ({"cost": None}, TypeError, "cost", "None"),
    "cost a function": ({"cost": abs}, TypeError, "cost", "abs"),
    "cost and output at odds": (
        {"output": "tanh", "cost": "cross_entropy"},
        ValueError,
        "cross_entropy",
        "'softmax'",
        "'sigmoid'",
        "'tanh'",
        "squared_error",
    ),
    "init None": ({"init": None}, TypeError, "init", "None"),
    "dtype float16": ({"dtype": "float16"}, ValueError, "float32", "float64", "'float16'"),
    "dtype integer": ({"dtype": int}, ValueError, "float32", "float64", "int"),
    "dtype complex": ({"dtype": "complex64"}, ValueError, "float32", "float64", "complex64"),
    "dtype byte-swapped": ({"dtype": ">f4"}, ValueError, "float32", "float64", ">f4"),
    "dtype misspelt": ({"dtype": "flaot32"}, ValueError, "float32", "float64", "flaot32"),
    "dtype a number": ({"dtype": 32}, ValueError, "float32", "float64", "32"),
    "engine None": ({"engine": None}, TypeError, "engine", "None"),
    "rng negative": ({"rng": -1}, ValueError, "rng", "-1"),
    "rng a float": ({"rng": 1.5}, TypeError, "rng", "1.5"),
    "rng a string": ({"rng": "seed"}, TypeError, "rng", "'seed'"),
}


@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_bad_networks_are_refused(case):
    options, error, *words = BAD_NETWORKS[case]
    with pytest.raises(error) as info:
        fb.Network(**{"sizes": [N_IN, 4, N_OUT]} | options)
    assert type(info.value) is error
    for word in words:
        assert word in str(info.value)


@pytest.mark.parametrize("sizes", [[2**62, 2], [2**40, 2**40], [3, 10**30, 2]])
def test_a_network_larger_than_any_memory_is_refused(sizes):
    with pytest.raises((ValueError, MemoryError)):
        fb.Network(sizes)


MISSPELT = [  # argument, what was typed, what was meant, all names
    ("hidden", "rellu", "relu", ACTIVATIONS),
    ("hidden", "ReLU", "relu", ACTIVATIONS),
    ("hidden", "LeakyReLU", "leaky_relu", ACTIVATIONS),
    ("hidden", "sigmoidal", "sigmoid", ACTIVATIONS),
    ("output", "sotfmax", "softmax", ACTIVATIONS),
    ("output", "xyz", None, ACTIVATIONS),
    ("cost", "cross-entropy", "cross_entropy", COSTS),
    ("cost", "squared", "squared_error", COSTS),
    ("cost", "xyz", None, COSTS),
    ("init", "he_norm", "he_normal", INITIALIZERS),
    ("init", "Auto", "auto", INITIALIZERS),
    ("engine", "loop", "loops", ENGINES),
    ("engine", "", None, ENGINES),
]


@pytest.mark.parametrize(("argument", "typed", "meant", "names"), MISSPELT)
def test_misspelt_names_are_answered_with_close_ones(argument, typed, meant, names):
    with pytest.raises(ValueError, match=f"unknown .*{typed!r}") as info:
        fb.Network([N_IN, 4, N_OUT], **{argument: typed})
    message = str(info.value)
    assert argument in message
    for name in names:
        assert repr(name) in message
    if meant:
        assert repr(meant) in message.partition("did you mean ")[2].partition("Known")[0]
    else:
        assert "did you mean" not in message
        assert f"{typed!r}. Known" in message or f"{typed!r}: known" in message


def test_sizes_may_be_any_sequence_of_integers():
    for sizes in ([3, 4, 2], (3, 4, 2), np.array([3, 4, 2], "u1"), [np.int64(3), 4, 2]):
        net = fb.Network(sizes)
        assert net.sizes == (3, 4, 2)
        assert all(type(n) is int for n in net.sizes)
    assert fb.Network(range(2, 5)).sizes == (2, 3, 4)


@pytest.mark.parametrize("dtype", ["float32", "f4", np.float32, np.dtype("f4"), "single"])
def test_dtype_may_be_spelt_in_any_way(dtype):
    assert fb.Network([3, 2], dtype=dtype).dtype == np.float32


def test_activations_and_costs_may_be_objects():
    net = fb.Network(
        [3, 4, 2],
        hidden=ACTIVATIONS["tanh"],
        output=ACTIVATIONS["softmax"],
        cost=COSTS["cross_entropy"][0],
    )
    assert (net.hidden, net.output, net.cost) == (("tanh",), "softmax", "cross_entropy")


# --- parameters ----------------------------------------------------------------------------------

BAD_VECTORS = {
    "too short": (lambda n: np.zeros(n - 1), "({n},)", "({n_1},)"),
    "empty": (lambda n: [], "({n},)", "(0,)"),
    "a column": (lambda n: np.zeros((n, 1)), "({n},)", "({n}, 1)"),
    "None": (lambda n: None, "None"),
    "strings": (lambda n: ["0"] * n, "real numbers", "<U1"),
    "complex": (lambda n: np.zeros(n, complex), "real numbers", "complex128"),
    "nan": (lambda n: [0.0] * (n - 1) + [np.nan], "vector[{n_1}]", "nan"),
    "inf": (lambda n: [np.inf] + [0.0] * (n - 1), "vector[0]", "inf"),
    "too large": (lambda n: [1e39] + [0.0] * (n - 1), "vector[0]", "too large for float32"),
}


@every_engine
@pytest.mark.parametrize("case", BAD_VECTORS)
def test_bad_parameters_are_refused(case, engine):
    make, *words = BAD_VECTORS[case]
    net = network(engine)
    n = net.n_parameters
    with refused(net, "vector", *(word.format(n=n, n_1=n - 1) for word in words)):
        net.set_parameters(make(n))


@every_engine
def test_arrays_of_another_shape_cannot_become_weights(engine):
    net = network(engine)
    for views, bad in ((net.weights, np.ones((4, 3))), (net.biases, np.ones(3))):
        with refused(net):
            views[0] = bad
    with refused(net):
        net.weights[0] = [["a"] * 4] * 3


# --- fit -----------------------------------------------------------------------------------------


class Nothing:
    """Neither callback nor progress bar nor optimizer."""


class HalfABar:
    def update(self, n):
        pass


BAD_FITS = {
    "epochs 0": ({"epochs": 0}, ValueError, "epochs", "positive integer", "0"),
    "epochs negative": ({"epochs": -3}, ValueError, "epochs", "positive integer", "-3"),
    "epochs float": ({"epochs": 2.0}, TypeError, "epochs", "2.0 (float)"),
    "epochs None": ({"epochs": None}, TypeError, "epochs", "None"),
    "epochs string": ({"epochs": "2"}, TypeError, "epochs", "'2' (str)"),
    "epochs bool": ({"epochs": True}, TypeError, "epochs", "True (bool)"),
    "batch_size 0": ({"batch_size": 0}, ValueError, "batch_size", "positive integer", "0"),
    "batch_size negative": ({"batch_size": -1}, ValueError, "batch_size", "-1"),
    "batch_size float": ({"batch_size": 2.5}, TypeError, "batch_size", "2.5 (float)"),
    "batch_size string": ({"batch_size": "all"}, TypeError, "batch_size", "'all' (str)"),
    "batch_size bool": ({"batch_size": True}, TypeError, "batch_size", "True (bool)"),
    "optimizer misspelt": (
        {"optimizer": "adma"},
        ValueError,
        "optimizer",
        "'adma'",
        "did you mean 'adamax', 'adam', 'radam'",
        *map(repr, OPTIMIZERS),
    ),
    "optimizer unknown": ({"optimizer": "xyz"}, ValueError, "'xyz'", *map(repr, OPTIMIZERS)),
    "optimizer a class": ({"optimizer": fb.Adam}, TypeError, "Adam()"),
    "optimizer None": ({"optimizer": None}, TypeError, "optimizer", "None"),
    "optimizer a number": ({"optimizer": 0.1}, TypeError, "optimizer", "0.1 (float)"),
    "optimizer an object": ({"optimizer": Nothing()}, TypeError, "optimizer", "Nothing"),
    "shuffle 1": ({"shuffle": 1}, TypeError, "shuffle", "1 (int)"),
    "shuffle None": ({"shuffle": None}, TypeError, "shuffle", "None"),
    "shuffle string": ({"shuffle": "no"}, TypeError, "shuffle", "'no' (str)"),
    "validation 0": ({"validation": 0.0}, ValueError, "validation", "0.0"),
    "validation 1": ({"validation": 1.0}, ValueError, "validation", "1.0"),
    "validation negative": ({"validation": -0.2}, ValueError, "validation", "-0.2"),
    "validation above 1": ({"validation": 20.0}, ValueError, "validation", "20.0"),
    "validation nan": ({"validation": np.nan}, ValueError, "validation", "nan"),
    "validation nearly all": ({"validation": 0.95}, ValueError, "validation", "0.95", "5"),
    "validation True": ({"validation": True}, TypeError, "validation", "True (bool)"),
    "validation a count": ({"validation": 2}, TypeError, "validation", "2 (int)"),
    "validation a string": ({"validation": "0.2"}, TypeError, "validation", "'0.2' (str)"),
    "validation an array": ({"validation": np.ones((2, 3))}, TypeError, "validation", "ndarray"),
    "validation a dict": ({"validation": {"X": X}}, TypeError, "validation", "dict"),
    "validation of one": ({"validation": (X,)}, ValueError, "validation", "1 item"),
    "validation of four": ({"validation": (X,) * 4}, ValueError, "validation", "4 items"),
    "validation empty": ({"validation": ()}, ValueError, "validation", "0 items"),
    "callbacks a number": ({"callbacks": 3}, TypeError, "callback", "3"),
    "callbacks None": ({"callbacks": None}, TypeError, "callback", "None"),
    "callbacks numbers": ({"callbacks": [print, 3]}, TypeError, "callback", "3"),
    "callbacks a string": ({"callbacks": "stop"}, TypeError, "callback", "on_epoch_end"),
    "callbacks an object": ({"callbacks": Nothing()}, TypeError, "callback", "Nothing"),
    "progress a number": ({"progress": 3}, TypeError, "progress", "3"),
    "progress a string": ({"progress": "bar"}, TypeError, "progress", "'bar'"),
    "progress an object": ({"progress": Nothing()}, TypeError, "progress", "Nothing"),
    "progress a dict": ({"progress": {}}, TypeError, "progress", "{}"),
    "progress half a bar": ({"progress": HalfABar()}, TypeError, "progress", "HalfABar"),
}
HUGE = 10**400  # an integer too large for a float
BAD_FITS |= {
    "dropout nearly 1": ({"dropout": 1 - 1e-12}, ValueError, "dropout", "1 - 2**-32"),
    "inputs nearly 1": ({"dropout": fb.Dropout(inputs=1 - 2.0**-53)}, ValueError, "1 - 2**-32"),
    "dropout huge": ({"dropout": HUGE}, ValueError, "dropout must be in [0, 1)"),
    "noise huge": ({"dropout": fb.Dropout(noise=HUGE)}, ValueError, "finite standard deviation"),
    "improvement huge": (
        {"early_stopping": fb.EarlyStopping(min_improvement=HUGE)},
        ValueError,
        "min_improvement must be a number of at least 0",
    ),
    "validation huge": ({"validation": HUGE}, TypeError, "validation"),
    "weight huge": ({"sample_weight": [HUGE] * N}, ValueError, "sample_weight", "too large"),
    "epochs no Python prints": ({"epochs": -(10**5000)}, ValueError, "an integer of 16610 bits"),
}
BAD_PARTIAL_FITS = {
    case: row
    for case, row in BAD_FITS.items()
    if case.split()[0] in ("batch_size", "optimizer", "shuffle") and case != "optimizer None"
}


@every_engine
@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_arguments_of_fit_are_refused(case, engine):
    options, error, *words = BAD_FITS[case]
    net = network(engine)
    with refused(net, *words, error=error):
        net.fit(X, Y["real"], **options)


@every_engine
@pytest.mark.parametrize("case", BAD_PARTIAL_FITS)
def test_bad_arguments_of_partial_fit_are_refused(case, engine):
    options, error, *words = BAD_PARTIAL_FITS[case]
    net = network(engine)
    with refused(net, *words, error=error):
        net.partial_fit(X, Y["real"], **options)


@pytest.mark.parametrize(
    "argument",
    [
        "X",
        "y",
        "sample_weight",
        "validation",
        "epochs",
        "batch_size",
        "shuffle",
        "callbacks",
        "progress",
    ],
)
@every_engine
def test_a_refused_fit_does_not_touch_the_optimizer(argument, engine):
    """It stays free for another network, and for one of other sizes."""
    optimizer = fb.Adam(0.1)
    before = pickle.dumps(optimizer)
    arguments = {"X": X, "y": Y["real"], "optimizer": optimizer} | {argument: -3}
    with pytest.raises((ValueError, TypeError), match=argument.rstrip("s")):
        network(engine).fit(**arguments)
    assert optimizer.steps == 0
    assert pickle.dumps(optimizer) == before
    network(engine, sizes=(N_IN, 2)).fit(X, Y["real"], optimizer=optimizer, epochs=1)
    assert optimizer.steps == 1


BAD_HYPERPARAMETERS = {
    "learning_rate huge": (fb.SGD, {"learning_rate": HUGE}, "learning_rate", "10000"),
    "betas huge": (fb.Adam, {"betas": (0.9, HUGE)}, "betas[1]", "[0, 1)"),
    "l2 huge": (fb.Adam, {"l2": HUGE}, "l2 must be a number of at least 0"),
    "max_evaluations huge": (fb.LBFGS, {"max_evaluations": HUGE}, "2147483647 at most"),
    "learning_rate negative": (fb.SGD, {"learning_rate": -0.1}, "learning_rate", "-0.1"),
    "learning_rate nan": (fb.Adam, {"learning_rate": np.nan}, "learning_rate", "nan"),
    "learning_rate inf": (fb.SGD, {"learning_rate": np.inf}, "learning_rate", "inf"),
    "learning_rate None": (fb.Adam, {"learning_rate": None}, "learning_rate", "None"),
    "learning_rate string": (fb.SGD, {"learning_rate": "0.1"}, "learning_rate", "'0.1'"),
    "learning_rate complex": (fb.SGD, {"learning_rate": np.complex64(1)}, "learning_rate", "1"),
    "learning_rate bool": (fb.SGD, {"learning_rate": True}, "learning_rate", "True"),
    "learning_rate array": (fb.SGD, {"learning_rate": np.ones(2)}, "learning_rate", "array"),
    "momentum 1": (fb.SGD, {"momentum": 1}, "momentum", "[0, 1)", "1"),
    "momentum negative": (fb.SGD, {"momentum": -0.9}, "momentum", "[0, 1)", "-0.9"),
    "nesterov alone": (fb.SGD, {"nesterov": True}, "nesterov", "momentum"),
    "betas one": (fb.Adam, {"betas": (0.9,)}, "betas", "(0.9,)"),
    "betas three": (fb.Adam, {"betas": (0.9, 0.9, 0.9)}, "betas", "two"),
    "betas a number": (fb.Adam, {"betas": 0.9}, "betas", "0.9"),
    "beta 1 too large": (fb.Adam, {"betas": (1, 0.999)}, "betas[0]", "[0, 1)", "1"),
    "beta 2 too large": (fb.Adam, {"betas": (0.9, 1.5)}, "betas[1]", "[0, 1)", "1.5"),
    "epsilon negative": (fb.Adam, {"epsilon": -1e-8}, "epsilon", "-1e-08"),
}


@pytest.mark.parametrize("case", BAD_HYPERPARAMETERS)
def test_bad_hyperparameters_are_refused(case):
    make, options, *words = BAD_HYPERPARAMETERS[case]
    with pytest.raises((ValueError, TypeError)) as info:
        make(**options)
    for word in words:
        assert word in str(info.value)


@every_engine
@pytest.mark.parametrize("case", BAD_HYPERPARAMETERS)
def test_bad_hyperparameters_set_later_are_refused_by_fit(case, engine):
    make, options, *words = BAD_HYPERPARAMETERS[case]
    optimizer, net = make(), network(engine)
    for name, value in options.items():
        setattr(optimizer, name, value)
    with refused(net, *words):
        net.fit(X, Y["real"], optimizer=optimizer)
    assert optimizer.steps == 0


@every_engine
def test_an_optimizer_in_use_is_refused_by_another_network(engine):
    optimizer, first, second = fb.Adam(), network(engine), network(engine)
    first.fit(X, Y["real"], optimizer=optimizer, epochs=1)
    with refused(second, "Adam", "another network", "reset()"):
        second.fit(X, Y["real"], optimizer=optimizer)
    optimizer.reset()
    second.fit(X, Y["real"], optimizer=optimizer, epochs=1)
    assert optimizer.steps == 1


@every_engine
@pytest.mark.parametrize("value", [0, -2, 1.5, None, "3", True])
def test_bad_max_parameters_is_refused(value, engine):
    net = network(engine)
    with refused(net, "max_parameters", "positive integer", str(value)):
        net.check_gradient(X, Y["real"], max_parameters=value)


@every_engine
def test_weights_that_cover_one_side_of_the_split_only_are_refused(engine):
    net = network(engine)
    for i in range(N):  # whichever sample is held out, all others have no weight
        s = np.zeros(N)
        s[i] = 1
        with refused(net, "sample_weight", "split"):
            net.fit(X, Y["real"], sample_weight=s, validation=0.2)


@every_engine
def test_nan_written_into_a_weight_ends_training_with_an_error(engine):
    net = network(engine)
    net.weights[0][1, 2] = np.nan
    parameters = net.get_parameters()
    with pytest.raises(fb.DivergenceError):
        net.fit(X, Y["real"], epochs=1)
    assert same_bits(net.get_parameters(), parameters)
