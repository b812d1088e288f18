"""fit_many against `Network.fit` of each network: the same bits."""

import copy
import os
import signal
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.many import lanes

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
rng = np.random.default_rng(0)
N = 37
X = rng.normal(size=(N, 3))
LABELS = rng.integers(0, 2, N)
P = 1 / (1 + np.exp(X[:, 0] * X[:, 1] - X[:, 2]))
Y = np.column_stack([P, 1 - P])
WEIGHTS = rng.integers(0, 3, N) + 0.5

OPTIMIZERS = [
    lambda r: fb.SGD(r),
    lambda r: fb.SGD(r, momentum=0.9, nesterov=True),
    lambda r: fb.Adam(r),
    lambda r: fb.AdamW(fb.Cosine(r, epochs=4), betas=(0.8, 0.99)),
    lambda r: fb.RMSprop(r, l2=1e-2, clip_norm=1.0),
    lambda r: fb.Lion(r, averaging=fb.EMA(0.9)),
]


def figures(history):
    """Everything but the times, NaN as a word: it differs from itself."""
    rows = [{name: x for name, x in row.items() if name != "seconds"} for row in history]
    return [{name: x if x == x else "nan" for name, x in row.items()} for row in rows]


def check_same(networks, references, histories, expected):
    for network, reference, history, one in zip(
        networks, references, histories, expected, strict=True
    ):
        np.testing.assert_array_equal(network.get_parameters(), reference.get_parameters())
        assert figures(history) == figures(one)
        assert history.ended_by == one.ended_by


def each_alone(networks, X, y, each):
    """What fit gives with these settings for each."""
    histories = []
    for network, one in zip(networks, each, strict=True):
        rows = one.pop("rows", None)
        rows = np.arange(len(X)) if rows is None else rows
        weights = one.pop("sample_weight", None)
        weights = None if weights is None else weights[rows]
        try:
            history = network.fit(X[rows], y[rows], sample_weight=weights, **one)
        except fb.DivergenceError as error:
            history = error.history
            history.ended_by = "divergence"
        histories.append(history)
    return histories


