"""What workers run: functions of partitions and of packed networks. They keep nothing.

A task has the bits of the same call in any other process. It looks between two native calls, of
some tens of milliseconds, whether it is still wanted, so that no task goes on after Ctrl-C.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cloudpickle
import distributed
import numpy as np

from fastbackprop.jit import cache, tile
from fastbackprop.layout import read_only
from fastbackprop.network import Network
from fastbackprop.optimizers import Custom, Optimizer
from fastbackprop.samples import COST, WEIGHT, Samples
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.plan import Plan, for_targets, samples_of
from fastbackprop.training.trainer import Trainer
from fastbackprop.version import __version__


class NoLongerWanted(Exception):
    """The task was cancelled while it ran."""


def wanted() -> Callable[[], None]:
    """A function for between two native calls: it raises NoLongerWanted in a cancelled task."""
    try:
        worker = distributed.get_worker()
        key, known = worker.get_current_task(), worker.state.tasks
    except (ValueError, AttributeError):  # this is no task; or another version of Dask
        return lambda: None

    def check() -> None:
        task = known.get(key)
        if task is None or task.state == "cancelled":
            raise NoLongerWanted(f"the task {key} was cancelled")

    return check


def build(engine: str) -> dict[str, Any]:
    """What has to be the same in all processes for results to have the same bits."""
    facts: dict[str, Any] = {"version": __version__}
    if engine != "numpy":
        facts |= {"code": cache.fingerprint(), "vectors": tile.VECTOR_BYTES}
    return facts


def compare(here: dict[str, Any], there: dict[str, Any], worker: str) -> None:
    """Raise RuntimeError where the facts of a worker are not those of the client."""
    if here == there:
        return
    if here["version"] != there["version"]:
        raise RuntimeError(
            f"worker {worker} has fastbackprop {there['version']}, the client "
            f"{here['version']}: install the same version"
        )
    if here["code"] != there["code"]:
        raise RuntimeError(
            f"worker {worker} has other sources of fastbackprop {here['version']}, or another "
            f"version of Numba or llvmlite, than the client: install the same environment"
        )
    width = min(here["vectors"], there["vectors"])
    raise RuntimeError(
        f"worker {worker} computes with vectors of {there['vectors']} bytes, the client with "
        f"{here['vectors']}: results would depend on which worker computes them. Set the variable "
        f"FASTBACKPROP_VECTOR_BYTES={width} for the client and for all workers"
    )


def same(value: Any) -> Any:
    """The value: a task that Dask can repeat, where scattered data would be lost with a worker."""
    return value


class Job(NamedTuple):
    """All that a task of a round needs besides its partition."""

    build: dict[str, Any]  # of the client
    network: dict[str, Any]  # state of a `Network`
    plan: Plan
    optimizer: Optimizer | None = None
    epoch_seed: int = 0
    steps: int = 0  # taken before this round
    steps_per_epoch: int = 1

    def packed(self) -> bytes:
        """Functions of a user's own may be in the job."""
        blob: bytes = cloudpickle.dumps(self)
        return blob


def network_state(network: Network, parameters: np.ndarray | None = None) -> dict[str, Any]:
    """The network, or one with these parameters, without its generator and optimizer."""
    state = network.__getstate__() | {"rng": None, "optimizer": None}
    return state if parameters is None else state | {"parameters": parameters}


def network_of(state: dict[str, Any], rng: np.random.Generator | None = None) -> Network:
    """The network of a state."""
    network = Network.__new__(Network)
    network.__setstate__(state | {"rng": rng})
    return network


@contextmanager
def _on_partition(blob: bytes, i: int) -> Iterator[Job]:
    """The job, for partition i: errors in the block name that."""
    job: Job = pickle.loads(blob)
    there = build(job.network["description"][-1])
    if there != job.build:
        compare(job.build, there, distributed.get_worker().address)
    with naming_partition(i):
        yield job


@contextmanager
def naming_partition(i: int) -> Iterator[None]:
    """Errors in the block name the partition."""
    try:
        yield
    except NoLongerWanted:
        raise
    except Exception as error:
        raise of_partition(i, error) from error


def of_partition(i: int, error: BaseException) -> Exception:
    """An error with the partition's number in front of its message."""
    kind = type(error)
    if kind in (ValueError, TypeError):
        return kind(f"partition {i}: {error}")
    return RuntimeError(f"partition {i}: {kind.__name__}: {error}")


# --- partitions ----------------------------------------------------------------------------------


class Part(NamedTuple):
    """A partition: its samples, which are None where it has no rows, and the dtype X came in."""

    samples: Samples | None
    dtype: str


class Facts(NamedTuple):
    """What the client has to know of a partition."""

    n: int
    weight: float
    dtype: str


def checked(blob: bytes, i: int, *data: Any) -> Part:
    """A partition from X, y and perhaps weights, or from a function that loads them."""
    with _on_partition(blob, i) as job:
        X, y, s = triple(data, i)
        if np.shape(X)[:1] == (0,):
            return Part(None, "")
        network = network_of(job.network)
        machine = for_targets(network.machine, job.plan.missing_targets)
        if job.plan.noise and hasattr(X, "tocsr"):
            raise TypeError("X is sparse, and input noise would make it dense")
        return Part(samples_of(machine, X, y, s), str(getattr(X, "dtype", "columns of a frame")))


