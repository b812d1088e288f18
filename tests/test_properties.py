"""What holds for every network, tried on configurations that hypothesis draws.

Engines compile once for each dtype and each function by itself, so that a new combination of
architecture, functions and optimiser costs no compilation.
"""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from problems import TOLERANCE, deviation, targets

import fastbackprop as fb

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
given = hypothesis.given


def examples(n):
    """So many configurations, the same ones in every run."""
    return hypothesis.settings(
        derandomize=True,
        deadline=None,
        max_examples=n,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


# A few of each kind: each one that is new compiles for each dtype and engine.
SMOOTH = ["tanh", "softplus", fb.LayerNorm("tanh")]
HIDDEN = [*SMOOTH, "relu", fb.LeakyReLU(0.25)]
PAIRS = [
    ("identity", "squared_error"),
    ("identity", "huber"),
    ("sigmoid", "cross_entropy"),
    ("softmax", "cross_entropy"),
    ("softmax", "squared_error"),
]
ENGINES = ["numpy", "loops", "tiles"]
OPTIMIZERS = [fb.SGD, fb.Adam, fb.RMSprop]

sizes = st.tuples(
    st.integers(1, 5), st.lists(st.integers(3, 20), min_size=0, max_size=3), st.integers(2, 4)
).map(lambda parts: [parts[0], *parts[1], parts[2]])


@st.composite
def problems(
    draw, hidden=HIDDEN, dtypes=("float32", "float64"), n_samples=(2, 40), engines=ENGINES
):
    """(network, X, y, sample weights)."""
    shape, (output, cost) = draw(sizes), draw(st.sampled_from(PAIRS))
    net = fb.Network(
        shape,
        hidden=[draw(st.sampled_from(hidden)) for _ in shape[2:]],
        output=output,
        cost=cost,
        dtype=draw(st.sampled_from(dtypes)),
        engine=draw(st.sampled_from(engines)),
        rng=(rng := np.random.default_rng(draw(st.integers(0, 2**32)))),
    )
    for b in net.biases:
        b[:] = rng.normal(size=b.shape)
    n = draw(st.integers(*n_samples))
    X = rng.normal(size=(n, shape[0])).astype(net.dtype)
    if output == "softmax" and cost == "cross_entropy" and draw(st.booleans()):
        y = rng.integers(0, shape[-1], n)
    else:
        y = targets(rng, net, n).astype(net.dtype)
    return net, X, y, rng.uniform(0.5, 2, n)


some = st.sampled_from([0.0, 0.0, 0.01])
optional = st.sampled_from([None, None, 0.5])


@st.composite
def trainings(draw):
    """(a function that makes an optimizer, arguments of `fit`)."""
    kind, rate = draw(st.sampled_from(OPTIMIZERS)), draw(st.sampled_from([1e-3, 1e-2]))
    of_optimizer = {
        "l1": draw(some), "l2": draw(some), "max_norm": draw(optional),
        "clip_norm": draw(optional), "clip_value": draw(optional),
        "penalize_biases": draw(st.booleans()),
        "bias_rate": draw(st.sampled_from([1.0, 1.0, 0.1])),
        "averaging": draw(st.sampled_from([None, None, fb.EMA(0.9)])),
    }  # fmt: skip
    if kind is fb.SGD:
        of_optimizer["momentum"] = draw(st.sampled_from([0.0, 0.9]))
    of_fit = {
        "batch_size": draw(st.sampled_from([1, 5, 16, None])),
        "shuffle": draw(st.booleans()),
    }
    noise = {
        "inputs": draw(st.sampled_from([0.0, 0.25])),
        "noise": draw(st.sampled_from([0.0, 0.1])),
    }
    dropout = fb.Dropout(draw(st.sampled_from([0.0, 0.3])), **noise)
    return lambda: kind(rate, **of_optimizer), of_fit, dropout


def train(net, X, y, s, training, epochs, optimizer=None, **options):
    make, of_fit, dropout = training
    if net.n_layers == 1:
        dropout = replace(dropout, hidden=0.0)
    options = of_fit | {"dropout": dropout} | options
    optimizer = optimizer or make()
    net.fit(X, y, epochs=epochs, sample_weight=s, optimizer=optimizer, **options)
    return optimizer


def bits(net):
    return net.get_parameters().tobytes()


# --- gradients -----------------------------------------------------------------------------------


@examples(60)
@given(problems(hidden=SMOOTH, dtypes=["float64"], n_samples=(2, 10)))
def test_the_gradient_check_holds(problem):
    net, X, y, s = problem
    assert net.check_gradient(X, y, s) < 1e-8


@examples(100)
@given(problems(), st.data())
def test_a_weight_of_two_is_a_row_twice(problem, data):
    net, X, y, s = problem
    i = data.draw(st.integers(0, len(X) - 1))
    rows = np.append(np.arange(len(X)), i)
    twice = np.array(s)
    twice[i] *= 2
    comp, ref = net.gradient_sums(X, y, twice), net.gradient_sums(X[rows], y[rows], s[rows])
    for part, expected in zip(comp, ref, strict=True):
        assert deviation(part, expected) < 10 * TOLERANCE[net.dtype.name]
    cost, cost_ref = net.evaluate(X, y, twice), net.evaluate(X[rows], y[rows], s[rows])
    assert cost == pytest.approx(cost_ref, rel=10 * TOLERANCE[net.dtype.name])


@examples(100)
@given(problems(), st.randoms(use_true_random=False))
def test_hidden_units_have_no_order(problem, random):
    net, X, y, s = problem
    hypothesis.assume(net.n_layers > 1)
    other, orders = copy.deepcopy(net), [np.arange(net.sizes[0])]
    for n in net.sizes[1:-1]:
        orders.append(np.array(random.sample(range(n), n)))
    orders.append(np.arange(net.sizes[-1]))

    def permuted(weights, biases):
        return [
            part
            for W, b, rows, columns in zip(weights, biases, orders[:-1], orders[1:], strict=True)
            for part in (W[np.ix_(rows, columns)], b[columns])
        ]

    parts = permuted(net.weights, net.biases)
    for l in range(net.n_layers):
        other.weights[l], other.biases[l] = parts[2 * l : 2 * l + 2]
    tolerance = 10 * TOLERANCE[net.dtype.name]
    assert deviation(other.predict(X), net.predict(X)) < tolerance
    cost, weights, biases = net.gradient(X, y, s)
    other_cost, *gradient = other.gradient(X, y, s)
    assert other_cost == pytest.approx(cost, rel=tolerance)
    comp = [part for pair in zip(*gradient, strict=True) for part in pair]
    scale = max(np.abs(part).max() for part in comp)
    for part, expected in zip(comp, permuted(weights, biases), strict=True):
        assert np.abs(part - expected).max() <= tolerance * scale


@examples(100)
@given(problems(engines=["numpy"]))
def test_engines_agree(problem):
    net, X, y, s = problem
    results = []
    for engine in ENGINES:
        other = fb.Network(
            net.sizes, hidden=net.machine.sigma[:-1], output=net.output, cost=net.cost,
            dtype=net.dtype, engine=engine,
        )  # fmt: skip
        other.set_parameters(net.get_parameters())
        results.append([other.predict(X), other.gradient_sums(X, y, s)[2]])
    for result in results[1:]:
        for comp, ref in zip(result, results[0], strict=True):
            assert deviation(comp, ref) < 10 * TOLERANCE[net.dtype.name]


# --- bits ----------------------------------------------------------------------------------------


@examples(60)
@given(problems(), trainings())
def test_a_loaded_network_predicts_the_same_bits(problem, training):
    net, X, y, s = problem
    train(net, X, y, s, training, 1)
    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / "net")
        loaded = fb.Network.load(Path(folder) / "net")
    assert repr(loaded) == repr(net)
    assert loaded.predict(X).tobytes() == net.predict(X).tobytes()
    assert loaded.evaluate(X, y, s) == net.evaluate(X, y, s)


