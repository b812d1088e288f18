"""Steps one at a time: the same bits as `fit`; gradients from outside; calls on few samples."""

import copy
import os
import pickle
import signal

import autodiff
import numpy as np
import pytest
from problems import CHOSEN, deviation, every_dtype, every_engine, problem, targets

import fastbackprop as fb
from fastbackprop.engines import ENGINES
from fastbackprop.functions.costs import COSTS
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.training.short_steps import ShortSteps

LABELS = {"output": "softmax", "cost": "cross_entropy"}
WHOLE = {"epochs": 1, "batch_size": None, "shuffle": False}
tiles_only = pytest.mark.skipif("tiles" not in ENGINES, reason="there is no engine 'tiles'")


def signs(theta, g, states, step, rate):
    states[0] += g
    theta -= rate * np.sign(states[0])


class Falling(fb.Plateau):
    """A schedule with a state that steps change."""


# Each optimizer, and each option with one of them.
OPTIMIZER_CASES = {
    **{name: kind for name, kind in OPTIMIZERS.items() if name != "lbfgs"},
    "momentum": lambda: fb.SGD(1e-2, momentum=0.9, nesterov=True),
    "clipped": lambda: fb.Adam(1e-2, clip_norm=0.5, clip_value=0.1),
    "penalties": lambda: fb.SGD(1e-2, l2=1e-2, l1=1e-3, penalize_biases=True, max_norm=1.0),
    "layers": lambda: fb.AdamW(1e-2, layer_rates=[0.1, 1.0]),
    "ema": lambda: fb.Adam(1e-2, averaging=fb.EMA(0.9)),
    "swa": lambda: fb.SGD(1e-2, averaging=fb.SWA(5, 3)),
    "cosine": lambda: fb.Adam(fb.Cosine(1e-2, epochs=200)),
    "warm plateau": lambda: fb.SGD(fb.Warmup(9, then=Falling(1e-2, patience=3)), momentum=0.5),
    "function": lambda: fb.RMSprop(lambda step: 1e-2 / (1 + step)),
    "custom": lambda: fb.Custom(signs, 1, learning_rate=1e-3),
}
DATA_CASES = {
    "values": {},
    "labels": LABELS,
    "noise": {"dropout": fb.Dropout(0.3, inputs=0.1, noise=0.1)},
    "one": {"output": "sigmoid", "cost": "cross_entropy", "sizes": [5, 8, 1]},
}


def made(engine=ENGINES[0], dtype="float32", **options):
    options.pop("dropout", None)
    sizes = options.pop("sizes", [5, 8, 3])
    return fb.Network(sizes, hidden="tanh", engine=engine, dtype=dtype, rng=0, **options)


def minibatches(net, n_steps, seed=0):
    """(X, y, weights) of different lengths, also longer than a row tile."""
    rng = np.random.default_rng(seed)
    for step in range(n_steps):
        n = 200 if step % 50 == 7 else int(rng.integers(1, 40))
        X = rng.normal(size=(n, net.sizes[0])).astype(net.dtype)
        y = targets(rng, net, n).astype(net.dtype)
        if net.cost == "cross_entropy" and net.sizes[-1] > 1:
            y = rng.integers(0, net.sizes[-1], n)
        yield X, y, rng.uniform(0, 2, n) + 1e-3 if step % 3 == 0 else None


def state(net, optimizer):
    """All that steps change."""
    return pickle.dumps(
        [
            net.get_parameters(),
            optimizer.steps,
            [net.machine.layout.flatten(u) for u in optimizer._states],
            None if optimizer._mean is None else net.machine.layout.flatten(optimizer._mean),
            optimizer.schedule and optimizer.schedule.get_state(),
            net.rng.bit_generator.state,
        ]
    )


