"""Hostile calls of the public interface."""

import ast
import contextlib
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbackprop as fb
from tests.fuzz import values
from tests.fuzz.values import Mine

# One line for each call: names of `values.KINDS` stand for arguments, and a keyword may be left
# out. A line whose function does not exist in this version is passed over.
CALLS = """
fb.Network(sizes, hidden=activation, output=output, cost=cost, init=init, dtype=dtype, rng=rng, engine=engine)
net.predict(X, out=out, n_threads=count)
net.predict(X)
net.activations(X)
net.evaluate(X, y, sample_weight=weights, n_threads=count)
net.gradient(X, y, sample_weight=weights, n_threads=count)
net.gradient_sums(X, y, sample_weight=weights, n_threads=count)
net.trace(X, y, sample_weight=weights)
net.sample_gradients(X, y, out=sample_out)
net.sample_gradient_norms(X, y)
net.error_sizes(X, y)
net.input_gradient(X, y, n_threads=count)
net.jacobian(X, n_threads=count)
net.check_gradient(X, y)
net.hessian_vector_product(X, y, flat, sample_weight=weights)
net.gauss_newton_vector_product(X, y, flat, sample_weight=weights)
net.fit(X, y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, validation=validation, sample_weight=weights, shuffle=flag, dropout=rate, callbacks=callback, early_stopping=stopping, metrics=metrics, n_threads=count)
net.fit(X, y, epochs=epochs, optimizer=optimizer, callbacks=callback)
net.fit(batches, epochs=epochs, batch_size=batch_size, optimizer=optimizer, validation=validation)
net.partial_fit(X, y, batch_size=batch_size, optimizer=optimizer, sample_weight=weights, shuffle=flag, dropout=rate, n_threads=count)
net.get_parameters()
net.set_parameters(flat)
net.save(path)
fb.Network.load(path, rng=rng, engine=engine, functions=anything)
net.weights.__setitem__(count, anything)
net.to_sklearn(anything)
fb.Network.from_torch(state, hidden=activation, output=output, cost=cost)
fb.Network.from_sklearn(anything)
fb.Activation(path, function, function, p=p)
fb.Cost(path, function, function, p=p)
fb.Network([2, 3, 1], hidden=fb.Activation("own", lambda z: z, lambda z, a: 1.0, p=p), engine="numpy")
fb.LeakyReLU(number)
fb.ELU(number)
fb.CELU(number)
fb.LayerNorm(activation, number)
fb.Huber(number)
fb.Tweedie(number)
fb.Focal(number)
fb.Quantile(p)
fb.CrossEntropy(number)
fb.SGD(schedule, momentum=number, nesterov=flag, l1=number, l2=number, max_norm=number, clip_norm=number)
fb.Adam(schedule, l2=number, clip_value=number, averaging=anything, layer_rates=p)
fb.AdamW(schedule, weight_decay=number)
fb.RMSprop(schedule)
fb.Custom(function, learning_rate=schedule)
fb.LBFGS()
fb.EMA(number)
fb.SWA(count, count)
fb.Cosine(number, epochs=epochs)
fb.Exponential(number, factor=number)
fb.Polynomial(number, epochs=epochs)
fb.OneCycle(number, epochs=epochs)
fb.Plateau(number, factor=number, patience=count)
fb.Step(number, count, number)
fb.Warmup(epochs, then=schedule)
fb.EarlyStopping(count, min_improvement=number, restore_best=flag, maximize=flag)
fb.Checkpoint(path)
fb.TimeBudget(number)
fb.Dropout(rate, inputs=number, noise=number)
fb.Metrics(metrics, training=flag)
fb.ErrorFlow(X, y)
onnx.export(net, path)
onnx.load(path, cost=cost, max_parameters=count)
formats.write_c(net, path)
formats.write_numpy(net, path)
classifier.fit(X, labels)
classifier.partial_fit(X, labels, classes=anything)
classifier.predict(X)
classifier.set_params(solver=optimizer, alpha=number, batch_size=batch_size, learning_rate_init=number, max_iter=epochs, tol=number, momentum=number, early_stopping=flag, beta_1=number, dropout=rate)
net.backward(X, gradient, n_threads=count)
net.jet(X, directions, order=count, n_threads=count)
net.jet_backward(X, directions, gradient, jets, jets)
net.trainer(optimizer)
net.trainer("adam").step(X, y, sample_weight=weights)
net.trainer("adam").apply(flat)
fb.minimize(net, objective)
fb.fit_many(networks, X, y, optimizers=anything, epochs=epochs, batch_size=batch_size)
fb.Ensemble(networks)
fb.Ensemble([net]).predict(X)
tabular.TabularClassifier(quality="fast", max_epochs=1, n_folds=2).fit(X, labels, sample_weight=weights)
tabular.TabularRegressor(quality="fast", max_epochs=1, n_folds=2).fit(X, y, sample_weight=weights)
dask.fit(net, X, y, epochs=epochs)
dask.fit(net, dask.partitions(len, 3), sync=anything, client=anything, epochs=epochs, batch_size=batch_size, optimizer=optimizer, validation=validation, sample_weight=weights, shuffle=flag, dropout=rate, callbacks=callback, checkpoint=path, early_stopping=stopping, metrics=metrics)
dask.fit_many(networks, X, y, client=anything, optimizers=anything, epochs=epochs, batch_size=batch_size, dropout=rate)
dask.as_completed(networks, X, y, rows=anything, validation=validation, early_stopping=stopping, callbacks=callback)
dask.partitions(function, count)
dask.predict(net, X)
dask.predict(anything, dask.partitions(len, 3))
dask.evaluate(net, X, y, sample_weight=weights)
dask.DaskMLPClassifier((3,), max_iter=2).fit(X, labels, sample_weight=weights)
sklearn.cross_val_score(classifier, X, labels, cv=2, client=anything)
tabular.TabularRegressor(quality="fast", max_epochs=1, client="here").fit(X, y)
"""
MUTATING = ("fit", "partial_fit", "set_parameters", "__setitem__", "step", "apply", "minimize",
            "fit_many")  # fmt: skip

