"""What `fit` promises: every step, every cost, every way in which it ends."""

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import naive
import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import engines, machine
from fastbackprop.engines import ENGINES, loopfree
from fastbackprop.training import trainer as training

every_engine = pytest.mark.parametrize("engine", ENGINES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # relative to the largest entry

RULES = {  # name: the optimizer, the oracle's step
    "sgd": (partial(fb.SGD, 0.1), partial(naive.sgd, learning_rate=0.1)),
    "momentum": (
        partial(fb.SGD, 0.1, momentum=0.9),
        partial(naive.sgd, learning_rate=0.1, momentum=0.9),
    ),
    "nesterov": (
        partial(fb.SGD, 0.1, momentum=0.9, nesterov=True),
        partial(naive.sgd, learning_rate=0.1, momentum=0.9, nesterov=True),
    ),
    "adam": (fb.Adam, naive.adam),
    "adam with other values": (
        partial(fb.Adam, 0.05, betas=(0.5, 0.8), epsilon=1e-3),
        partial(naive.adam, learning_rate=0.05, betas=(0.5, 0.8), epsilon=1e-3),
    ),
}
every_rule = pytest.mark.parametrize("rule", RULES)

N = 11
SIZES = [3, 4, 2]
_rng = np.random.default_rng(20)
X = _rng.standard_normal((N, SIZES[0])).astype(np.float32)
Y = _rng.standard_normal((N, SIZES[-1])).astype(np.float32)
LABELS = _rng.integers(0, SIZES[-1], N)
S = _rng.uniform(0.5, 2.0, N)


def network(engine, dtype="float32", sizes=SIZES, rng=0, **names):
    return fb.Network(sizes, hidden="tanh", dtype=dtype, rng=rng, engine=engine, **names)


def oracle(net, X, y, orders, batch_size, step, s=None):
    """naive.train, from the network's parameters on."""
    names = net.hidden, net.output, net.cost
    return naive.train(net.weights, net.biases, *names, X, y, orders, batch_size, step, s)


def close(computed, expected, dtype):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(computed, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def bits(net, optimizer=None):
    """All that steps change; before the first step an optimizer may or may not have its arrays."""
    state = pickle.dumps(optimizer) if optimizer is not None and optimizer.steps else None
    return net.get_parameters().tobytes(), state


# --- steps and costs -----------------------------------------------------------------------------


@every_engine
@every_dtype
@every_rule
def test_steps_and_costs_of_shuffled_epochs(rule, dtype, engine):
    make, step = RULES[rule]
    rng = np.random.default_rng(7)
    net = network(engine, dtype, rng=rng)
    twin = copy.deepcopy(rng)
    orders = [twin.permutation(N) for _ in range(3)]
    trajectory, costs = oracle(net, X, Y, orders, 4, step)  # batches of 4, 4 and 3
    optimizer = make()
    seen = []
    history = net.fit(
        X,
        Y,
        epochs=3,
        batch_size=4,
        optimizer=optimizer,
        callbacks=lambda net, epoch, logs: seen.append(net.get_parameters()),
    )
    close(seen, trajectory[2::3], dtype)
    close(history.cost, costs, dtype)
    assert optimizer.steps == len(trajectory) == 9
    assert rng.bit_generator.state == twin.bit_generator.state
    assert np.abs(np.subtract(trajectory[-1], trajectory[0])).max() > 1e-3


@every_engine
@pytest.mark.parametrize("batch_size", [1, 3, N, N + 1, None])
def test_every_batch_size_in_the_order_of_the_samples(batch_size, engine):
    net = network(engine, "float64", output="softmax", cost="cross_entropy")
    before = net._rng.bit_generator.state
    size = N if batch_size is None else batch_size
    y = naive.one_hot(LABELS, SIZES[-1])
    trajectory, costs = oracle(net, X, y, [range(N)] * 2, size, naive.adam, S)
    history = net.fit(X, LABELS, epochs=2, batch_size=batch_size, sample_weight=S, shuffle=False)
    close(net.get_parameters(), trajectory[-1], "float64")
    close(history.cost, costs, "float64")
    assert net._rng.bit_generator.state == before


@every_engine
def test_default_is_adam_on_shuffled_minibatches_of_32(engine):
    rng = np.random.default_rng(3)
    many = rng.standard_normal((40, 3))
    targets = rng.standard_normal((40, 2))
    a, b = network(engine), network(engine)
    a.fit(many, targets, epochs=2)
    b.fit(many, targets, epochs=2, batch_size=32, optimizer=fb.Adam(1e-3), shuffle=True)
    assert bits(a) == bits(b)
    assert len(network(engine).fit(X, Y)) == 100


@every_engine
def test_a_minibatch_without_weight_takes_no_step(engine):
    """Neither the parameters nor the momentum nor the count of steps see it."""
    s = S.copy()
    s[4:8] = 0
    net = network(engine, "float64")
    order = [0, 1, 2, 3, 8, 9, 10]  # without the second minibatch
    step = partial(naive.sgd, learning_rate=0.1, momentum=0.9)
    trajectory, costs = oracle(net, X, Y, [order] * 2, 4, step, s)
    optimizer = fb.SGD(0.1, momentum=0.9)
    history = net.fit(
        X, Y, epochs=2, batch_size=4, optimizer=optimizer, sample_weight=s, shuffle=False
    )
    close(net.get_parameters(), trajectory[-1], "float64")
    close(history.cost, costs, "float64")
    assert optimizer.steps == 4


@every_engine
@pytest.mark.parametrize("tiny", [1e-30, 1e-200, 1e-310])
def test_a_minibatch_of_tiny_weights_takes_the_same_step(tiny, engine):
    """Its mean is over its own samples: proportions count, or the weights are refused."""
    net, alone = network(engine, "float64"), network(engine, "float64")
    s = np.ones(N)
    s[4:8] = tiny
    options = {"epochs": 1, "batch_size": 4, "optimizer": fb.SGD(0.1), "shuffle": False}
    try:
        net.fit(X, Y, sample_weight=s, **options)
    except ValueError:
        with pytest.raises(ValueError, match="sample_weight"):
            net.fit(X, Y, sample_weight=s, **options)
        return
    alone.fit(X, Y, **options | {"optimizer": fb.SGD(0.1)})
    close(net.get_parameters(), alone.get_parameters(), "float64")


@every_engine
def test_weights_may_cover_one_sample(engine):
    s = np.zeros(N)
    s[6] = 3
    net, alone = network(engine, "float64"), network(engine, "float64")
    net.fit(X, Y, epochs=3, batch_size=4, sample_weight=s)
    alone.fit(X[6:7], Y[6:7], epochs=3)
    close(net.get_parameters(), alone.get_parameters(), "float64")


# --- validation ----------------------------------------------------------------------------------


@every_engine
@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_validation_cost_is_of_the_parameters_after_the_epoch(weighted, dtype, engine):
    held_out = (X[:4], Y[:4], S[:4]) if weighted else (X[:4], Y[:4])
    net, alone = network(engine, dtype), network(engine, dtype)
    expected = []

    def evaluate(net, epoch, logs):
        C = naive.gradient(net.weights, net.biases, net.hidden, net.output, net.cost, *held_out)
        expected.append(C[0])
        assert net.evaluate(*held_out) == logs["validation_cost"]

    history = net.fit(X, Y, epochs=3, batch_size=4, validation=held_out, callbacks=evaluate)
    close(history.validation_cost, expected, dtype)
    assert alone.fit(X, Y, epochs=3, batch_size=4).cost == history.cost
    assert bits(net) == bits(alone)


@every_engine
def test_validation_as_a_list(engine):
    a, b = network(engine), network(engine)
    costs = [
        net.fit(X, Y, epochs=2, validation=v).validation_cost
        for net, v in ((a, (X[:4], Y[:4])), (b, [X[:4].tolist(), Y[:4].tolist()]))
    ]
    assert costs[0] == costs[1]


@every_engine
@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, np.float32(0.75)])
def test_a_fraction_holds_out_samples(fraction, engine):
    """Every sample is on one side, with its target and its weight; the same side in each call."""
    s = np.arange(1.0, N + 1)
    net = network(engine, "float64")
    costs = [net.evaluate(X[i : i + 1], Y[i : i + 1]) for i in range(N)]
    held_out = held_out_of(engine, fraction)
    assert held_out.sum() == max(1, round(N * fraction))
    expected = np.average(costs, weights=s * ~held_out), np.average(costs, weights=s * held_out)
    options = {"validation": fraction, "sample_weight": s, "optimizer": fb.SGD(0.0)}
    history = net.fit(X, Y, epochs=2, **options)
    for epoch in history:
        close([epoch["cost"], epoch["validation_cost"]], expected, "float64")