def steps_and_fits(case, data, n_steps, between=lambda trainer, step: trainer, **options):
    """A loop of steps beside calls of `fit` with one minibatch each: the costs and the ends."""
    options |= DATA_CASES[data]
    dropout = options.get("dropout", 0.0)
    own, whole = made(**options), made(**options)
    trainer, optimizer = own.trainer(OPTIMIZER_CASES[case](), dropout=dropout), None
    for step, (X, y, s) in enumerate(minibatches(own, n_steps)):
        optimizer = optimizer or OPTIMIZER_CASES[case]()
        history = whole.fit(X, y, sample_weight=s, optimizer=optimizer, dropout=dropout, **WHOLE)
        trainer = between(trainer, step)
        assert trainer.step(X, y, s) == history.cost[0]
    assert trainer.steps == n_steps
    assert state(trainer.network, trainer.optimizer) == state(whole, optimizer)
    return trainer


@tiles_only
@pytest.mark.parametrize(
    ("case", "data"),
    [
        *((case, "values") for case in OPTIMIZER_CASES),
        *[("adam", "labels"), ("clipped", "noise"), ("cosine", "noise")],
        *[("momentum", "one"), ("warm plateau", "labels")],
    ],
)
def test_steps_have_the_bits_of_fit(case, data):
    trainer = steps_and_fits(case, data, 30)
    assert (trainer._steps.short is None) == (case == "custom")


@tiles_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("case", "data"), [("adam", "noise"), ("ema", "labels")])
def test_hundreds_of_steps_interrupted_and_resumed(case, data, dtype, tmp_path):
    """Coefficients are renewed; pickles, copies and files go on where they were made."""

    def between(trainer, step):
        if step % 90 == 41:
            return pickle.loads(pickle.dumps(trainer))
        if step % 90 == 61:
            return copy.copy(trainer)
        if step % 90 == 71:
            trainer.save(tmp_path / "trainer")
            for X, y, _ in minibatches(trainer.network, 5, seed=9):
                trainer.step(X, y)
            trainer.load(tmp_path / "trainer")
        return trainer

    steps_and_fits(case, data, 300, between, dtype=dtype)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "tiles"])
@pytest.mark.parametrize(("case", "data"), [("ema", "noise"), ("warm plateau", "values")])
def test_steps_of_the_other_engines(case, data, engine):
    steps_and_fits(case, data, 8, engine=engine)


@tiles_only
def test_the_long_way_has_the_bits_of_the_short_one():
    """Lists and a second thread, minibatch by minibatch in turns with arrays."""
    one, other = made(**LABELS), made(**LABELS)
    a, b = one.trainer(fb.Adam(1e-2)), other.trainer(fb.Adam(1e-2), n_threads=2)
    assert b._steps.short is None
    for step, (X, y, s) in enumerate(minibatches(one, 20)):
        given = (X, y) if step % 2 else (X.tolist(), y.tolist())
        assert a.step(*given, s) == b.step(X, y, s)
        assert a.step(X.astype(float), y.astype(np.uint8), s) == b.step(X, y, s)
    assert state(one, a.optimizer) == state(other, b.optimizer)


@tiles_only
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("case", ["adam", "warm plateau", "custom"])
def test_partial_fit_of_one_minibatch_has_the_bits_of_fit(case, shuffle, monkeypatch):
    own, whole = made(**LABELS), made(**LABELS)
    mine, theirs = OPTIMIZER_CASES[case](), OPTIMIZER_CASES[case]()
    for step, (X, y, s) in enumerate(minibatches(own, 12)):
        if step == 8 and case == "adam":
            mine.learning_rate = theirs.learning_rate = 1e-4
        dropout = 0.5 if step > 5 else 0.0
        settings = {"sample_weight": s, "shuffle": shuffle, "dropout": dropout}
        with monkeypatch.context() as patch:
            if step > 0 and case != "custom":
                patch.setattr(own, "fit", None)  # the short way does without
            history = own.partial_fit(X, y, batch_size=200, optimizer=mine, **settings)
        expected = whole.fit(X, y, optimizer=theirs, **settings | {"epochs": 1, "batch_size": 200})
        assert history.cost == expected.cost and history[0].keys() == expected[0].keys()
        assert history[0].get("learning_rate") == expected[0].get("learning_rate")
    assert state(own, mine) == state(whole, theirs)


# --- costs and gradients of few samples -----------------------------------------------------------


