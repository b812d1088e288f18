"""`compare --loop`: loops of one's own, a step at a time, and a step of a physics-informed network.

A loop calls each library once for each minibatch, from Python. The step of a physics-informed
network is the cost of the residual of Poisson's equation, and its gradient.
"""

import argparse
from collections.abc import Iterator
from typing import Any

# Sizes, batch size, activation.
LOOPS = (
    ((4, 16, 3), 16, "relu"),
    ((4, 16, 3), 16, "tanh"),
    ((17, 64, 64, 6), 64, "relu"),
    ((17, 64, 64, 6), 64, "tanh"),
    ((64, 96, 10), 32, "relu"),
    ((32, 120, 120, 8), 128, "relu"),
)
QUICK_LOOPS = LOOPS[:1]
RESIDUAL = (2, 32, 32, 32, 1), 1000


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loop",
        action="store_true",
        help="instead of training and predicting: loops of one's own that take a step at a time, "
        "with Adam, and a step of a physics-informed network",
    )


def works(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The works of `--loop`, as arguments of `Work`."""
    given = [(*shape, "relu") for shape in arguments.shapes or ()]
    for sizes, batch_size, activation in given or (QUICK_LOOPS if arguments.quick else LOOPS):
        yield {
            "sizes": sizes,
            "batch_size": batch_size,
            "activation": arguments.activation or activation,
            "optimizer": arguments.optimizer or "adam",
            "task": "loop",
        }
    sizes, batch_size = RESIDUAL
    if not given:
        yield {
            "sizes": sizes,
            "batch_size": batch_size // 10 if arguments.quick else batch_size,
            "activation": "tanh",
            "optimizer": "adam",
            "task": "residual",
        }
