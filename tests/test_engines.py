"""Every engine, activation, cost and dtype against scalar sums, and engines with one another."""

from itertools import pairwise

import naive
import numpy as np
import pytest
from problems import (
    HIDDEN,
    TOLERANCE,
    deviation,
    every_combination,
    every_dtype,
    every_engine,
    problem,
)

from fastbackprop.engines import ENGINES
from fastbackprop.inputs import arrays

SHAPES = [  # 1 to 5 layers, widths from 1; the last two are wider than vectors and tiles
    [1, 1],
    [2, 3],
    [1, 1, 1],
    [3, 2, 5, 2],
    [2, 3, 1, 4, 2],
    [4, 3, 2, 3, 4, 2],
    [35, 9, 17, 3],
    [2, 67, 1],
]
MIXED = ["tanh", "gelu", "silu", "softplus"]  # no entry of their gradients is zero


def check_everything(p, ref, y, s=None):
    """All that can be asked of a network, against the reference; returns the gradient."""
    net, tolerance = p.net, TOLERANCE[p.net.dtype.name]
    before = net.get_parameters()
    check_outputs(p, ref)
    assert deviation(net.evaluate(p.X, y, s), ref.cost) < tolerance

    cost, weights, biases = net.gradient(p.X, y, s)
    gradient = [part for pair in zip(weights, biases, strict=True) for part in pair]
    gradient_ref = naive.flatten(ref.weight_gradients, ref.bias_gradients)
    assert [W.shape for W in weights] == [W.shape for W in net.weights]
    assert [b.shape for b in biases] == [b.shape for b in net.biases]
    assert {part.dtype for part in gradient} == {net.dtype}
    assert deviation(cost, ref.cost) < tolerance
    assert deviation(naive.flatten(weights, biases), gradient_ref) < tolerance

    check_trace(net.trace(p.X, y, s), ref, tolerance)

    total = len(p.X) if s is None else sum(s)
    cost_sum, weight_sum, gradient_sum = net.gradient_sums(p.X, y, s)
    assert weight_sum == pytest.approx(total, rel=1e-14)
    assert deviation(cost_sum / total, ref.cost) < tolerance
    assert deviation(gradient_sum / total, gradient_ref) < tolerance

    assert np.array_equal(net.get_parameters(), before)
    return gradient


def check_outputs(p, ref):
    predicted, activations = p.net.predict(p.X), p.net.activations(p.X)
    assert {predicted.dtype, *(a.dtype for a in activations)} == {p.net.dtype}
    assert deviation(predicted, ref.a[-1]) < TOLERANCE[p.net.dtype.name]
    for a, a_ref in zip(activations, ref.a, strict=True):
        assert deviation(a, a_ref) < TOLERANCE[p.net.dtype.name]


def check_trace(trace, ref, tolerance):
    """Layer by layer: no error of a small quantity hides behind a large one."""
    assert deviation(trace.cost, ref.cost) < tolerance
    for name in ("z", "a", "delta", "weight_gradients", "bias_gradients"):
        for comp_l, ref_l in zip(getattr(trace, name), getattr(ref, name), strict=True):
            assert deviation(comp_l, ref_l) < tolerance, name


# --- against scalar sums -------------------------------------------------------------------------


@every_dtype
@every_engine
@every_combination
def test_every_combination(hidden, output, cost, engine, dtype):
    p = problem([3, 4, 3, 2], hidden=hidden, output=output, cost=cost, engine=engine, dtype=dtype)
    gradient = check_everything(p, p.reference(s=p.s), p.Y, p.s)
    assert all(np.any(part) for part in gradient)


@every_dtype
@every_engine
@pytest.mark.parametrize("n_samples", [1, 2, 19])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_every_shape(sizes, n_samples, engine, dtype):
    hidden = MIXED[: len(sizes) - 2]
    p = problem(sizes, n_samples, hidden=hidden, output="sigmoid", engine=engine, dtype=dtype)
    gradient = check_everything(p, p.reference(), p.Y)
    assert all(np.all(part) for part in gradient)