@every_dtype
@tiles_only
@pytest.mark.parametrize(("output", "cost"), CHOSEN)
def test_short_ways_have_the_bits_of_the_long_ones(output, cost, dtype):
    p = problem([3, 9, 4], 150, output=output, cost=cost, dtype=dtype)
    X, y = p.X.tolist(), p.Y.tolist()
    for s in (None, p.s):
        short = p.net.machine.few_cost(p.X, p.Y, s)
        assert (short is None) == (p.net.machine.cost.outputs_per_target > 1)
        assert p.net.evaluate(p.X, p.Y, s) == p.net.evaluate(X, y, s)
        one, other = p.net.gradient(p.X, p.Y, s), p.net.gradient(X, y, s)
        assert one.cost == other.cost
        for part, part_ref in zip(
            one.weights + one.biases, other.weights + other.biases, strict=True
        ):
            assert part.tobytes() == part_ref.tobytes()
    assert p.net.input_gradient(p.X, p.Y).tobytes() == p.net.input_gradient(X, y).tobytes()


EDGES = [0.0, 1.0, -1.0, 0.5, 1.5, -0.5, 2.0, np.nan, np.inf, -np.inf, -0.0, 1e300]


TAKEN = [cost for costs in COSTS.values() for cost in costs if cost.outputs_per_target == 1]
MISSING = [COSTS[name][0] for name in ("squared_error", "gamma", "hinge")]  # compiled anew


@tiles_only
@pytest.mark.parametrize(
    ("cost", "missing"),
    [*((cost, False) for cost in TAKEN), *((cost, True) for cost in MISSING)],
    ids=str,
)
def test_the_short_way_refuses_no_less_than_the_long_one(cost, missing):
    """Targets that it takes are none that `evaluate` refuses, and good ones it does take."""
    net = made(output=cost.output or "identity", cost=cost.name)
    machine = net.machine.with_cost(cost.with_missing_targets) if missing else net.machine
    X, rng, taken = np.zeros((2, 5), np.float32), np.random.default_rng(0), 0
    for _ in range(60):
        y = np.array(targets(rng, net, 2), float)
        y[:, 0] += rng.choice([0, 2e-3, 5e-4, -3e-3]) if cost.targets == "distribution" else 0
        for _ in range(rng.integers(3)):
            y[tuple(rng.integers(y.shape))] = rng.choice(EDGES)
        short = machine.few_cost(X, y, None)
        try:
            long = net.evaluate(X, y.tolist(), missing_targets=missing)
        except ValueError:
            assert short is None
            continue
        known = not missing or not np.isnan(y).all(axis=1).any()
        assert short == long or (short is None and (not known or cost.targets == "distribution"))
        taken += short is not None
    assert taken > 2


BAD = [
    (np.zeros((2, 4)), np.zeros((2, 3)), None, "X must have shape"),
    (np.zeros((2, 5, 1)), np.zeros((2, 3)), None, "X must have shape"),
    (np.zeros((0, 5)), np.zeros((0, 3)), None, "at least one row"),
    (np.full((2, 5), np.nan), np.zeros((2, 3)), None, r"X\[0, 0\] is nan"),
    (np.full((2, 5), 1e300), np.zeros((2, 3)), None, "too large for float32"),
    (np.zeros((2, 5)), np.zeros((3, 3)), None, "y must have shape"),
    (np.zeros((2, 5)), np.zeros(2), None, "y must have shape"),
    (np.zeros((2, 5)), np.full((2, 3), np.inf), None, r"y\[0, 0\] is inf"),
    (np.zeros((2, 5)), np.zeros((2, 3)), np.array([1.0, -1.0]), "must not be negative"),
    (np.zeros((2, 5)), np.zeros((2, 3)), np.array([np.nan, 1.0]), "sample_weight must be finite"),
    (np.zeros((2, 5)), np.zeros((2, 3)), np.zeros(2), "zero for every sample"),
    (np.zeros((2, 5)), np.zeros((2, 3)), np.ones(3), "sample_weight must have shape"),
]