DOCUMENTED = (ValueError, TypeError, OSError, ImportError, fb.DivergenceError, MemoryError)
SLOW, MOST_MEMORY = 60.0, 6 << 30  # processor seconds of a call, which may compile; bytes


class Call(NamedTuple):
    """A line of `CALLS`."""

    function: ast.expr
    arguments: list[tuple[str | None, ast.expr]]
    text: str

    @property
    def method(self) -> str:
        return ast.unparse(self.function).split(".")[-1]


def parsed(text: str) -> Call:
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    arguments = [(None, a) for a in call.args] + [(k.arg, k.value) for k in call.keywords]
    return Call(call.func, arguments, ast.unparse(call.func))


class World:
    """Networks and data; `net`, `X` and `y` are chosen anew for each call."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.used = folder, fb.SGD(1e-3)
        kinds = [("identity", "squared_error"), ("sigmoid", "cross_entropy"),
                 ("softmax", "cross_entropy")]  # fmt: skip
        self.nets = [
            fb.Network(sizes, hidden=hidden, output=output, cost=cost, dtype=dtype, engine=engine, rng=0)
            for engine in ("tiles", "loops", "numpy")
            for dtype in ("float32", "float64")
            for (output, cost), hidden, sizes in zip(
                kinds, ("tanh", "relu", fb.LayerNorm("tanh")), ([3, 4, 2], [3, 2], [3, 5, 17, 3]),
                strict=True)
        ]  # fmt: skip
        self.before = [net.get_parameters() for net in self.nets]
        self.net, self.X, self.y = self.nets[0], np.zeros((1, 3)), np.zeros((1, 2))
        self.names = {"fb": fb, "np": np, **_modules()}
        self.nets[0].fit(np.zeros((2, 3)), np.zeros((2, 2)), epochs=1, optimizer=self.used)
        self.nets[0].set_parameters(self.before[0])
        self.files()

    def files(self) -> None:
        """Files of every kind."""
        net, folder = self.nets[0], self.folder
        net.save(folder / "net")
        data = (folder / "net").read_bytes()
        (folder / "damaged").write_bytes(data[:-5])
        (folder / "empty").write_bytes(b"")
        (folder / "read_only").write_bytes(data)
        (folder / "read_only").chmod(0o444)
        for link, to in (("link", "net"), ("loop", "loop")):
            with contextlib.suppress(FileExistsError):
                (folder / link).symlink_to(to)

    def choose(self, r: np.random.Generator) -> int:
        number = int(r.integers(len(self.nets)))
        self.net = self.nets[number]
        self.X = values.inputs(r, self.net)
        self.y = values.targets(r, self.net, len(self.X))
        return number

    def scope(self) -> dict[str, Any]:
        more: dict[str, Any] = {"net": self.net, "labels": np.arange(len(self.X)) % 2}
        if "sklearn" in self.names:
            more["classifier"] = self.names["sklearn"].MLPClassifier(
                (3,), max_iter=2, engine="numpy"
            )
        return self.names | more

    def changed(self) -> str:
        """Which network has other bits than before, or padding that is not zero; all are reset."""
        for i, (net, before) in enumerate(zip(self.nets, self.before, strict=True)):
            after, theta = net.get_parameters(), net.machine.theta
            padding = theta.sum() - sum(part.sum() for part in (*net.weights, *net.biases))
            if after.tobytes() != before.tobytes():
                net.set_parameters(before)
                finite = "" if np.isfinite(after).all() else ", not finite"
                return f"network {i} has other parameters{finite}"
            if abs(padding) > 1e-3:
                return f"network {i} has padding that is not zero"
        return ""


def _modules() -> dict[str, Any]:
    from fastbackprop import formats

    found: dict[str, Any] = {"formats": formats}
    for name in ("onnx", "sklearn", "tabular", "dask"):
        with contextlib.suppress(ImportError):
            found[name] = __import__(f"fastbackprop.{name}", fromlist=[name])
    return found


def calls(world: World) -> list[Call]:
    """The lines whose functions exist here."""
    found = []
    for line in filter(None, CALLS.splitlines()):
        call = parsed(line)
        with contextlib.suppress(AttributeError, NameError):
            root = call.function
            while isinstance(root, ast.Attribute) and isinstance(root.value, ast.Call):
                root = root.value.func
            eval(ast.unparse(root), world.scope())
            found.append(call)
    return found


def attempt(world: World, found: list[Call], r: np.random.Generator) -> dict[str, Any]:
    """One call: its name, its outcome, and what was wrong, if anything."""
    call, number = found[int(r.integers(len(found)))], world.choose(r)
    scope, arguments = world.scope(), call.arguments
    hostile = int(r.choice([0, 1, 1, 1, 2])), r.permutation(max(len(arguments), 1)).tolist()
    positional, keywords, shown = [], {}, []
    for i, (keyword, node) in enumerate(arguments):
        is_hostile = i in hostile[1][: hostile[0]]
        if isinstance(node, ast.Name) and node.id in values.KINDS:
            value = values.argument(node.id, r, world, is_hostile)
        else:
            value = eval(ast.unparse(node), {**scope, "p": values.KINDS["p"](r, world)})
        if keyword is None:
            positional.append(value)
        elif is_hostile or r.random() < 0.5:
            keywords[keyword] = value
        shown.append(_shown(value))
    began, wrong, later = time.process_time(), "", False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = eval(ast.unparse(call.function), scope)
            _used(function(*positional, **keywords))
        outcome = "accepted"
    except Mine:
        outcome = "its own error"
    except DOCUMENTED as error:
        outcome, later = type(error).__name__, _raised_by_a_callback(error)
        if not str(error) or isinstance(error, UnicodeError):
            wrong = f"{outcome}: {error}"  # a message that is none, or of another library
    except Exception as error:
        outcome = type(error).__name__
        if not (isinstance(error, IndexError) and call.method == "__setitem__"):
            wrong = f"{outcome}: {error}"
    change = world.changed()
    allowed = call.method in MUTATING and (
        outcome in ("accepted", "its own error", "DivergenceError")
        or later
        or _read_later(positional)
    )
    if change and (not allowed or ("not finite" in change and call.method != "__setitem__")):
        wrong = wrong or f"{change} after {outcome}"
    if time.process_time() - began > SLOW:
        wrong = wrong or f"it took {time.process_time() - began:.0f} s"
    result = {"name": call.text, "outcome": outcome}
    return result | ({"wrong": f"{wrong} [network {number}; {'; '.join(shown)}]"} if wrong else {})


def _read_later(arguments: list[Any]) -> bool:
    """Whether data are read, and refused, while the training goes on."""
    X = arguments[0] if arguments else None
    return isinstance(X, values.Liar) or any(isinstance(a, values.Liar) for a in arguments) or (
        hasattr(X, "__iter__") and not isinstance(X, np.ndarray)
    )  # fmt: skip


def _raised_by_a_callback(error: BaseException) -> bool:
    """Whether it comes from what the caller passed to be called between two epochs."""
    traceback, names = error.__traceback__, set()
    while traceback is not None:
        names.add(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return bool(names & {"tell", "_metrics", "_pause", "factors"})


def _used(result: Any) -> None:
    """Look at what was returned."""
    repr(result)
    if isinstance(result, np.ndarray):
        result.sum(dtype=float)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except Exception:
        return type(value).__name__


def within(seed: int, first: int, last: int, tell: Any) -> None:
    """Calls first ... last, in this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    world = World(folder)
    found = calls(world)
    for i in range(first, last):
        tell(begin=i)
        tell(attempt=i, **attempt(world, found, np.random.default_rng([seed, i])))
        if i % 50 == 0:
            world.files()