@every_dtype
@every_engine
@pytest.mark.parametrize("hidden", list(pairwise([*HIDDEN, HIDDEN[0]])), ids="-".join)
def test_activations_of_their_own_in_every_layer(hidden, engine, dtype):
    p = problem([2, 3, 4, 1], hidden=hidden, engine=engine, dtype=dtype)
    check_everything(p, p.reference(), p.Y)


@every_dtype
@every_engine
@pytest.mark.parametrize("labels", [[2, 0, 1, 2, 2], [0, 0, 0, 0, 0]], ids=str)
def test_labels_are_one_hot_targets(labels, engine, dtype):
    p = problem([3, 4, 3], output="softmax", cost="cross_entropy", engine=engine, dtype=dtype)
    Y = naive.one_hot(labels, 3)
    from_labels = check_everything(p, p.reference(Y, p.s), np.array(labels), p.s)
    from_rows = check_everything(p, p.reference(Y, p.s), Y, p.s)
    for part, part_of_rows in zip(from_labels, from_rows, strict=True):
        assert np.array_equal(part, part_of_rows)


@every_dtype
@every_engine
@pytest.mark.parametrize("y", [[0, 1, 1, 0, 1], [0.25, 1.0, 0.0, 0.5, 0.125]], ids=str)
def test_one_output_takes_a_flat_list_of_targets(y, engine, dtype):
    p = problem([3, 4, 1], output="sigmoid", cost="cross_entropy", engine=engine, dtype=dtype)
    check_everything(p, p.reference([[y_i] for y_i in y]), y)


# --- weights -------------------------------------------------------------------------------------


@every_dtype
@every_engine
def test_weights_count_samples(engine, dtype):
    p = problem([3, 4, 2], 6, hidden="silu", engine=engine, dtype=dtype)
    s = [2, 0, 1, 3, 0, 1]
    repeated = np.repeat(np.arange(6), s)
    ref = p._replace(X=p.X[repeated], Y=p.Y[repeated]).reference()
    cost, weights, biases = p.net.gradient(p.X, p.Y, s)
    assert deviation(cost, ref.cost) < TOLERANCE[dtype]
    gradient_ref = naive.flatten(ref.weight_gradients, ref.bias_gradients)
    assert deviation(naive.flatten(weights, biases), gradient_ref) < TOLERANCE[dtype]
    delta = p.net.trace(p.X, p.Y, s).delta
    assert all(np.any(rows, axis=1).tolist() == [n > 0 for n in s] for rows in delta)


@every_dtype
@every_engine
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_equal_weights_are_none(scale, engine, dtype):
    p = problem([3, 4, 2], 6, hidden="silu", engine=engine, dtype=dtype)
    check_everything(p, p.reference(), p.Y, np.full(6, scale))


# --- parts of a batch ----------------------------------------------------------------------------


def rows_of_two_tiles(net):
    """So many samples that a call from Python has to be cut, for every engine somewhere else."""
    return 2 * net.machine.engine.row_tile(net.machine.model) + 3


def cut_at_every_tile(monkeypatch, net, name):
    """From now on native calls take as few rows as they can; returns where they stop."""
    stops, function = [], getattr(net.machine.engine, name)

    def counted(*arguments):
        stops.append(arguments[-1])
        return function(*arguments)

    monkeypatch.setattr(net.machine.engine, name, counted)
    monkeypatch.setattr("fastbackprop.machine.SLICE_SECONDS", 0.0)
    return stops