@every_engine
@pytest.mark.parametrize(("X", "y", "s", "message"), BAD, ids=[row[-1] for row in BAD])
def test_a_bad_minibatch_is_refused_and_changes_nothing(X, y, s, message, engine):
    net = made(engine)
    trainer = net.trainer(OPTIMIZER_CASES["warm plateau"](), dropout=0.2)
    trainer.step(np.ones((2, 5)), np.zeros((2, 3)))
    before = state(net, trainer.optimizer)
    for call in (trainer.step, net.evaluate, net.gradient, net.partial_fit):
        if call == net.partial_fit:
            s = {"sample_weight": s, "optimizer": trainer.optimizer}
        with pytest.raises((ValueError, TypeError), match=message):
            call(X, y, **s) if isinstance(s, dict) else call(X, y, s)
    assert state(net, trainer.optimizer) == before


@tiles_only
def test_labels_out_of_range_are_refused():
    net = made(**LABELS)
    trainer, X = net.trainer(), np.zeros((2, 5), np.float32)
    for y in ([0, 3], [-1, 0], np.array([0, 2**63], np.uint64)):
        with pytest.raises(ValueError, match=r"labels in y must lie in 0 ... 2"):
            trainer.step(X, np.array(y))
    assert trainer.steps == 0


@every_engine
@pytest.mark.parametrize("apply", [False, True], ids=["step", "apply"])
def test_a_step_that_diverges_leaves_the_state_before_it(apply, engine):
    net = made(engine)
    trainer = net.trainer(OPTIMIZER_CASES["ema"]())
    X, y = np.ones((2, 5), np.float32), np.zeros((2, 3), np.float32)
    trainer.step(X, y)
    before = state(net, trainer.optimizer)
    huge = fb.SGD(1e38)
    large = net.trainer(huge)
    y_large = np.full_like(y, 1e15)
    with pytest.raises(fb.DivergenceError, match="diverged in step 1:"):
        large.apply(np.full(net.n_parameters, 1e38)) if apply else large.step(X, y_large)
    assert huge.steps == 0 and state(net, trainer.optimizer) == before
    trainer.step(X, y)


def test_a_cost_that_is_not_finite_takes_no_step():
    net = made()
    trainer = net.trainer(fb.SGD(1e-3))
    X = np.ones((2, 5), np.float32)
    before = net.get_parameters()
    with pytest.raises(fb.DivergenceError):
        trainer.step(X, np.full((2, 3), 1e30, np.float32))
    assert (net.get_parameters() == before).all() and trainer.steps == 0


# --- a gradient from elsewhere --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "output", "n"),
    [("tanh", "identity", 5), ("gelu", "softmax", 200)],
)
def test_backward_is_that_of_jax(hidden, output, n):
    options = {"hidden": hidden, "output": output, "dtype": "float64"}
    p = problem([3, 17, 5, 4], n, engine="numpy", **options)
    G = np.random.default_rng(1).normal(size=(n, 4))
    weights, biases, *names, _ = p.network
    ref = autodiff.jax_backward(weights, biases, *names, p.X, G)
    for engine in ENGINES:
        net = problem([3, 17, 5, 4], n, engine=engine, **options).net
        for comp in (net.backward(p.X, G), net.backward(p.X.tolist(), G.tolist())):
            assert deviation(comp.parameter_gradient, ref[0]) < 1e-12
            assert deviation(comp.input_gradient, ref[1]) < 1e-12


def test_backward_of_one_neuron():
    """a = tanh(w x + b) and C = 3 a: dC/dw = 3 (1 - a^2) x, and so on."""
    net = fb.Network([1, 1], output="tanh", dtype="float64", rng=0)
    net.set_parameters([0.5, -0.25])
    x, slope = 2.0, 3 * (1 - np.tanh(0.75) ** 2)
    parameters, inputs = net.backward([[x]], [3.0])
    np.testing.assert_allclose(parameters, [slope * x, slope], rtol=1e-14)
    np.testing.assert_allclose(inputs, [[slope * 0.5]], rtol=1e-14)


