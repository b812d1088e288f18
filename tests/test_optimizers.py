"""Optimisers: ten-step trajectories against PyTorch, and what state they keep for whom."""

import functools
import pickle
from functools import partial

import autodiff
import naive
import numba
import numpy as np
import pytest
from problems import TOLERANCE, deviation, every_dtype, every_engine, problem

import fastbackprop as fb
from fastbackprop import machine
from fastbackprop.engines import ENGINES
from fastbackprop.optimizers import OPTIMIZERS, adam, adaptive, sgd, signs
from fastbackprop.optimizers.rules import Rule

CASES = {
    "sgd": ("sgd", {"learning_rate": 0.5}),
    "momentum": ("sgd", {"learning_rate": 0.5, "momentum": 0.5}),
    "nesterov": ("sgd", {"learning_rate": 0.5, "momentum": 0.5, "nesterov": True}),
    "adam": ("adam", {}),
    "adam, all set": ("adam", {"learning_rate": 0.1, "betas": (0.5, 0.8), "epsilon": 1e-3}),
}
every_case = pytest.mark.parametrize("case", CASES)


def optimizer_of(case):
    name, options = CASES[case]
    return OPTIMIZERS[name](**options)


def follow(net, X, Y, optimizer, epochs=10, batch_size=None, s=None):
    """Train in order; returns the parameters after each epoch, and the history."""
    thetas = []
    history = net.fit(
        X,
        Y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        sample_weight=s,
        shuffle=False,
        callbacks=lambda net, epoch, logs: thetas.append(net.get_parameters()),
    )
    return thetas, history


# --- trajectories --------------------------------------------------------------------------------

# Parameters after each of ten steps from w^1 = 0.5, b^1 = 0.25, w^2 = -1, b^2 = 0.75 (tanh, then
# identity, squared_error) on x = -1, 0.5, 2 and y = 0, 1, -1, as PyTorch 2.13 has them.
RECORDED = {
    "sgd": [
        [0.381741594481223, 0.354675010752469, -1.0320259219601, 0.552580355802302],
        [0.306164500048519, 0.373269912188475, -1.04662290789206, 0.495946884336691],
        [0.270315423799746, 0.364986305775981, -1.059011409049, 0.475626487983205],
        [0.256010502433467, 0.350868570619645, -1.07239793669752, 0.462966384357739],
        [0.250381284382362, 0.335082386392806, -1.08590209744253, 0.452693734505742],
        [0.2476836265721, 0.31880287745513, -1.0991569268962, 0.443239131106498],
        [0.245957010079405, 0.302578611283009, -1.11213085984626, 0.433888402649316],
        [0.244583517077493, 0.286626557780226, -1.12482286805, 0.424376884243599],
        [0.243374496396754, 0.271016418492734, -1.1372246989998, 0.414629907487455],
        [0.242273802040843, 0.255763057705923, -1.14932529399597, 0.404639063286968],
    ],
    "momentum": [
        [0.381741594481223, 0.354675010752469, -1.0320259219601, 0.552580355802302],
        [0.247035297289131, 0.42560741756471, -1.06263586887211, 0.397237062237842],
        [0.173370475879139, 0.398842712009927, -1.06536421633864, 0.369303864567749],
        [0.183646177647693, 0.324833032973109, -1.06152650268567, 0.402383263026377],
        [0.242619965169354, 0.266824985351074, -1.07533182055473, 0.418308791251149],
        [0.282630476167788, 0.234843092221507, -1.10131668491855, 0.401775078718349],
        [0.27754947910933, 0.21195663531616, -1.12535904490177, 0.371715049199484],
        [0.24942981308009, 0.186867647688087, -1.1453494678321, 0.342770956488753],
        [0.232533703128507, 0.160570982654845, -1.16614423376812, 0.316236422630985],
        [0.236703095019773, 0.134793614730591, -1.18870458885918, 0.291236787121723],
    ],
    "nesterov": [
        [0.322612391721834, 0.407012516128703, -1.04803888294015, 0.453870533703453],
        [0.221995189718831, 0.383485401506968, -1.04826722304148, 0.425947728410783],
        [0.221950179366504, 0.336703532045084, -1.06192462113891, 0.425278585485823],
        [0.244678521188966, 0.298385350529814, -1.0860860387075, 0.414377275519536],
        [0.248994835169938, 0.261855992128272, -1.10994511786231, 0.400329059428208],
        [0.247176395115356, 0.230800874069894, -1.13442406052741, 0.379948479969128],
        [0.244241877865618, 0.20144862638047, -1.15805595525655, 0.358061635000829],
        [0.242454819696734, 0.173165747553826, -1.18062302537298, 0.335589551274748],
        [0.241232659669628, 0.145686494589328, -1.20183046897568, 0.312796233340933],
        [0.240491351089064, 0.119251612767317, -1.22165524529882, 0.289415605248621],
    ],
    "adam": [
        [0.49900000004228, 0.250999999952233, -1.00099999984388, 0.749000000025327],
        [0.498000008860294, 0.251999908858338, -1.00199997132523, 0.748000137053981],
        [0.49700003316179, 0.252999664585669, -1.00299989428, 0.747000503192479],
        [0.496000080294394, 0.253999204080202, -1.00399974764737, 0.746001190871104],
        [0.495000158240446, 0.254998463493703, -1.00499950950982, 0.745002292640454],
        [0.49400027560962, 0.255997378312286, -1.00599915713636, 0.744003900969981],
        [0.493000441629444, 0.256995883485333, -1.00699866702825, 0.743006108050044],
        [0.492000666133794, 0.257993913553748, -1.007998014967, 0.742009005598975],
        [0.491000959549498, 0.258991402776568, -1.00899717606416, 0.741012684676522],
        [0.490001332881184, 0.259988285254986, -1.0099961248125, 0.740017235504973],
    ],
    "adam, all set": [
        [0.400421022830187, 0.349524601902655, -1.09846276455864, 0.650252627778322],
        [0.303165606338666, 0.435711771605361, -1.19042969576706, 0.564595120745067],
        [0.218235993596567, 0.461659065885661, -1.23618743537567, 0.518402764459365],
        [0.169237340830427, 0.421317060656836, -1.22657767124204, 0.516897244136367],
        [0.181723774587384, 0.364024661245546, -1.23657935670447, 0.527675897520285],
        [0.226131447725388, 0.319195135933945, -1.29402246996058, 0.526045282046129],
        [0.247287069141386, 0.285159846811089, -1.36475155605326, 0.512384421267575],
        [0.219181869095253, 0.251810621687201, -1.42212452877581, 0.494331266845015],
        [0.187946532967218, 0.226624096086619, -1.48732832465266, 0.467885410707786],
        [0.196676949551042, 0.206047010301107, -1.56469597712928, 0.436750267091145],
    ],
}


