"""Checkpoints: a training that was killed and run again ends with the bits of one that was not."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import machine
from fastbackprop.engines import ENGINES
from fastbackprop.formats import atomic
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.training import checkpoint

rng = np.random.default_rng(5)
X, Y = rng.standard_normal((23, 3)), rng.standard_normal((23, 2))

OPTIONS = {
    "plain": dict,
    "all": lambda: {
        "optimizer": fb.SGD(fb.Warmup(1, then=fb.Plateau(0.1, 0.5, patience=0)), momentum=0.9),
        "early_stopping": fb.EarlyStopping(3, min_improvement=0.01),
        "validation": 0.3,
        "metrics": "r2",
    },
}


def network(engine="numpy", rng=0):
    return fb.Network([3, 4, 2], hidden="tanh", rng=rng, engine=engine)


def fit(net, path, epochs=6, optimizer=None, callbacks=(), **options):
    """With a checkpoint, after the other callbacks."""
    optimizer = optimizer or fb.SGD(0.1, momentum=0.9)
    callbacks = [callbacks] if callable(callbacks) else callbacks
    options = {"batch_size": 5, "callbacks": [*callbacks, fb.Checkpoint(path)], **options}
    return net.fit(X, Y, epochs=epochs, optimizer=optimizer, **options), optimizer


def end(net, history, optimizer):
    """All that a training leaves, but for the seconds it took."""
    rows = [{name: x for name, x in row.items() if name != "seconds"} for row in history]
    state = net._rng.bit_generator.state
    kept = [*optimizer._states, *([] if optimizer._mean is None else [optimizer._mean])]
    states = [net.machine.layout.flatten(vector).tobytes() for vector in kept]
    return (
        net.get_parameters().tobytes(),
        states,
        optimizer.steps,
        repr(state),
        rows,
        history.ended_by,
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", OPTIONS)
def test_killed_and_run_again_is_uninterrupted(options, engine, tmp_path):
    """Killed after each epoch, by an exception of a callback, and once within one."""
    whole = network(engine)
    expected = end(whole, *fit(whole, tmp_path / "whole", **OPTIONS[options]()))
    for n in range(1, len(expected[4]) + 1):

        def die(net, epoch, logs, n=n):
            if epoch == n:
                raise MemoryError

        with pytest.raises(MemoryError):
            fit(network(engine), tmp_path / "parts", callbacks=die, **OPTIONS[options]())
    again = network(engine, rng=99)
    epochs = []
    parts = fit(
        again,
        tmp_path / "parts",
        callbacks=lambda net, epoch, logs: epochs.append(epoch),
        **OPTIONS[options](),
    )
    assert end(again, *parts) == expected
    assert epochs == [len(expected[4])]
    once_more = network(engine)
    assert end(once_more, *fit(once_more, tmp_path / "parts", **OPTIONS[options]())) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


class Large:
    """A callback whose state is large, and not finite."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, epoch, logs):
        self.seen.append(epoch)

    def get_state(self):
        return {"sums": np.array([np.inf, np.nan, 1.0])}

    def set_state(self, state):
        assert np.array_equal(state["sums"], [np.inf, np.nan, 1.0], equal_nan=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_that_overflowed_goes_on(engine, tmp_path):
    """Squares of gradients are infinite in float32 where every weight is finite."""

    def run(path, *epochs):
        for n in epochs:
            net, adam = fb.Network([3, 4, 2], rng=0, engine=engine), fb.Adam(1e-6)
            large = {"optimizer": adam, "callbacks": [Large(), fb.Checkpoint(tmp_path / path)]}
            history = net.fit(X * 1e10, Y * 1e12, epochs=n, batch_size=5, **large)
        return end(net, history, adam)

    whole = run("whole", 3)
    assert np.isinf(np.frombuffer(whole[1][1], np.float32)).any()
    assert np.isfinite(np.frombuffer(whole[0], np.float32)).all()
    assert run("parts", 1, 2, 3) == whole


def altered(path, change):
    """The file with the entry of its training changed."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = json.loads(header["__metadata__"]["training"])
    change(entry)
    header["__metadata__"]["training"] = json.dumps(entry)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


def leaves(value, path=()):
    """The places of all numbers in nested dicts and lists."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else [*enumerate(value)][:2]
        return [leaf for key, part in items for leaf in leaves(part, (*path, key))]
    return [path]


def replaced(value, path, by):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = by


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_hostile_state_of_a_generator_is_refused(kind, tmp_path):
    bits = getattr(np.random, kind)
    fit(network(rng=np.random.Generator(bits(3))), tmp_path / "c", epochs=1)
    data, state = (tmp_path / "c").read_bytes(), checkpoint._plain(bits(3).state)
    for place in leaves(state):
        for bad in (
            -1,
            2**200,
            10**6 + 0.5,
            None,
            "x",
            [],
            True,
            *HOSTILE_POSITIONS.get(place, ()),
        ):
            altered(
                tmp_path / "c", lambda entry, p=place, b=bad: replaced(entry["generator"], p, b)
            )
            net = network(rng=np.random.Generator(bits(3)))
            before = net.get_parameters(), repr(net.rng.bit_generator.state)
            with pytest.raises(ValueError, match=f"its generator is no {kind}"):
                fit(net, tmp_path / "c", epochs=2)
            assert (net.get_parameters() == before[0]).all()
            assert repr(net.rng.bit_generator.state) == before[1]
            (tmp_path / "c").write_bytes(data)


HOSTILE_POSITIONS = {
    ("state", "pos"): (625, 2**31 - 1),
    ("buffer_pos",): (5, 2**31 - 1),
    ("has_uint32",): (2,),
}


def test_a_generator_of_another_library_is_refused_before_training(tmp_path):
    class Theirs(np.random.PCG64):
        pass

    net = network(rng=np.random.Generator(Theirs(1)))
    with pytest.raises(ValueError, match=r"NumPy's own generators, PCG64.* has a Theirs"):
        fit(net, tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_every_generator_goes_on(bits, tmp_path):
    results = []
    for epochs in ([4], [2, 4]):
        for n in epochs:
            net = network(rng=np.random.Generator(bits(3)))
            history, optimizer = fit(net, tmp_path / f"{len(epochs)}", n)
        results.append(end(net, history, optimizer))
    assert results[0] == results[1]


def test_what_a_callback_ended_stays_ended(tmp_path):
    fit(network(), tmp_path / "c", callbacks=lambda net, epoch, logs: epoch == 2)
    history, _ = fit(network(), tmp_path / "c")
    assert len(history) == 2 and history.ended_by == "callback"


def test_a_checkpoint_is_a_saved_network(tmp_path):
    net = network()
    fit(net, tmp_path / "c", early_stopping=2)
    loaded = fb.Network.load(tmp_path / "c")
    assert loaded.sizes == net.sizes
    loaded.save(tmp_path / "n")
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(network(), tmp_path / "n")


SCRIPT = """
    import sys
    import numpy as np
    import fastbackprop as fb

    path, slow = sys.argv[1], len(sys.argv) > 2
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3000, 8)), rng.integers(0, 4, 3000)
    net = fb.Network([8, 32, 4], output="softmax", cost="cross_entropy", rng=0, engine="numpy")

    class Ready:
        def on_epoch_begin(self, net, epoch):
            print(epoch, flush=True)

    net.fit(X, y, epochs=12, batch_size=4, optimizer=fb.Adam(fb.OneCycle(1e-3, 12)),
            callbacks=[fb.Checkpoint(path + ".checkpoint"), Ready()],
            validation=0.1, early_stopping=5)
    net.save(path + ".net")
"""


def signs(theta, g, states, step, rate):
    states += np.sign(g)
    theta -= rate * states[0]


@pytest.mark.parametrize("engine", ["numpy", "tiles"])
@pytest.mark.parametrize("name", [*(name for name in OPTIMIZERS if name != "lbfgs"), "custom"])
def test_every_optimizer_goes_on_where_it_was(name, engine, tmp_path):
    """Its states, and the mean of the parameters."""

    def optimizer():
        more = {"averaging": fb.SWA(4, 3), "l2": 0.1, "max_norm": 1.5}
        return fb.Custom(signs, 2, **more) if name == "custom" else OPTIMIZERS[name](**more)

    whole, path = network(engine), tmp_path / "parts"
    expected = end(whole, *fit(whole, tmp_path / "whole", optimizer=optimizer()))
    for epochs in (2, 3, 6):
        again = network(engine, rng=epochs - 2)
        result = fit(again, path, epochs=epochs, optimizer=optimizer())
    assert end(again, *result) == expected


class Counter:
    """A callback with a state: how many epochs there were, and the first parameters."""

    def __init__(self, refuse=False):
        self.epochs, self.refuse = 0, refuse
        self.first = np.zeros(0, np.float32)

    def on_epoch_end(self, net, epoch, logs):
        self.epochs += 1
        if self.epochs == 1:
            self.first = net.get_parameters()

    def get_state(self):
        return {"epochs": self.epochs, "names": ["a", None, 0.5], "first": self.first}

    def set_state(self, state):
        if self.refuse:
            raise ValueError("there is no such counter")
        assert state["names"] == ["a", None, 0.5] and state.keys() == self.get_state().keys()
        self.epochs, self.first = state["epochs"], state["first"]


def test_callbacks_go_on_where_they_were(tmp_path):
    path, firsts = tmp_path / "c", []
    for last, total in ((2, 2), (3, 3), (3, 3), (6, 6)):
        counters = [Counter(), Counter()]
        history, _ = fit(network(), path, epochs=last, callbacks=counters)
        assert len(history) == total
        assert [counter.epochs for counter in counters] == [total, total]
        firsts += [counter.first.tobytes() for counter in counters]
    assert len(set(firsts)) == 1 and len(firsts[0]) == 4 * network().n_parameters


def test_a_callback_that_refuses_its_state_changes_nothing(tmp_path):
    path, first = tmp_path / "c", Counter()
    fit(network(), path, epochs=2, callbacks=[first])
    content, net, optimizer = path.read_bytes(), network(rng=9), fb.SGD(0.1, momentum=0.9)
    before = net.get_parameters(), repr(net._rng.bit_generator.state)
    with pytest.raises(ValueError, match=r"'.*c'.*there is no such counter"):
        fit(net, path, optimizer=optimizer, callbacks=[Counter(refuse=True)])
    assert (net.get_parameters() == before[0]).all()
    assert repr(net._rng.bit_generator.state) == before[1]
    assert optimizer.steps == 0 and not optimizer._states.any()
    assert path.read_bytes() == content
    with pytest.raises(ValueError, match="of another training, with callbacks"):
        fit(net, path, callbacks=[Counter(), Counter()])
    assert (net.get_parameters() == before[0]).all()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, r"get_state\(\) of a callback must return a dict; got None"),
        ({"x": np.zeros(2, complex)}, "array 'x' of a callback's state is of complex128"),
        ({"x": {1, 2}}, "set is not JSON"),
    ],
)
def test_a_state_that_no_file_holds_is_refused_before_the_first_step(state, message, tmp_path):
    net, counter = network(), Counter()
    counter.get_state = lambda: state
    before = net.get_parameters()
    with pytest.raises(TypeError, match=message):
        fit(net, tmp_path / "c", callbacks=[counter])
    assert (net.get_parameters() == before).all() and not list(tmp_path.iterdir())