def held_out_of(engine, fraction):
    """Which samples are held out, from which targets the two costs depend on."""
    costs = []
    for i in [None, *range(N)]:
        y = Y.copy()
        y[i] += i is not None
        history = network(engine).fit(
            X, y, epochs=1, validation=fraction, optimizer=fb.SGD(0.0), shuffle=False
        )
        costs.append((history.cost[0], history.validation_cost[0]))
    changed = np.array(costs[1:]) != costs[0]
    assert (changed.sum(axis=1) == 1).all()
    return changed[:, 1]


# --- going on ------------------------------------------------------------------------------------


@every_engine
@every_dtype
@every_rule
@pytest.mark.parametrize("pickled", [None, "together", "apart"])
def test_two_fits_are_one_bit_for_bit(pickled, rule, dtype, engine):
    once, optimizer_once = network(engine, dtype), RULES[rule][0]()
    history = once.fit(X, Y, epochs=6, batch_size=4, optimizer=optimizer_once, sample_weight=S)
    net, optimizer = network(engine, dtype), RULES[rule][0]()
    first = net.fit(X, Y, epochs=2, batch_size=4, optimizer=optimizer, sample_weight=S)
    if pickled == "together":
        net, optimizer = pickle.loads(pickle.dumps((net, optimizer)))
    elif pickled == "apart":
        net, optimizer = pickle.loads(pickle.dumps(net)), pickle.loads(pickle.dumps(optimizer))
    second = net.fit(X, Y, epochs=4, batch_size=4, optimizer=optimizer, sample_weight=S)
    assert bits(net, optimizer) == bits(once, optimizer_once)
    assert first.cost + second.cost == history.cost
    assert net._rng.bit_generator.state == once._rng.bit_generator.state
    assert optimizer.steps == 18


