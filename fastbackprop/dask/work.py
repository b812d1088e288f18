"""Work: the tasks of one call: started, waited for, repaired where workers were lost, ended."""

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import distributed
from dask.delayed import Delayed
from distributed.scheduler import KilledWorker

from fastbackprop.dask import tasks
from fastbackprop.dask.tasks import Facts, Job, NoLongerWanted, Sums
from fastbackprop.training.callbacks import warn

Pause = Callable[[], None]

FAN = 8  # partitions, or sums of them, that a task adds
POLL = 0.05  # seconds between two looks at Ctrl-C
LOOK = 1.0  # and at the workers
ATTEMPTS = 3  # at a round whose tasks ended one worker after the other: each is tried by four
LOST = (KilledWorker, NoLongerWanted, distributed.client.FutureCancelledError)


@dataclass(frozen=True)
class Partitioning:
    """What has to be the same for a checkpoint to be continued."""

    rows: tuple[int, ...]
    sync: str | int
    batch_size: int | None


class Parts:
    """Checked partitions in the memory of the workers.

    Attributes
    ----------
    futures : list of Future
    facts : list of Facts
    """

    def __init__(self, work: "Work", job: Job, sources: list[tuple[Any, ...]]) -> None:
        self._work, self._sources = work, sources
        self._blob = work.start(tasks.same, "job", job.packed())
        of_dask = [item for source in sources for item in source if isinstance(item, Delayed)]
        started = iter(work.client.compute(of_dask))  # together: they may share tasks
        data = [
            [next(started) if isinstance(item, Delayed) else item for item in source]
            for source in sources
        ]
        self.futures = [self._start(i, source) for i, source in enumerate(data)]
        self.facts: list[Facts] = []
        work.kept.append(self)

    def _start(self, i: int, data: Sequence[Any]) -> Any:
        return self._work.start(tasks.checked, f"part-{i}", self._blob, i, *data)

    def look(self, pause: Pause) -> None:
        """Wait until all are there and checked. Raises for the first that cannot be used."""
        work = self._work

        def start() -> Any:
            each = [work.start(tasks.facts, "facts", part) for part in self.futures]
            return work.start(tasks.listed, "facts", *each)

        self.facts = work.finished(start, self, pause)
        kinds = [(i, facts.dtype) for i, facts in enumerate(self.facts) if facts.n]
        if not kinds:
            raise ValueError("X has no rows in any of its partitions")
        first, dtype = kinds[0]
        for i, other in kinds:
            if other != dtype:
                raise TypeError(
                    f"X holds {other} in partition {i}, and {dtype} in partition {first}: all "
                    f"partitions must have the same dtype"
                )

    def failure(self, error: Exception) -> Exception:
        """The error of the partition that is the cause, where one is."""
        for i, part in enumerate(self.futures):
            if part.status == "error":
                own = part.exception()
                if isinstance(own, LOST):
                    continue
                named = str(own).startswith(f"partition {i}: ")
                return own if named else tasks.of_partition(i, own)
        return error

    def repair(self) -> None:
        """Make those again that were lost for good."""
        for i, (part, source) in enumerate(zip(self.futures, self._sources, strict=True)):
            if part.status in ("error", "cancelled", "lost"):
                for item in source:
                    if isinstance(item, distributed.Future) and item.status != "finished":
                        raise RuntimeError(
                            f"partition {i} was lost with its worker, and the future it came as "
                            f"is {item.status}: scattered data cannot be made again. Pass delayed "
                            f"objects, or partitions(load, n)"
                        )
                client = self._work.client
                data = [client.compute(x) if isinstance(x, Delayed) else x for x in source]
                self.futures[i] = self._start(i, data)


