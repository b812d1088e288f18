"""Progress bars: tqdm's, or any with its interface."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from fastbackprop.names import missing


class Progress:
    """A progress bar with a tick for each unit: tqdm's, anything with its interface."""

    INTERFACE = ("update", "set_postfix", "close")

    def __init__(self, progress: Any, total: int, unit: str) -> None:
        if progress is True:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                raise missing("progress=True needs tqdm", "progress") from None
            progress = tqdm
        is_bar = all(callable(getattr(progress, name, None)) for name in self.INTERFACE)
        if not is_bar and not callable(progress):
            raise TypeError(
                f"progress must be None, True, or like tqdm, with methods "
                f"{', '.join(self.INTERFACE)}; got {progress!r}"
            )
        self._make = progress if isinstance(progress, type) or not is_bar else lambda **_: progress
        self._total, self._unit = total, unit
        self._bar: Any = None

    def on_train_begin(self, network: Any) -> None:
        self._bar = self._make(total=self._total, unit=self._unit)

    def on_epoch_end(self, network: Any, epoch: int, logs: dict[str, float]) -> None:
        self._bar.set_postfix({name: x for name, x in logs.items() if name != "seconds"})
        self._bar.update(1)

    def on_close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def bars(progress: Any, total: int, unit: str = "epoch") -> list[Progress]:
    """The bar that the argument of `fit` asks for, or none. Raises TypeError or ImportError."""
    return [] if progress is None or progress is False else [Progress(progress, total, unit)]


@contextlib.contextmanager
def begun(bars: Sequence[Progress]) -> Iterator[None]:
    """Bars that are not callbacks of one training are shown inside."""
    try:
        for bar in bars:
            bar.on_train_begin(None)
        yield
    finally:
        for bar in bars:
            bar.on_close()
