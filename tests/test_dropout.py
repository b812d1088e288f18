"""Dropout and noise on the inputs, against masks from a hash of Python's integers."""

import math

import numpy as np
import pytest
from problems import TOLERANCE, deviation, every_dtype, every_engine

import fastbackprop as fb
from fastbackprop.engines import ENGINES
from fastbackprop.engines.noise import NO_LAYER, Noise, masks, noisy, perturbed

SIZES, RATES = [3, 7, 5, 2], (0.25, 0.5, 0.3)  # of a^0, a^1, a^2


# --- the oracle ----------------------------------------------------------------------------------


def mixed(x):
    x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def chain(*words):
    value = mixed(words[0])
    for word in words[1:]:
        value = mixed((value + word) % 2**32)
    return value


def number(seed, step, l, row, unit):
    return mixed(chain(seed, step, l, row) ^ mixed(unit))


def mask_of(seed, step, l, n, width, rate):
    kept = [
        [number(seed, step, l, i, k) >= round(rate * 2**32) for k in range(width)] for i in range(n)
    ]
    return np.array(kept) / (1 - rate)


def noise_of(seed, step, n, width):
    def normal(h):
        u, v = (h + 0.5) / 2**32, mixed(~h % 2**32) / 2**32
        return math.sqrt(-2 * math.log(u)) * math.sin(2 * math.pi * v)

    return np.array(
        [[normal(number(seed, step, NO_LAYER, i, k)) for k in range(width)] for i in range(n)]
    )


def training_gradient(net, X, Y, seed, step, noise):
    """Of the mean squared error, tanh all over: layer by layer, written for this."""
    X = X + noise * noise_of(seed, step, *X.shape)
    M = [
        mask_of(seed, step, l, len(X), n, p)
        for l, (n, p) in enumerate(zip(SIZES[:-1], RATES, strict=True))
    ]
    T, A = [], [X * M[0]]
    for W, b in zip(net.weights, net.biases, strict=True):
        T.append(np.tanh(A[-1] @ W.astype(float) + b.astype(float)))
        A.append(T[-1] * M[len(T)] if len(T) < len(M) else T[-1])
    D, parts = (A[-1] - Y) * (1 - T[-1] ** 2) / len(X), []
    for l in reversed(range(len(T))):
        parts = [np.vstack([A[l].T @ D, D.sum(axis=0)]).ravel(), *parts]
        if l:
            D = D @ net.weights[l].astype(float).T * M[l] * (1 - T[l - 1] ** 2)
    return np.concatenate(parts)


# --- steps ---------------------------------------------------------------------------------------


def network(engine, dtype, rng=1):
    return fb.Network(SIZES, hidden="tanh", output="tanh", engine=engine, dtype=dtype, rng=rng)


NOISY = {"dropout": fb.Dropout(RATES[1:], inputs=RATES[0], noise=0.1)}


@every_dtype
@every_engine
@pytest.mark.parametrize("n", [5, 300])  # and more than a tile of rows
def test_a_step_is_that_of_the_masked_network(engine, dtype, n):
    rng = np.random.default_rng(3)
    X, Y = (rng.normal(size=(n, width)).astype(dtype) for width in (3, 2))
    net, optimizer = network(engine, dtype), fb.SGD(1.0)
    for step in range(3):
        before, state = net.get_parameters(), np.random.default_rng()
        state.bit_generator.state = net._rng.bit_generator.state
        ref = training_gradient(net, X, Y, int(state.integers(2**32)), step, 0.1)
        net.fit(X, Y, epochs=1, batch_size=None, shuffle=False, optimizer=optimizer, **NOISY)
        comp = before.astype(float) - net.get_parameters()
        assert deviation(comp, ref) < 10 * TOLERANCE[dtype]  # differences of parameters


@pytest.mark.compiled
def test_no_bit_depends_on_the_threads_or_on_where_the_samples_are(tmp_path):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(700, 3)).astype("f4")
    Y = X[:, :2].copy()
    np.save(tmp_path / "X.npy", X)
    results = []
    for data, n_threads in [(X, 1), (X, 2), (X, 3), (X, 7), ("map", 1)]:
        data = np.load(tmp_path / "X.npy", mmap_mode="r") if data is not X else X
        net = network("tiles", "float32")
        net.fit(data, Y, epochs=3, batch_size=150, n_threads=n_threads, **NOISY)
        results.append(net.get_parameters().tobytes())
    assert len(set(results)) == 1


@every_engine
def test_a_schedule_is_a_fit_for_each_epoch(engine, tmp_path):
    rng, rates = np.random.default_rng(6), [0.4, 0.2, 0.0, 0.3]
    X = rng.normal(size=(40, 3))
    alone, scheduled, resumed = (network(engine, "float64") for _ in range(3))
    adam, data = fb.Adam(), (X, X[:, :2])
    for rate in rates:
        alone.fit(*data, epochs=1, optimizer=adam, dropout=fb.Dropout(rate, inputs=rate / 2))
    dropout = fb.Dropout(0.4, inputs=0.2, schedule=lambda epoch: rates[epoch - 1] / 0.4)
    scheduled.fit(*data, epochs=4, optimizer=fb.Adam(), dropout=dropout)
    options = {"dropout": dropout, "callbacks": fb.Checkpoint(tmp_path / "checkpoint")}
    network(engine, "float64").fit(*data, epochs=2, optimizer=fb.Adam(), **options)
    resumed.fit(*data, epochs=4, optimizer=fb.Adam(), **options)
    for net in (scheduled, resumed):
        assert np.array_equal(alone.get_parameters(), net.get_parameters())