@every_engine
def test_a_new_optimizer_starts_anew(engine):
    once, twice = network(engine), network(engine)
    once.fit(X, Y, epochs=6)
    for _ in range(2):
        twice.fit(X, Y, epochs=3)
    assert bits(once) != bits(twice)


@every_engine
def test_hyperparameters_may_change_between_fits(engine):
    net, optimizer = network(engine, "float64"), fb.SGD(0.1)
    steps = [partial(naive.sgd, learning_rate=rate) for rate in (0.1, 0.01)]
    trajectory, _ = oracle(
        net, X, Y, [range(N)] * 2, N, lambda theta, g, state, t: steps[t - 1](theta, g, state, t)
    )
    net.fit(X, Y, epochs=1, batch_size=None, optimizer=optimizer)
    optimizer.learning_rate = 0.01
    net.fit(X, Y, epochs=1, batch_size=None, optimizer=optimizer)
    close(net.get_parameters(), trajectory[-1], "float64")


@every_engine
def test_the_state_of_a_network_that_is_gone_is_not_used_for_another(engine):
    """As for one that is still there: refused, or a new beginning."""
    optimizer = fb.Adam(0.1)
    net = network(engine)
    net.fit(X, Y, epochs=3, optimizer=optimizer)
    del net
    other, fresh = network(engine, rng=1), network(engine, rng=1)
    fresh.fit(X, Y, epochs=1, optimizer=fb.Adam(0.1))
    try:
        other.fit(X, Y, epochs=1, optimizer=optimizer)
    except ValueError:
        return
    assert bits(other) == bits(fresh)


@every_engine
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_of_an_optimizer_has_a_state_of_its_own(make, engine):
    net, optimizer = network(engine), fb.Adam()
    net.fit(X, Y, epochs=2, batch_size=4, optimizer=optimizer)
    before, steps = pickle.dumps(optimizer), optimizer.steps
    twin = make(optimizer)
    copy.deepcopy(net).fit(X, Y, epochs=1, batch_size=4, optimizer=twin)
    assert pickle.dumps(optimizer) == before
    assert twin.steps == steps + 3


@every_engine
@every_rule
def test_partial_fit_keeps_the_state(rule, engine):
    once, parts = network(engine), network(engine)
    optimizer = RULES[rule][0]()
    history = once.fit(X, Y, epochs=4, batch_size=4, optimizer=RULES[rule][0](), sample_weight=S)
    costs = parts.partial_fit(X, Y, batch_size=4, optimizer=optimizer, sample_weight=S).cost
    costs += parts.partial_fit(X, Y, batch_size=4, sample_weight=S).cost
    parts = pickle.loads(pickle.dumps(parts))
    costs += parts.partial_fit(X, Y, batch_size=4, sample_weight=S).cost
    costs += parts.partial_fit(X, Y, batch_size=4, sample_weight=S, optimizer=optimizer.name).cost
    assert costs == history.cost
    assert bits(once) == bits(parts)


@every_engine
def test_partial_fit_begins_with_adam_and_goes_on_after_fit(engine):
    once, parts = network(engine), network(engine)
    once.fit(X, Y, epochs=2, batch_size=4, optimizer=fb.Adam())
    for _ in range(2):
        history = parts.partial_fit(X, Y, batch_size=4)
        assert isinstance(history, fb.History) and len(history) == 1
    assert bits(once) == bits(parts)
    optimizer = fb.SGD(0.1, momentum=0.9)
    once.fit(X, Y, epochs=2, batch_size=4, optimizer=optimizer)
    once.partial_fit(X, Y, batch_size=4)
    assert optimizer.steps == 9
    parts.fit(X, Y, epochs=3, batch_size=4, optimizer=fb.SGD(0.1, momentum=0.9))
    assert bits(once) == bits(parts)


