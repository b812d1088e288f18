"""The plan of a table: which features each column gives, decided on the training rows."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from fastbackprop.tabular import features, memory
from fastbackprop.tabular.frames import DATE, NUMBER, TEXT, Frame

MOST_ONE_HOT = 32  # levels of a column with a feature of their own, the most frequent ones
FEWEST_FOR_MEANS = 10  # levels, from which on the target means are features too
MOST_LEVELS = 20_000  # kept of a column, the most frequent ones
MOST_WAVES = 160  # cosines in all
WAVES = 4  # cosines of a number
FEWEST_FOR_WAVES = 8  # different numbers of a column
MOST_MEANS = 10  # outputs of which a column has target means
LIKE_NAMES = 0.9  # of the rows have a text of their own: a name or a key
SMOOTHING = 10.0  # rows, of which the target means of a level are drawn towards the mean of all


@dataclass
class Targets:
    """What target means and choices of transforms are about.

    T : ndarray, (n, n_outputs)
        Standardised numbers, or a column of 0 and 1 for each class.
    s : ndarray, (n,)
        Weights of the rows.
    folds : ndarray, (n,)
        The fold of each row.
    """

    T: np.ndarray
    s: np.ndarray
    folds: np.ndarray


@dataclass
class Plan:
    """A plan as `features.feature_matrix` takes it, and what it says of each column.

    steps : dict
        The plan.
    owners : ndarray, (n_features,)
        The column of each feature, a place in `kinds`.
    kinds : dict
        The kind of each column that is used.
    treatment : dict
        Of every column, in words.
    """

    steps: dict[str, Any]
    owners: np.ndarray
    kinds: dict[str, str]
    treatment: dict[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Of the features."""
        sources, waves = self.steps["sources"], self.steps["waves"]
        named = [name if part is None else f"{name} {part}" for name, part in sources]
        names = [*named, *(f"{named[j]} missing" for j in self.steps["gaps"])]
        names += [f"{named[j]} cos{i}" for j in waves for i in range(self.steps["w"].shape[1])]
        for category in self.steps["categories"]:
            name, levels = category["column"], category["levels"]
            shown = levels[1:] if len(levels) == 2 else levels[:MOST_ONE_HOT]
            names += [f"{name}={level}" for level in shown]
            names += [f"{name} mean{i}" for i in range(category["n_means"])]
        return names or ["nothing"]

    def table(self, frame: Frame) -> Any:
        """What was done to each column: a frame of pandas."""
        import pandas as pd

        used = list(self.kinds)
        counts = [
            int((self.owners == used.index(name)).sum()) if name in used else 0
            for name in frame.columns
        ]
        return pd.DataFrame(
            {
                "kind": [frame.kind(name) for name in frame.columns],
                "missing": [frame.missing(name) for name in frame.columns],
                "features": counts,
                "treatment": [self.treatment[name] for name in frame.columns],
            },
            index=pd.Index(list(frame.columns), name="column"),
        )


def make_plan(frame: Frame, targets: Targets, rng: np.random.Generator) -> tuple[Plan, np.ndarray]:
    """A plan for the frame, and the features of its rows, (n, n_features) float32.

    The target means of a row are those of the rows of other folds, so that no row sees its target.
    """
    used, treatment = _used(frame)
    kinds = {name: frame.kind(name) for name in frame.columns if name in used}
    steps = _of_numbers(frame, kinds, targets, treatment)
    _add_waves(steps, rng)
    x_cross = []
    steps["categories"] = []
    for name in (name for name, kind in kinds.items() if kind == TEXT):
        category, crossed = _of_category(frame.columns[name], targets)
        steps["categories"].append({"column": name, **category})
        treatment[name] = _words(category)
        x_cross.append(crossed)
    plan = Plan(steps, _owners(steps, list(kinds)), kinds, treatment)
    memory.check(len(frame), len(plan.owners))
    F = features.feature_matrix(frame.columns, steps)
    at = F.shape[1]
    for category, crossed in zip(reversed(steps["categories"]), reversed(x_cross), strict=True):
        F[:, at - category["n_means"] : at] = crossed
        at -= category["table"].shape[1]
    return plan, F