class Work:
    """The tasks of one call on a cluster, which end with the `with` block.

    As a callback of the training it looks at the client, and is what a checkpoint compares.
    """

    def __init__(self, client: distributed.Client) -> None:
        self.client, self.kept = client, list[Parts]()
        self.rule: Partitioning | None = None  # for checkpoints
        self._token, self._numbers = uuid.uuid4().hex, itertools.count()
        self._workers, self._looked = set(client.nthreads()), time.monotonic()
        self._told_of_none = False

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, *exception: object) -> None:
        """Give up all partitions: an exception, which somebody may keep, would keep them."""
        for parts in self.kept:
            for future in parts.futures:
                future.release()

    def start(self, function: Callable[..., Any], name: str, *arguments: Any) -> Any:
        """A task as a future. Dropping that cancels the task, unless another needs it."""
        key = f"fastbackprop_{name}-{self._token}-{next(self._numbers)}"
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            return self.client.submit(function, *arguments, key=key, pure=False)

    def total(
        self,
        function: Callable[..., Sums],
        job: Job,
        parts: Parts,
        columns: Sequence[Sequence[Any]],
        pause: Pause,
    ) -> Sums:
        """The sum of function(job, part, i, *column[i]) over the partitions, in their order."""

        def start() -> Any:
            blob, numbers = self.start(tasks.same, "job", job.packed()), range(len(parts.futures))
            name = f"fastbackprop_{function.__name__}"
            keys = [f"{name}-{i}-{self._token}-{next(self._numbers)}" for i in numbers]
            blobs = [blob] * len(keys)
            level = self.client.map(
                function, blobs, parts.futures, numbers, *columns, key=keys, pure=False
            )
            while len(level) > 1:
                level = [
                    self.start(tasks.added, "added", *level[i : i + FAN])
                    for i in range(0, len(level), FAN)
                ]
            return level[0]

        total: Sums = self.finished(start, parts, pause)
        return total

    def finished(self, start: Callable[[], Any], parts: Parts, pause: Pause) -> Any:
        """The result of the task that this starts, on these partitions; again where it is lost."""
        for attempt in range(ATTEMPTS):
            try:
                return self.result(start(), pause, parts)
            except LOST as error:
                self.give_up(error, attempt)
                parts.repair()
        raise AssertionError("unreachable")

    def result(self, future: Any, pause: Pause, parts: Parts) -> Any:
        """Wait for a task. Whatever ends the wait, such as Ctrl-C, ends the task."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        try:
            while not done.wait(POLL):
                pause()
            result = future.result()
        except Exception as error:
            with contextlib.suppress(Exception):
                future.cancel()
            failure = parts.failure(error)
            if failure is error:
                raise
            raise failure from error
        except BaseException:
            future.cancel()
            raise
        self.look_at_workers()
        return result

    def give_up(self, error: Exception, attempt: int) -> None:
        """Raise where another attempt makes no sense."""
        self.look_at_workers(at_once=True)
        if attempt < ATTEMPTS - 1 and self.client.status == "running":
            return
        task = getattr(error, "task", "a task")
        raise RuntimeError(
            f"{task} could not be finished: one worker after the other was lost with it. Workers "
            f"that need more memory than they may have are ended by Dask: use smaller partitions"
        ) from error

    # --- as a callback ----------------------------------------------------------------------------

    def on_pause(self) -> None:
        """Raise ConnectionError if the client was closed; look at the workers now and then."""
        if self.client.status not in ("running", "connecting"):
            raise ConnectionError(
                f"the Dask client is {self.client.status}: the training cannot go on. With a "
                f"checkpoint, the same call continues it on a new client"
            )
        self.look_at_workers()

    def get_state(self) -> dict[str, Any]:
        """Nothing but the rule is kept in a checkpoint, to be compared."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def look_at_workers(self, at_once: bool = False) -> None:
        """Warn of workers that were lost, and where there are none."""
        now = time.monotonic()
        if not at_once and now < self._looked + LOOK:
            return
        self._looked = now
        if self.client.status != "running":
            return
        try:
            workers = set(self.client.nthreads())
        except (OSError, TimeoutError):
            return  # the scheduler is lost: the client will say so
        for address in sorted(self._workers - workers):
            self._tell_of(address)
        if not workers and not self._told_of_none:
            self._told_of_none = True
            warn("the cluster has no workers: the training waits until there are some")
        self._workers = workers

    def _tell_of(self, address: str) -> None:
        """Warn, unless the worker was meant to leave."""
        for _, event in self.client.get_events(address):
            if event.get("action") == "remove-worker":
                if event.get("expected"):
                    return
                keys = {*event["processing-tasks"], *event["lost-computed-tasks"]}
                own = [str(key) for key in keys if self._token in str(key)]
                held = sorted(
                    int(k.split("-")[1]) for k in own if k.startswith("fastbackprop_part")
                )
                what = f"partitions {', '.join(map(str, held))}" if held else "no partition"
                warn(
                    f"worker {address} was lost, with {len(own)} tasks and {what}: they are "
                    f"computed again. The result does not change"
                )
                return