def triple(data: tuple[Any, ...], i: int) -> tuple[Any, Any, Any]:
    """X, y and weights or None, from these or from one object, which may be a function of i."""
    if len(data) == 1:
        data = data[0](i) if callable(data[0]) else data[0]
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(
            f"it must be (X, y) or (X, y, sample_weight); it is of type {type(data).__name__}"
        )
    X, y, s = (*data, None)[:3]
    return X, y, s


def rows_of(part: Any, i: int) -> Any:
    """X of a block, which may be (X, y) or a function of i."""
    part = part(i) if callable(part) else part
    return part[0] if isinstance(part, tuple | list) else part


def facts(part: Part) -> Facts:
    """Figures of a partition."""
    samples = part.samples
    if samples is None:
        return Facts(0, 0.0, "")
    n = len(samples.X)
    return Facts(n, float(samples.s.sum()) if len(samples.s) else float(n), part.dtype)


def _at_hand(samples: Samples) -> Samples:
    """The samples as kernels take them: Dask may have moved or spilled the arrays."""
    fields = samples._asdict()
    for name, field in fields.items():
        if isinstance(field, np.ndarray):
            fields[name] = read_only(np.require(field, requirements=["C", "A"]))
    return Samples(**fields)


# --- rounds --------------------------------------------------------------------------------------


class Sums(NamedTuple):
    """Sums over partitions: costs, weights, and a vector, (0,) where there is none; the steps."""

    cost: float
    weight: float
    vector: np.ndarray  # float64
    steps: int = 0


NOTHING = Sums(0.0, 0.0, np.zeros(0))


def added(*parts: Sums) -> Sums:
    """The sum, one after the other; of the steps the largest number."""
    cost, weight, total, steps = parts[0]
    vector = total.copy()
    for part in parts[1:]:
        cost, weight, steps = cost + part.cost, weight + part.weight, max(steps, part.steps)
        vector += part.vector
    return Sums(cost, weight, vector, steps)


def listed(*values: Any) -> list[Any]:
    """All values, for one answer to the client."""
    return list(values)


class _Local(Trainer):
    """The steps of a partition."""

    def __init__(self, job: Job, i: int, optimizer: Optimizer) -> None:
        rng = np.random.default_rng([job.epoch_seed, i])
        network = network_of(job.network, rng)
        super().__init__(network, job.plan, optimizer, Callbacks(()))
        self.stepper = optimizer.stepper(self.machine)
        self.stepper.steps = job.steps
        self.stepper.begin_epoch(job.steps_per_epoch)

    def on(self, samples: Samples, first: int, last: int) -> bool:
        """The steps on these places of the epoch's order; False where that diverges."""
        samples = _at_hand(samples)
        return self.one_pass(samples, self.order(samples)[first:last], wanted())


def gradient(blob: bytes, part: Part, i: int, first: int, last: int) -> Sums:
    """The gradient of sum_i s_i C_i of these places of the epoch's order, flat.

    The minibatch goes through the steps of `fit`, dropout and noise included, with an optimizer
    that keeps the gradient and takes no step. The cost is NaN where it is not finite.
    """
    found: list[np.ndarray] = []

    def keep(theta: np.ndarray, g: np.ndarray, states: Any, step: int, rate: float) -> None:
        found.append(g.astype(np.float64))

    with _on_partition(blob, i) as job:
        nothing = Sums(0.0, 0.0, np.zeros(len(job.network["parameters"])), 1)
        if part.samples is None or first == last:
            return nothing
        local = _Local(job, i, Custom(keep))
        if not local.on(part.samples, first, last):
            return nothing._replace(cost=np.nan)
        if not found:  # all weights are zero
            return nothing
        weight = float(local.sums[WEIGHT])
        return Sums(float(local.sums[COST]), weight, found[0] * weight, 1)


def trained(blob: bytes, part: Part, i: int, first: int, last: int, share: float) -> Sums:
    """`share` times the parameters and the optimizer's states after steps on these places."""
    with _on_partition(blob, i) as job:
        optimizer = job.optimizer
        assert optimizer is not None
        local = _Local(job, i, optimizer)
        finite = part.samples is None or first == last or local.on(part.samples, first, last)
        flatten = local.machine.layout.flatten
        vector = np.concatenate([flatten(v) for v in vectors(local)]).astype(np.float64)
        cost, weight = float(local.sums[COST]), float(local.sums[WEIGHT])
        return Sums(cost if finite else np.nan, weight, share * vector, local.stepper.steps)


def vectors(training: Any) -> list[np.ndarray]:
    """Everything that the steps change, of the layout: parameters, states, mean."""
    stepper = training.stepper
    return [training.machine.theta, *stepper.states, *([stepper.mean] if stepper.mean.size else [])]


def cost(blob: bytes, part: Part, i: int) -> Sums:
    """sum_i s_i C_i and sum_i s_i."""
    with _on_partition(blob, i) as job:
        if part.samples is None:
            return NOTHING
        machine = for_targets(network_of(job.network).machine, job.plan.missing_targets)
        sums = machine.cost_sums(_at_hand(part.samples), 1, wanted())
        return Sums(*sums, np.zeros(0))