@every_dtype
@every_engine
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("predict", lambda p, s: [p.net.predict(p.X.tolist())]),  # no array: the long way
        ("cost_sum", lambda p, s: [p.net.evaluate(p.X.tolist(), p.Y, s)]),
        ("gradient_sums", lambda p, s: p.net.gradient_sums(p.X, p.Y, s)),
    ],
)
def test_calls_cut_at_row_tiles_change_no_bit(name, ask, weighted, engine, dtype, monkeypatch):
    net = problem([2, 3, 2], hidden="tanh", engine=engine, dtype=dtype).net
    n = rows_of_two_tiles(net)
    p = problem([2, 3, 2], n, hidden="tanh", engine=engine, dtype=dtype)
    s = p.s if weighted else None
    monkeypatch.setattr("fastbackprop.machine.SLICE_SECONDS", 1e9)
    whole = ask(p, s)
    stops = cut_at_every_tile(monkeypatch, p.net, name)
    in_parts = ask(p, s)
    assert len(stops) >= 3 and stops[-1] == n
    for part, expected in zip(in_parts, whole, strict=True):
        assert np.array_equal(part, expected)


@every_dtype
@every_engine
def test_sums_over_parts_of_the_data_add_up(engine, dtype):
    p = problem([3, 4, 2], 11, output="softmax", hidden="elu", engine=engine, dtype=dtype)
    whole = p.net.gradient_sums(p.X, p.Y, p.s)
    parts = [
        p.net.gradient_sums(p.X[start:stop], p.Y[start:stop], p.s[start:stop])
        for start, stop in pairwise([0, 1, 3, 7, 11])
    ]
    for total, expected in zip(map(sum, zip(*parts, strict=True)), whole, strict=True):
        assert deviation(total, expected) < TOLERANCE[dtype]


@every_dtype
@every_engine
def test_samples_do_not_influence_one_another(engine, dtype):
    p = problem([3, 4, 2], 9, output="softmax", hidden="elu", engine=engine, dtype=dtype)
    one_by_one = np.concatenate([p.net.predict(p.X[i : i + 1]) for i in range(9)])
    assert deviation(p.net.predict(p.X), one_by_one) < TOLERANCE[dtype]


@every_dtype
@every_engine
@every_combination
def test_not_a_number_is_never_lost(hidden, output, cost, engine, dtype, monkeypatch):
    """Nor gets into another sample; here the boundary, which refuses it, is out of the way."""
    monkeypatch.setattr(arrays, "first_non_finite", lambda *_: None)
    p = problem([3, 5, 2], 6, hidden=hidden, output=output, cost=cost, engine=engine, dtype=dtype)
    X, others = p.X.copy(), np.arange(6) != 4
    X[4, 1] = np.nan
    a = p.net.predict(X)
    assert np.isnan(a[4]).all() and np.array_equal(a[others], p.net.predict(p.X)[others])
    assert np.isnan(p.net.evaluate(X, p.Y))
    cost_sum, _, gradient = p.net.gradient_sums(X, p.Y, p.s)
    assert np.isnan(cost_sum) and np.isnan(gradient).any()


# --- engines with one another --------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("other", ENGINES[1:])
@pytest.mark.parametrize("sizes", [[13, 40, 24, 10], [64, 1, 33], [5, 31, 31, 31, 31, 2]], ids=str)
def test_engines_agree(sizes, other, dtype):
    options = {"hidden": MIXED[: len(sizes) - 2], "output": "softmax", "cost": "cross_entropy"}
    traces = []
    for engine in (ENGINES[0], other):
        p = problem(sizes, 37, engine=engine, dtype=dtype, **options)
        traces.append(p.net.trace(p.X, p.Y, p.s))
    check_trace(traces[1], traces[0], TOLERANCE[dtype])


@every_engine
def test_gradients_by_the_inputs_agree(engine):
    """Without the gradient by the parameters."""
    p, q = (problem([3, 4, 2], 5, engine=name, dtype="float64") for name in (engine, "numpy"))
    assert deviation(p.net.input_gradient(p.X, p.Y), q.net.input_gradient(q.X, q.Y)) < 1e-14
