"""The client, and whether its workers are as they must be."""

import importlib.util
from typing import Any

import distributed

from fastbackprop.dask import tasks
from fastbackprop.numbers import shown
from fastbackprop.version import __version__

HOW = (
    "`from dask.distributed import Client; client = Client()` starts workers on this machine, "
    'Client("tcp://scheduler:8786") connects to a cluster'
)


def connected(client: Any) -> distributed.Client:
    """The client, or the current one for None. Raises TypeError or ValueError."""
    if client is None:
        try:
            client = distributed.get_client()
        except ValueError:
            raise ValueError(f"there is no Dask client: {HOW}") from None
    if not isinstance(client, distributed.Client):
        raise TypeError(f"client must be a dask.distributed.Client; got {shown(client)}. {HOW}")
    if client.asynchronous:
        raise ValueError(
            "client must not be asynchronous: call this in a thread, with a Client(address)"
        )
    if client.status != "running":
        raise ValueError(f"the Dask client is {client.status}: {HOW}")
    return client


def check_workers(client: distributed.Client, engine: str) -> None:
    """Raise RuntimeError, with the workers' names, for those that would compute other bits.

    A worker that comes later is checked by the tasks that it runs.
    """
    found = client.run(importlib.util.find_spec, "fastbackprop", on_error="return")
    without = [
        address
        for address, spec in found.items()
        if spec is None or isinstance(spec, ValueError | ImportError)
    ]
    if without:
        raise RuntimeError(
            f"fastbackprop is not installed on {_named(without)}: install version {__version__}, "
            f"as here, in the environment that the workers run in"
        )
    here = tasks.build(engine)
    for address, there in client.run(tasks.build, engine, on_error="return").items():
        if isinstance(there, ImportError | AttributeError):
            raise RuntimeError(
                f"worker {address} cannot import what it needs ({there}): install fastbackprop "
                f"{__version__} with its dependencies there"
            )
        if isinstance(there, dict):  # or the worker was lost in the meantime
            tasks.compare(here, there, address)


def _named(addresses: list[str]) -> str:
    more = f" and {len(addresses) - 5} more" if len(addresses) > 5 else ""
    return f"worker{'s' * (len(addresses) > 1)} {', '.join(addresses[:5])}{more}"
