"""Train on 1,797 images of handwritten digits, and report accuracy and speed."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbackprop as fb
from fastbackprop.commands import UsageError, new_figure, progress, require
from fastbackprop.engines import ENGINES
from fastbackprop.names import missing

SIZES = [64, 256, 256, 10]
EPOCHS = 20
BATCH_SIZE = 32
REPETITIONS = 5
OUTPUT = Path("fastbackprop-demo.png")
MISSING = UsageError(str(missing("demo needs scikit-learn and matplotlib", "demo")))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="PATH",
        help=f"file for the learning curve; the ending chooses the format (default: ./{OUTPUT})",
    )


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X_train, y_train, X_test, y_test; a fifth is held out. An image is 8 x 8 pixels in [0, 1]."""
    X, y = require("sklearn.datasets", MISSING).load_digits(return_X_y=True)
    split = require("sklearn.model_selection", MISSING).train_test_split
    X_train, X_test, y_train, y_test = split(
        (X / 16).astype("float32"), y, test_size=0.2, stratify=y, random_state=0
    )
    return X_train, y_train, X_test, y_test


def make_network(**options: str) -> fb.Network:
    return fb.Network(
        SIZES, hidden="relu", output="softmax", cost="cross_entropy", rng=0, **options
    )


def print_epoch(network: fb.Network, epoch: int, logs: dict[str, float]) -> None:
    progress(EPOCHS, EPOCHS)
    if epoch == 1 or epoch % 5 == 0:
        costs = f"cost {logs['cost']:.4f}   held-out cost {logs['validation_cost']:.4f}"
        print(f"  epoch {epoch:2d} of {EPOCHS}   {costs}", flush=True)
    progress(epoch, EPOCHS, "epochs")


def compile_engines(X: np.ndarray, y: np.ndarray) -> None:
    """Call everything once, which compiles it; later runs load the machine code from the disk."""
    start = time.perf_counter()
    X, y = X[:2], y[:2]
    for i, engine in enumerate(ENGINES):
        progress(i, len(ENGINES), f"compiling {engine}, the first time only")
        network = make_network(engine=engine)
        network.fit(X, y, epochs=1, validation=(X, y))
        network.predict(X)
        network.check_gradient(X, y, max_parameters=1)
    progress(1, 1)
    print(f"Compiled, or loaded, in {time.perf_counter() - start:.1f} s")


def seconds_per_epoch(X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The best of several epochs of every engine, in turns, on one thread."""
    # With more threads than idle processors NumPy has been ten times slower here.
    limits = require("threadpoolctl", MISSING)
    networks = {engine: make_network(engine=engine) for engine in ENGINES}
    best = dict.fromkeys(ENGINES, float("inf"))
    with limits.threadpool_limits(1):
        for i in range(REPETITIONS):
            progress(i, REPETITIONS, "timing every engine")
            for engine, network in networks.items():
                start = time.perf_counter()
                network.fit(X, y, epochs=1, batch_size=BATCH_SIZE)
                best[engine] = min(best[engine], time.perf_counter() - start)
    progress(1, 1)
    return best


def save_learning_curve(figure: Any, history: fb.History, title: str, path: Path) -> Path:
    """Save the plot, in a temporary folder if `path` cannot be written; return its path."""
    from fastbackprop import plot

    ax = plot.history(history, figure.subplots())
    ax.set_title(title, loc="left", fontsize=11)
    try:
        figure.savefig(path)
    except OSError as error:
        print(f"Cannot write {path} ({error.strerror}): using a temporary folder")
        path = Path(tempfile.mkdtemp(prefix="fastbackprop-")) / OUTPUT
        figure.savefig(path)
    return path


def run(arguments: argparse.Namespace) -> int:
    progress(0, 1, "loading scikit-learn and matplotlib")
    figure = new_figure("--output", arguments.output, MISSING, figsize=(7, 4.2), dpi=150)
    X, y, X_test, y_test = load_digits()
    progress(1, 1)
    print(f"{len(X) + len(X_test):,} images of handwritten digits, {len(X_test)} of them held out")
    compile_engines(X, y)
    network = make_network()
    print(f"Training {network}")
    history = network.fit(
        X,
        y,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        validation=(X_test, y_test),
        callbacks=[print_epoch],
    )
    right = int((network.predict(X_test).argmax(axis=1) == y_test).sum())
    accuracy = right / len(y_test)
    progress(0, 1, "checking the gradient")
    error = network.check_gradient(X[:3], y[:3])
    times = seconds_per_epoch(X, y)
    title = f"Handwritten digits: {accuracy:.1%} of {len(y_test)} held-out images right"
    path = save_learning_curve(figure, history, title, arguments.output)

    print(f"Held-out accuracy   {accuracy:.1%} ({right} of {len(y_test)})")
    print(f"Gradient check      {error:.1e} largest relative error against central differences")
    engines = "   ".join(f"{engine} {seconds * 1e3:.1f} ms" for engine, seconds in times.items())
    print(f"Time per epoch      {engines}   (one thread, best of {REPETITIONS}, compiled)")
    print(f"Learning curve      {path}")
    return 0
