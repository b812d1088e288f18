"""Batches that come one by one, and trainings that Ctrl-C ends."""

import pickle
import signal

import numpy as np
import pytest

import fastbackprop as fb

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(48, 3)), RNG.normal(size=(48, 2))
S = RNG.uniform(0.5, 2, 48)
PARTS = np.array_split(np.arange(48), 6)


class Stream:
    """Batches of eight, anew in each epoch; the k-th epoch's come in an order of its own."""

    def __init__(self, weights=False):
        self.weights, self.begun = weights, 0

    def __iter__(self):
        self.begun += 1
        for part in PARTS:
            yield (X[part], Y[part], S[part]) if self.weights else (X[part], Y[part])


def network():
    return fb.Network([3, 4, 2], hidden="tanh", rng=0, engine="numpy", dtype="float64")


def bits(net):
    return net.get_parameters().tobytes()


# --- schedules, checkpoints, validation ----------------------------------------------------------


def falling(step):
    return 0.1 / (1 + step)


def test_a_function_of_the_step_is_a_schedule_for_batches():
    """Step by step as for arrays in the same order; the rate is that of the last step."""
    streamed, whole = network(), network()
    history = streamed.fit(Stream(), epochs=3, optimizer=fb.SGD(falling), shuffle=False)
    whole.fit(X, Y, epochs=3, batch_size=8, optimizer=fb.SGD(falling), shuffle=False)
    assert bits(streamed) == bits(whole)
    assert history["learning_rate"] == pytest.approx([falling(5), falling(11), falling(17)])


def test_cut_batches_count_steps():
    streamed, whole = network(), network()
    streamed.fit(Stream(), epochs=2, batch_size=4, optimizer=fb.SGD(falling), shuffle=False)
    whole.fit(X, Y, epochs=2, batch_size=4, optimizer=fb.SGD(falling), shuffle=False)
    assert bits(streamed) == bits(whole)


def test_plateau_goes_with_batches():
    schedule = fb.Plateau(0.1, factor=0.5, patience=0, min_improvement=0.9)
    history = network().fit(Stream(), epochs=4, optimizer=fb.SGD(schedule))
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_a_schedule_of_epochs_is_refused_before_anything():
    net = network()
    before = bits(net)
    with pytest.raises(ValueError, match=r"counts epochs.*pass a function of the step"):
        net.fit(Stream(), epochs=2, optimizer=fb.SGD(fb.Cosine(0.1, 2)))
    assert bits(net) == before


class Counted(Stream):
    def __len__(self):
        return len(PARTS)


def test_batches_with_a_length_take_a_schedule_of_epochs():
    streamed, whole = network(), network()
    options = {"epochs": 3, "shuffle": False}
    history = streamed.fit(Counted(), optimizer=fb.SGD(fb.Cosine(0.1, 3)), **options)
    other = whole.fit(X, Y, batch_size=8, optimizer=fb.SGD(fb.Cosine(0.1, 3)), **options)
    assert bits(streamed) == bits(whole)
    assert history["learning_rate"] == other["learning_rate"]


def test_more_batches_than_their_length_are_refused():
    class Wrong(Stream):
        def __len__(self):
            return 5

    net = network()
    with pytest.raises(ValueError, match="has 5 batches by len, and gave more"):
        net.fit(Wrong(), epochs=1, optimizer=fb.SGD(fb.Cosine(0.1, 3)))


@pytest.mark.parametrize("validation", [None, (X[:9], Y[:9])])
def test_metrics_of_the_training_samples(validation):
    streamed, whole = network(), network()
    options = {"epochs": 2, "shuffle": False, "validation": validation}
    options["metrics"] = fb.Metrics(["r2"], training=True)
    ours = streamed.fit(Stream(weights=True), **options)
    theirs = whole.fit(X, Y, sample_weight=S, batch_size=8, **options)
    assert [*ours[-1]] == [*theirs[-1]]
    for name in set(ours[-1]) - {"seconds"}:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-12)


def test_metrics_of_batches_that_come_once_are_refused():
    with pytest.raises(ValueError, match="metrics is not for batches"):
        network().fit(iter(Stream()), epochs=1, metrics="r2")