@examples(80)
@given(problems(), trainings(), st.integers(1, 2))
def test_n_and_n_epochs_are_2n(problem, training, n):
    net, X, y, s = problem
    twin = copy.deepcopy(net)
    train(twin, X, y, s, training, 2 * n)
    optimizer = train(net, X, y, s, training, n)
    train(net, X, y, s, training, n, optimizer)
    assert bits(net) == bits(twin)


@pytest.mark.compiled
@examples(40)
@given(problems(engines=["tiles"], n_samples=(2, 300)), trainings(), st.integers(2, 4))
def test_no_bit_depends_on_the_number_of_threads(problem, training, n_threads):
    net, X, y, s = problem
    twin = copy.deepcopy(net)
    train(net, X, y, s, training, 1, n_threads=1)
    train(twin, X, y, s, training, 1, n_threads=n_threads)
    assert bits(net) == bits(twin)
    assert net.predict(X).tobytes() == twin.predict(X, n_threads=n_threads).tobytes()


# --- refusals ------------------------------------------------------------------------------------

SPOILT = {
    "epochs": -1, "batch_size": 0, "dropout": 1.0, "inputs": fb.Dropout(inputs=-0.1),
    "noise": fb.Dropout(noise=np.inf), "early_stopping": 0, "callbacks": 3, "progress": 3,
    "n_threads": 0, "sample_weight": [1.0], "validation": 2.0, "metrics": "no such",
    "optimizer": "no such", "X": np.nan, "y": np.inf,
}  # fmt: skip
OF_FIT = {"inputs": "dropout", "noise": "dropout"}


@examples(80)
@given(problems(n_samples=(3, 10)), trainings(), st.sampled_from(sorted(SPOILT)))
def test_a_refused_call_changes_nothing(problem, training, name):
    net, X, y, s = problem
    twin, (make, of_fit, _) = copy.deepcopy(net), training
    optimizer = make()
    train(net, X, y, s, training, 1, optimizer)
    twin_optimizer = train(twin, X, y, s, training, 1)
    arguments = {"epochs": 1, "sample_weight": s, "optimizer": optimizer} | of_fit
    bad_X, bad_y = np.array(X), np.array(y, net.dtype)
    if name in ("X", "y"):
        (bad_X if name == "X" else bad_y)[-1] = SPOILT[name]
    else:
        arguments[OF_FIT.get(name, name)] = SPOILT[name]
    with pytest.raises((ValueError, TypeError)):
        net.fit(bad_X, bad_y if name == "y" else y, **arguments)
    assert bits(net) == bits(twin)
    train(net, X, y, s, training, 1, optimizer)  # nor the generator, nor the optimizer
    train(twin, X, y, s, training, 1, twin_optimizer)
    assert bits(net) == bits(twin)
