"""Data beyond arrays: what stays in its file, frames, batches that come one by one."""

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import inputs
from fastbackprop.engines import ENGINES, load
from fastbackprop.inputs import on_disk

every_engine = pytest.mark.parametrize("engine", ENGINES)
SIZES = [3, 4, 2]
_rng = np.random.default_rng(30)


def network(engine="numpy", **options):
    return fb.Network(SIZES, hidden="tanh", rng=0, engine=engine, **options)


def samples(n, dtype=np.float32):
    X, Y = _rng.normal(size=(n, SIZES[0])), _rng.normal(size=(n, SIZES[-1]))
    return X.astype(dtype), Y.astype(dtype), _rng.uniform(0.5, 2.0, n)


# --- what stays where it is ----------------------------------------------------------------------


class DataSet:
    """As HDF5 has it: no memory to look at, and rows in increasing order alone."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        self.largest = max(self.largest, len(self.array[rows]))
        return self.array[rows]


def memory_map(array, folder):
    path = folder / f"{array.shape[1]}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


STORED = {"memory map": memory_map, "data set": lambda array, folder: DataSet(array)}


def everything(net, X, Y, s, batch_size):
    history = net.fit(X, Y, epochs=2, batch_size=batch_size, sample_weight=s, validation=0.3)
    return pickle.dumps(
        (
            net.get_parameters(),
            history.cost + history.validation_cost,
            net.partial_fit(X, Y, batch_size=batch_size).cost,
            net.predict(X),
            net.activations(X),
            net.evaluate(X, Y, s),
            net.gradient(X, Y),
            net.gradient_sums(X, Y, s),
            net.trace(X[:5], Y[:5]),
        )
    )


@every_engine
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("cut", ["within a minibatch", "between minibatches", "all of them"])
def test_some_rows_at_a_time_give_the_bits_of_all(cut, stored, engine, tmp_path, monkeypatch):
    """Wherever a block ends; a minibatch may need several."""
    net = network(engine)
    tile = load(engine).row_tile(net.machine.model)
    batch_size = 7 if cut == "between minibatches" else 2 * tile + tile // 2 + 1
    X, Y, s = samples(2 * batch_size + 5)
    most = {"within a minibatch": tile, "between minibatches": 15, "all of them": len(X)}[cut]
    monkeypatch.setattr(on_disk, "BLOCK", most * SIZES[0])
    kept, targets = STORED[stored](X, tmp_path), STORED[stored](Y, tmp_path)
    for dtype_of in (np.float32, np.float64):
        if dtype_of == np.float64 and stored == "data set":  # converts, block by block
            kept, targets = DataSet(X.astype(dtype_of)), DataSet(Y.astype(dtype_of))
        computed = everything(network(engine), kept, targets, s, batch_size)
        assert computed == everything(network(engine), X, Y, s, batch_size)


def test_memory_does_not_grow_with_the_data(monkeypatch):
    X, Y, _ = samples(5000)
    monkeypatch.setattr(on_disk, "BLOCK", 100 * SIZES[0])
    kept = DataSet(X)
    net = network("loops")
    net.fit(kept, DataSet(Y), epochs=1, batch_size=None)
    net.fit(kept, Y, epochs=1, batch_size=32, validation=(kept, Y))
    net.predict(kept)
    net.evaluate(kept, Y)
    net.gradient(kept, Y)
    assert 10 < kept.largest <= 100


def test_divergence_with_data_on_disk_keeps_the_last_finite_state(monkeypatch):
    X, Y, _ = samples(40)
    monkeypatch.setattr(on_disk, "BLOCK", 2 * SIZES[0])
    results = []
    for data in (X, DataSet(X)):
        net = network("loops", dtype="float64")
        with pytest.raises(fb.DivergenceError):
            net.fit(data, 1e30 * Y, batch_size=8, optimizer=fb.SGD(1e20), epochs=20)
        results.append(net.get_parameters().tobytes())
    assert results[0] == results[1]
    assert np.isfinite(net.get_parameters()).all()


@every_engine
@pytest.mark.parametrize("argument", ["X", "y"])
def test_a_bad_value_is_refused_before_the_step_it_would_ruin(argument, engine, monkeypatch):
    X, Y, _ = samples(40)
    monkeypatch.setattr(on_disk, "BLOCK", 8 * SIZES[0])
    bad = (X if argument == "X" else Y).copy()
    bad[21, 1] = np.nan
    data = (DataSet(bad), Y) if argument == "X" else (X, DataSet(bad))
    net, twin = network(engine), network(engine)
    options = {"epochs": 1, "batch_size": 8, "shuffle": False}
    with pytest.raises(ValueError, match=rf"{argument} must be finite; {argument}\[21, 1\] is nan"):
        net.fit(*data, **options)
    twin.fit(X[:16], Y[:16], **options)  # the steps before
    assert net.get_parameters().tobytes() == twin.get_parameters().tobytes()
    assert np.isfinite(net.fit(X, Y, epochs=1).cost).all()


def test_the_row_is_named_in_any_order_and_behind_a_split():
    X, Y, _ = samples(40)
    X[21, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[21, 1\] is inf"):
        network().fit(DataSet(X), Y, epochs=5, validation=0.5)
    net = network(output="softmax", cost="cross_entropy")
    rows_of_one = np.full((40, 2), 0.5)
    rows_of_one[33] = 1
    with pytest.raises(ValueError, match="row 33 sums to 2"):
        net.fit(samples(40)[0], DataSet(rows_of_one), epochs=1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DataSet(np.ones((5, 4))), r"\(n_samples, 3\); got \(5, 4\)"),
        (DataSet(np.ones((0, 3))), "at least one row"),
        (DataSet(np.full((5, 3), "a")), "real numbers"),
    ],
)
def test_what_can_be_seen_at_once_is_refused_at_once(data, words):
    with pytest.raises((ValueError, TypeError), match=words):
        network().fit(data, np.ones((5, 2)))
    assert data.largest == 0


def test_out_may_be_the_memory_map_itself(tmp_path):
    X = samples(50)[0]
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r+")
    net = fb.Network([3, 3], rng=0, engine="numpy")
    expected = net.predict(X)
    assert net.predict(mapped, out=mapped).tobytes() == expected.tobytes()


class Changed(DataSet):
    """Its rows are others than its shape said when it was passed: a file that was trimmed."""

    def __init__(self, shape, array):
        super().__init__(array)
        self.shape = shape


CALLS = {
    "predict": lambda net, X, Y: net.predict(X),
    "activations": lambda net, X, Y: net.activations(X),
    "evaluate": lambda net, X, Y: net.evaluate(X, Y),
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "jacobian": lambda net, X, Y: net.jacobian(X),
    "sample_gradients": lambda net, X, Y: net.sample_gradients(X, Y),
    "fit": lambda net, X, Y: net.fit(X, Y, epochs=1),
    "fit in order": lambda net, X, Y: net.fit(X, Y, epochs=1, shuffle=False),
    "part": lambda net, X, Y: net.fit(X, Y, epochs=1, validation=0.5),
}


@every_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("now", [(30, 0), (0, 0), (40, -1), (40, 1)], ids=str)
def test_a_source_that_has_changed_is_refused(now, call, engine):
    """Fewer rows than its shape says were memory of others, or a crash."""
    net = network(engine)
    before = net.get_parameters()
    X, Y, _ = samples(40)
    n, more = now
    for data in (
        (Changed((40, 3), np.ones((n, 3 + more), np.float32)), Y),
        (X, Changed((40, 2), np.ones((n, 2 + more), np.float32))),
    ):
        if call in ("predict", "activations", "jacobian") and data[0] is X:
            continue
        words = r"X (gave|has no)" if data[1] is Y else r"y (gave|has no)"
        with pytest.raises(ValueError, match=words):
            CALLS[call](net, *data)
    assert net.get_parameters().tobytes() == before.tobytes()


def test_a_validation_source_that_has_changed_is_refused():
    """It was a validation cost of NaN."""
    X, Y, _ = samples(40)
    lost = Changed((40, 3), X[:30])
    with pytest.raises(ValueError, match=r"X gave an array of shape \(30, 3\) for 40 rows of 3"):
        network().fit(X, Y, epochs=1, validation=(lost, Y))


def test_predict_into_an_array_reads_a_block_at_a_time(monkeypatch):
    """NumPy reads the whole of a data set when it is asked whether it shares memory."""

    class WithArray(DataSet):
        def __array__(self, dtype=None, copy=None):
            self.largest = len(self.array)
            return self.array

    X, _, _ = samples(5000)
    monkeypatch.setattr(on_disk, "BLOCK", 100 * SIZES[0])
    kept, out, net = WithArray(X), np.empty((5000, 2), np.float32), network("loops")
    assert net.predict(kept, out=out).tobytes() == net.predict(X).tobytes()
    assert kept.largest <= 100


def test_only_arrays_are_asked_for_their_memory(tmp_path):
    X, _, _ = samples(5)
    mapped = memory_map(X, tmp_path)
    net = network()
    for source, expected in ((X, True), (X.copy(), False), (DataSet(X), False), (None, False)):
        assert inputs.shares_memory(X, source) is expected
    kept = inputs.matrix(mapped, 3, net.dtype)
    assert inputs.shares_memory(mapped, kept)
    assert not inputs.shares_memory(X, inputs.matrix(DataSet(X), 3, net.dtype))


def test_checking_data_loads_no_compiler():
    code = """
        import sys, types
        import numpy as np
        package = types.ModuleType("fastbackprop")
        package.__path__ = [sys.argv[1]]
        sys.modules["fastbackprop"] = package
        from fastbackprop import inputs
        assert inputs.matrix([[1, 2]], 2, np.dtype("f4")).shape == (1, 2)
        assert not {"numba", "fastbackprop.engines", "fastbackprop.training"} & {*sys.modules}
    """
    folder = str(Path(fb.__file__).parent)
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), folder], check=True)


# --- batches -------------------------------------------------------------------------------------


def cut(n, *arrays):
    return [tuple(array[i : i + n] for array in arrays) for i in range(0, len(arrays[0]), n)]


class Again:
    """Begins anew for every epoch."""

    def __init__(self, batches):
        self.batches, self.epochs = batches, 0

    def __iter__(self):
        self.epochs += 1
        return iter(self.batches)


@every_engine
def test_each_batch_is_a_step(engine):
    X, Y, s = samples(23)
    net, twin = network(engine), network(engine)
    batches, adam = Again(cut(5, X, Y, s)), fb.Adam()
    held_out = {"validation": (X, Y, s)}
    history = net.fit(batches, epochs=3, shuffle=False, optimizer=adam, **held_out)
    options = {"batch_size": 5, "shuffle": False}
    expected = twin.fit(X, Y, sample_weight=s, epochs=3, **options, **held_out)
    assert net.get_parameters().tobytes() == twin.get_parameters().tobytes()
    assert history.cost == pytest.approx(expected.cost, rel=1e-6)
    assert history.validation_cost == expected.validation_cost
    assert batches.epochs == 3 and adam.steps == 15


@every_engine
def test_batches_may_be_cut_into_minibatches(engine):
    """As partial_fit does, in its order; each may be of another kind."""
    X, Y, s = samples(23)
    net, twin = network(engine), network(engine)
    batches = cut(10, X, Y, s)
    batches[1] = [DataSet(batches[1][0]), batches[1][1].tolist(), batches[1][2]]
    net.fit(batches, epochs=2, batch_size=4)
    for x, y, w in 2 * cut(10, X, Y, s):
        twin.partial_fit(x, y, sample_weight=w, batch_size=4)
    assert net.get_parameters().tobytes() == twin.get_parameters().tobytes()


def test_a_generator_is_for_one_epoch():
    X, Y, _ = samples(20)
    net = network()
    with pytest.raises(ValueError, match="generator gives its batches once, and there are 2"):
        net.fit((batch for batch in cut(5, X, Y)), epochs=2)
    assert net.get_parameters().tobytes() == network().get_parameters().tobytes()
    assert len(net.fit((batch for batch in cut(5, X, Y)), epochs=1)) == 1


BAD_BATCHES = {
    "none": ([], "no batch"),
    "X alone": ([samples(5)[:1]], r"batch 1 .*must be \(X, y\) or \(X, y, sample_weight\)"),
    "numbers": ([1, 2], "batch 1 .*got 1"),
    "y forgotten": ([[1, 2, 3], [4, 5, 6]], r"batch 1 of X \(no y was passed\)"),
    "another width": ([samples(5)[:2], (np.ones((5, 4)), np.ones((5, 2)))], r"batch 2 .*\(5, 4\)"),
    "nan": ([samples(5)[:2], (np.full((5, 3), np.nan), np.ones((5, 2)))], r"batch 2 .*X\[0, 0\]"),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_batches_are_refused_before_their_step(case):
    batches, words = BAD_BATCHES[case]
    net, twin = network(), network()
    with pytest.raises((ValueError, TypeError), match=words):
        net.fit(batches, epochs=2)
    if words.startswith("batch 2"):
        twin.fit(batches[:1], epochs=1)
    assert net.get_parameters().tobytes() == twin.get_parameters().tobytes()


@pytest.mark.parametrize("options", [{"validation": 0.2}, {"sample_weight": np.ones(5)}])
def test_what_belongs_to_arrays_is_refused_beside_batches(options):
    with pytest.raises(ValueError, match=r"batches.*\(X, y, sample_weight\)"):
        network().fit([samples(5)[:2]], **options)


@pytest.mark.parametrize("X", [samples(5)[0], 3, "ab", {"a": 1}])
def test_a_forgotten_y_is_asked_for(X):
    with pytest.raises((TypeError, ValueError), match=r"X must|y must be an array of numbers"):
        network().fit(X)


# --- frames --------------------------------------------------------------------------------------

FRAMES = ["pandas", "polars"]
AGES, FLAGS, HEIGHTS = [1, 2, 3], [True, False, True], [0.5, 0.25, 1.5]


@pytest.fixture(params=FRAMES)
def frames(request):
    return pytest.importorskip(request.param)


def test_columns_of_numbers_are_numbers(frames):
    frame = frames.DataFrame({"age": AGES, "flag": FLAGS, "height": HEIGHTS})
    X = np.array([AGES, FLAGS, HEIGHTS], float).T
    Y = frames.DataFrame({"a": HEIGHTS, "b": AGES})
    s = frames.Series([1, 0, 2])
    net, twin = network(), network()
    net.fit(frame, Y, sample_weight=s, epochs=1)
    twin.fit(X, np.array([HEIGHTS, AGES]).T, sample_weight=[1, 0, 2], epochs=1)
    assert net.get_parameters().tobytes() == twin.get_parameters().tobytes()
    labels = network(output="softmax", cost="cross_entropy")
    assert labels.evaluate(frame, frames.Series([1, 0, 1])) == labels.evaluate(X, [1, 0, 1])


def test_nullable_columns_without_gaps_are_numbers():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": AGES, "flag": FLAGS, "height": HEIGHTS})
    nullable = frame.astype({"age": "Int64", "flag": "boolean", "height": "Float32"})
    assert network().predict(nullable).tobytes() == network().predict(frame).tobytes()
    labels = network(output="softmax", cost="cross_entropy")
    y = pandas.Series([1, 0, 1], dtype="Int8")
    assert labels.evaluate(frame, y) == labels.evaluate(frame, [1, 0, 1])


BAD_COLUMNS = {
    "text": (["a", "b", "c"], "column 'it' must hold real numbers"),
    "numbers as text": (["1", "2", "3"], "column 'it' must hold real numbers"),
    "lists": ([[1], [2], [3]], "column 'it' must hold real numbers"),
    "missing": ([1, None, 3], r"X\[1, 1\] \(column 'it'\) is nan"),
    "missing flag": ([True, None, True], "column 'it'"),
    "nan": ([1.0, 2.0, np.nan], r"X\[2, 1\] \(column 'it'\) is nan"),
    "too large": ([1.0, 1e39, 1.0], r"X\[1, 1\] \(column 'it'\) is 1e\+39: too large"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_a_bad_column_is_named(case, frames):
    values, words = BAD_COLUMNS[case]
    frame = frames.DataFrame({"age": AGES, "it": values, "height": HEIGHTS})
    with pytest.raises((ValueError, TypeError), match=words):
        network().predict(frame)


def test_columns_that_stand_for_something_else_are_refused():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pandas.DataFrame({"age": AGES, "it": AGES, "height": HEIGHTS})
    for dtype in ("category", "datetime64[ns]", "string", pandas.SparseDtype("float")):
        with pytest.raises(TypeError, match="column 'it'"):
            network().predict(frame.astype({"it": dtype}))
    with pytest.raises(TypeError, match="categorical"):
        network(output="softmax", cost="cross_entropy").evaluate(
            frame, pandas.Series(AGES, dtype="category")
        )
    frame = polars.from_pandas(frame)
    with pytest.raises(TypeError, match="column 'it' is categorical"):
        network().predict(
            frame.with_columns(it=polars.Series(list("abc")).cast(polars.Enum("abc")))
        )
    with pytest.raises(TypeError, match=r"X is a LazyFrame: pass X.collect\(\)"):
        network().predict(frame.lazy())


def test_what_is_no_data_is_refused_with_what_to_do():
    net = fb.Network([2, 1], engine="numpy", rng=0)
    before, y = net.get_parameters(), np.ones((3, 1))

    class Batches:
        def __iter__(self):
            yield np.ones((3, 2)), y

    def generator():
        yield np.ones((3, 2)), y

    for X, targets, message in (
        (generator, None, "got <function .*: pass an object whose __iter__ yields"),
        (Batches(), y, r"Of an iterable of batches, \(X, y\) each, pass no y"),
        ("data.csv", y, "Read the file first"),
        ([["1", "2"]] * 3, y, r"got dtype <U1$"),
    ):
        with pytest.raises(TypeError, match=message):
            net.fit(X, targets, epochs=1)
    with pytest.raises(TypeError, match=r"gradient must be flat, .* gradient_sums and backward"):
        net.trainer("adam").apply(net.gradient(np.ones((3, 2)), y))
    with pytest.raises(ValueError, match=r"both signs.*Network\.backward"):
        net.evaluate(np.ones((3, 2)), y, [1, -1, 1])
    assert (net.get_parameters() == before).all()


def test_a_frame_of_dask_is_refused_with_what_to_do():
    dataframe = pytest.importorskip("dask.dataframe")
    frame = dataframe.from_pandas(pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0]}))
    with pytest.raises(TypeError, match=r"pass X\.compute\(\), or .* fastbackprop\.dask\.fit"):
        fb.Network([1, 1], engine="numpy").predict(frame)


def test_frames_of_another_width_tell_their_columns(frames):
    with pytest.raises(ValueError, match=r"got \(3, 2\), columns 'age', 'height'"):
        network().predict(frames.DataFrame({"age": AGES, "height": HEIGHTS}))


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (
            r"Cosine\(.* counts epochs.*cut by batch_size=.*function of the step",
            lambda: {"optimizer": fb.Adam(fb.Cosine(1e-3, 2))},
        ),
        ("metrics is not for batches", lambda: {"metrics": fb.Metrics("r2", training=True)}),
        ("metrics is not for batches", lambda: {"metrics": "r2"}),
    ],
)
def test_batches_refuse_what_needs_to_know_all(message, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = fb.Network([2, 1], engine="numpy", rng=0)
    before = net.get_parameters()
    with pytest.raises(ValueError, match=message):
        net.fit(iter([(np.ones((3, 2)), np.ones((3, 1)))]), epochs=1, **options())
    assert (net.get_parameters() == before).all()
    assert list(tmp_path.iterdir()) == []


def test_metrics_schedules_and_checkpoints_of_stored_data(tmp_path):
    """The same figures and the same bits as in memory."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    stored = np.memmap(tmp_path / "X", X.dtype, "w+", shape=X.shape)
    stored[:] = X
    results = []
    for data in (X, stored):
        net = fb.Network([3, 4, 2], engine="numpy", rng=0)
        path = tmp_path / f"checkpoint{len(results)}"
        history = net.fit(
            data,
            y,
            epochs=4,
            validation=0.2,
            optimizer=fb.Adam(fb.Cosine(1e-3, 4)),
            metrics=fb.Metrics("r2", training=True),
            early_stopping=2,
            callbacks=fb.Checkpoint(path),
        )
        figures = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
        results.append((net.get_parameters().tolist(), figures))
    assert results[0] == results[1]


def test_metrics_of_batches_are_those_of_the_validation_samples():
    X, y = np.eye(4), np.arange(4.0)[:, None]
    net = fb.Network([4, 1], engine="numpy", rng=0)
    history = net.fit([(X, y)], epochs=2, validation=(X, y), metrics="r2", early_stopping=5)
    assert {"cost", "validation_cost", "validation_r2", "seconds"} == set(history[0])