@every_engine
def test_backward_fills_arrays(engine):
    p = problem([3, 4, 2], engine=engine)
    G = np.ones((5, 2), np.float32)
    ref = p.net.backward(p.X, G)
    flat, below = np.full(p.net.n_parameters, 7, np.float32), np.full((5, 3), 7, np.float32)
    for out in ((flat, below), (flat, None), [None, below]):
        comp = p.net.backward(p.X, G, out=out)
        assert out[0] is None or comp.parameter_gradient is flat
        assert out[1] is None or comp.input_gradient is below
        for part, part_ref in zip(comp, ref, strict=True):
            assert part.tobytes() == part_ref.tobytes()
    for bad, message in [
        (G[:, :1], r"output_gradient must have the shape of the outputs"),
        (np.full((5, 2), np.nan), r"output_gradient\[0, 0\] is nan"),
    ]:
        flat[:] = below[:] = 7
        with pytest.raises(ValueError, match=message):
            p.net.backward(p.X, bad, out=(flat, below))
        assert (flat == 7).all() and (below == 7).all()
    for out, message in [
        ((flat[1:], None), "out must be a C-contiguous float32 array of shape"),
        ((p.net.machine.theta[: flat.size], None), "must not share memory"),
        ((None, p.X), "must not share memory with X"),
    ]:
        with pytest.raises(ValueError, match=message):
            p.net.backward(p.X, G, out=out)
    with pytest.raises(TypeError, match="out must be 2 arrays"):
        p.net.backward(p.X, G, out=flat)


@every_engine
@pytest.mark.parametrize("case", OPTIMIZER_CASES)
def test_apply_is_the_step_with_that_gradient(case, engine):
    """To rounding: with the gradient of the mean cost it is `step`."""
    own, other = made(engine, "float64"), made(engine, "float64")
    a, b = own.trainer(OPTIMIZER_CASES[case]()), other.trainer(OPTIMIZER_CASES[case]())
    n_steps = 6 if engine == "tiles" else 2
    for X, y, _ in minibatches(own, n_steps):
        g = other.backward(X, (other.predict(X) - y) / len(X)).parameter_gradient
        cost = a.step(X, y)
        b.apply(g if engine == "tiles" else g.tolist(), cost=cost)
    assert a.steps == b.steps == n_steps
    assert deviation(other.get_parameters(), own.get_parameters()) < 1e-9
    if case in ("ema", "swa"):
        means = [t.optimizer.averaged_parameters for t in (b, a)] if n_steps > 4 else [[1], [1]]
        assert deviation(*means) < 1e-9