@every_engine
def test_partial_fit_with_another_name_or_object_changes_the_optimizer(engine):
    net, other = network(engine), network(engine)
    net.partial_fit(X, Y, batch_size=4)
    net.partial_fit(X, Y, batch_size=4, optimizer="sgd")
    net.partial_fit(X, Y, batch_size=4)
    other.fit(X, Y, epochs=1, batch_size=4, optimizer="adam")
    other.fit(X, Y, epochs=2, batch_size=4, optimizer="sgd")
    assert bits(net) == bits(other)


# --- slices --------------------------------------------------------------------------------------


def random_slices(n, batch_size, tile, work, most=None):
    """Ends where `slices` may end one, drawn."""
    ends = {n}
    for first in range(0, n, batch_size):
        ends.update(range(first, min(first + batch_size, n), tile))
    ends = sorted(ends)[1:]
    rng = np.random.default_rng(n)
    drawn = [end for end in ends if end == n or rng.random() < 0.4]
    yield from zip([0, *drawn], drawn, strict=False)


@every_engine
@every_dtype
@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_slices_do_not_change_a_bit(rule, dtype, engine, monkeypatch):
    tile = engines.load(engine).row_tile(network(engine).machine.model)
    batch_size = 2 * tile + tile // 2 + 1  # a minibatch is cut into three or more
    n = 2 * batch_size + batch_size // 2
    rng = np.random.default_rng(4)
    many = rng.standard_normal((n, 3)).astype(np.float32)
    targets = rng.standard_normal((n, 2)).astype(np.float32)
    weights = rng.uniform(0.0, 2.0, n)
    original, cuts, of_each, results = training.slices, [], [], []

    def recorded(slices):
        def recorded_slices(*arguments):
            cuts.append(list(slices(*arguments)))
            yield from cuts[-1]

        return recorded_slices

    for seconds, slices in ((1e9, original), (0.0, original), (0.0, random_slices)):
        monkeypatch.setattr(machine, "SLICE_SECONDS", seconds)
        for module in (training, machine):  # of steps, and of the validation cost
            monkeypatch.setattr(module, "slices", recorded(slices))
        net, optimizer = network(engine, dtype), RULES[rule][0]()
        history = net.fit(
            many,
            targets,
            epochs=2,
            batch_size=batch_size,
            optimizer=optimizer,
            sample_weight=weights,
            validation=(many, targets, weights),
        )
        results.append((bits(net, optimizer), history.cost, history.validation_cost))
        of_each.append(cuts[:])
        cuts.clear()
    assert results[0] == results[1] == results[2]
    whole, every_tile, drawn = of_each
    assert all(epoch == [(0, n)] for epoch in whole)
    assert len(every_tile) == len(drawn) == 4
    for epoch in every_tile:
        assert len(epoch) >= n // tile
    assert all(1 < len(epoch) < len(every_tile[0]) for epoch in drawn)


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 1e-4, 1e9])
@pytest.mark.parametrize(
    ("n", "batch_size", "tile"),
    [(1, 1, 1), (10, 3, 1), (100, 32, 16), (100, 7, 16), (100, 100, 16), (1000, 300, 64)],
)
def test_slices_cover_all_and_end_where_they_may(n, batch_size, tile, seconds, monkeypatch):
    monkeypatch.setattr(machine, "SLICE_SECONDS", seconds)
    for work in (1, 1000, 10**9):
        place = 0
        for start, stop in machine.slices(n, batch_size, tile, work):
            assert start == place < stop <= n
            assert stop == n or stop % batch_size == 0 or stop % batch_size % tile == 0
            assert (
                start // batch_size == (stop - 1) // batch_size
                or start % batch_size == 0
                or (stop % batch_size == 0 or stop == n)
            )
            place = stop
        assert place == n


# --- history, callbacks, progress ----------------------------------------------------------------


@every_engine
def test_history(engine):
    history = network(engine).fit(X, Y, epochs=3, validation=(X, Y))
    assert len(history) == len(history.cost) == 3
    for name in ("cost", "validation_cost", "seconds"):
        column = getattr(history, name)
        assert all(type(value) is float and value >= 0 for value in column)
        assert history[name] == column == history.to_dict()[name]
        assert history[-1][name] == column[-1]
        assert [epoch[name] for epoch in history] == column
    assert history.cost[-1] < history.cost[0]
    assert history.interrupted is False
    assert json.loads(json.dumps(history.to_dict())) == history.to_dict()
    assert repr(history).startswith("<History of 3 epochs; last: cost ")
    history[0]["cost"] = history.cost[0] = -1.0
    assert min(history.cost) >= 0
    with pytest.raises(IndexError):
        history[3]
    assert pickle.loads(pickle.dumps(history)).to_dict() == history.to_dict()