def examples(n):
    """So many configurations, the same ones in every run."""
    return hypothesis.settings(
        derandomize=True,
        deadline=None,
        max_examples=n,
        database=None,
        phases=[hypothesis.Phase.generate],  # to shrink a failure takes minutes
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@st.composite
def members(draw):
    """A network, and the settings of its training."""
    sizes = draw(st.sampled_from([[3, 2], [3, 4, 2], [3, 5, 3, 2]]))
    pair = draw(st.sampled_from([("softmax", "cross_entropy"), ("identity", "squared_error")]))
    network = fb.Network(
        sizes,
        hidden=draw(st.sampled_from(["relu", "tanh"])),
        output=pair[0],
        cost=pair[1],
        dtype=draw(st.sampled_from(["float32", "float64"])),
        engine=draw(st.sampled_from(["tiles", "tiles", "tiles", "loops", "numpy"])),
        rng=draw(st.integers(0, 99)),
    )
    own = {
        "epochs": draw(st.integers(1, 5)),
        "batch_size": draw(st.sampled_from([None, 5, 16])),
        "optimizer": draw(st.sampled_from(OPTIMIZERS))(draw(st.sampled_from([1e-3, 1e-2, 0.1]))),
        "rows": draw(st.sampled_from([None, np.arange(20), np.arange(30) % 11, [5]])),
        "sample_weight": draw(st.sampled_from([None, WEIGHTS])),
        "early_stopping": draw(st.sampled_from([None, 1])),
        "validation": draw(st.sampled_from([None, (X, Y)])),
        "dropout": fb.Dropout(draw(st.sampled_from([0.0, 0.2])) if len(sizes) > 2 else 0.0),
    }
    return network, own


@examples(25)
@hypothesis.given(st.lists(members(), min_size=1, max_size=6), st.booleans(), st.integers(1, 3))
def test_each_network_has_the_bits_of_its_own_fit(drawn, shuffle, n_threads):
    networks, each = [network for network, _ in drawn], [one for _, one in drawn]
    references = copy.deepcopy(networks)
    alone = [copy.deepcopy(one) | {"shuffle": shuffle} for one in each]
    columns = {name: [one[name] for one in each] for name in each[0]}
    columns["optimizers"] = columns.pop("optimizer")
    histories = fb.fit_many(networks, X, Y, **columns, shuffle=shuffle, n_threads=n_threads)
    check_same(networks, references, histories, each_alone(references, X, Y, alone))
    for network, reference in zip(networks, references, strict=True):
        assert network.rng.bit_generator.state == reference.rng.bit_generator.state


def alike(draw):
    """Networks of one kind, each with its own settings."""
    sizes = draw(st.sampled_from([[3, 2], [3, 1], [3, 17, 2], [3, 5, 3, 2]]))
    output, cost = draw(st.sampled_from(PAIRS if sizes[-1] > 1 else PAIRS[2:]))
    kind = {
        "hidden": draw(st.sampled_from(["relu", "tanh", fb.LayerNorm("relu")])),
        "output": output,
        "cost": cost,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
    }
    n, optimizer = draw(st.integers(1, 20)), draw(st.sampled_from(SIMPLE))
    labels = cost == "cross_entropy" and output == "softmax"
    batch_size = draw(st.sampled_from([None, 1, 5, 16, 200]))
    weighted = draw(st.booleans())
    networks, each = [], []
    for seed in range(n):
        rate = draw(st.sampled_from([1e-3, 1e-2, 0.1, 1e30]))
        rows = draw(st.sampled_from([None, np.arange(20), np.arange(30) % 11, [5]]))
        networks.append(fb.Network(sizes, rng=seed, **kind))
        own = {"optimizer": optimizer(rate), "rows": rows, "batch_size": batch_size}
        own["epochs"] = draw(st.integers(1, 4))
        own["early_stopping"] = draw(st.sampled_from([None, 1]))
        if weighted:
            own["sample_weight"] = draw(st.sampled_from([WEIGHTS, HOLES]))
        each.append(own)
    return networks, each, LABELS if labels else Y[:, : sizes[-1]]


SIMPLE = [
    lambda r: fb.SGD(r),
    lambda r: fb.SGD(r, momentum=0.9, dampening=0.1),
    lambda r: fb.SGD(fb.Exponential(r, factor=0.5), momentum=0.9, nesterov=True),
    lambda r: fb.Adam(r, betas=(0.9, 1 - r) if r < 1 else (0.9, 0.999)),
    lambda r: fb.Adam(r, l2=0.1),
    lambda r: fb.SGD(r, momentum=0.9, l2=min(r, 1.0), penalize_biases=r < 0.1),
    lambda r: fb.AdamW(fb.Cosine(r, epochs=4), weight_decay=0.1),
    lambda r: fb.NAdam(r),
    lambda r: fb.RAdam(r),
    lambda r: fb.RMSprop(r),
    lambda r: fb.Adagrad(r, rate_decay=0.1),
]
PAIRS = [("softmax", "cross_entropy"), ("softmax", "squared_error"), ("identity", "cosine")]
PAIRS += [("identity", "squared_error"), ("sigmoid", "cross_entropy")]
HOLES = np.where(np.arange(N) % 7 == 5, WEIGHTS, 0.0)  # of some minibatches all are zero


@examples(40)
@hypothesis.given(st.composite(alike)(), st.booleans())
def test_networks_on_lanes_have_the_bits_of_their_own_fit(drawn, shuffle):
    networks, each, y = drawn
    references, taken = copy.deepcopy(networks), []
    alone = [copy.deepcopy(one) | {"shuffle": shuffle} for one in each]
    columns = {name: [one[name] for one in each] for name in each[0]}
    columns["optimizers"] = columns.pop("optimizer")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training diverged")
        patch.setattr(lanes, "few", lambda n, kind: False)
        patch.setattr(lanes.Group, "turn", spied(lanes.Group.turn, taken))
        histories = fb.fit_many(networks, X, y, **columns, shuffle=shuffle, n_threads=1)
    assert taken or columns["batch_size"][0] is None
    check_same(networks, references, histories, each_alone(references, X, y, alone))
    for network, reference, one, other in zip(networks, references, each, alone, strict=True):
        steppers = (
            one["optimizer"].stepper(network.machine),
            other["optimizer"].stepper(reference.machine),
        )
        assert steppers[0].steps == steppers[1].steps
        np.testing.assert_array_equal(steppers[0].states, steppers[1].states)
        assert network.rng.bit_generator.state == reference.rng.bit_generator.state


def spied(function, calls):
    def spy(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return spy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch_size", "weighted"), [(129, True), (256, False), (None, True)])
def test_minibatches_of_several_row_tiles(dtype, batch_size, weighted, monkeypatch):
    """Of different lengths: some networks have one row tile where others have three."""
    n, draws = 300, np.random.default_rng(5)
    many_X, many_Y = draws.normal(size=(n, 3)), draws.normal(size=(n, 2))
    weights = draws.integers(0, 3, n) + 0.5 if weighted else None
    rows = [np.arange(n)] if batch_size is None else []
    rows += [draws.integers(0, n, m) for m in (1, 128, 129, 260, 300)]
    options = {"output": "identity", "cost": "squared_error", "dtype": dtype}
    rows = [rows[0]] * 6 if batch_size is None else rows
    networks, references, taken = some(len(rows), **options), some(len(rows), **options), []
    monkeypatch.setattr(lanes, "few", lambda n, kind: False)
    monkeypatch.setattr(lanes.Group, "turn", spied(lanes.Group.turn, taken))

    def adam(k):
        return fb.Adam(0.01, l2=0.01 * k)

    histories = fb.fit_many(
        networks,
        many_X,
        many_Y,
        rows=rows,
        sample_weight=weights,
        epochs=4,
        batch_size=batch_size,
        optimizers=[adam(k) for k in range(len(rows))],
        n_threads=1,
    )
    each = [
        {
            "rows": r,
            "sample_weight": weights,
            "optimizer": adam(k),
            "epochs": 4,
            "batch_size": batch_size,
        }
        for k, r in enumerate(rows)
    ]
    assert taken
    check_same(networks, references, histories, each_alone(references, many_X, many_Y, each))


def some(n, sizes=(3, 4, 2), **options):
    options = {"output": "softmax", "cost": "cross_entropy"} | options
    return [fb.Network(sizes, rng=seed, **options) for seed in range(n)]


def adams(n):
    return [fb.Adam(10.0 ** -(1 + k % 3)) for k in range(n)]


def test_state_is_carried_on_by_optimizers_and_generators():
    networks, twice = some(3), some(3)
    fb.fit_many(networks, X, LABELS, epochs=4, optimizers=adams(3))
    for network, optimizer in zip(twice, adams(3), strict=True):
        network.fit(X, LABELS, epochs=1, optimizer=optimizer)
        fb.fit_many([network], X, LABELS, epochs=2, optimizers=[optimizer])
        network.partial_fit(X, LABELS)
    for network, other in zip(networks, twice, strict=True):
        np.testing.assert_array_equal(network.get_parameters(), other.get_parameters())


def test_own_data():
    networks, references = some(2), some(2)
    data = [(X[:20], LABELS[:20]), (X[20:], LABELS[20:])]
    histories = fb.fit_many(networks, *map(list, zip(*data, strict=True)), epochs=2)
    expected = [r.fit(*pair, epochs=2) for r, pair in zip(references, data, strict=True)]
    check_same(networks, references, histories, expected)


def test_shuffle_metrics_and_missing_targets_of_each():
    def error(y, a):
        return np.abs(y - a).mean()

    holes = np.where(rng.random(Y.shape) < 0.2, np.nan, Y)
    validation = X, np.nan_to_num(holes)
    each = [
        {"shuffle": False, "metrics": {"error": error}, "missing_targets": True},
        {"shuffle": True, "metrics": fb.Metrics("r2", training=True), "missing_targets": True},
        {"shuffle": True, "metrics": None, "missing_targets": True},
    ]
    networks = [fb.Network([3, 4, 2], rng=seed) for seed in range(3)]
    references = copy.deepcopy(networks)
    columns = {name: [one[name] for one in each] for name in each[0]}
    histories = fb.fit_many(networks, X, holes, epochs=3, validation=validation, **columns)
    alone = [one | {"epochs": 3, "validation": validation} for one in each]
    check_same(networks, references, histories, each_alone(references, X, holes, alone))
    with pytest.raises(ValueError, match="shuffle must hold one for each of the 3 networks"):
        fb.fit_many(networks, X, Y, shuffle=[True, False])


def test_lbfgs_custom_rules_metrics_and_fractions():
    pytest.importorskip("scipy")

    def double(theta, g, states, step, rate):
        theta -= 2 * rate * g

    def optimizers():
        return [fb.LBFGS(), fb.Custom(double, learning_rate=0.1), "adam"]

    networks, references = some(3), some(3)
    options = {"epochs": 3, "metrics": fb.Metrics("accuracy", training=True), "validation": 0.25}
    rows = [np.arange(30), np.arange(5, N), np.arange(0, N, 2)]
    histories = fb.fit_many(networks, X, LABELS, optimizers=optimizers(), rows=rows, **options)
    each = [options | {"rows": r, "optimizer": o} for r, o in zip(rows, optimizers(), strict=True)]
    check_same(networks, references, histories, each_alone(references, X, LABELS, each))
    assert all("accuracy" in history[-1] for history in histories)


def test_rows_of_sparse_matrices_and_of_files(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    np.save(tmp_path / "X.npy", X)
    rows = [np.arange(0, N, 2), np.arange(9)]
    for matrix in (sparse.csr_matrix(X), np.load(tmp_path / "X.npy", mmap_mode="r")):
        networks, references = some(2), some(2)
        histories = fb.fit_many(networks, matrix, LABELS, rows=rows, epochs=2, batch_size=4)
        expected = [
            reference.fit(matrix[r], LABELS[r], epochs=2, batch_size=4)
            for reference, r in zip(references, rows, strict=True)
        ]
        check_same(networks, references, histories, expected)


def test_divergence_of_one_leaves_the_others():
    networks, references = some(3), some(3)
    optimizers = [fb.SGD(0.1), fb.SGD(1e30), fb.SGD(0.1)]
    with pytest.warns(RuntimeWarning, match=r"networks\[1\]"):
        histories = fb.fit_many(networks, X, LABELS, epochs=5, optimizers=optimizers)
    each = [{"epochs": 5, "optimizer": fb.SGD(r)} for r in (0.1, 1e30, 0.1)]
    check_same(networks, references, histories, each_alone(references, X, LABELS, each))
    assert [history.ended_by for history in histories] == ["epochs", "divergence", "epochs"]
    assert np.isfinite(networks[1].get_parameters()).all()


@pytest.mark.parametrize("first_alone", [False, True])
def test_divergence_between_two_looks_is_that_of_fit(first_alone, monkeypatch):
    """Several epochs are one native call: the network that diverges takes them again by itself."""
    asked = []
    if first_alone:  # the first turns are taken one after the other, the others on lanes
        monkeypatch.setattr(lanes, "few", lambda n, kind: len(asked) < 2 and not asked.append(n))

    def networks():
        return some(9, output="identity", cost="squared_error")

    rates = [0.01] * 4 + [0.8] + [0.01] * 4
    together, references = networks(), networks()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training diverged")
        histories = fb.fit_many(
            together, X, Y * 10, epochs=40, optimizers=[fb.SGD(r) for r in rates], n_threads=1
        )
    each = [{"epochs": 40, "optimizer": fb.SGD(r)} for r in rates]
    check_same(together, references, histories, each_alone(references, X, Y * 10, each))
    assert histories[4].ended_by == "divergence" and len(histories[4]) > 1
    for network, reference in zip(together, references, strict=True):
        assert network.rng.bit_generator.state == reference.rng.bit_generator.state


def test_every_number_of_networks():
    references = some(100)
    histories = [reference.fit(X, LABELS, epochs=2) for reference in references]
    for n in (*range(1, 20), 31, 32, 33, 63, 64, 65, 100):
        networks = some(n)
        told = fb.fit_many(networks, X, LABELS, epochs=2)
        check_same(networks, references[:n], told, histories[:n])


def test_callbacks_of_all_and_of_each():
    told, of_second = [], []
    networks = some(2)

    def note(network, epoch, logs):
        told.append((networks.index(network), epoch))

    def end(network, epoch, logs):
        of_second.append(network)
        return True

    fb.fit_many(networks, X, LABELS, epochs=2, callbacks=note, n_threads=2)
    assert sorted(told) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    histories = fb.fit_many(networks, X, LABELS, epochs=2, callbacks=[[], [end]])
    assert [history.ended_by for history in histories] == ["epochs", "callback"]
    assert of_second == [networks[1]]


def test_callbacks_are_called_one_at_a_time():
    inside, most = [], []

    def slow(network, epoch, logs):
        inside.append(network)
        most.append(len(inside))
        time.sleep(1e-3)
        inside.pop()

    fb.fit_many(some(6), X, LABELS, epochs=3, callbacks=slow, n_threads=3)
    assert max(most) == 1


def test_an_error_in_a_callback_ends_all_and_is_raised():
    networks, threads = some(4), threading.active_count()

    def fail(network, epoch, logs):
        if network is networks[2] and epoch == 2:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fb.fit_many(networks, X, LABELS, epochs=10**6, callbacks=fail, n_threads=2)
    assert threading.active_count() <= threads + 2
    fb.fit_many(networks, X, LABELS, epochs=1)  # nothing holds them


def test_time_budget_is_of_the_whole_call():
    began = time.monotonic()
    histories = fb.fit_many(
        some(8), X, LABELS, epochs=10**9, callbacks=fb.TimeBudget(0.2), n_threads=2
    )
    assert {history.ended_by for history in histories} == {"time_budget"}
    assert min(map(len, histories)) > 0
    assert time.monotonic() - began < 60  # 8 budgets one after the other are no less than 1.6


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupt_ends_all_between_two_steps(n_threads):
    networks, references = some(5), some(5)

    class Starts:
        may_be_late, looks_at_network = True, False  # as if it was not there

        def on_train_begin(self, network):
            signal.setitimer(signal.ITIMER_REAL, 0.2)

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with pytest.raises(fb.Interrupted, match="interrupted") as caught:
            fb.fit_many(networks, X, LABELS, epochs=10**9, callbacks=Starts(), n_threads=n_threads)
    finally:
        signal.signal(signal.SIGALRM, before)
    histories = caught.value.history
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert {history.ended_by for history in histories} == {"interrupt"}
    for network, reference, history in zip(networks, references, histories, strict=True):
        if not len(history):  # on a busy machine
            continue
        expected = reference.fit(X, LABELS, epochs=len(history))
        assert figures(history) == figures(expected)
        np.testing.assert_array_equal(network.get_parameters(), reference.get_parameters())


@pytest.mark.parametrize("n_threads", [1, 2])
def test_one_interrupt_ends_networks_of_several_shapes(n_threads):
    networks = [
        fb.Network([3, n, 2], output="softmax", cost="cross_entropy", rng=n)
        for n in (2, 3, 4, 4, 4, 5)
    ]

    def press_ctrl_c(network, epoch, logs):
        if network is networks[0] and epoch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(fb.Interrupted) as caught:
        fb.fit_many(networks, X, LABELS, epochs=10**9, callbacks=press_ctrl_c, n_threads=n_threads)
    assert {history.ended_by for history in caught.value.history} == {"interrupt"}


def test_checkpoints_are_resumed(tmp_path):
    whole, halves = some(2), some(2)
    paths = [tmp_path / "0", tmp_path / "1"]
    of_each = [[fb.Checkpoint(path)] for path in paths]
    expected = fb.fit_many(whole, X, LABELS, epochs=4)
    fb.fit_many(halves, X, LABELS, epochs=2, callbacks=of_each)
    again = some(2)
    histories = fb.fit_many(again, X, LABELS, epochs=4, callbacks=of_each)
    check_same(again, whole, histories, expected)


def test_one_bar_for_all():
    class Bar:
        total, done, closed = None, 0, False

        def update(self, n):
            self.done += n

        def set_postfix(self, figures):
            assert "cost" in figures

        def close(self):
            self.closed = True

    bar = Bar()
    fb.fit_many(some(3), X, LABELS, epochs=[1, 2, 3], progress=bar)
    assert bar.done == 6
    assert bar.closed


def test_memory_of_a_network_that_waits_is_that_of_its_parameters_and_states():
    """What a call needs beside that does not grow with the number of networks."""

    def peak(n):
        tracemalloc.start()
        try:
            networks = some(n, (3, 200, 60, 2))
            fb.fit_many(networks, X, LABELS, epochs=2, n_threads=1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    n_bytes = 3 * some(1, (3, 200, 60, 2))[0].machine.theta.nbytes
    assert n_bytes <= (peak(12) - peak(4)) / 8 < 1.3 * n_bytes


SHARED = fb.Adam()
GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"networks": []}, ValueError, "at least one"),
        ({"networks": 3}, TypeError, "must be a list of Networks"),
        ({"networks": ["net"]}, TypeError, r"networks\[0\]"),
        ({"networks": some(1) * 2}, ValueError, "same object"),
        ({"optimizers": SHARED}, ValueError, "state of one network"),
        ({"optimizers": [SHARED, SHARED]}, ValueError, "same object"),
        ({"optimizers": ["adam"]}, ValueError, "each of the 2 networks; got 1"),
        ({"optimizers": ["adam", "adams"]}, ValueError, r"networks\[1\]: unknown optimizer"),
        ({"optimizers": 3}, TypeError, "one for each network"),
        ({"rows": [[0, 1], [0, N]]}, ValueError, rf"networks\[1\]: rows .* got {N}"),
        ({"rows": [[0, 1], [-1]]}, ValueError, r"networks\[1\]: rows"),
        ({"rows": [[0, 1], []]}, ValueError, "at least one row"),
        ({"rows": [[0, 1], [0.5]]}, TypeError, "rows must be integers"),
        ({"rows": [[0, 1]]}, ValueError, "each of the 2 networks; got 1"),
        ({"X": X[:, :2]}, ValueError, r"networks\[0\]: X must have shape \(n_samples, 3\)"),
        ({"X": [X, X[:, :2]], "y": [LABELS] * 2}, ValueError, r"networks\[1\]: X must have"),
        ({"X": [X, X]}, TypeError, "y must be a list"),
        ({"X": [X] * 3, "y": [LABELS] * 3}, ValueError, "X must hold one for each"),
        ({"y": None}, TypeError, "y must be targets"),
        ({"sample_weight": [WEIGHTS]}, ValueError, "sample_weight must hold one for each"),
        ({"sample_weight": np.ones((2, 3))}, ValueError, r"networks\[0\]: sample_weight"),
        (
            {"sample_weight": np.eye(N)[0], "rows": [[0, 1], [1, 2]]},
            ValueError,
            r"networks\[1\]: .*zero for every",
        ),
        ({"epochs": [1, 2, 3]}, ValueError, "epochs must hold one for each"),
        ({"epochs": [1, 0]}, ValueError, "epochs"),
        ({"validation": [(X, LABELS)]}, ValueError, "validation must hold one for each"),
        ({"callbacks": fb.Checkpoint("one.safetensors")}, ValueError, "a path for each"),
        (
            {"networks": [fb.Network([3, 4, 2], rng=GENERATOR) for _ in range(2)], "y": Y},
            ValueError,
            "same object: the order in which they draw",
        ),
        ({"n_threads": 0}, ValueError, "n_threads"),
        ({"progress": 3}, TypeError, "progress"),
    ],
)
def test_bad_input_changes_nothing(arguments, error, words):
    networks = arguments.get("networks", some(2))
    copies = copy.deepcopy(networks)
    arguments = {"networks": networks, "X": X, "y": LABELS, "epochs": 1} | arguments
    with pytest.raises(error, match=words):
        fb.fit_many(**arguments)
    for network, before in zip(networks, copies, strict=True) if networks != 3 else ():
        if not isinstance(network, str):
            np.testing.assert_array_equal(network.get_parameters(), before.get_parameters())
            state = network.rng.bit_generator.state
            assert state == before.rng.bit_generator.state
    if SHARED.steps:
        pytest.fail("a step was taken")