def _used(frame: Frame) -> tuple[set[str], dict[str, str]]:
    """Columns that are used, and words about the others."""
    used, treatment = set[str](), dict[str, str]()
    seen: dict[Any, str] = {}
    for name, values in frame.columns.items():
        kind = frame.kind(name)
        if kind == TEXT:
            levels, place = np.unique(values.astype(str), return_inverse=True)
            content, n = place.astype(np.int32), len(levels)
            known = int((values != features.MISSING).sum())
        else:
            content, gaps = values, np.isnat(values) if kind == DATE else np.isnan(values)
            n, known = len(np.unique(values[~gaps])) + bool(gaps.any()), int((~gaps).sum())
        if known == 0:
            treatment[name] = "left out: all values are missing"
        elif n == 1:
            treatment[name] = "left out: constant"
        elif kind == TEXT and n > max(20, LIKE_NAMES * len(frame)):
            treatment[name] = "left out: nearly every row has a value of its own"
        elif (twin := seen.setdefault((kind, sha256(content.tobytes()).digest()), name)) != name:
            treatment[name] = f"left out: equals {twin!r}"
        else:
            used.add(name)
            treatment[name] = ""
    return used, treatment


# --- numbers -------------------------------------------------------------------------------------


def _of_numbers(
    frame: Frame, kinds: dict[str, str], targets: Targets, treatment: dict[str, str]
) -> dict[str, Any]:
    """The steps for numbers and parts of dates."""
    sources: list[tuple[str, str | None]] = []
    for name, kind in kinds.items():
        if kind == NUMBER:
            sources.append((name, None))
        elif kind == DATE:
            parts = [
                part
                for part in features.PARTS
                if len(np.unique(features.date_part(frame.columns[name], part))) > 1
            ]
            sources += [(name, part) for part in parts]
            treatment[name] = f"date: {', '.join(parts)}; scaled"
    found = [_of_source(features.number_column(frame.columns, s), targets) for s in sources]
    steps: dict[str, Any] = {"sources": sources}
    for key in ("log", "low", "unit", "shift", "scale"):
        steps[key] = np.array([one[key] for one in found], bool if key == "log" else np.float64)
    for key in ("gaps", "waves"):
        steps[key] = np.flatnonzero(np.array([one[key] for one in found], bool))
    for (name, part), one in zip(sources, found, strict=True):
        if part is None:
            words = "logarithm; scaled" if one["log"] else "scaled"
            treatment[name] = words + "; indicator of missing values" * one["gaps"]
    return steps


def _of_source(x: np.ndarray, targets: Targets) -> dict[str, Any]:
    """The steps for one column of numbers, (n,)."""
    known = x[~np.isnan(x)]
    n_different = len(np.unique(known))
    low, q2, q3, most = np.quantile(known, [0, 0.5, 0.75, 1])
    flags = {"gaps": len(known) < len(x), "waves": n_different >= FEWEST_FOR_WAVES}
    raw = _scaling(known, {"log": False, "low": low, "unit": 1.0}) | flags
    if not flags["waves"] or most - q2 <= 4 * (q2 - low):  # not skewed
        return raw
    unit = q2 - low or q3 - low or np.mean(known) - low
    logs = _scaling(known, {"log": True, "low": low, "unit": unit}) | flags
    errors = [_held_out_error(_scaled(x, steps), targets) for steps in (raw, logs)]
    return logs if errors[1] < errors[0] else raw


def _scaling(known: np.ndarray, steps: dict[str, Any]) -> dict[str, Any]:
    """The steps with a median, and a factor that makes the quartiles one apart."""
    z = features.logarithms(known[:, None], _as_arrays(steps))[:, 0]
    least, q1, shift, q3, most = np.quantile(z, [0, 0.25, 0.5, 0.75, 1])
    width = q3 - q1 if q3 > q1 else (most - least) / 2
    return steps | {"shift": shift, "scale": 1 / width if width > 0 else 0.0}


def _scaled(x: np.ndarray, steps: dict[str, Any]) -> np.ndarray:
    return features.scaled(x[:, None], _as_arrays(steps))[:, 0]


def _as_arrays(steps: dict[str, Any]) -> dict[str, Any]:
    return {key: np.array([value]) for key, value in steps.items()}