def test_names_that_callbacks_may_have(tmp_path):
    """Without `set_state` there is nothing to restore; `save`, `close`, ... are the user's own."""

    class Own:
        start = reason = on_pause = "no method"

        def __init__(self):
            self.get_state = dict

        def on_epoch_end(self, net, epoch, logs):
            self.epoch = epoch

        def save(self, path): ...
        def close(self, when): ...
        def resume(self, epoch): ...
        def restore(self, epoch): ...

    for epochs in (2, 3):
        own = Own()
        fit(network(), tmp_path / "c", epochs=epochs, callbacks=[own])
        assert own.epoch == epochs


@pytest.mark.parametrize("place", [0, 1])
def test_early_stopping_as_a_callback(place, tmp_path):
    """Before the checkpoint and after it: as by its argument, also where it was killed."""

    def run(net, path, die_after=None):
        def die(net, epoch, logs):
            if epoch == die_after:
                raise MemoryError

        callbacks = [die, fb.EarlyStopping(2, min_improvement=0.05), fb.Checkpoint(path)]
        if place:
            callbacks.reverse()
        return fit(net, path, epochs=500, callbacks=callbacks, validation=0.3)

    def fit(net, path, **options):
        optimizer = fb.SGD(0.1, momentum=0.9)
        return net.fit(X, Y, batch_size=5, optimizer=optimizer, **options), optimizer

    whole, again = network(), network(rng=9)
    stopping = fb.EarlyStopping(2, min_improvement=0.05)
    expected = end(whole, *fit(whole, None, epochs=500, validation=0.3, early_stopping=stopping))
    assert expected[-1] == "early_stopping" and 2 < len(expected[-2]) < 500
    for epoch in range(1, len(expected[-2]) + 1):
        with pytest.raises(MemoryError):
            run(network(), tmp_path / "c", epoch)
    assert end(again, *run(again, tmp_path / "c")) == expected
    once_more = network()
    assert end(once_more, *run(once_more, tmp_path / "c")) == expected


