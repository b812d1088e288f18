"""Train on 1,797 real images of handwritten digits, and report how well and how fast."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbackprop as fb
from fastbackprop.commands import UsageError, require
from fastbackprop.engines import ENGINES

SIZES = [64, 256, 256, 10]
EPOCHS = 40
BATCH_SIZE = 32
REPETITIONS = 5
OUTPUT = Path("fastbackprop-demo.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="PATH",
        help=f"where the learning curve goes, as a PNG (default: ./{OUTPUT})",
    )


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, held-out images and labels; a fifth is held out.

    An image is 8 x 8 pixels from 0 to 1.
    """
    missing = UsageError('demo needs scikit-learn: pip install "fastbackprop[demo]"')
    X, y = require("sklearn.datasets", missing).load_digits(return_X_y=True)
    split = require("sklearn.model_selection", missing).train_test_split
    X_train, X_test, y_train, y_test = split(
        (X / 16).astype("float32"), y, test_size=0.2, stratify=y, random_state=0
    )
    return X_train, y_train, X_test, y_test


def make_network(engine: str) -> fb.Network:
    return fb.Network(
        SIZES, hidden="relu", output="softmax", cost="cross_entropy", rng=0, engine=engine
    )


def print_epoch(network: fb.Network, epoch: int, logs: dict[str, float]) -> None:
    if epoch == 1 or epoch % 5 == 0:
        costs = f"cost {logs['cost']:.4f}   held-out cost {logs['validation_cost']:.4f}"
        print(f"  epoch {epoch:2d} of {EPOCHS}   {costs}", flush=True)


def compile_engines(X: np.ndarray, y: np.ndarray) -> None:
    start = time.perf_counter()
    for engine in ENGINES:
        make_network(engine).fit(X[:2], y[:2], epochs=1, validation=(X[:2], y[:2]))
    print(f"Machine code ready after {time.perf_counter() - start:.1f} s (kept for the next time)")


def seconds_per_epoch(X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Best of several epochs of every engine, the engines in turn."""
    networks = {engine: make_network(engine) for engine in ENGINES}
    best = dict.fromkeys(ENGINES, float("inf"))
    for _ in range(REPETITIONS):
        for engine, network in networks.items():
            start = time.perf_counter()
            network.fit(X, y, epochs=1, batch_size=BATCH_SIZE)
            best[engine] = min(best[engine], time.perf_counter() - start)
    return best


def save_learning_curve(figure_module: Any, history: fb.History, title: str, path: Path) -> Path:
    """Write the PNG, into a temporary folder where `path` cannot be written; returns its path."""
    from fastbackprop import plot

    figure = figure_module.Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    ax = plot.history(history, figure.subplots())
    ax.set_title(title, loc="left", fontsize=11)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        print(f"Cannot write {path} ({error.strerror}): using a temporary folder")
        path = Path(tempfile.mkdtemp(prefix="fastbackprop-")) / OUTPUT
        figure.savefig(path, format="png")
    return path


def run(arguments: argparse.Namespace) -> int:
    figure_module = require(
        "matplotlib.figure", UsageError('demo needs matplotlib: pip install "fastbackprop[demo]"')
    )
    X, y, X_test, y_test = load_digits()
    print(f"{len(X) + len(X_test):,} images of handwritten digits, {len(X_test)} of them held out")
    compile_engines(X, y)
    network = make_network(ENGINES[0])
    print(f"Training {network}")
    history = network.fit(
        X,
        y,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        validation=(X_test, y_test),
        callbacks=[print_epoch],
    )
    if history.interrupted:
        raise KeyboardInterrupt
    right = int((network.predict(X_test).argmax(axis=1) == y_test).sum())
    accuracy = right / len(y_test)
    error = network.check_gradient(X[:3], y[:3])
    times = seconds_per_epoch(X, y)
    title = f"Handwritten digits: {accuracy:.1%} of {len(y_test)} held-out images right"
    path = save_learning_curve(figure_module, history, title, arguments.output)

    print(f"Held-out accuracy   {accuracy:.1%} ({right} of {len(y_test)})")
    print(f"Gradient check      {error:.1e} largest relative error against central differences")
    engines = "   ".join(f"{engine} {seconds * 1e3:.1f} ms" for engine, seconds in times.items())
    print(f"Time per epoch      {engines}   (best of {REPETITIONS}, after compiling)")
    print(f"Learning curve      {path}")
    return 0
