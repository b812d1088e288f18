"""predict and evaluate, block by block, as Dask collections: nothing runs before `compute`."""

import functools
import os
from typing import Any

import cloudpickle
import dask
import dask.array
import numpy as np

from fastbackprop import inputs
from fastbackprop.dask import tasks
from fastbackprop.dask.partitions import blocks, sources
from fastbackprop.dask.work import FAN
from fastbackprop.network import Network
from fastbackprop.numbers import shown
from fastbackprop.training.plan import for_targets, samples_of


def predict(network: Network | str | os.PathLike[str], X: Any) -> Any:
    """a^L for every row of X, lazily.

    Parameters
    ----------
    network : Network, or the path of a saved one
        A file is read once by each worker process, so it must be where all can read it. Functions
        of your own are in no file: pass the network then.
    X : Dask array or DataFrame, list of futures or of delayed objects, or Partitions
        As for `fit`; parts may be (X, y) too.

    Returns
    -------
    dask.array.Array, (n_samples, n_L), of the network's dtype
        In blocks of rows as X is. Of all but Dask arrays the number of rows is not known before it
        is computed.

    Raises
    ------
    ValueError, TypeError, OSError
        For a wrong number of columns or type, and a file that is no network. Values that are not
        finite are refused by `compute`.
    """
    source, known = _source(network)
    n_in, n_out, dtype = known.sizes[0], known.sizes[-1], known.dtype
    each = blocks(X, "X")
    if isinstance(X, dask.array.Array):
        if X.ndim != 2 or X.shape[1] != n_in:
            raise ValueError(f"X must have shape (n_samples, {n_in}); got {X.shape}")
        rows = list(X.chunks[0])
    else:
        rows = [np.nan] * len(each)
    predicted = [
        dask.array.from_delayed(
            dask.delayed(_predicted, pure=True)(source, i, part), (n, n_out), dtype
        )
        for i, (part, n) in enumerate(zip(each, rows, strict=True))
    ]
    return dask.array.concatenate(predicted, allow_unknown_chunksizes=True)


def evaluate(
    network: Network | str | os.PathLike[str],
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    missing_targets: bool = False,
) -> Any:
    """Mean cost, sum_i s_i C_i / sum_i s_i, lazily.

    Parameters
    ----------
    network
        As for `predict`.
    X, y, sample_weight
        As for `fit`.
    missing_targets : bool
        As for `Network.evaluate`.

    Returns
    -------
    dask.delayed.Delayed
        `compute()` gives a float. Sums are added in the order of the partitions, so no bit depends
        on the workers.

    Raises
    ------
    ValueError, TypeError, OSError
        As `predict`; of values, by `compute`, with the number of the partition.
    """
    source, known = _source(network)
    for_targets(known.machine, missing_targets)
    costs = dask.delayed(_cost, pure=True)
    level = [
        costs(source, missing_targets, i, *data)
        for i, data in enumerate(sources(X, y, sample_weight))
    ]
    while len(level) > 1:
        level = [dask.delayed(tasks.added)(*level[i : i + FAN]) for i in range(0, len(level), FAN)]
    return dask.delayed(_mean)(level[0])


def _source(network: Any) -> tuple[Any, Network]:
    """What tasks make the network from, a path or a packed state, and the network."""
    if isinstance(network, Network):
        packed = cloudpickle.dumps(tasks.network_state(network))
        return dask.delayed(tasks.same, pure=True)(packed), network
    if not isinstance(network, str | os.PathLike):
        raise TypeError(f"network must be a Network or the path of one; got {shown(network)}")
    path = os.path.abspath(inputs.file_path(network, "network"))
    return path, Network.load(path)


def _network(source: str | bytes) -> Network:
    """The network of a task; from a file again where that has changed."""
    if isinstance(source, bytes):
        return _unpacked(source)
    status = os.stat(source)
    return _loaded(source, status.st_mtime_ns, status.st_size)


@functools.lru_cache(4)
def _unpacked(packed: bytes) -> Network:
    return tasks.network_of(cloudpickle.loads(packed))


@functools.lru_cache(4)
def _loaded(path: str, changed: int, size: int) -> Network:
    return Network.load(path)


def _predicted(source: str | bytes, i: int, part: Any) -> np.ndarray:
    """A block of predictions."""
    with tasks.naming_partition(i):
        return _network(source).predict(tasks.rows_of(part, i), n_threads=1)


def _cost(source: str | bytes, missing_targets: bool, i: int, *data: Any) -> tasks.Sums:
    """The sums of a partition."""
    with tasks.naming_partition(i):
        X, y, s = tasks.triple(data, i)
        machine = for_targets(_network(source).machine, missing_targets)
        if np.shape(X)[:1] == (0,):
            return tasks.NOTHING
        return tasks.Sums(*machine.cost_sums(samples_of(machine, X, y, s)), np.zeros(0))


def _mean(sums: tasks.Sums) -> float:
    if not sums.weight:
        raise ValueError("X has no rows, or all of them have the weight zero")
    return sums.cost / sums.weight