@pytest.mark.parametrize("within", [False, True])
def test_what_the_time_budget_ended_can_go_on(within, tmp_path, monkeypatch):
    """After an epoch, and within one: the checkpoint is that of the last whole epoch."""
    path, whole = tmp_path / "c", network()
    expected = end(whole, *fit(whole, tmp_path / "whole"))
    monkeypatch.setattr(machine, "SLICE_SECONDS", 0.0)
    monotonic = time.monotonic

    class Late:
        def on_epoch_begin(self, net, epoch):
            if within and epoch == 4:
                monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 1e6)

        def on_epoch_end(self, net, epoch, logs):
            if not within and epoch == 3:
                monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 1e6)

    net = network()
    history, optimizer = fit(net, path, callbacks=[Late(), fb.TimeBudget(1e5)])
    assert history.ended_by == "time_budget" and len(history) == 3
    assert optimizer.steps == 3 * 5 + within
    monkeypatch.setattr(time, "monotonic", monotonic)
    assert (fb.Network.load(path).get_parameters() == net.get_parameters()).all() == (not within)
    again = network(rng=9)
    assert end(again, *fit(again, path, callbacks=[fb.TimeBudget(1e5)])) == expected


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_kill_within_an_epoch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])}

    def run(path, kill_in=None, number=signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", script, path],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        seen = []
        with process:
            for line in process.stdout:
                seen.append(int(line))
                if seen[-1] == kill_in:
                    with pytest.raises(subprocess.TimeoutExpired):
                        process.wait(0.02)
                    process.send_signal(number)
        return process.returncode, seen

    assert run(tmp_path / "whole") == (0, list(range(1, 13)))
    assert run(tmp_path / "parts", 3) == (-signal.SIGKILL, [1, 2, 3])
    assert run(tmp_path / "parts", 7) == (-signal.SIGKILL, [3, 4, 5, 6, 7])
    code, seen = run(tmp_path / "parts", 9, signal.SIGINT)  # the script goes on to save
    assert (code, seen) == (0, [7, 8, 9])
    assert run(tmp_path / "parts") == (0, [9, 10, 11, 12])
    whole, parts = ((tmp_path / f"{name}.net").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: (fb.Network([3, 5, 2], rng=0, engine="numpy"), {}), r"sizes \[3, 4, 2\], not"),
        (lambda: (network("loops"), {}), "engine 'numpy', not 'loops'"),
        (lambda: (network(), {"optimizer": fb.Adam()}), "'SGD'.*'Adam'"),
        (lambda: (network(), {"optimizer": fb.SGD(0.2, momentum=0.9)}), "0.1.* not .*0.2"),
        (lambda: (network(), {"batch_size": 6}), "batch_size 5, not 6"),
        (lambda: (network(), {"validation": 0.5}), "n_samples 23, not"),
        (
            lambda: (network(), {"optimizer": fb.SGD(fb.Cosine(0.1, 3), momentum=0.9)}),
            "'learning_rate': 0.1, .*'learning_rate': {'name': 'Cosine'",
        ),
        (lambda: (network(rng=np.random.Generator(np.random.SFC64(1))), {}), "is no SFC64"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(change, message, tmp_path):
    fit(network(), tmp_path / "c", epochs=1)
    content = (tmp_path / "c").read_bytes()
    net, options = change()
    before = net.get_parameters(), repr(net._rng.bit_generator.state)
    with pytest.raises(ValueError, match=message):
        fit(net, tmp_path / "c", **options)
    assert (net.get_parameters() == before[0]).all()
    assert repr(net._rng.bit_generator.state) == before[1]
    assert (tmp_path / "c").read_bytes() == content


def test_a_path_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    net = network()
    before = net.get_parameters()
    with pytest.raises(IsADirectoryError, match="checkpoint must be a file"):
        fit(net, tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint: there is no folder"):
        fit(net, tmp_path / "no" / "c")

    def denied(path, *arguments):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(atomic.os, "open", denied)  # a folder that is read-only, also for root
    with pytest.raises(PermissionError):
        fit(net, tmp_path / "c")
    assert (net.get_parameters() == before).all()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_does_not_end_the_training(tmp_path, monkeypatch):
    """The last checkpoint that was written is whole, and good to go on from."""
    path, whole, written = tmp_path / "c", network(), []
    expected = end(whole, *fit(whole, tmp_path / "whole"))
    fsync = os.fsync

    def full_after_three_files(number):
        written.append(number)
        if len(written) > 6:  # a file and its folder each
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    net = network()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_after_three_files)
        with pytest.warns(RuntimeWarning, match="no checkpoint of epoch .*No space left") as seen:
            result = fit(net, path)
    assert seen[0].filename == __file__
    assert end(net, *result) == expected
    epochs, again = [], network()
    result = fit(again, path, callbacks=lambda net, epoch, logs: epochs.append(epoch))
    assert epochs == [3, 4, 5, 6] and end(again, *result) == expected


def test_damage_is_refused_or_harmless(tmp_path):
    """A damaged checkpoint changes nothing where it is refused."""
    options = OPTIONS["all"]()
    fit(network(), tmp_path / "c", epochs=2, **options)
    data, rng, refused = bytearray((tmp_path / "c").read_bytes()), np.random.default_rng(0), 0
    for _ in range(200):
        damaged = data.copy()
        damaged[rng.integers(0, len(data))] = rng.integers(0, 256)
        (tmp_path / "c").write_bytes(damaged)
        net = network()
        before = net.get_parameters()
        try:
            fit(net, tmp_path / "c", epochs=2, **OPTIONS["all"]())
        except ValueError:
            refused += 1
            assert (net.get_parameters() == before).all()
    assert refused > 50
