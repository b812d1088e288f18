"""SciPy's sparse matrices as X: the results of the dense X, at the price of its non-zeros."""

import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from problems import TOLERANCE, deviation, every_dtype, every_engine

import fastbackprop as fb
from fastbackprop import machine
from fastbackprop.engines import ENGINES

sparse = pytest.importorskip("scipy.sparse")

N, LABELS = 300, 3  # more than two row tiles


def dense(n_in, density=0.1, seed=0):
    """A tenth of it is not zero; there are rows and columns with nothing in them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, n_in)) * (rng.random((N, n_in)) < density)
    X[[0, 150, N - 1]] = 0
    X[:, [1, n_in - 1]] = 0
    return X


def in_disorder(X):
    """The same matrix: columns fall, and every value is there as two halves and a zero."""
    X = sparse.csr_array(X)
    pieces = [
        (np.repeat(X.indices[a:b][::-1], 3), np.outer(X.data[a:b][::-1], [0.5, 0, 0.5]).ravel())
        for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)
    ]
    columns, values = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    result = sparse.csr_array(X.shape)
    result.data = np.append(values, [np.nan, np.inf])  # behind the last row there may be anything
    result.indices = np.append(columns, [9**9, -1])
    result.indptr = 3 * X.indptr.astype(np.int64)
    return result


def network(n_in, hidden=(20,), **options):
    sizes = [n_in, *hidden, LABELS]
    return fb.Network(sizes, output="softmax", cost="cross_entropy", rng=0, **options)


def labels_and_weights(n=N):
    rng = np.random.default_rng(1)
    return rng.integers(0, LABELS, n), rng.uniform(0.5, 2.0, n)


def few_for_loops(engine, n_in):
    """Columns and samples: one sample is a row tile of the loops, and they may be Python's."""
    return (min(n_in, 40), 60) if engine == "loops" else (n_in, N)


@every_engine
@every_dtype
@pytest.mark.parametrize(("n_in", "hidden"), [(5, (33,)), (40, ()), (300, (100, 4))])
def test_results_are_those_of_the_dense_X(engine, dtype, n_in, hidden):
    n_in, n = few_for_loops(engine, n_in)
    net, X = network(n_in, hidden, engine=engine, dtype=dtype), dense(n_in)[:n]
    y, s = labels_and_weights(n)
    for form in (sparse.csr_array(X), sparse.csr_matrix(X), in_disorder(X)):
        assert deviation(net.predict(form), net.predict(X)) < TOLERANCE[dtype]
        assert deviation(net.predict(form[:1]), net.predict(X[:1])) < TOLERANCE[dtype]
        gradient, ref = net.gradient(form, y, s), net.gradient(X, y, s)
        assert gradient.cost == pytest.approx(ref.cost, rel=TOLERANCE[dtype])
        assert net.evaluate(form, y, s) == pytest.approx(ref.cost, rel=TOLERANCE[dtype])
        for comp, expected in zip(gradient.weights + gradient.biases, ref[1] + ref[2], strict=True):
            assert deviation(comp, expected) < TOLERANCE[dtype]


TRAININGS = {  # on 300 columns, SGD has no gradient of W^1 in memory, on 40 it has
    "sgd, 300 columns": (300, {"optimizer": lambda: fb.SGD(0.1)}),
    "sgd, 40 columns": (40, {"optimizer": lambda: fb.SGD(0.1)}),
    "adam": (40, {"optimizer": lambda: fb.Adam(0.01)}),
    "clipped": (300, {"optimizer": lambda: fb.SGD(0.1, clip_norm=0.1, max_norm=1.0)}),
    "dropout": (300, {"optimizer": lambda: fb.SGD(0.1), "dropout": fb.Dropout(0.2, inputs=0.3)}),
}


def trained(net, X, optimizer, **options):
    y, s = labels_and_weights(X.shape[0])
    history = net.fit(X, y, sample_weight=s, epochs=2, optimizer=optimizer(), **options)
    return history.cost, net.get_parameters()


@every_engine
@every_dtype
@pytest.mark.parametrize("batch_size", [32, 200])
@pytest.mark.parametrize("case", TRAININGS)
def test_training_is_that_on_the_dense_X(engine, dtype, case, batch_size):
    n_in, options = TRAININGS[case]
    n_in, n = few_for_loops(engine, n_in)
    X, results = dense(n_in)[:n], []
    for form in (in_disorder(X), X):
        net = network(n_in, engine=engine, dtype=dtype)
        results.append(trained(net, form, batch_size=batch_size, **options))
    (cost, theta), (ref_cost, ref_theta) = results
    assert deviation(cost, ref_cost) < TOLERANCE[dtype]
    assert deviation(theta, ref_theta) < 10 * TOLERANCE[dtype]
    assert not np.array_equal(theta, network(n_in, dtype=dtype).get_parameters())


