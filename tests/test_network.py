"""What a network is: its parts, its copies, its generator, and its use from several threads."""

import copy
import doctest
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise

import naive
import numpy as np
import pytest

import fastbackprop as fb
import fastbackprop.network.network
from fastbackprop import engines, machine
from fastbackprop.engines import ENGINES
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS

every_engine = pytest.mark.parametrize("engine", ENGINES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_sizes = pytest.mark.parametrize("sizes", [[2, 1], [1, 1], [3, 4, 2], [3, 1, 5, 4, 2]])

SIZES = [3, 4, 2]
N = 7
_rng = np.random.default_rng(30)
X = _rng.standard_normal((N, SIZES[0])).astype(np.float32)
Y = _rng.standard_normal((N, SIZES[-1])).astype(np.float32)


def network(engine, sizes=SIZES, rng=0, **options):
    return fb.Network(sizes, **{"hidden": "tanh"} | options, rng=rng, engine=engine)


def bits(net):
    return net.get_parameters().tobytes()


# --- its parts -----------------------------------------------------------------------------------


@every_engine
@every_dtype
def test_attributes(dtype, engine):
    net = fb.Network(
        [3, 5, 4, 2],
        hidden=["relu", "tanh"],
        output="softmax",
        cost="cross_entropy",
        dtype=dtype,
        engine=engine,
    )
    assert net.sizes == (3, 5, 4, 2)
    assert net.hidden == ("relu", "tanh")
    assert (net.output, net.cost, net.engine) == ("softmax", "cross_entropy", engine)
    assert net.dtype == np.dtype(dtype) and isinstance(net.dtype, np.dtype)
    assert net.n_layers == 3
    assert net.n_parameters == 3 * 5 + 5 + 5 * 4 + 4 + 4 * 2 + 2
    assert [W.shape for W in net.weights] == [(3, 5), (5, 4), (4, 2)]
    assert [b.shape for b in net.biases] == [(5,), (4,), (2,)]
    for views in (net.weights, net.biases):
        assert all(v.dtype == dtype and v.flags.writeable for v in views)
    assert all(W.any() for W in net.weights) and not any(b.any() for b in net.biases)


@pytest.mark.parametrize("name", ["sizes", "n_parameters", "dtype", "weights", "biases", "engine"])
def test_attributes_cannot_be_replaced(name):
    net = fb.Network([2, 1])
    with pytest.raises(AttributeError):
        setattr(net, name, getattr(net, name))


@every_engine
def test_weights_and_biases_cannot_be_reordered(engine, tmp_path):
    """Else `save` would write another network."""
    net = network(engine)
    before = bits(net)
    for views in (net.weights, net.biases):
        for method in ("pop", "reverse", "append", "clear", "remove", "insert", "extend", "sort"):
            assert not hasattr(views, method)
        with pytest.raises(TypeError, match="one item at a time"):
            views[:] = views[::-1]
        with pytest.raises(AttributeError):
            del views[0]
    with pytest.raises(AttributeError):
        net.weights *= 2
    assert bits(net) == before
    net.save(tmp_path / "net")
    assert bits(fb.Network.load(tmp_path / "net")) == before


def test_defaults():
    net = fb.Network([3, 4, 2])
    assert net.hidden == ("relu",)
    assert (net.output, net.cost, net.dtype) == ("identity", "squared_error", np.float32)
    assert net.engine in ENGINES


@every_engine
def test_repr(engine):
    net = fb.Network(
        [64, 128, 10],
        output="softmax",
        cost="cross_entropy",
        dtype="float64",
        engine=engine,
    )
    assert repr(net) == (
        "<Network 64 -> 128 relu -> 10 softmax; cross_entropy, float64, "
        f"engine '{engine}', 9,610 parameters>"
    )


@every_engine
@every_sizes
def test_writing_through_views_changes_the_network(sizes, engine):
    net = network(engine, sizes)
    rng = np.random.default_rng(1)
    for views in (net.weights, net.biases):
        for view in views:
            view[...] = rng.standard_normal(view.shape)
    expected = naive.flatten(net.weights, net.biases)
    assert net.get_parameters().tolist() == expected
    x = rng.standard_normal((1, sizes[0]))
    _, a = naive.forward(net.weights, net.biases, net.hidden, net.output, x[0])
    np.testing.assert_allclose(net.predict(x)[0], a[-1], rtol=1e-4, atol=1e-5)


@every_engine
def test_one_entry_changes_one_parameter(engine):
    net = network(engine)
    before = net.get_parameters()
    net.weights[1][2, 1] += 1
    changed = np.flatnonzero(net.get_parameters() != before)
    assert changed.tolist() == [3 * 4 + 4 + 2 * 2 + 1]


@every_engine
def test_assigning_to_an_item_writes_the_values(engine):
    net = network(engine)
    W, b = net.weights[0], net.biases[-1]
    net.weights[0] = np.arange(12).reshape(3, 4)
    net.biases[-1] = [5.0, 6.0]
    net.weights[1] *= 2
    net.biases[0] = 3
    assert net.weights[0] is W and net.biases[-1] is b
    assert W.tolist() == np.arange(12.0).reshape(3, 4).tolist()
    parameters = net.get_parameters()
    assert parameters[:12].tolist() == np.arange(12.0).tolist()
    assert parameters[12:16].tolist() == [3.0] * 4
    assert parameters[-2:].tolist() == [5.0, 6.0]
    fresh = network(engine).get_parameters()
    assert parameters[16:24].tolist() == (2 * fresh[16:24]).tolist()


@every_engine
@every_dtype
@every_sizes
def test_parameters_are_a_copy_in_the_order_of_the_layers(sizes, dtype, engine):
    net = network(engine, sizes, dtype=dtype)
    vector = np.arange(net.n_parameters) / 8 - 1
    net.set_parameters(vector)
    parameters = net.get_parameters()
    assert parameters.dtype == dtype and parameters.tolist() == vector.tolist()
    weights, biases = naive.unflatten(vector.tolist(), sizes)
    assert [W.tolist() for W in net.weights] == weights
    assert [b.tolist() for b in net.biases] == biases
    parameters[:] = vector[:] = 99
    assert 99 not in net.get_parameters()
    net.set_parameters(net.get_parameters().tolist())
    net.set_parameters(net.get_parameters())
    assert [W.tolist() for W in net.weights] == weights


@every_engine
@every_dtype
def test_parameters_of_one_network_fit_every_engine(dtype, engine):
    nets = [network(name, dtype=dtype) for name in (engine, *ENGINES)]
    assert len({bits(net) for net in nets}) == 1
    for net in nets[1:]:
        net.set_parameters(nets[0].get_parameters())
        np.testing.assert_allclose(net.predict(X), nets[0].predict(X), rtol=1e-5, atol=1e-6)


# --- what it returns -----------------------------------------------------------------------------


@every_engine
@every_dtype
@every_sizes
def test_shapes_and_dtypes_of_results(sizes, dtype, engine):
    net = network(engine, sizes, dtype=dtype)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((N, sizes[0])), rng.standard_normal((N, sizes[-1]))
    shapes = [(N, n) for n in sizes]
    weight_shapes, bias_shapes = list(pairwise(sizes)), [(n,) for n in sizes[1:]]

    def check(arrays, expected):
        assert isinstance(arrays, list)
        assert [a.shape for a in arrays] == expected
        assert all(type(a) is np.ndarray and a.dtype == dtype for a in arrays)
        assert all(a.flags.writeable for a in arrays)

    check([net.predict(x)], shapes[-1:])
    check(net.activations(x), shapes)
    gradient = net.gradient(x, y)
    assert isinstance(gradient, fb.Gradient) and gradient._fields == ("cost", "weights", "biases")
    check(gradient.weights, weight_shapes)
    check(gradient.biases, bias_shapes)
    trace = net.trace(x, y)
    fields = ("z", "a", "delta", "weight_gradients", "bias_gradients", "cost")
    assert isinstance(trace, fb.Trace) and trace._fields == fields
    check(trace.z, shapes[1:])
    check(trace.a, shapes)
    check(trace.delta, shapes[1:])
    check(trace.weight_gradients, weight_shapes)
    check(trace.bias_gradients, bias_shapes)
    cost_sum, weight_sum, flat = net.gradient_sums(x, y)
    check([flat], [(net.n_parameters,)])
    costs = [net.evaluate(x, y), gradient.cost, trace.cost, cost_sum, weight_sum]
    assert all(isinstance(c, float) for c in [*costs, net.check_gradient(x, y)])


@every_engine
def test_results_are_not_views_of_each_other_or_of_the_input(engine):
    net = network(engine)
    x, y = X.copy(), Y.copy()
    before = bits(net)
    first = [net.predict(x), *net.activations(x)]
    for part in (net.gradient(x, y), net.trace(x, y)):
        first += [array for field in part if isinstance(field, list) for array in field]
    first.append(net.gradient_sums(x, y)[2])
    for i, array in enumerate(first):
        kept = [other.copy() for other in first]
        array[...] = 77
        for j, other in enumerate(first):
            assert i == j or (other == kept[j]).all()
    assert (x == X).all() and (y == Y).all() and bits(net) == before


@every_engine
def test_activations_and_trace_agree_with_predict(engine):
    net = network(engine)
    a, trace = net.activations(X), net.trace(X, Y)
    assert (a[0] == X).all() and (trace.a[0] == X).all()
    assert a[-1].tobytes() == net.predict(X).tobytes() == trace.a[-1].tobytes()
    gradient = net.gradient(X, Y)
    assert trace.cost == gradient.cost == net.evaluate(X, Y)
    for computed, expected in zip(
        trace.weight_gradients + trace.bias_gradients,
        gradient.weights + gradient.biases,
        strict=True,
    ):
        assert computed.tobytes() == expected.tobytes()


@every_engine
def test_predict_fills_and_returns_out(engine):
    net = network(engine)
    out = np.full((N, SIZES[-1]), np.nan, np.float32)
    assert net.predict(X, out=out) is out
    assert out.tobytes() == net.predict(X).tobytes()
    larger = np.full((3 * N, SIZES[-1]), 7, np.float32)
    net.predict(X, larger[N : 2 * N])
    assert larger[N : 2 * N].tobytes() == out.tobytes()
    assert (larger[:N] == 7).all() and (larger[2 * N :] == 7).all()


@every_engine
@every_dtype
def test_slices_do_not_change_a_bit(dtype, engine, monkeypatch):
    net = network(engine, dtype=dtype)
    n = 2 * engines.load(engine).row_tile(net.machine.model) + N
    rng = np.random.default_rng(3)
    x, y, s = rng.standard_normal((n, 3)), rng.standard_normal((n, 2)), rng.random(n)
    results = []
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(machine, "SLICE_SECONDS", seconds)
        predicted, gradient = net.predict(x), net.gradient_sums(x, y, s)
        cost = net.evaluate(x, y, s)
        results.append((predicted.tobytes(), cost, *gradient[:2], gradient[2].tobytes()))
    assert results[0] == results[1]


# --- copies --------------------------------------------------------------------------------------


@every_engine
@every_dtype
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(protocol, dtype, engine):
    net = network(engine, dtype=dtype, output="softmax", cost="cross_entropy")
    net.partial_fit(X, np.arange(N) % 2, batch_size=2)
    twin = pickle.loads(pickle.dumps(net, protocol))
    assert repr(twin) == repr(net) and bits(twin) == bits(net)
    for _ in range(2):  # the optimizer's state and the generator go on alike
        for one in (net, twin):
            one.partial_fit(X, np.arange(N) % 2, batch_size=2)
        assert bits(twin) == bits(net)
    twin.weights[0][0, 0] += 1
    assert bits(twin) != bits(net)


REGISTERED = [*ACTIVATIONS.values(), *(cost for pairs in COSTS.values() for cost in pairs)]
NORMALISED = [fb.LayerNorm("gelu"), fb.LayerNorm(fb.LeakyReLU(0.2), epsilon=1e-3)]
PARAMETRIC = [fb.LeakyReLU(0.2), fb.Quantile((0.1, 0.9)), fb.CrossEntropy(label_smoothing=0.1)]


@pytest.mark.parametrize("function", [*REGISTERED, *PARAMETRIC, *NORMALISED], ids=str)
def test_pickled_functions_can_be_loaded_elsewhere(function):
    """Numba finds a kernel of this process again, but no other process could."""
    state = pickle.dumps(function)
    assert b"numba" not in state and b"engines" not in state
    assert pickle.loads(state) == function


@every_engine
@pytest.mark.parametrize(
    "make", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_copies_of_a_network_with_weights_that_are_not_finite(make, engine):
    """Written through a view they are there: what was saved can be read, and looked at."""
    net = network(engine)
    net.weights[0][0, :2] = np.nan, np.inf
    assert bits(make(net)) == bits(net)


def trained(net, **options):
    net.fit(X, Y, epochs=2, batch_size=2, **options)
    return net


@every_engine
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_has_parameters_of_its_own(make, engine):
    net = trained(network(engine))
    before = bits(net)
    twin = make(net)
    assert bits(twin) == before and repr(twin) == repr(net)
    twin.weights[0][...] = 0
    twin.biases[0] = 1
    twin.set_parameters(twin.get_parameters() + 1)
    assert bits(net) == before
    trained(twin)
    assert bits(net) == before
    before = bits(twin)
    trained(net)
    assert bits(twin) == before


@every_engine
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_can_go_on_with_partial_fit(make, engine):
    net = network(engine)
    net.partial_fit(X, Y)
    twin = make(net)
    twin.partial_fit(X, Y)
    net.partial_fit(X, Y)


@every_engine
def test_a_deep_copy_trains_as_if_it_were_the_only_one(engine):
    net, alone = network(engine), network(engine)
    for one in (net, alone):
        one.partial_fit(X, Y, batch_size=2)
    twin = copy.deepcopy(net)
    alone.partial_fit(X, Y, batch_size=2)
    for one in (twin, net):
        one.partial_fit(X, Y, batch_size=2)
        assert bits(one) == bits(alone)


# --- the generator -------------------------------------------------------------------------------


@every_engine
def test_rng_is_a_seed_or_a_generator(engine):
    same = [bits(network(engine, rng=5)), bits(network(engine, rng=np.random.default_rng(5)))]
    assert len({*same, bits(network(engine, rng=np.int64(5)))}) == 1
    other = [bits(network(engine, rng=rng)) for rng in (6, None, None)]
    assert len({same[0], *other}) == 4
    generator = np.random.default_rng(5)
    both = [bits(network(engine, rng=generator)) for _ in range(2)]
    assert both[0] == same[0] != both[1]


@every_engine
def test_a_run_is_decided_by_its_seed(engine):
    runs = [bits(trained(network(engine, rng=seed))) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@every_engine
def test_float32_starts_as_float64_rounded(engine):
    single, double = (network(engine, dtype=dtype) for dtype in ("float32", "float64"))
    assert bits(single) == double.get_parameters().astype(np.float32).tobytes()


@every_engine
def test_only_training_changes_a_network(engine):
    generator = np.random.default_rng(8)
    net = network(engine, rng=generator)
    before, state = bits(net), generator.bit_generator.state
    net.predict(X)
    net.activations(X)
    net.evaluate(X, Y)
    net.gradient(X, Y)
    net.gradient_sums(X, Y)
    net.trace(X, Y)
    net.check_gradient(X, Y)
    net.check_gradient(X, Y, max_parameters=3)
    repr(net), pickle.dumps(net), copy.deepcopy(net), net.get_parameters()
    assert bits(net) == before and generator.bit_generator.state == state
    net.fit(X, Y, epochs=1, shuffle=False, validation=0.3)
    assert generator.bit_generator.state == state
    net.fit(X, Y, epochs=1)
    assert generator.bit_generator.state != state


# --- documentation -------------------------------------------------------------------------------


def test_example_of_the_docstring():
    results = doctest.testmod(fastbackprop.network.network)
    assert results.attempted >= 5 and results.failed == 0


# --- threads and processes -----------------------------------------------------------------------


def work(engine, seed):
    """A run of its own: bits of the trained network and of a prediction."""
    net = trained(network(engine, rng=seed))
    return bits(net), net.predict(X).tobytes()


@every_engine
def test_networks_train_in_threads_as_they_do_alone(engine):
    seeds = list(range(4)) * 4
    expected = [work(engine, seed) for seed in seeds]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, [engine] * len(seeds), seeds)) == expected


@every_engine
def test_one_network_predicts_in_threads_while_others_train(engine):
    net = network(engine)
    inputs = [np.random.default_rng(i).standard_normal((50, SIZES[0])) for i in range(4)]
    targets = [np.ones((50, SIZES[-1]))] * 4

    def ask(i):
        x, y = inputs[i % 4], targets[i % 4]
        return net.predict(x).tobytes(), net.evaluate(x, y), net.gradient_sums(x, y)[2].tobytes()

    expected = [ask(i) for i in range(4)]
    alone = work(engine, 1)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(40)]
        runs = [pool.submit(work, engine, 1) for _ in range(4)]
        asked += [pool.submit(ask, i) for i in range(40)]
        assert [future.result() for future in asked] == expected * 20
        assert {future.result() for future in runs} == {alone}


@every_engine
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")  # JAX, if loaded
def test_other_processes_compute_the_same(method, engine):
    """Also children forked after this process has trained."""
    net = trained(network(engine))
    expected = net.predict(X)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        computed = pool.submit(fb.Network.predict, net, X).result(timeout=120)
        costs = pool.submit(fb.Network.partial_fit, net, X, Y).result(timeout=120).cost
    assert computed.tobytes() == expected.tobytes()
    assert costs == net.partial_fit(X, Y).cost
