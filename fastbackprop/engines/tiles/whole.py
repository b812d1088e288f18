"""Row tiles that threads take whole, one after the other.

A row tile of a small network is too little work for several threads. So each of them takes row
tiles through the layers and back by itself, with scratch memory of its own. The cost and gradient
of a tile go into a slot, and the slots are added in the order of the tiles: these are the sums, bit
for bit, of one thread, and of threads that share every row tile.
"""

from fastbackprop.engines.minibatch import weight
from fastbackprop.engines.tiles.task import ROWS, RowTile, Task, Work, sample
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.reference import referred
from fastbackprop.jit.team import Team, share, take_anew
from fastbackprop.jit.tile import load, plus, store, vector_lanes, view
from fastbackprop.samples import COST, WEIGHT

# Multiply-adds of (0) in a row tile of a network that is small, and elements of all slots together.
SMALL, ELEMENTS = 4_000_000, 1 << 18
MOST_SLOTS = 128


def slots(length: int, n_threads: int) -> int:
    """Row tiles whose gradients, of so many elements, are kept at once."""
    return max(n_threads, min(ELEMENTS // length, MOST_SLOTS))


def most_threads(length: int, products: float) -> int:
    """So many threads may take whole row tiles, of so many multiply-adds for each sample."""
    return ELEMENTS // (2 * length) if ROWS * products < SMALL else 1


@inlined
def are_whole(task, n):
    """Whether the threads take the row tiles of n samples whole: there is one for each thread."""
    return task.work.shares > 1 and 1 < task.team.T <= (n + ROWS - 1) // ROWS


@inlined
def _share_of(array, t, shares):
    n = array.shape[0] // shares
    return view(array, t * n, n)


@inlined
def alone(task):
    """The task, a reference, for a thread that shares no row tile."""
    work, team = referred(task.work), task.team
    t, n = team.t, work.shares
    own = Work(
        _share_of(work.z, t, n),
        _share_of(work.a, t, n),
        _share_of(work.delta, t, n),
        _share_of(work.delta_rows, t, n),
        _share_of(work.y, t, n),
        _share_of(work.factor, t, n),
        _share_of(work.C, t, n),
        _share_of(work.costs, t, n),
        work.panels,
        work.zeros,
        work.no_order,
        _share_of(work.keys, t, n),
        _share_of(work.rows, t, n),
        work.tile_costs,
        work.gradients,
        work.n_threads,
        1,
        work.of_sparse,
    )
    of_one = Team(team.state, 0, 1)
    model, samples = referred(task.model), referred(task.samples)
    return Task(of_one, model, task.theta, samples, task.order, own)


@inlined
def rows_of_slots(work, rows):
    """So many samples have slots at once, in tiles of so many rows."""
    return work.tile_costs.shape[0] * rows


@inlined
def slot(task, k):
    """The gradient in slot k, (length,): a view."""
    n = task.theta.shape[0]
    return view(task.work.gradients, k * n, n)


def _sum_of_slots(C):
    """g (+)= the sum of n slots one after the other, for C vectors from element p on."""

    @kernel(linked=True, fastmath=EXACT)
    def sums(gradients, length, n, g, fresh, p):
        total = load(gradients, p, 0, 1, C)
        if not fresh:
            total = plus(load(g, p, 0, 1, C), total)
        for k in range(1, n):
            total = plus(total, load(gradients, k * length + p, 0, 1, C))
        store(total, g, p, 0)

    return sums


_sum_1, _sum_4 = _sum_of_slots(1), _sum_of_slots(4)


@kernel
def add_slots(task, n, g, fresh, first, last):
    """Elements first ... last of the gradients of n row tiles, added to g unless it is `fresh`."""
    gradients, length, V = task.work.gradients, task.theta.shape[0], vector_lanes(g)
    p = first
    while p + 4 * V <= last:
        _sum_4(gradients, length, n, g, fresh, p)
        p += 4 * V
    while p < last:
        _sum_1(gradients, length, n, g, fresh, p)
        p += V


@inlined
def own_elements(task):
    """(first, last): elements of a parameter vector that this thread owns, whole vectors."""
    return share(task.theta.shape[0], 4 * vector_lanes(task.theta), task.team)


@kernel(linked=True, fastmath=EXACT)
def add_weights(sums, task, start, n):
    """sum_i s_i of samples start ... start + n, one after the other."""
    if task.samples.s.shape[0] == 0:
        sums[WEIGHT] += n
    else:
        for i in range(n):
            sums[WEIGHT] += weight(task.samples, sample(task, RowTile(start, n), i))


@kernel(fastmath=EXACT)
def end_of_slots(task, n_slots, sums, start, n):
    """What the slots of these n samples say about costs; all slots are free again."""
    if task.team.t == 0:
        for k in range(n_slots):
            sums[COST] += task.work.tile_costs[k]
        add_weights(sums, task, start, n)
        take_anew(task.team)