@pytest.mark.compiled
@pytest.mark.parametrize("case", TRAININGS)
def test_no_bit_depends_on_threads_or_on_how_an_epoch_is_cut(case, monkeypatch):
    n_in, options = TRAININGS[case]
    X = sparse.csr_array(dense(n_in))
    results = []
    for n_threads, seconds in ((1, 1.0), (2, 1.0), (3, 1e-9), (7, 1.0)):
        monkeypatch.setattr(machine, "SLICE_SECONDS", seconds)
        net = network(n_in)
        trained(net, X, batch_size=290, n_threads=n_threads, **options)
        results.append((net.machine.theta.copy(), net.predict(X, n_threads=n_threads)))
        for view in (
            *net.machine.layout.weights(net.machine.theta),
            *net.machine.layout.biases(net.machine.theta),
        ):
            view[...] = 0
        assert not net.machine.theta.any()  # the padding
    for theta, out in results[1:]:
        assert theta.tobytes() == results[0][0].tobytes()
        assert out.tobytes() == results[0][1].tobytes()


def test_targets_in_a_file_are_read_a_part_of_a_minibatch_at_a_time(tmp_path, monkeypatch):
    X, rng = sparse.csr_array(dense(300)), np.random.default_rng(2)
    Y, s = rng.dirichlet(np.ones(LABELS), N).astype(np.float32), rng.uniform(0.5, 2.0, N)
    np.save(tmp_path / "Y.npy", Y)
    monkeypatch.setattr("fastbackprop.inputs.on_disk.BLOCK", 100)
    thetas = []
    for targets in (Y, np.load(tmp_path / "Y.npy", mmap_mode="r")):
        net = network(300)
        net.fit(X, targets, sample_weight=s, epochs=2, batch_size=200, optimizer=fb.SGD(0.1))
        thetas.append(net.get_parameters())
    assert thetas[0].tobytes() == thetas[1].tobytes()


@pytest.mark.parametrize("engine", ["loops", "numpy"])
def test_validation_metrics_batches_and_partial_fit(engine):
    X, (y, s) = dense(40), labels_and_weights()
    histories = []
    for form in (sparse.csr_array(X), X):
        net = network(40, engine=engine, dtype="float64")
        metrics = fb.Metrics("accuracy", training=True)
        options = {"metrics": metrics, "optimizer": fb.SGD(0.1)}
        history = net.fit(form, y, epochs=2, validation=0.2, sample_weight=s, **options)
        other = net.fit(form, y, epochs=1, validation=(form[:9], y[:9], s[:9]), **options)
        batches = [(form[:100], y[:100]), (form[100:], y[100:], s[100:])]
        third = net.fit(batches, epochs=2, optimizer="sgd")
        fourth = net.partial_fit(form, y, batch_size=7)
        costs = [*history.cost, *history["validation_cost"], *history["accuracy"]]
        costs += [*other["validation_accuracy"], *third.cost, *fourth.cost]
        histories.append(costs)
    assert deviation(*histories) < TOLERANCE["float64"]
    assert net.check_gradient(sparse.csr_array(X)[:9], y[:9], max_parameters=20) < 1e-8


def test_LBFGS():
    X, (y, _) = dense(40), labels_and_weights()
    costs = []
    for form in (sparse.csr_array(X), X):
        net = network(40, engine="numpy", dtype="float64")
        costs.append(net.fit(form, y, epochs=5, optimizer="lbfgs").cost)
    assert deviation(*costs) < 1e-9


@pytest.mark.parametrize("kind", ["csc", "coo", "lil", "dok", "dia", "bsr"])
def test_other_sparse_formats_and_numbers(kind):
    X = dense(40)[:20].round().astype(int)
    net = network(40, engine="numpy")
    for values in (X, X.astype(bool)):
        form = sparse.csr_array(values).asformat(kind)
        assert deviation(net.predict(form), net.predict(values)) < TOLERANCE["float32"]


def test_nothing_in_it():
    net = network(40, engine="numpy")
    assert np.array_equal(net.predict(sparse.csr_array((7, 40))), net.predict(np.zeros((7, 40))))