def _held_out_error(x: np.ndarray, targets: Targets) -> float:
    """The squared error of parabolas of x, each fitted to the other folds."""
    B, T, s = np.column_stack([np.ones(len(x)), x, x * x]), targets.T, targets.s
    error = 0.0
    for k in range(int(targets.folds.max()) + 1):
        held = targets.folds == k
        root = np.sqrt(s[~held])[:, None]
        coefficients = np.linalg.lstsq(B[~held] * root, T[~held] * root, rcond=None)[0]
        error += float((s[held] @ (B[held] @ coefficients - T[held]) ** 2).sum())
    return error


def _add_waves(steps: dict[str, Any], rng: np.random.Generator) -> None:
    """Cosines cos(2 pi w x + b) of numbers, with normal w: Gorishniy et al. (2022)."""
    n = len(steps["waves"])
    k = min(WAVES, MOST_WAVES // max(1, n))
    sigma = np.where(np.arange(k) % 2, 0.1, 0.5)
    steps["w"] = rng.normal(0, 2 * np.pi * sigma, (n, k))
    steps["b"] = rng.uniform(-np.pi, np.pi, (n, k))


# --- categories ----------------------------------------------------------------------------------


def _of_category(values: np.ndarray, targets: Targets) -> tuple[dict[str, Any], np.ndarray]:
    """The step for one column of texts, and the target means of its rows, cross-fitted."""
    unique, place, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort([unique, -counts])[:MOST_LEVELS]
    levels = unique[order].tolist()
    code = np.full(len(unique), len(levels))
    code[order] = np.arange(len(order))
    code = code[place]
    n_outputs = min(targets.T.shape[1], MOST_MEANS)
    if len(levels) < FEWEST_FOR_MEANS:
        n_outputs = 0
    elif targets.T.shape[1] == 2:
        n_outputs = 1  # of two classes one tells all
    T, s, folds = targets.T[:, :n_outputs], targets.s, targets.folds
    means = _means(code, len(levels), T, s)
    crossed = np.zeros((len(code), n_outputs))
    for k in range(int(folds.max()) + 1 if n_outputs else 0):
        held = folds == k
        crossed[held] = _means(code[~held], len(levels), T[~held], s[~held])[code[held]]
    shift, width = crossed.mean(axis=0), crossed.std(axis=0) + 1e-12
    one_hot = np.eye(len(levels) + 1, min(len(levels), MOST_ONE_HOT))
    if len(levels) == 2:
        one_hot = np.array([[-1.0], [1.0], [0.0]])
    means = np.clip((means - shift) / width, -4, 4)
    table = np.hstack([one_hot, means]).astype(np.float32)
    category = {"levels": levels, "table": table, "n_means": n_outputs}
    return category, np.clip((crossed - shift) / width, -4, 4)


def _means(code: np.ndarray, n_levels: int, T: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Target means of the levels, drawn to that of all, (n_levels + 1, n_outputs).

    The last row, of texts that are not there, is the mean of all. Micci-Barreca (2001).
    """
    total: np.ndarray = (s @ T) / max(s.sum(), 1e-300)
    weight = np.bincount(code, s, n_levels + 1)[:, None]
    sums = (
        np.stack([np.bincount(code, s * t, n_levels + 1) for t in T.T], axis=1)
        if T.size
        else (np.zeros((n_levels + 1, T.shape[1])))
    )
    means = (sums + SMOOTHING * total) / (weight + SMOOTHING)
    means[-1] = total
    return means


def _words(category: dict[str, Any]) -> str:
    n = len(category["levels"])
    words = "-1 and 1" if n == 2 else "a feature each"
    if n > MOST_ONE_HOT:
        words = f"a feature of the {MOST_ONE_HOT} most frequent"
    return f"{n} categories: {words}" + "; target means" * bool(category["n_means"])


def _owners(steps: dict[str, Any], names: list[str]) -> np.ndarray:
    """The column of each feature."""
    of_numbers = np.array([names.index(name) for name, _ in steps["sources"]], np.int64)
    waves = np.repeat(of_numbers[steps["waves"]], steps["w"].shape[1])
    blocks = [of_numbers, of_numbers[steps["gaps"]], waves]
    for category in steps["categories"]:
        blocks.append(np.full(category["table"].shape[1], names.index(category["column"])))
    return np.concatenate(blocks)