def test_a_training_resumes_within_an_epoch(tmp_path):
    """It passes over the batches that it has taken, and ends with the same bits and figures."""
    path, costs = tmp_path / "training", []

    class Stops:
        def on_batch_end(self, net, batch, logs):
            costs.append((batch, logs["cost"]))
            if len(costs) == 11:  # the fifth of the second epoch
                raise LookupError

    def fit(net, *callbacks):
        options = {"epochs": 3, "dropout": 0.3, "optimizer": fb.Adam(falling)}
        return net.fit(Stream(), callbacks=[*callbacks, Stops()], **options)

    with pytest.raises(LookupError):
        fit(network(), fb.Checkpoint(path, batches=2))
    net, same = network(), network()
    history = fit(net, fb.Checkpoint(path, batches=2))
    assert [batch for batch, _ in costs[11:13]] == [5, 6]
    expected = fit(same)
    assert bits(net) == bits(same)
    for name in ("cost", "learning_rate"):
        assert history[name] == expected[name]


def test_checkpoints_within_an_epoch_of_arrays_are_refused(tmp_path):
    with pytest.raises(ValueError, match="iterable of batches"):
        network().fit(X, Y, callbacks=fb.Checkpoint(tmp_path / "training", batches=2))
    with pytest.raises(ValueError, match="batches"):
        fb.Checkpoint(tmp_path / "training", batches=0)


def test_a_training_on_batches_resumes_from_its_checkpoint(tmp_path):
    path = tmp_path / "training"

    def stop(net, epoch, logs):
        if epoch == 2:
            raise LookupError

    options = {"epochs": 4, "shuffle": True}
    with pytest.raises(LookupError):
        network().fit(
            Stream(), optimizer=fb.Adam(falling), callbacks=[fb.Checkpoint(path), stop], **options
        )
    net, same = network(), network()
    history = net.fit(
        Stream(), optimizer=fb.Adam(falling), callbacks=[fb.Checkpoint(path)], **options
    )
    same.fit(Stream(), optimizer=fb.Adam(falling), **options)
    assert len(history) == 4 and bits(net) == bits(same)


@pytest.mark.parametrize("weights", [False, True])
def test_validation_may_be_batches(weights):
    streamed, whole = network(), network()
    held_out = (X, Y, S) if weights else (X, Y)
    options = {"epochs": 2, "metrics": "r2", "shuffle": False}
    ours = streamed.fit(Stream(), validation=Stream(weights), **options)
    theirs = whole.fit(Stream(), validation=held_out, **options)
    for name in ("validation_cost", "validation_r2"):
        assert ours[name] == theirs[name]


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (iter([]), "contains no batches"),
        (iter([(X, Y), (X,)]), "validation: batch 2 must be"),
        (iter([(X, Y), (X, Y, S)]), "batch 2 has 3 items, the first 2"),
        (0.5, "or an iterable"),
    ],
)
def test_bad_validation_batches_are_refused(validation, message):
    net = network()
    before = bits(net)
    with pytest.raises((ValueError, TypeError), match=message):
        net.fit(Stream(), epochs=1, validation=validation)
    assert bits(net) == before


# --- predict and evaluate ------------------------------------------------------------------------


def test_predict_and_evaluate_of_batches():
    net = network()
    expected = np.concatenate([net.predict(X[part]) for part in PARTS])
    np.testing.assert_array_equal(net.predict(Stream()), expected)
    np.testing.assert_array_equal(net.predict(X[part] for part in PARTS), expected)
    assert net.evaluate(Stream()) == pytest.approx(net.evaluate(X, Y), rel=1e-14)
    assert net.evaluate(Stream(weights=True)) == pytest.approx(net.evaluate(X, Y, S), rel=1e-14)
    np.testing.assert_array_equal(net.predict(iter([[X, Y]])), net.predict(X))
    assert net.predict(iter([])).shape == (0, 2)
    with pytest.raises(ValueError, match="contains no batches"):
        net.evaluate(iter([]))
    with pytest.raises(ValueError, match="batch 2 of X"):
        net.evaluate(iter([(X, Y), (X, Y[:3])]))


# --- on_batch_end --------------------------------------------------------------------------------


class Steps:
    def __init__(self):
        self.seen = []

    def on_batch_end(self, network, batch, logs):
        self.seen.append((batch, logs["cost"], network.get_parameters()))