@pytest.mark.compiled
@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_made_dense(engine):
    n, n_in = 10_000, 200_000  # 8 GB of float32
    rng = np.random.default_rng(0)
    columns = rng.integers(0, n_in, 5 * n)
    X = sparse.csr_array((np.ones(5 * n), columns, np.arange(0, 5 * n + 1, 5)), (n, n_in))
    y = rng.integers(0, LABELS, n)
    net = network(n_in, (2,), engine=engine)
    tracemalloc.start()
    try:
        net.predict(X[:500])
        net.evaluate(X[:500], y[:500])
        net.fit(X[:500], y[:500], epochs=1, optimizer="sgd", validation=0.2, batch_size=200)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * net.machine.theta.nbytes + 50e6


def csr(values=None, columns=None, starts=None):
    """A CSR matrix of 5 rows and 3 columns in which something has been replaced."""
    X = sparse.csr_array(np.eye(5, 3))
    X.data = X.data if values is None else np.array(values)
    X.indices = X.indices if columns is None else np.array(columns)
    X.indptr = X.indptr if starts is None else np.array(starts)
    return X


BAD = {
    "too many columns": (lambda: sparse.csr_array((5, 4)), "(n_samples, 3)", "(5, 4)"),
    "no rows": (lambda: sparse.csr_array((0, 3)), "at least one row", "(0, 3)"),
    "one dimension": (lambda: sparse.coo_array(np.ones(3)), "(n_samples, 3)", "(3,)", "reshape"),
    "nan": (lambda: csr([1, np.nan, 1]), "X[1, 1]", "nan", "finite"),
    "inf behind empty rows": (lambda: csr([1, 1, -np.inf], None, [0, 0, 2, 2, 2, 3]), "X[4, 2]"),
    "too large": (lambda: csr([1, 1e39, 1]), "X[1, 1]", "1e+39", "float32"),
    "complex": (lambda: csr([1, 1j, 1]), "real numbers", "complex128"),
    "a column too far": (lambda: csr(None, [0, 1, 3]), "3 columns", "0 ... 3"),
    "a negative column": (lambda: csr(None, [0, -1, 2]), "3 columns", "-1 ... 2"),
    "rows that fall": (lambda: csr(None, None, [0, 2, 1, 3, 3, 3]), "indptr"),
    "rows that begin before the first": (lambda: csr(None, None, [-1, 1, 2, 3, 3, 3]), "indptr"),
    "rows behind the last value": (lambda: csr(None, None, [0, 1, 2, 3, 3, 4]), "indptr"),
    "too few rows": (lambda: csr(None, None, [0, 1, 2, 3]), "indptr"),
    "fewer values than columns": (lambda: csr([1.0, 1.0]), "indptr"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_X_is_refused_and_nothing_changes(case):
    make, *words = BAD[case]
    net = fb.Network([3, 2, LABELS], output="softmax", cost="cross_entropy", rng=0)
    before, y = net.get_parameters(), np.zeros(5, int)
    calls = [lambda X: net.evaluate(X, y), lambda X: net.fit(X, y, epochs=1)]
    if case == "no rows":
        assert net.predict(make()).shape == (0, LABELS)
    else:
        calls.append(net.predict)
    for call in calls:
        with pytest.raises((ValueError, TypeError)) as error:
            call(make())
        assert all(word in str(error.value) for word in words), error.value
    assert np.array_equal(net.get_parameters(), before)


def test_what_has_to_be_dense_says_so():
    X, y = sparse.csr_array(np.eye(5, 3)), np.zeros(5, int)
    net = fb.Network([3, 2, LABELS], output="softmax", cost="cross_entropy", rng=0)
    for call in (
        lambda: net.activations(X),
        lambda: net.trace(X, y),
        lambda: net.fit(X, y, dropout=fb.Dropout(noise=0.1)),
        lambda: net.partial_fit(X, y, dropout=fb.Dropout(noise=0.1)),
        lambda: net.fit([(X, y)], epochs=1, dropout=fb.Dropout(noise=0.1)),
    ):
        with pytest.raises(TypeError, match=r"sparse csr_array.*X\.toarray\(\)"):
            call()
    with pytest.raises(TypeError, match=r"y is a sparse.*y\.toarray\(\)"):
        net.evaluate(X, X)


def test_out_may_be_the_values_of_X():
    values = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
    X = sparse.csr_array(values)
    net = network(3)
    expected = net.predict(values)
    out = X.data.reshape(2, 3)
    assert deviation(net.predict(X, out), expected) < TOLERANCE["float32"]


def test_the_example_runs():
    pytest.importorskip("sklearn")
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "sparse.py"))
    X, y = example["data"](50, 30, 4, 3)
    for solver in example["SOLVERS"]:
        ours, theirs = example["seconds"](solver, X, y, 5, 20, 1)
        assert 0 < ours < np.inf and 0 < theirs < np.inf