@every_engine
def test_history_without_validation(engine):
    history = network(engine).fit(X, Y, epochs=1)
    assert history.validation_cost == []
    assert list(history.to_dict()) == ["cost", "seconds"]
    assert repr(fb.History()) == "<History of 0 epochs>"
    assert fb.History().to_dict() == {} and len(fb.History()) == 0


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self, events, stop_after=None):
        self.events, self.stop_after = events, stop_after

    def on_train_begin(self, network):
        self.events.append(("train begins", network))

    def on_epoch_begin(self, network, epoch):
        self.events.append(("epoch begins", network, epoch))

    def on_epoch_end(self, network, epoch, logs):
        self.events.append(("epoch ends", network, epoch, logs))
        return epoch == self.stop_after

    def on_train_end(self, network, history):
        self.events.append(("train ends", network, history))


@every_engine
def test_callbacks_are_told_in_order(engine):
    net, events = network(engine), []
    functions = [
        lambda net, epoch, logs: events.append(("function", net, epoch, logs)),
        Recorder(events),
    ]
    history = net.fit(X, Y, epochs=2, validation=0.2, callbacks=iter(functions))
    assert events == [
        ("train begins", net),
        ("epoch begins", net, 1),
        ("function", net, 1, history[0]),
        ("epoch ends", net, 1, history[0]),
        ("epoch begins", net, 2),
        ("function", net, 2, history[1]),
        ("epoch ends", net, 2, history[1]),
        ("train ends", net, history),
    ]
    assert events[-1][2] is history
    assert set(history[0]) == {"cost", "validation_cost", "seconds"}


@every_engine
@pytest.mark.parametrize("stop", [True, np.True_, 1, "enough"])
def test_a_true_value_stops_after_that_epoch(stop, engine):
    events = []

    def stop_after_two(net, epoch, logs):
        return stop if epoch == 2 else None

    net, alone = network(engine), network(engine)
    history = net.fit(X, Y, epochs=9, callbacks=[stop_after_two, Recorder(events)])
    assert len(history) == 2 and not history.interrupted
    assert [event[0] for event in events[-2:]] == ["epoch ends", "train ends"]
    alone.fit(X, Y, epochs=2)
    assert bits(net) == bits(alone)
    history = network(engine).fit(X, Y, epochs=9, callbacks=Recorder([], stop_after=3))
    assert len(history) == 3


@every_engine
def test_callbacks_may_change_the_network_and_their_logs(engine):
    def reset(net, epoch, logs):
        logs.clear()
        net.weights[0][...] = 0

    net = network(engine)
    history = net.fit(X, Y, epochs=2, callbacks=reset)
    assert not net.weights[0].any()
    assert len(history.cost) == 2


@every_engine
@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin", "on_epoch_end"])
def test_a_callback_that_raises_leaves_a_usable_network(event, engine):
    class Failing:
        pass

    def fail(net, epoch=1, logs=None):
        if epoch == (1 if event == "on_train_begin" else 3):
            raise LookupError("by the callback")

    failing = Failing()
    setattr(failing, event, fail)
    net, optimizer = network(engine), fb.Adam()
    with pytest.raises(LookupError, match="by the callback"):
        net.fit(X, Y, epochs=5, batch_size=4, optimizer=optimizer, callbacks=failing)
    epochs = {"on_train_begin": 0, "on_epoch_begin": 2, "on_epoch_end": 3}[event]
    assert optimizer.steps == 3 * epochs
    net.fit(X, Y, epochs=5 - epochs, batch_size=4, optimizer=optimizer)
    once, optimizer_once = network(engine), fb.Adam()
    once.fit(X, Y, epochs=5, batch_size=4, optimizer=optimizer_once)
    assert bits(net, optimizer) == bits(once, optimizer_once)


class Bar:
    """The part of tqdm's interface that is asked for."""

    def __init__(self, total=None, unit=None):
        self.total, self.n, self.shown, self.closed = total, 0, [], False

    def update(self, n):
        self.n += n

    def set_postfix(self, values):
        self.shown.append(dict(values))

    def close(self):
        self.closed = True


@every_engine
def test_progress_is_told_of_every_epoch(engine):
    bar = Bar()
    history = network(engine).fit(X, Y, epochs=3, validation=0.2, progress=bar)
    assert bar.n == 3 and bar.closed
    names = "cost", "validation_cost"
    assert bar.shown == [{name: epoch[name] for name in names} for epoch in history]


@every_engine
@pytest.mark.parametrize("as_class", [True, False])
def test_progress_makes_a_bar_of_its_own(as_class, engine):
    bars = []

    class Made(Bar):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    progress = Made if as_class else lambda **options: Made(**options)
    net = network(engine)
    for _ in range(2):
        net.fit(X, Y, epochs=3, progress=progress)
    assert [(bar.total, bar.n, bar.closed) for bar in bars] == [(3, 3, True)] * 2


