"""A backend of joblib that trains the networks of many tasks together, in the calling thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib import cpu_count, parallel_config
from joblib.parallel import ParallelBackendBase

from fastbackprop.sklearn.on_client import check
from fastbackprop.sklearn.tasks import Folds, Task, last_step, train
from fastbackprop.training import History, Interrupted

AT_ONCE = 1024  # workers, as joblib counts them: so many tasks wait for each other
MOST_BYTES = 1 << 28  # of networks that are trained at once, and of their samples
BY_WORK = -1  # n_jobs, where nobody says how many threads


class Together(ParallelBackendBase):
    """Tasks wait until the first result is asked for; then their networks are trained together."""

    default_n_jobs = BY_WORK
    supports_sharedmem = True
    uses_threads = True

    def __init__(self, client: Any = None) -> None:
        super().__init__(nesting_level=0)
        self._client = client
        self._n_threads: int | None = None
        self._waiting: deque[Job] = deque()
        self._folds = Folds()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """More than one: joblib asks no backend otherwise."""
        return AT_ONCE

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Take n_jobs as a number of threads."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs == BY_WORK:
            self._n_threads = None
        else:
            self._n_threads = n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Callable[..., Any] | None = None) -> Job:
        """Let a batch of tasks wait."""
        job = Job(func, callback, self)
        self._waiting.append(job)
        return job

    apply_async = submit  # before joblib 1.5

    def stop_call(self) -> None:
        """No task is left of this call, unless one has failed."""
        self._waiting.clear()
        self._folds = Folds()

    def train(self) -> None:
        """Train the networks of the tasks that wait, as many as the memory is for."""
        tasks, size, folds = list[Task](), 0, self._folds
        nested, n_jobs = self.get_nested_backend()
        with parallel_config(backend=nested, n_jobs=n_jobs):
            while self._waiting and (not tasks or size + folds.size < MOST_BYTES):
                job = self._waiting.popleft()
                job.waits = False
                size += sum(task.begin(folds) for task in job.tasks)
                tasks += job.tasks
        if folds.size > MOST_BYTES // 2:
            self._folds = Folds()
        train(tasks, self._n_threads, self._client)


class Job:
    """A batch of tasks, as joblib makes them, that wait for `get`."""

    def __init__(self, func: Any, callback: Any, backend: Together) -> None:
        self.tasks = [Task(*item) for item in func.items]
        self.waits, self._callback, self._backend = True, callback, backend

    def get(self, timeout: float | None = None) -> list[Any]:
        """The results."""
        if self.waits:
            self._backend.train()
        nested, n_jobs = self._backend.get_nested_backend()
        with parallel_config(backend=nested, n_jobs=n_jobs):
            results = [task() for task in self.tasks]
        if self._callback is not None:
            self._callback(results)
        return results


@contextmanager
def together(estimator: Any, owner: Any = None, client: Any = None) -> Iterator[None]:
    """Inside, scikit-learn's functions train the networks of all their tasks together.

    With a client its cluster trains them. If the estimator is none of ours, or the owner or it has
    callbacks of scikit-learn, nothing is changed. Raises Interrupted on Ctrl-C; with a client
    ValueError, TypeError or RuntimeError where it cannot be used, or would not be.
    """
    last = last_step(estimator)
    if last is None or getattr(owner, "_skl_callbacks", None):
        if client is not None:
            raise ValueError(
                "client= is for estimators of fastbackprop.sklearn, or pipelines that end with "
                "one, without callbacks of scikit-learn. For others use "
                'joblib.parallel_backend("dask")'
            )
        yield
        return
    check(client, last.engine)
    with parallel_config(backend=Together(client)):
        try:
            yield
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted("the search was interrupted", History()) from None