def test_a_schedule_needs_epochs():
    net, dropout = fb.Network([2, 3, 1]), fb.Dropout(0.2, schedule=abs)
    with pytest.raises(ValueError, match=r"partial_fit knows no epochs.*schedule=abs"):
        net.partial_fit(np.zeros((4, 2)), np.zeros(4), dropout=dropout)
    with pytest.raises(ValueError, match="single steps knows no epochs"):
        net.trainer("adam", dropout=dropout)


@every_engine
def test_two_fits_are_one_fit(engine, tmp_path):
    X = np.random.default_rng(5).normal(size=(40, 3))
    Y = X[:, :2]
    once, twice, resumed = (network(engine, "float64") for _ in range(3))
    once.fit(X, Y, epochs=4, optimizer=fb.Adam(), **NOISY)
    adam = fb.Adam()
    for _ in range(2):
        twice.fit(X, Y, epochs=2, optimizer=adam, **NOISY)
    file = tmp_path / "checkpoint"
    options = NOISY | {"callbacks": fb.Checkpoint(file)}
    network(engine, "float64").fit(X, Y, epochs=2, optimizer=fb.Adam(), **options)
    resumed.fit(X, Y, epochs=4, optimizer=fb.Adam(), **options)
    assert np.array_equal(once.get_parameters(), twice.get_parameters())
    assert np.array_equal(once.get_parameters(), resumed.get_parameters())


@every_engine
def test_only_training_drops(engine):
    X = np.random.default_rng(6).normal(size=(40, 3))
    Y, net = X[:, :2], network(engine, "float64")
    ref = net.predict(X), net.evaluate(X, Y)
    history = net.fit(X, Y, epochs=1, optimizer=fb.SGD(0.0), validation=(X, Y), **NOISY)
    assert np.array_equal(net.predict(X), ref[0])
    assert history.validation_cost == [ref[1]]
    assert history.cost != history.validation_cost


# --- the numbers ---------------------------------------------------------------------------------


def a_layer(rate=0.0, noise=0.0, width=200):
    net = fb.Network([width, 1], engine="numpy", dtype="float64")
    return perturbed(net.machine.model, (rate,), noise).layers


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_masks_are_fair_and_unrelated(rate):
    layers, n = a_layer(rate), 500
    first, step, seed = (
        masks(layers, noise, n)[0] > 0 for noise in (Noise(1, 0, 0), Noise(1, 1, 0), Noise(2, 0, 0))
    )
    assert np.array_equal(masks(layers, Noise(1, 0, 40), 9)[0] > 0, first[40:49])
    share = first.mean()
    assert share == pytest.approx(1 - rate, abs=4 * math.sqrt(rate * (1 - rate) / first.size))
    pairs = [(first, step), (first, seed), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])]
    for x, y in pairs:
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 4 / math.sqrt(x.size)
    rows, columns = first.mean(axis=1), first.mean(axis=0)
    assert rows.std() == pytest.approx(math.sqrt(rate * (1 - rate) / 200), rel=0.2)
    assert columns.std() == pytest.approx(math.sqrt(rate * (1 - rate) / n), rel=0.2)


def test_noise_is_normal():
    x = np.sort(noisy(a_layer(noise=1.0)[0], Noise(7, 3, 0), np.zeros((500, 200))).ravel())
    normal = [0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x[:: len(x) // 1000]]
    assert np.abs(normal - np.linspace(0, 1, 1001)[: len(normal)]).max() < 1.7 / math.sqrt(len(x))


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"dropout": math.nan}, r"dropout must be in \[0, 1\)"),
        ({"dropout": [0.1]}, "one for each hidden layer: 2; got 1"),
        ({"dropout": "0.1"}, "dropout must be one rate"),
        ({"dropout": fb.Dropout(inputs=-0.1)}, r"inputs of Dropout must be in \[0, 1\)"),
        (
            {"dropout": fb.Dropout(noise=-1.0)},
            "noise of Dropout must be a finite standard deviation",
        ),
        ({"dropout": fb.Dropout(noise=True)}, "noise of Dropout must be a standard deviation"),
        ({"dropout": fb.Dropout(0.1, schedule=lambda epoch: 2)}, r"schedule\(1\) of Dropout must"),
        ({"dropout": 0.5, "optimizer": "lbfgs"}, "no use for dropout"),
    ],
)
def test_refused(options, message):
    net = network(ENGINES[-1], "float32")
    before = net.get_parameters()
    with pytest.raises((ValueError, TypeError), match=message):
        net.fit(np.zeros((4, 3)), np.zeros((4, 2)), epochs=1, **options)
    assert np.array_equal(net.get_parameters(), before)


def test_no_hidden_layer():
    with pytest.raises(ValueError, match="no hidden layer"):
        fb.Network([2, 1]).fit(np.zeros((4, 2)), np.zeros(4), dropout=0.5)