@every_engine
@pytest.mark.parametrize("end", ["stopped", "interrupted", "diverged", "failed"])
def test_progress_is_closed_however_training_ends(end, engine):
    def callback(net, epoch, logs):
        if end == "interrupted":
            raise KeyboardInterrupt
        if end == "failed":
            raise LookupError
        return end == "stopped"

    bar = Bar()
    fit = partial(network(engine).fit, X, Y, epochs=3, callbacks=callback, progress=bar)
    if end == "stopped":
        fit()
    elif end == "interrupted":
        with pytest.raises(fb.Interrupted, match="interrupted after 1 of 3 epochs"):
            fit()
    else:
        error = fb.DivergenceError if end == "diverged" else LookupError
        with pytest.raises(error):
            fit(optimizer=fb.SGD(1e30) if end == "diverged" else "adam")
    assert bar.closed


@pytest.mark.parametrize("progress", [None, False])
def test_no_progress_is_silent(progress, capfd):
    network("numpy").fit(X, Y, epochs=2, progress=progress)
    assert capfd.readouterr() == ("", "")


@every_engine
def test_progress_true_shows_a_bar_of_tqdm(engine, capfd):
    pytest.importorskip("tqdm")
    history = network(engine).fit(X, Y, epochs=2, progress=True)
    shown = capfd.readouterr().err
    assert "2/2" in shown and "epoch" in shown and f"cost={history.cost[-1]:.3g}" in shown


def test_progress_true_without_tqdm_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    net, optimizer = network("numpy"), fb.Adam()
    before = bits(net, optimizer)
    with pytest.raises(ImportError, match=r"fastbackprop\[progress\]"):
        net.fit(X, Y, progress=True, optimizer=optimizer)
    assert bits(net, optimizer) == before


# --- divergence ----------------------------------------------------------------------------------