@every_engine
@every_case
def test_recorded_trajectory(case, engine):
    net = fb.Network([1, 1, 1], hidden="tanh", dtype="float64", engine=engine, rng=0)
    net.set_parameters([0.5, 0.25, -1, 0.75])
    thetas, _ = follow(net, [[-1], [0.5], [2]], [0, 1, -1], optimizer_of(case))
    assert np.array(thetas) == pytest.approx(np.array(RECORDED[case]), rel=1e-13, abs=0)


def naive_trajectory(name, *network_and_data, **options):
    *network_and_data, s = network_and_data
    return naive.train(*network_and_data, partial(getattr(naive, name), **options), s)


@every_dtype
@every_engine
@every_case
@pytest.mark.parametrize(
    "oracle", [naive_trajectory, autodiff.torch_trajectory], ids=["naive", "torch"]
)
def test_trajectory_of_minibatches(oracle, case, engine, dtype):
    pair = {"output": "softmax", "cost": "cross_entropy"}
    p = problem([3, 4, 2], 13, hidden="tanh", engine=engine, dtype=dtype, **pair)
    name, options = CASES[case]
    orders = [range(13)] * 2  # batches of 3, 3, 3, 3 and 1
    ref, costs_ref = oracle(name, *p.network, p.X, p.Y, orders, 3, p.s, **options)
    thetas, history = follow(p.net, p.X, p.Y, optimizer_of(case), 2, 3, p.s)
    assert len(ref) == 10
    assert deviation(thetas, [ref[4], ref[9]]) < TOLERANCE[dtype]
    assert deviation(history.cost, costs_ref) < TOLERANCE[dtype]


@every_engine
@every_case
def test_trajectory_of_single_steps(case, engine):
    p = problem([3, 4, 2], 13, hidden="tanh", engine=engine, dtype="float64")
    name, options = CASES[case]
    data = p.X, p.Y, [range(13)] * 10, 13, p.s
    ref, costs_ref = autodiff.torch_trajectory(name, *p.network, *data, **options)
    thetas, history = follow(p.net, p.X, p.Y, optimizer_of(case), s=p.s)
    assert deviation(thetas, ref) < TOLERANCE["float64"]
    assert deviation(history.cost, costs_ref) < TOLERANCE["float64"]


# --- all of them ---------------------------------------------------------------------------------