@pytest.mark.parametrize("data", ["arrays", "batches"])
def test_on_batch_end_sees_every_step(data):
    """The costs of the minibatches before their steps, and the parameters after them."""
    net, plain, listener = network(), network(), Steps()
    arguments = (X, Y) if data == "arrays" else (Stream(),)
    options = {"epochs": 2, "batch_size": 8, "optimizer": "sgd", "shuffle": False}
    history = net.fit(*arguments, callbacks=listener, **options)
    plain.fit(*arguments, **options)
    assert bits(net) == bits(plain)
    assert [batch for batch, _, _ in listener.seen] == [*range(1, 7)] * 2
    again = network()
    for (_, cost, parameters), part in zip(listener.seen, PARTS * 2, strict=True):
        assert cost == pytest.approx(again.evaluate(X[part], Y[part]), rel=1e-12)
        again.partial_fit(X[part], Y[part], optimizer="sgd", shuffle=False)
        np.testing.assert_allclose(parameters, again.get_parameters(), rtol=1e-12)
    costs = [cost for _, cost, _ in listener.seen]
    assert history.cost == pytest.approx([np.mean(costs[:6]), np.mean(costs[6:])])


# --- Ctrl-C --------------------------------------------------------------------------------------


def interrupted_in_call(net, n, monkeypatch):
    """Ctrl-C during the n-th native call."""
    train, calls = net.machine.engine.train, []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) == n:
            signal.raise_signal(signal.SIGINT)
        return train(*arguments)

    monkeypatch.setattr(net.machine.engine, "train", call)
    return calls


def test_ctrl_c_ends_a_loop_over_partial_fit(monkeypatch):
    net = network()
    net.partial_fit(X, Y)
    interrupted_in_call(net, 3, monkeypatch)
    passes = []

    def loop():
        for _ in range(10):
            net.partial_fit(X, Y)
            passes.append(1)

    with pytest.raises(KeyboardInterrupt) as info:
        loop()
    assert len(passes) == 2
    assert isinstance(info.value, fb.Interrupted) and info.value.history.interrupted
    assert np.isfinite(net.predict(X)).all()
    net.partial_fit(X, Y)


def test_ctrl_c_while_functions_are_compiled(monkeypatch):
    """Before the training begins: it is an Interrupted, and nothing is changed."""

    def compile_for_long(*arguments):
        signal.raise_signal(signal.SIGINT)

    net = network()
    before = bits(net)
    monkeypatch.setattr(net.machine.engine, "model", compile_for_long)
    with pytest.raises(fb.Interrupted, match="before the first epoch") as info:
        net.fit(X, Y)
    assert len(info.value.history) == 0 and bits(net) == before


def test_ctrl_c_ends_a_search(monkeypatch):
    pytest.importorskip("sklearn")
    from sklearn.model_selection import GridSearchCV

    from fastbackprop.sklearn import MLPRegressor

    fits = []

    def stop(net, epoch, logs):
        if epoch == 2:
            fits.append(net)
            if len(fits) == 2:
                signal.raise_signal(signal.SIGINT)

    estimator = MLPRegressor(engine="numpy", max_iter=4, callbacks=stop, n_iter_no_change=10)
    search = GridSearchCV(estimator, {"alpha": [0.1, 0.2, 0.3]}, cv=2)
    with pytest.warns(Warning, match="did not suffice"), pytest.raises(fb.Interrupted):
        search.fit(X, Y)
    assert len(fits) == 2


def test_an_interrupted_estimator_is_usable():
    pytest.importorskip("sklearn")
    from fastbackprop.sklearn import MLPRegressor

    def stop(net, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    estimator = MLPRegressor(engine="numpy", max_iter=9, callbacks=stop)
    with pytest.raises(fb.Interrupted):
        estimator.fit(X, Y)
    assert len(estimator.history_) == estimator.n_iter_ == 2
    assert estimator.predict(X).shape == Y.shape


def test_return_on_interrupt_and_a_callback_that_decides():
    def stop(net, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    class Asked:
        def on_interrupt(self, network, history):
            self.epochs = len(history)
            return False

    asked = Asked()
    with pytest.raises(fb.Interrupted, match="after 2 of 9 epochs") as info:
        network().fit(X, Y, epochs=9, callbacks=[stop, asked])
    assert asked.epochs == 2
    again = pickle.loads(pickle.dumps(info.value))
    assert str(again) == str(info.value) and list(again.history) == list(info.value.history)
    with pytest.warns(RuntimeWarning, match="after 2 of 9 epochs"):
        history = network().fit(X, Y, epochs=9, callbacks=[stop, fb.ReturnOnInterrupt()])
    assert history.interrupted and len(history) == 2