def last_finite(engine, make, n_epochs, **options):
    """Network and optimizer after as many minibatches, in order, as can be taken without error."""
    batch = options.pop("batch_size")
    found = None
    for k in range(-(-N // batch) + 1):
        net, optimizer = network(engine, **options), make()
        fit = partial(net.fit, batch_size=batch, optimizer=optimizer, shuffle=False)
        try:
            if n_epochs:
                fit(X, Y, epochs=n_epochs)
            if k:
                fit(X[: k * batch], Y[: k * batch], epochs=1)
        except fb.DivergenceError:
            break
        found = net, optimizer, k
    return found


@every_engine
@every_dtype
@pytest.mark.parametrize(
    ("rule", "rate"),
    [
        ("sgd", 1e3),
        ("sgd", 1e10),
        ("sgd", 1e30),
        ("momentum", 1e3),
        ("nesterov", 1e30),
        ("adam", 1e200),
    ],
)
def test_divergence_keeps_the_last_finite_state(rule, rate, dtype, engine):
    def make():
        optimizer = RULES[rule][0]()
        optimizer.learning_rate = rate
        return optimizer

    net, optimizer = network(engine, dtype), make()
    with pytest.raises(fb.DivergenceError, match=r"diverged.*learning rate") as info:
        net.fit(X, Y, epochs=1000, batch_size=2, optimizer=optimizer, shuffle=False)
    assert isinstance(info.value, FloatingPointError)
    history = info.value.history
    assert f"epoch {len(history) + 1}" in str(info.value)
    assert np.isfinite(history.cost).all()
    assert np.isfinite(net.get_parameters()).all()
    expected, optimizer_expected, k = last_finite(
        engine, make, len(history), dtype=dtype, batch_size=2
    )
    assert k < 6
    assert bits(net, optimizer) == bits(expected, optimizer_expected)


@every_engine
def test_divergence_of_shuffled_samples(engine):
    net, optimizer = network(engine), fb.SGD(1e3)
    with pytest.raises(fb.DivergenceError):
        net.fit(X, Y, epochs=100, batch_size=2, optimizer=optimizer)
    assert np.isfinite(net.get_parameters()).all()
    steps = optimizer.steps
    again, same = network(engine), fb.SGD(1e3)
    rng = copy.deepcopy(again._rng)
    while steps:
        rows = rng.permutation(N)[: 2 * steps]
        again.fit(X[rows], Y[rows], epochs=1, batch_size=2, optimizer=same, shuffle=False)
        steps -= -(-len(rows) // 2)
    assert bits(net, optimizer) == bits(again, same)


@every_engine
def test_weights_that_overflow_unseen_by_the_cost_are_taken_back(engine):
    """tanh of an infinite z is 1: the cost stays finite after the step that ruins a weight."""
    x, y = np.array([[0, 0, 100, 100, 100, 100]]).T, np.array([[0, 0, 1, 1, 1, 1]]).T

    def after(n):
        net, optimizer = network(engine, sizes=[1, 1, 1], output="tanh"), fb.SGD(1e38)
        net.set_parameters([0.01, 0, 1, 0])
        options = {"epochs": 1, "batch_size": 1, "optimizer": optimizer, "shuffle": False}
        if n == len(x):
            with pytest.raises(fb.DivergenceError):
                net.fit(x, y, **options)
        else:
            net.fit(x[:n], y[:n], **options)
        return net, optimizer

    net, optimizer = after(6)
    assert np.isfinite(net.get_parameters()).all()
    assert bits(net, optimizer) == bits(*after(2))


@every_engine
def test_a_diverged_network_can_be_trained_with_smaller_steps(engine):
    net = network(engine)
    with pytest.raises(fb.DivergenceError):
        net.fit(X, Y, epochs=100, optimizer=fb.SGD(1e4))
    net.set_parameters(np.zeros(net.n_parameters))
    assert net.fit(X, Y, epochs=2, optimizer=fb.SGD(0.1)).cost[1] < np.square(Y).mean()


@every_engine
def test_divergence_can_be_reported_by_another_process(engine):
    """What a pool of processes does with an error: pickle it."""
    with pytest.raises(fb.DivergenceError) as info:
        network(engine).fit(X, Y, optimizer=fb.SGD(1e3))
    error = pickle.loads(pickle.dumps(info.value))
    assert type(error) is fb.DivergenceError and str(error) == str(info.value)
    assert error.history.to_dict() == info.value.history.to_dict()


@every_engine
def test_huge_inputs_diverge_with_an_error(engine):
    net = network(engine)
    before = bits(net)
    with pytest.raises(fb.DivergenceError):
        net.fit(X, np.full_like(Y, 1e30))
    assert bits(net) == before


# --- Ctrl-C --------------------------------------------------------------------------------------


def pass_of(net):
    """The module and the function that take a pass over few samples."""
    short = net.machine.engine.short
    return (net.machine.engine, "train") if short is None else (short, "pass_of_few")


def interrupt_in(module, function, n_calls, monkeypatch):
    """Ctrl-C during the n-th call of an engine's function; returns the ends of all calls."""
    original, ends = getattr(module, function), []

    def interrupted(*arguments):
        ends.append(arguments[-1])
        if len(ends) == n_calls:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(module, function, interrupted)
    return ends


@every_engine
@every_rule
@pytest.mark.parametrize("n_calls", [1, 2, 5, 8])
def test_ctrl_c_within_an_epoch_ends_after_the_step(n_calls, rule, engine, monkeypatch):
    """Call 1 compiles; with slices of no length every other one is a step, or a part of one."""
    batch_size = 4
    monkeypatch.setattr(machine, "SLICE_SECONDS", 0.0)
    net, optimizer = network(engine), RULES[rule][0]()
    ends = interrupt_in(net.machine.engine, "train", n_calls, monkeypatch)
    with pytest.raises(fb.Interrupted, match="interrupted") as info:
        net.fit(X, Y, epochs=9, batch_size=batch_size, optimizer=optimizer)
    history = info.value.history
    assert history.interrupted
    assert "interrupted" in repr(history)
    assert len(ends) == n_calls
    assert len(history) == ends.count(N)
    assert optimizer.steps == 3 * ends.count(N) + (ends[-1] // batch_size) * (ends[-1] < N)
    monkeypatch.undo()
    check_steps(net, optimizer, RULES[rule][0](), batch_size)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def check_steps(net, optimizer, same, batch_size):
    """The network stands where a run of as many steps, without interruption, ends."""
    again = network(net.engine)
    rng, rows_left = copy.deepcopy(again._rng), optimizer.steps * batch_size
    while same.steps < optimizer.steps:
        rows = rng.permutation(N)[:rows_left]
        again.fit(X[rows], Y[rows], epochs=1, batch_size=batch_size, optimizer=same, shuffle=False)
        rows_left = (optimizer.steps - same.steps) * batch_size
    assert bits(net, optimizer) == bits(again, same)


@every_rule
def test_ctrl_c_within_a_step_waits_for_its_end(rule, monkeypatch):
    """Of an engine in Python, which is not a native call that nothing can interrupt."""
    net, optimizer = network("numpy"), RULES[rule][0]()
    step, calls = loopfree.step_loop_free, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        step(*arguments)

    monkeypatch.setattr(loopfree, "step_loop_free", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        net.fit(X, Y, epochs=9, batch_size=4, optimizer=optimizer)
    monkeypatch.undo()
    assert optimizer.steps >= 5
    check_steps(net, optimizer, RULES[rule][0](), 4)


@every_engine
def test_ctrl_c_within_validation(engine, monkeypatch):
    monkeypatch.setattr(machine, "SLICE_SECONDS", 0.0)
    net, optimizer = network(engine), fb.Adam()
    interrupt_in(net.machine.engine, "cost_sum", 1, monkeypatch)
    with pytest.raises(fb.Interrupted) as info:
        net.fit(X, Y, epochs=9, batch_size=4, optimizer=optimizer, validation=(X, Y))
    history = info.value.history
    monkeypatch.undo()
    assert history.interrupted and optimizer.steps == 3
    assert list(history.to_dict()) in ([], ["cost", "validation_cost", "seconds"])
    check_steps(net, optimizer, fb.Adam(), 4)


@every_engine
@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin", "on_epoch_end"])
def test_ctrl_c_within_a_callback(event, engine):
    class Impatient:
        pass

    def interrupt(net, epoch=2, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    impatient, events, bar = Impatient(), [], Bar()
    setattr(impatient, event, interrupt)
    net = network(engine)
    callbacks = [impatient, Recorder(events), fb.ReturnOnInterrupt()]
    with pytest.warns(RuntimeWarning, match=r"interrupted after \d of 9 epochs") as warned:
        history = net.fit(X, Y, epochs=9, callbacks=callbacks, progress=bar)
    assert warned[0].filename == __file__
    assert history.interrupted
    assert len(history) == {"on_train_begin": 0, "on_epoch_begin": 1, "on_epoch_end": 2}[event]
    assert events[-1] == ("train ends", net, history)


@every_engine
def test_ctrl_c_while_the_first_call_compiles(engine, monkeypatch):
    monkeypatch.setattr("fastbackprop.training.trainer._COMPILED", set())
    net, bar = network(engine), Bar()
    interrupt_in(*pass_of(net), 1, monkeypatch)
    before = bits(net)
    with pytest.raises(fb.Interrupted, match="interrupted after 0 of 9 epochs") as info:
        net.fit(X, Y, epochs=9, progress=bar)
    assert info.value.history.interrupted and bits(net) == before


@every_engine
def test_other_handlers_of_the_signal_are_left_alone(engine, monkeypatch):
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    handler = signal.getsignal(signal.SIGINT)
    try:
        net = network(engine)
        interrupt_in(*pass_of(net), 2, monkeypatch)
        history = net.fit(X, Y, epochs=3)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
    assert len(history) == 3 and not history.interrupted


LONG_FIT = """
    import json, os, signal, sys, warnings
    import numpy as np
    import fastbackprop as fb

    engine, batch_size, n = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 8)), rng.integers(0, 4, n)

    def network():
        return fb.Network([8, 32, 4], output="softmax", cost="cross_entropy", rng=0, engine=engine)

    class Ready:
        def on_epoch_begin(self, net, epoch):
            if epoch == 1:
                print("ready", flush=True)

    net, optimizer = network(), fb.SGD(0.01, momentum=0.9)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        history = net.fit(
            X, y, epochs=10**9, batch_size=batch_size, optimizer=optimizer,
            callbacks=[Ready(), fb.ReturnOnInterrupt()],
        )
    # The same number of steps without interruption.
    again, same = network(), fb.SGD(0.01, momentum=0.9)
    rng, rows_of_step = network()._rng, n if batch_size is None else batch_size
    while same.steps < optimizer.steps:
        rows = rng.permutation(n)[: (optimizer.steps - same.steps) * rows_of_step]
        again.fit(X[rows], y[rows], epochs=1, batch_size=batch_size, optimizer=same, shuffle=False)
    print(json.dumps({
        "interrupted": history.interrupted,
        "warnings": [(w.category.__name__, str(w.message)) for w in warned],
        "epochs": len(history),
        "steps": optimizer.steps,
        "steps per epoch": -(-n // rows_of_step),
        "same": net.get_parameters().tobytes() == again.get_parameters().tobytes(),
        "goes on": len(net.fit(X[:10], y[:10], epochs=2, optimizer=optimizer)),
        "handler": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }))
"""


@pytest.mark.compiled
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@every_engine
@pytest.mark.parametrize(
    ("batch_size", "n"), [(16, 500_000), (None, 2_000_000)], ids=["small steps", "one huge step"]
)
def test_ctrl_c_from_outside(batch_size, n, engine, tmp_path):
    script = tmp_path / "long_fit.py"
    script.write_text(textwrap.dedent(LONG_FIT))
    process = subprocess.Popen(
        [sys.executable, script, engine, json.dumps(batch_size), str(n)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])},
    )
    try:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert err == ""
    said = json.loads(out)
    assert said["interrupted"] and said["same"] and said["goes on"] == 2 and said["handler"]
    ((category, message),) = said["warnings"]
    assert category == "RuntimeWarning" and "interrupted" in message
    assert said["epochs"] == said["steps"] // said["steps per epoch"]
    assert said["steps"] > 0 or batch_size is None
