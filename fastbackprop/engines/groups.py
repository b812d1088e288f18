"""Groups of row tiles: parts of a batch that threads take whole, where a row tile is little work.

How a batch is cut into groups depends on the batch and the network, and never on the threads. Each
group has sums of its own, which are added in the order of the groups: so has every sum.
"""

from collections.abc import Callable

from fastbackprop.jit.availability import compiles

GROUP = 500_000  # multiply-adds of (0) that are worth a thread: about 1 ms with the way back
GROUPS, FEW = 16, 4  # at most, and of a network with many parameters: each has a gradient,
MANY = 1 << 22  # and all of them together so many elements
PARTS = 4  # for each thread: one that is held up takes fewer

Part = tuple[int, int]  # first row, and the one behind the last


def rows_of_group(n: int, tile: int, n_parameters: int, channels: int = 1) -> int:
    """Rows of each group of n rows, whole row tiles; a row has so many channels of numbers."""
    most = min(GROUPS, max(FEW, MANY // n_parameters))
    rows = max(-(-n // most), GROUP // (n_parameters * channels), 1)
    return -(-rows // tile) * tile


def parts(n: int, rows: int, n_threads: int) -> list[Part]:
    """0 ... n in parts of whole groups: all for one thread, some for each of several."""
    n_groups = -(-n // rows)
    most = 1 if n_threads == 1 else PARTS * n_threads
    step = -(-n_groups // most) * rows
    return [(first, min(first + step, n)) for first in range(0, n, step)]


def each(function: Callable[[Part], None], these: list[Part], n_threads: int) -> None:
    """Call the function with every part, in up to n_threads threads, this one among them.

    It must let other threads run, as compiled code does. Its exceptions are raised here.
    """
    left, done = these[::-1], []

    def take_the_next(team: object) -> None:
        while True:
            try:
                part = left.pop()  # one step for the interpreter: no other thread gets the same
            except IndexError:
                return
            function(part)
            done.append(part)

    n_threads = min(n_threads, len(these))
    if n_threads > 1 and compiles():
        from fastbackprop.jit.team import run

        run(take_the_next, n_threads)
    for part in these:
        if part not in done:  # all of them without threads, else those where a thread failed
            function(part)