def test_bad_gradients_are_refused_and_change_nothing():
    net = made()
    trainer = net.trainer(OPTIMIZER_CASES["warm plateau"]())
    good = np.ones(net.n_parameters, np.float32)
    trainer.apply(good, cost=1.0)
    before = state(net, trainer.optimizer)
    for bad, message in [
        (good[1:], r"gradient must have shape \(n_parameters,\)"),
        (good * np.nan, r"gradient must be finite; gradient\[0\] is nan"),
        (good.astype(float) * 1e300, "too large for float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            trainer.apply(bad, cost=1.0)
    with pytest.raises(ValueError, match="goes by the cost of each step"):
        trainer.apply(good)
    with pytest.raises(ValueError, match="cost must be finite"):
        trainer.apply(good, cost=np.nan)
    assert state(net, trainer.optimizer) == before


# --- trainers -------------------------------------------------------------------------------------


def test_trainers_that_make_no_sense():
    net = made()
    with pytest.raises(ValueError, match=r"LBFGS takes no single steps.*fb\.minimize"):
        net.trainer(fb.LBFGS())
    with pytest.raises(TypeError, match="optimizer must be an object"):
        net.trainer(fb.Adam)
    with pytest.raises(ValueError, match="unknown optimizer 'adaam'"):
        net.trainer("adaam")
    for dropout, message in [(1.0, r"dropout must be in \[0, 1\)"), ([0.1, 0.2], "one for each")]:
        with pytest.raises(ValueError, match=message):
            net.trainer(dropout=dropout)
    with pytest.raises(ValueError, match="n_threads must be a positive integer"):
        net.trainer(n_threads=0)
    trainer = net.trainer(fb.Adam())
    with pytest.raises(ValueError, match="holds the state of another network"):
        made().trainer(trainer.optimizer)
    with pytest.raises(ValueError, match="missing_targets=True needs a cost"):
        made(**LABELS).trainer(missing_targets=True)


def test_no_step_during_fit():
    net, messages = made(), []
    trainer = net.trainer(fb.SGD(1e-3))
    X, y = np.ones((4, 5)), np.zeros((4, 3))

    def in_a_callback(network, epoch, logs):
        assert network.is_training
        for call in (lambda: trainer.step(X, y), lambda: trainer.apply([0] * net.n_parameters)):
            with pytest.raises(RuntimeError, match="while fit trains the same network"):
                call()
            messages.append(epoch)

    net.fit(X, y, epochs=1, callbacks=in_a_callback)
    assert messages == [1, 1] and not net.is_training
    trainer.step(X, y)
    with pytest.raises(KeyError):
        net.fit(X, y, epochs=1, callbacks=lambda *arguments: {}[0])
    trainer.step(X, y)


@every_engine
def test_fit_and_steps_take_turns(engine):
    """`fit`, a new rate, and `reset` in between: the trainer goes on with the optimizer's state."""
    own, whole = made(engine), made(engine)
    mine, theirs = fb.Adam(1e-2), fb.Adam(1e-2)
    trainer = own.trainer(mine)
    for step, (X, y, _) in enumerate(minibatches(own, 8)):
        if step == 2:
            own.fit(X, y, optimizer=mine, **WHOLE)
            whole.fit(X, y, optimizer=theirs, **WHOLE)
        if step == 4:
            mine.learning_rate = theirs.learning_rate = 1e-3
            own.fit(X, y, optimizer=mine, **WHOLE)
            whole.fit(X, y, optimizer=theirs, **WHOLE)
        if step == 6:
            mine.reset()
            theirs.reset()
        trainer.step(X, y)
        whole.fit(X, y, optimizer=theirs, **WHOLE)
    assert state(own, mine) == state(whole, theirs)


@every_engine
def test_ctrl_c_waits_for_the_end_of_a_step(engine):
    class Interrupting(fb.Schedule):
        learning_rate, ended = 1e-2, 0

        def factors(self, step, steps_per_epoch):
            if step[0] == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return np.ones(len(step))

        def epoch_ended(self, cost):
            self.ended += 1

    own, whole = made(engine), made(engine)
    schedule = Interrupting()
    trainer, theirs = own.trainer(fb.Adam(schedule)), whole.trainer(fb.Adam(1e-2))
    for step, (X, y, _) in enumerate(minibatches(own, 6)):
        theirs.step(X, y)
        if step == 3:
            with pytest.raises(fb.Interrupted, match="after 4 steps"):
                trainer.step(X, y)
        else:
            trainer.step(X, y)
        assert schedule.ended == trainer.steps == step + 1
    assert (own.get_parameters() == whole.get_parameters()).all()


def step_by(call):
    """A function of (network, trainer, X, y) that takes a step in this way."""
    return {
        "step": lambda net, trainer, X, y: trainer.step(X, y),
        "apply": lambda net, trainer, X, y: trainer.apply(np.full(net.n_parameters, 0.1, "f4")),
        "partial_fit": lambda net, trainer, X, y: net.partial_fit(X, y, shuffle=False),
    }[call]


@tiles_only
@pytest.mark.parametrize("when", ["before", "after", "lent"])
@pytest.mark.parametrize("call", ["step", "apply", "partial_fit"])
def test_ctrl_c_beside_a_step_is_interrupted(call, when, monkeypatch):
    """Before the native call, after it, and where the memory of steps is lent to nobody."""
    net, whole = made(), made()
    trainer, other = net.trainer(fb.Adam(1e-2)), whole.trainer(fb.Adam(1e-2))
    step, (X, y, _) = step_by(call), next(minibatches(net, 1))
    X, y = X[:9], y[:9]
    step(net, trainer, X, y)
    short, name = net.machine.engine.short, "apply_to_few" if call == "apply" else "step_of_few"
    original, lent = getattr(short, name), ShortSteps._lent

    def interrupting(*arguments):
        if when == "before":
            signal.raise_signal(signal.SIGINT)
        result = original(*arguments)
        signal.raise_signal(signal.SIGINT)
        return result

    def lent_to_nobody(self):
        lent(self)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        if when == "lent":
            patch.setattr(ShortSteps, "_lent", lent_to_nobody)
        else:
            patch.setattr(short, name, interrupting)
        with pytest.raises(fb.Interrupted) as info:
            step(net, trainer, X, y)
    assert len(info.value.history) == 0
    assert trainer.steps == 1 + (when == "after")
    step(net, trainer, X, y)
    for _ in range(trainer.steps):
        step(whole, other, X, y)
    assert state(net, trainer.optimizer) == state(whole, other.optimizer)


@tiles_only
def test_partial_fit_sees_every_change_of_its_optimizer():
    """A number, a list in place, a schedule in place, the state."""
    for change in (
        lambda o: setattr(o, "learning_rate", 0.5),
        lambda o: o.layer_rates.reverse(),
        lambda o: setattr(o, "clip_norm", 1e-3),
        lambda o: o.reset(),
        lambda o: setattr(o, "learning_rate", fb.Cosine(0.1, epochs=9)),
    ):
        own, whole = made(), made()
        mine, theirs = (fb.Adam(1e-2, layer_rates=[0.1, 1.0]) for _ in range(2))
        for step, (X, y, _) in enumerate(minibatches(own, 5)):
            if step == 3:
                change(mine)
                change(theirs)
            own.partial_fit(X, y, batch_size=200, optimizer=mine, shuffle=False)
            whole.fit(X, y, optimizer=theirs, **WHOLE)
        assert state(own, mine) == state(whole, theirs)


def test_files_of_another_trainer_are_refused(tmp_path):
    net, X, y = made(), np.ones((2, 5)), np.zeros((2, 3))
    trainer = net.trainer(fb.SGD(1e-2, momentum=0.9))
    trainer.step(X, y)
    trainer.save(tmp_path / "a")
    before = state(net, trainer.optimizer)
    other = made().trainer(fb.Adam())
    with pytest.raises(ValueError, match="is of another training, with optimizer"):
        other.load(tmp_path / "a")
    net.save(tmp_path / "network")
    with pytest.raises(ValueError, match="it is a saved network, not a checkpoint"):
        trainer.load(tmp_path / "network")
    with pytest.raises(FileNotFoundError):
        trainer.save(tmp_path / "no" / "a")
    assert state(net, trainer.optimizer) == before
    fresh = fb.Network.load(tmp_path / "a").trainer(fb.SGD(1e-2, momentum=0.9))
    fresh.load(tmp_path / "a")
    assert fresh.steps == 1 and fresh.step(X, y) == trainer.step(X, y)


@tiles_only
def test_threads_take_turns():
    """Another thread in the midst of a step has the memory for it."""
    net = made()
    trainer, X, y = net.trainer(), np.ones((2, 5)), np.zeros((2, 3))
    lent = trainer._steps.short._idle.pop()
    with pytest.raises(RuntimeError, match="another thread is in a step"):
        trainer.step(X, y)
    trainer._steps.short._idle.append(lent)
    trainer.step(X, y)


@tiles_only
def test_arrays_that_are_not_plain():
    """Read-only, strided and of another dtype: the same cost."""
    net = made()
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 5)).astype("float32"), rng.normal(size=(6, 3)).astype("float32")
    ref = net.evaluate(X.tolist(), y.tolist())
    frozen = X.copy()
    frozen.flags.writeable = False
    for other in (frozen, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.astype(float)):
        assert net.machine.few_cost(other, y, None) == ref
    s = rng.uniform(1, 2, 6).astype("float32")
    short, long = net.gradient(X, y, s), net.gradient(X.tolist(), y.tolist(), s)
    for part, part_ref in zip(short.weights, long.weights, strict=True):
        assert part.tobytes() == part_ref.tobytes()
    assert net.machine.few_cost(X.view(np.recarray), y, None) is None
    assert net.machine.few_cost(X.astype(complex), y, None) is None