RATE = {"learning_rate": 0.05}
STEPPING = {  # what each case checks; names and options
    "sgd": ("sgd", RATE),
    "sgd, momentum": ("sgd", RATE | {"momentum": 0.9}),
    "sgd, dampening": ("sgd", RATE | {"momentum": 0.9, "dampening": 0.4}),
    "sgd, nesterov": ("sgd", RATE | {"momentum": 0.9, "nesterov": True}),
    "adam": ("adam", {}),
    "adam, all set": ("adam", RATE | {"betas": (0.5, 0.8), "epsilon": 1e-3}),
    "adam, amsgrad": ("adam", RATE | {"betas": (0.5, 0.6), "amsgrad": True}),
    "adamw": ("adamw", {}),
    "adamw, all set": (
        "adamw",
        RATE | {"epsilon": 1e-3, "weight_decay": 0.3, "decay_biases": False},
    ),
    "adamw, amsgrad": ("adamw", RATE | {"betas": (0.5, 0.6), "amsgrad": True}),
    "nadam": ("nadam", {}),
    "nadam, all set": ("nadam", RATE | {"betas": (0.7, 0.9), "momentum_decay": 0.1}),
    "radam": ("radam", {}),
    "radam, all set": ("radam", RATE | {"betas": (0.7, 0.9), "epsilon": 1e-3}),
    "adamax": ("adamax", {}),
    "adamax, all set": ("adamax", RATE | {"betas": (0.7, 0.9), "epsilon": 1e-3}),
    "rmsprop": ("rmsprop", {}),
    "rmsprop, momentum": ("rmsprop", RATE | {"alpha": 0.8, "momentum": 0.5}),
    "rmsprop, centered": ("rmsprop", RATE | {"alpha": 0.8, "centered": True}),
    "rmsprop, both": ("rmsprop", {"alpha": 0.8, "centered": True, "momentum": 0.5}),
    "adagrad": ("adagrad", {}),
    "adagrad, all set": ("adagrad", RATE | {"rate_decay": 0.1, "initial_accumulator": 0.2}),
    "adadelta": ("adadelta", {}),
    "adadelta, all set": ("adadelta", RATE | {"rho": 0.5, "epsilon": 1e-3}),
    "rprop": ("rprop", {}),
    "rprop, all set": ("rprop", RATE | {"etas": (0.6, 1.5), "step_sizes": (1e-3, 0.2)}),
    "lion": ("lion", {}),
    "lion, all set": ("lion", RATE | {"betas": (0.5, 0.8), "weight_decay": 0.3}),
}
every_stepping = pytest.mark.parametrize("case", STEPPING)


def stepping(case, **options):
    name, its_options = STEPPING[case]
    return OPTIMIZERS[name](**its_options | options)


def of_tests(engine="numpy", dtype="float64", n_samples=13):
    return problem([3, 4, 2], n_samples, hidden="tanh", engine=engine, dtype=dtype)


@functools.cache
def fifty_steps(name, options):
    """The oracle's parameters after each of fifty steps."""
    p, options = of_tests(), dict(options)
    data = p.X, p.Y, [range(13)] * 50, 13, p.s
    if name == "lion":
        return naive_trajectory(name, *p.network, *data, **options)[0]
    return autodiff.torch_trajectory(name, *p.network, *data, **options)[0]


def frozen(options):
    return tuple(options.items())


@every_engine
@every_stepping
def test_fifty_steps_are_those_of_torch(case, engine):
    name, options = STEPPING[case]
    ref, p = fifty_steps(name, frozen(options)), of_tests(engine)
    thetas, _ = follow(p.net, p.X, p.Y, stepping(case), 50, s=p.s)
    assert deviation(thetas, ref) < 1e-10
    assert deviation(ref[-1], p.net.get_parameters() * 0 + ref[0]) > 1e-3


LIKE_TORCH = {
    "l2": {"l2": 0.3, "penalize_biases": True},
    "clip_norm": {"clip_norm": 0.2},
    "clip_value": {"clip_value": 0.05},
    "layer_rates": {"layer_rates": (0.5, 2.0)},
    "bias_rate": {"bias_rate": 0.1},
    "all": {
        "l2": 0.3,
        "penalize_biases": True,
        "clip_norm": 0.2,
        "clip_value": 0.05,
        "layer_rates": (0.0, 2.0),
        "bias_rate": 3.0,
    },
}


@every_engine
@pytest.mark.parametrize("options", LIKE_TORCH)
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_options_are_those_of_torch(name, options, engine):
    options = RATE | LIKE_TORCH[options]
    theirs = {key: value for key, value in options.items() if key != "penalize_biases"}
    ref, p = fifty_steps(name, frozen(theirs)), of_tests(engine)
    thetas, _ = follow(p.net, p.X, p.Y, OPTIMIZERS[name](**options), 50, s=p.s)
    assert deviation(thetas, ref) < 1e-10
    plain = fifty_steps(name, frozen(RATE))
    assert deviation(plain[-1], ref[-1]) > 1e-3


@every_engine
@pytest.mark.parametrize("rule", [fb.AdamW, fb.Lion])
def test_biases_need_not_decay(rule, engine):
    results = []
    for options in ({"weight_decay": 0.3}, {"weight_decay": 0.0}, {"decay_biases": False}):
        p = of_tests(engine)
        options = {"weight_decay": 0.3} | options
        p.net.fit(p.X, p.Y, epochs=1, batch_size=None, optimizer=rule(0.05, **options))
        results.append((np.concatenate([W.ravel() for W in p.net.weights]), [*p.net.biases]))
    (decayed, _), (_, kept), (W, b) = results
    assert np.array_equal(W, decayed) and not np.array_equal(W, results[1][0])
    for comp, ref in zip(b, kept, strict=True):
        assert deviation(comp, ref) < 1e-15


