"""History: the figures of every epoch, and how the training ended."""

from collections.abc import Iterator
from typing import Any

from fastbackprop import html
from fastbackprop.names import missing


def _first(values: list[float]) -> float:
    return values[0]


def _last(values: list[float]) -> float:
    return values[-1]


class History:
    """What `fit` returns: a row for each finished epoch.

    Attributes
    ----------
    cost : list of float
        Mean cost of the training samples, each taken before the step of its minibatch.
    validation_cost : list of float
        Mean cost of the validation samples after the epoch; empty without validation.
    seconds : list of float
        Wall-clock seconds of the epoch, validation included, callbacks not.
    ended_by : {"epochs", "callback", "early_stopping", "time_budget", "interrupt", "divergence", \
    "converged", "max_evaluations", "line_search"}
        What ended the training; the last three are LBFGS's. `fit_many` says "divergence" where
        `fit` raises DivergenceError. After "time_budget" and "interrupt"
        (Ctrl-C) the steps of the unfinished epoch are in the network, unless early stopping
        restored the best parameters.
    interrupted : bool
        True if Ctrl-C ended the training.

    Metrics, and the learning rate of each epoch's last step where there is a schedule, are further
    columns. `len(history)` is the number of epochs, `history[-1]` the last epoch as a dict,
    `history["cost"]` a column, `history.to_dict()` all columns.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self.ended_by = "epochs"

    @property
    def interrupted(self) -> bool:
        return self.ended_by == "interrupt"

    def append(self, logs: dict[str, float]) -> None:
        self._epochs.append(logs)

    @property
    def cost(self) -> list[float]:
        return self._column("cost")

    @property
    def validation_cost(self) -> list[float]:
        return self._column("validation_cost")

    @property
    def seconds(self) -> list[float]:
        return self._column("seconds")

    def _column(self, name: str) -> list[float]:
        return [logs[name] for logs in self._epochs if name in logs]

    def to_dict(self) -> dict[str, list[float]]:
        """Columns by name; validation_cost is left out where there was no validation."""
        return {name: self._column(name) for name in (self._epochs[0] if self._epochs else ())}

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each epoch, counted from 1. Needs pandas."""
        try:
            import pandas
        except ImportError:
            raise missing("to_pandas() needs pandas", "pandas") from None
        index = pandas.RangeIndex(1, len(self) + 1, name="epoch")
        return pandas.DataFrame(self._epochs, index)

    def __len__(self) -> int:
        return len(self._epochs)

    def __getitem__(self, key: int | str) -> Any:
        return self._column(key) if isinstance(key, str) else dict(self._epochs[key])

    def __iter__(self) -> Iterator[dict[str, float]]:
        return map(dict, self._epochs)

    def _repr_html_(self) -> str:
        """For notebooks: curves of the costs, and a line for each column."""
        columns = self.to_dict()
        names = {"cost": "training", "validation_cost": "validation"}
        costs = {names[name]: columns[name] for name in names if name in columns}
        rows = [
            [name, *(f"{f(values):.4g}" for f in (_first, min, max, _last)), html.sparkline(values)]
            for name, values in columns.items()
        ]
        ended = f", ended by {self.ended_by}" if self.ended_by != "epochs" else ""
        title = f"History of {len(self)} epochs{ended}"
        if not columns:
            return html.block(title)
        header = ["", "first", "smallest", "largest", "last", ""]
        return html.block(title, html.curves(costs, "cost"), html.table(header, rows))

    def __repr__(self) -> str:
        logs = self._epochs[-1].items() if self._epochs else ()
        last = "; last: " + ", ".join(f"{name} {value:.4g}" for name, value in logs) if logs else ""
        return f"<History of {len(self)} epochs{', interrupted' * self.interrupted}{last}>"