@every_engine
@every_dtype
@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.3},
        {"l1": 0.1},
        {"l1": 0.1, "l2": 0.3, "penalize_biases": True},
        {"max_norm": 0.7},
        {"l1": 0.1, "l2": 0.3, "max_norm": 0.9, "clip_norm": 0.8, "clip_value": 0.3},
    ],
    ids=str,
)
def test_options_as_the_formulas_say(options, dtype, engine):
    """Minibatches, of which the last is smaller, and a layer of several vectors."""
    p = problem([5, 19, 3], 13, hidden="tanh", engine=engine, dtype=dtype)
    step = partial(naive.adam, learning_rate=0.02)
    more = naive.with_options(step, p.net.sizes, **options)
    ref, _ = naive.train(*p.network, p.X, p.Y, [range(13)] * 4, 5, more, p.s)
    bare, _ = naive.train(*p.network, p.X, p.Y, [range(13)] * 4, 5, step, p.s)
    thetas, _ = follow(p.net, p.X, p.Y, fb.Adam(0.02, **options), 4, 5, p.s)
    # As in PyTorch there is a 1e-6 beside the norm of the gradient.
    tolerance = 1e-5 if "clip_norm" in options or dtype == "float32" else 1e-12
    assert deviation(thetas, ref[2::3]) < 10 * tolerance
    assert deviation(bare[-1], ref[-1]) > 1e-3


@every_engine
@pytest.mark.parametrize("kind", ["EMA", "SWA"])
def test_averages_of_the_parameters(kind, engine):
    averaging, seen = {"EMA": fb.EMA(0.8), "SWA": fb.SWA(3, every=2)}[kind], []
    p, optimizer = of_tests(engine), fb.Adam(0.05, averaging=averaging)
    with pytest.raises(ValueError, match="no mean of the parameters yet"):
        optimizer.averaged_parameters  # noqa: B018

    def look(net, epoch, logs):
        if epoch >= averaging.start:
            seen.append(optimizer.averaged_parameters)

    p.net.fit(p.X, p.Y, epochs=8, batch_size=None, optimizer=optimizer, callbacks=look)
    q = of_tests()
    thetas, _ = follow(q.net, q.X, q.Y, fb.Adam(0.05), 8)
    ref = []
    for n, theta in enumerate(thetas, 1):
        if kind == "EMA":
            ref.append(theta if n == 1 else 0.8 * ref[-1] + 0.2 * theta)
        elif n >= 3:
            ref.append(np.mean(thetas[2:n:2], axis=0))
    assert deviation(seen, ref) < 1e-13
    assert deviation(p.net.get_parameters(), thetas[-1]) < 1e-13
    p.net.set_parameters(optimizer.averaged_parameters)


def test_ema_is_that_of_torch():
    torch = pytest.importorskip("torch")
    from torch.optim import swa_utils

    thetas = np.random.default_rng(0).normal(size=(5, 3))
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    module = torch.nn.Module()
    module.theta = parameter
    theirs = swa_utils.AveragedModel(module, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    mean = np.zeros(3)
    for theta, a in zip(thetas, fb.EMA(0.9).weights(np.arange(1.0, 6.0)), strict=True):
        parameter.data[:] = torch.tensor(theta)
        theirs.update_parameters(module)
        mean += a * (theta - mean)
    np.testing.assert_allclose(mean, theirs.module.theta.detach().numpy(), rtol=1e-12)


# --- invariants ----------------------------------------------------------------------------------

ALL = {
    "l2": 0.1,
    "l1": 0.01,
    "penalize_biases": True,
    "max_norm": 1.0,
    "clip_norm": 0.5,
    "clip_value": 0.1,
    "layer_rates": (0.5, 2.0),
    "bias_rate": 0.3,
}


def everything(optimizer):
    """All that steps change, without padding."""
    flat = optimizer._layout.flatten
    mean = b"" if optimizer._mean is None else flat(optimizer._mean).tobytes()
    return [flat(state).tobytes() for state in optimizer._states], mean, optimizer.steps


@pytest.mark.parametrize("more", [{}, ALL | {"averaging": fb.EMA(0.9)}], ids=["bare", "all"])
@every_stepping
def test_no_bit_depends_on_the_number_of_threads(case, more):
    """150 samples: two row tiles in a minibatch; layers of several pieces."""
    rng, results = np.random.default_rng(3), []
    X, Y = rng.standard_normal((150, 9)), rng.standard_normal((150, 70))
    for n_threads in (1, 2, 3, 7):
        net, optimizer = fb.Network([9, 70, 70], rng=1), stepping(case, **more)
        options = {"optimizer": optimizer, "n_threads": n_threads}
        net.fit(X, Y, epochs=2, batch_size=150, **options)
        net.fit(X, Y, epochs=1, batch_size=40, **options)
        results.append((net.get_parameters().tobytes(), everything(optimizer)))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("more", [{}, ALL], ids=["bare", "all"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_minibatches_of_several_row_tiles(momentum, more):
    """And of one, and of a part of one: tiles against expressions of whole batches."""
    rng, results = np.random.default_rng(3), []
    X, Y = rng.standard_normal((300, 9)), rng.standard_normal((300, 70))
    for engine in ("tiles", "numpy"):
        net = fb.Network([9, 70, 70], rng=1, engine=engine, dtype="float64")
        optimizer = fb.SGD(0.01, momentum, **more)
        for batch_size in (300, 128, 40):
            net.fit(X, Y, epochs=1, batch_size=batch_size, optimizer=optimizer)
        results.append(net.get_parameters())
    assert deviation(*results) < 1e-12


@every_engine
@every_dtype
@every_stepping
def test_padding_stays_zero_even_without_epsilon(case, dtype, engine):
    name, _ = STEPPING[case]
    more = {"epsilon": 0.0} if hasattr(OPTIMIZERS[name], "epsilon") else {}
    p, optimizer = of_tests(engine, dtype), stepping(case, **more, **ALL)
    p.net.fit(p.X, p.Y, epochs=3, batch_size=5, optimizer=optimizer)
    theta = p.net.machine.theta.copy()
    p.net.machine.layout.unflatten(np.zeros(p.net.n_parameters), theta)
    assert not theta.any() and np.isfinite(p.net.machine.theta).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("averaging", [None, fb.SWA(4, 3)], ids=["", "SWA"])
@every_stepping
def test_n_and_n_steps_are_2n_however_they_are_cut(case, averaging, engine, monkeypatch):
    """Also pickled in between; and 150 steps, so more than a block of coefficients."""
    rate = stepping(case).learning_rate

    def run(epochs, slices=0.03, between=lambda optimizer: optimizer):
        monkeypatch.setattr(machine, "SLICE_SECONDS", slices)
        p, schedule = of_tests(engine, n_samples=25), fb.Exponential(rate, 0.99)
        optimizer = stepping(case, learning_rate=schedule, averaging=averaging)
        for n in epochs:
            p.net.fit(*(p.X, p.Y), epochs=n, batch_size=1, optimizer=optimizer)
            optimizer = between(optimizer)
        return p.net.get_parameters().tobytes(), everything(optimizer)

    whole = run([6])
    assert whole == run([1, 3, 2], between=lambda o: pickle.loads(pickle.dumps(o)))
    assert whole == run([6], slices=0.0)


def rate_of_step(step):
    return 0.05 / (1 + step / 50)


WAYS = ["fit", "partial_fit", "checkpoint", "pickle", "batches"]  # of cutting steps into calls
CUTTABLE = {  # options, and the ways that they allow
    "bare": ({}, WAYS),
    "EMA": ({"averaging": fb.EMA(0.9), "layer_rates": (0.5, 2.0)}, WAYS),
    "all": (ALL | {"averaging": fb.SWA(100, 7), "learning_rate": rate_of_step}, WAYS[:-1]),
}
CUT = [  # the engine, the optimizer and its options
    *(("numpy", case, "bare") for case in [*STEPPING, "custom"]),
    *(("numpy", case, ("EMA", "all")[i % 2]) for i, case in enumerate(STEPPING)),
    *(
        (engine, case, more)
        for engine in ENGINES
        if engine != "numpy"
        for case, more in [("sgd", "bare"), ("adam", "bare"), ("nadam", "EMA"), ("radam", "all")]
    ),
]


@pytest.mark.parametrize(
    ("engine", "case", "more", "seed"), [(*row, seed) for seed, row in enumerate(CUT)]
)
def test_no_bit_depends_on_how_the_steps_are_cut_into_calls(engine, case, more, seed, tmp_path):
    """Random calls, 210 steps in all: some blocks of coefficients, and a part of one.

    Parts of an epoch and several epochs, resumed from a checkpoint, pickled, from batches.
    """
    options, ways = CUTTABLE[more]
    n, size, epochs = 20, 3, 30  # 7 steps in an epoch

    def start():
        p = of_tests(engine, n_samples=n)
        make = partial(fb.Custom, adam_by_hand, 2) if case == "custom" else partial(stepping, case)
        return p.X, p.Y, p.net, make(**options)

    X, Y, net, optimizer = start()
    rest = {"batch_size": size, "shuffle": False}
    net.fit(X, Y, epochs=epochs, optimizer=optimizer, **rest)
    expected = net.get_parameters().tobytes(), everything(optimizer)
    assert optimizer.steps == 210
    _, _, net, optimizer = start()
    rng, place, calls = np.random.default_rng(seed), 0, 0
    while place < epochs * n:
        (epoch, first), way = divmod(place, n), ways[rng.integers(len(ways))]
        some = int(rng.integers(1, min(epochs - epoch, 4) + 1))
        part = slice(first, first + size * int(rng.integers(1, 8)))
        if way == "pickle":
            net, optimizer = pickle.loads(pickle.dumps((net, optimizer)))
        elif way == "fit" and not first:
            net.fit(X, Y, epochs=some, optimizer=optimizer, **rest)
            place += some * n
        elif way == "checkpoint" and not first:
            file = {"callbacks": fb.Checkpoint(tmp_path / f"{calls}")}
            net.fit(X, Y, epochs=1, optimizer=optimizer, **file, **rest)
            _, _, net, optimizer = start()  # as in another process
            net.fit(X, Y, epochs=some, optimizer=optimizer, **file, **rest)
            place += some * n
        elif way == "batches":
            places = range(first, min(part.stop, n), size)
            batches = [(X[i : i + size], Y[i : i + size]) for i in places]
            net.fit(batches, epochs=1, optimizer=optimizer, shuffle=False)
            place += len(X[part])
        else:
            net.partial_fit(X[part], Y[part], optimizer=optimizer, **rest)
            place += len(X[part])
        calls += 1
    assert calls > 9
    assert (net.get_parameters().tobytes(), everything(optimizer)) == expected


def test_hundreds_of_calls_are_one():
    """A single step each, of the optimizer that the network keeps, and an end within a block."""
    results = []
    for calls in (1, 300):
        p = of_tests(n_samples=300)
        for part in np.split(np.arange(300), calls):
            p.net.partial_fit(p.X[part], p.Y[part], batch_size=1, shuffle=False)
        results.append(p.net.get_parameters().tobytes())
    assert results[0] == results[1]


@pytest.mark.compiled
def test_a_pickled_state_outlives_another_width_of_vectors(monkeypatch):
    """The moments and the mean of an optimizer go from one padding to another."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))

    def begin():
        net = fb.Network([3, 5, 2], hidden="tanh", rng=0, engine="tiles")
        return net, fb.Adam(0.05, averaging=fb.EMA(0.9))

    def go_on(net, optimizer):
        net.fit(X, Y, epochs=6, optimizer=optimizer, batch_size=8)
        return np.array([net.get_parameters(), optimizer.averaged_parameters])

    with monkeypatch.context() as elsewhere:  # rows of a machine with wider vectors
        engine, unit = fb.engines.load("tiles"), 64
        narrow = engine.stride
        elsewhere.setattr(engine, "stride", lambda n, dtype: narrow(n, dtype) + unit)
        there = begin()
        go_on(*there)
        pickled = pickle.dumps(there)
    net, optimizer = pickle.loads(pickled)
    assert net.machine.layout.strides != there[0].machine.layout.strides
    here = begin()
    before = go_on(*here)
    after = go_on(*here)
    assert deviation(go_on(net, optimizer), after) < 1e-4
    assert deviation(before, after) > 1e-2


def test_coefficients_are_the_same_bits_however_they_are_cut():
    for case in STEPPING:
        cut, uncut = (
            stepping(case, averaging=fb.EMA()).stepper(of_tests().net.machine) for _ in range(2)
        )
        first, whole = uncut._coefficients(0, 1000)
        for start in range(0, 1000, 7):
            begin, some = cut._coefficients(start, 7)
            rows = some[start - begin :][:7]
            assert first == 0 and rows.tobytes() == whole[start : start + 7].tobytes()


def test_nadam_after_many_steps():
    """Where the product of all mu has vanished."""
    rule, h = fb.NAdam()._settings()
    c = [rule.coefficients(h, np.array([float(t)]), 0.0)[0][0] for t in (7000, 10**6)]
    mu = [0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (7000, 10**6)]
    np.testing.assert_allclose(c, [1 - x for x in mu], rtol=1e-12)


def test_every_optimizer_has_a_case():
    assert {name for name, _ in STEPPING.values()} == set(OPTIMIZERS) - {"lbfgs"}
    modules = adam, adaptive, sgd, signs
    named = [value for module in modules for value in vars(module).values()]
    rules = {id(rule) for rule in named if isinstance(rule, Rule)}
    assert {id(stepping(case)._settings()[0]) for case in STEPPING} == rules
    assert set(RECORDED) == set(CASES)


@pytest.mark.compiled
@every_stepping
def test_compiled_float32_stays_float32(case):
    rule = stepping(case)._settings()[0]
    n = 1 + rule.n_states
    element = numba.njit(rule.rule)
    element.compile((numba.float32,) * (n + 1) + (numba.types.UniTuple(numba.float32, 7),))
    types = element.nopython_signatures[0].return_type
    assert types == numba.types.UniTuple(numba.float32, n)


# --- hyperparameters -----------------------------------------------------------------------------


def test_defaults_are_the_documented_ones():
    assert fb.SGD() == fb.SGD(learning_rate=1e-2, momentum=0.0, nesterov=False)
    assert fb.Adam() == fb.Adam(learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_name_is_the_optimizer_with_its_defaults(name):
    size = None if name == "lbfgs" else 3
    trained = []
    for optimizer in (name, OPTIMIZERS[name]()):
        p = problem([3, 4, 2], 8)
        p.net.fit(p.X, p.Y, epochs=2, batch_size=size, optimizer=optimizer)
        trained.append(p.net.get_parameters())
    assert np.array_equal(*trained)
    assert not np.array_equal(trained[0], problem([3, 4, 2], 8).net.get_parameters())


@every_engine
@every_case
def test_learning_rate_of_zero_changes_nothing(case, engine):
    p, optimizer = problem([3, 4, 2], engine=engine), optimizer_of(case)
    before = p.net.get_parameters()
    optimizer.learning_rate = 0
    p.net.fit(p.X, p.Y, epochs=2, optimizer=optimizer)
    assert optimizer.steps == 2
    assert np.array_equal(p.net.get_parameters(), before)


# --- state ---------------------------------------------------------------------------------------


def trained(case, engine, epochs, between=lambda optimizer: optimizer):
    """Parameters after one `fit` for each number of epochs, with one optimizer all along."""
    p, optimizer = problem([3, 4, 2], 8, hidden="tanh", engine=engine), optimizer_of(case)
    for n in epochs:
        p.net.fit(p.X, p.Y, epochs=n, batch_size=3, optimizer=optimizer)
        optimizer = between(optimizer)
    return p.net.get_parameters()


def reset(optimizer):
    optimizer.reset()
    assert optimizer.steps == 0
    return optimizer


@every_engine
@every_case
def test_reset_forgets_the_state(case, engine):
    restarted = trained(case, engine, [2, 3], reset)
    assert np.array_equal(restarted, trained(case, engine, [2, 3], lambda _: optimizer_of(case)))
    if optimizer_of(case)._settings()[0].n_states:
        assert not np.array_equal(restarted, trained(case, engine, [5]))


@every_engine
@every_case
def test_learning_rate_may_change_between_fits(case, engine):
    p, (name, options) = problem([3, 4, 2], engine=engine, dtype="float64"), CASES[case]
    rule = getattr(naive, name)

    def step(theta, g, state, t):
        rule(theta, g, state, t, **options | ({"learning_rate": 0.02} if t > 4 else {}))

    ref, _ = naive.train(*p.network, p.X, p.Y, [range(5)] * 10, 5, step)
    optimizer = optimizer_of(case)
    thetas, _ = follow(p.net, p.X, p.Y, optimizer, epochs=4)
    optimizer.learning_rate = 0.02
    more, _ = follow(p.net, p.X, p.Y, optimizer, epochs=6)
    assert deviation(thetas + more, ref) < TOLERANCE["float64"]


def test_momentum_may_be_switched_on_between_fits():
    p, optimizer = problem([3, 4, 2], dtype="float64"), fb.SGD(learning_rate=0.1)
    follow(p.net, p.X, p.Y, optimizer, epochs=1)
    optimizer.momentum = 0.9
    q = problem([3, 4, 2], dtype="float64")
    q.net.set_parameters(p.net.get_parameters())
    follow(p.net, p.X, p.Y, optimizer, epochs=3)
    follow(q.net, q.X, q.Y, fb.SGD(learning_rate=0.1, momentum=0.9), epochs=3)
    assert np.array_equal(p.net.get_parameters(), q.net.get_parameters())


@pytest.mark.parametrize("sizes", [[3, 5, 2], [2, 2]], ids=str)
def test_an_unpickled_state_of_other_sizes_is_refused(sizes):
    p, optimizer = problem([3, 4, 2]), fb.Adam()
    p.net.fit(p.X, p.Y, epochs=1, optimizer=optimizer)
    other = problem(sizes)
    with pytest.raises(ValueError, match="holds the state of another network"):
        other.net.fit(other.X, other.Y, epochs=1, optimizer=pickle.loads(pickle.dumps(optimizer)))


def test_state_does_not_count_when_optimizers_are_compared_or_shown():
    p, optimizer = problem([3, 4, 2]), fb.Adam(learning_rate=0.5)
    p.net.fit(p.X, p.Y, epochs=1, optimizer=optimizer)
    assert optimizer == fb.Adam(learning_rate=0.5)
    assert optimizer != fb.Adam()
    assert repr(optimizer) == (
        "Adam(learning_rate=0.5, betas=(0.9, 0.999), epsilon=1e-08, amsgrad=False)"
    )
    assert repr(fb.SGD(0.5, l2=0.1)) == (
        "SGD(learning_rate=0.5, momentum=0.0, nesterov=False, dampening=0.0, l2=0.1)"
    )


# --- a user's own --------------------------------------------------------------------------------


def adam_by_hand(theta, g, states, step, rate):
    m, v = states
    m += 0.1 * (g - m)
    v *= 0.999
    v += 0.001 * g * g
    theta -= rate / (1 - 0.9**step) * m / (np.sqrt(v) / np.sqrt(1 - 0.999**step) + 1e-8)


@every_engine
@every_dtype
@pytest.mark.parametrize("more", [{}, {key: ALL[key] for key in ALL if "rate" not in key}])
def test_a_function_of_ones_own(more, dtype, engine):
    results, means = [], []
    for make in (fb.Adam, partial(fb.Custom, adam_by_hand, 2)):
        p = of_tests(engine, dtype)
        rate = fb.Exponential(0.05, 0.9)
        optimizer = make(learning_rate=rate, averaging=fb.EMA(0.9), **more)
        options = {"optimizer": optimizer, "sample_weight": p.s}
        p.net.fit(p.X, p.Y, epochs=2, batch_size=5, **options)
        history = p.net.fit(p.X, p.Y, epochs=3, batch_size=4, **options)
        results.append([*p.net.get_parameters(), *history.cost, *history["learning_rate"]])
        means.append(optimizer.averaged_parameters)
    assert optimizer.steps == 18
    assert deviation(*results) < 10 * TOLERANCE[dtype]
    assert deviation(*means) < 10 * TOLERANCE[dtype]


def test_a_function_sees_the_parameters_in_their_order():
    p, seen = of_tests("tiles"), []

    def look(theta, g, states, step, rate):
        seen.append((theta.copy(), g.copy(), states.shape, step, rate))
        theta[:] = np.arange(theta.size)

    p.net.fit(p.X, p.Y, epochs=1, batch_size=10, shuffle=False, optimizer=fb.Custom(look, 3))
    q = of_tests("tiles")
    (theta, g, shape, step, rate), n = seen[0], p.net.n_parameters
    _, weight, sums = q.net.gradient_sums(p.X[:10], p.Y[:10])
    assert (shape, step, rate) == ((3, n), 1, 0.01)
    assert (theta == q.net.get_parameters()).all()
    assert deviation(g, sums / weight) < TOLERANCE["float64"]
    assert (seen[1][0] == np.arange(n)).all() and seen[1][3] == 2
    assert (p.net.get_parameters() == np.arange(n)).all()


@pytest.mark.parametrize("fault", ["raises", "returns"])
def test_a_function_that_fails_changes_nothing(fault):
    p = of_tests("tiles")

    def fails(theta, g, states, step, rate):
        theta -= rate * g
        states += 1
        if step == 3:
            if fault == "raises":
                raise MemoryError
            return theta

    optimizer = fb.Custom(fails, 1)
    options = {"epochs": 1, "batch_size": 5, "optimizer": optimizer, "shuffle": False}
    with pytest.raises(MemoryError if fault == "raises" else TypeError):
        p.net.fit(p.X, p.Y, **options)
    assert optimizer.steps == 2
    q = of_tests("tiles")
    same = fb.Custom(fails, 1)
    q.net.fit(p.X[:10], p.Y[:10], **options | {"optimizer": same})
    assert (p.net.get_parameters() == q.net.get_parameters()).all()
    assert everything(optimizer) == everything(same)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fb.Custom(3), "function must be a function"),
        (lambda: fb.Custom(print, -1), "n_states must be"),
        (lambda: fb.Custom(print, layer_rates=[1.0]), "layer_rates is not for Custom"),
        (lambda: fb.Adam(l2=-1), "l2 must be"),
        (lambda: fb.Adam(clip_norm=0), "clip_norm must be above 0"),
        (lambda: fb.Adam(layer_rates=3), "layer_rates must be a sequence"),
        (lambda: fb.Adam(layer_rates=[1, -3]), r"layer_rates\[1\] must be"),
        (lambda: fb.Adam(averaging=0.9), r"averaging must be None, EMA\(\) or SWA"),
        (lambda: fb.Adam(penalize_biases="yes"), "penalize_biases must be"),
        (lambda: fb.Adam(bias_rate=-1), "bias_rate must be"),
        (lambda: fb.AdamW(decay_biases=1), "decay_biases must be True or False"),
        (lambda: fb.Custom(print, bias_rate=0.5), "bias_rate is not for Custom"),
        (lambda: fb.EMA(1.0), "decay must be"),
        (lambda: fb.SWA(0), "start must be"),
        (lambda: fb.SGD(momentum=0.9, nesterov=True, dampening=0.1), "no dampening"),
        (lambda: fb.Rprop(etas=(1.2, 0.5)), "etas must be"),
        (lambda: fb.LBFGS(history=0), "history must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_layer_rates_of_another_network_are_refused_before_anything_is_changed():
    p, optimizer = of_tests(), fb.Adam(layer_rates=[1.0])
    before = p.net.get_parameters()
    with pytest.raises(ValueError, match="each of the 2 layers; got 1"):
        p.net.fit(p.X, p.Y, optimizer=optimizer)
    assert optimizer.steps == 0 and (p.net.get_parameters() == before).all()


def test_averaging_may_be_switched_on_between_fits():
    """The rule's states stay; the mean starts from the parameters as they are."""
    p, q = of_tests(), of_tests()
    optimizer, same = fb.Adam(0.05), fb.Adam(0.05)
    follow(p.net, p.X, p.Y, optimizer, 3)
    start, optimizer.averaging = p.net.get_parameters(), fb.EMA(0.8)
    thetas, _ = follow(p.net, p.X, p.Y, optimizer, 1)
    follow(q.net, q.X, q.Y, same, 4)
    assert (q.net.get_parameters() == p.net.get_parameters()).all()
    assert deviation(optimizer.averaged_parameters, 0.8 * start + 0.2 * thetas[0]) < 1e-14


@every_engine
@pytest.mark.parametrize("ruin", ["parameters", "cost"])
def test_the_step_that_ruins_is_taken_back(ruin, engine):
    """And nothing else: the steps before it, their states and the mean stay."""

    def ruins(theta, g, states, step, rate):
        theta -= rate * g
        states += g
        if step == 8:
            theta[-1] = np.nan if ruin == "parameters" else 1e300

    def run(X, Y):
        p, optimizer = of_tests(engine), fb.Custom(ruins, 1, averaging=fb.EMA(0.9), l2=0.1)
        options = {"batch_size": 3, "optimizer": optimizer, "shuffle": False}
        return p.net, optimizer, partial(p.net.fit, X, Y, **options)

    p = of_tests(engine)
    net, optimizer, fit = run(p.X, p.Y)
    with pytest.raises(fb.DivergenceError):
        fit(epochs=3)
    n = 7 if ruin == "parameters" else 8
    twin, same, fit = run(p.X, p.Y)
    fit(epochs=1)  # 5 steps
    twin.fit(
        p.X[: 3 * (n - 5)],
        p.Y[: 3 * (n - 5)],
        epochs=1,
        batch_size=3,
        shuffle=False,
        optimizer=same,
    )
    assert optimizer.steps == n
    assert (net.get_parameters() == twin.get_parameters()).all()
    assert everything(optimizer) == everything(same)
