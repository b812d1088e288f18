"""`python -m fastbackprop demo`, `compare` and `warmup`."""

import argparse
import sys
import warnings
from collections.abc import Sequence

import fastbackprop
from fastbackprop.commands import UsageError, compare, demo, warmup


def make_parser() -> argparse.ArgumentParser:
    """Build the parser: a subcommand for each module of `fastbackprop.commands` that is one."""
    parser = argparse.ArgumentParser(
        prog="python -m fastbackprop", description=fastbackprop.__doc__
    )
    parser.add_argument("--version", action="version", version=fastbackprop.__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (demo, compare, warmup):
        text = (command.__doc__ or "").strip()
        name = command.__name__.rpartition(".")[2]
        subparser = subparsers.add_parser(name, help=text.splitlines()[0], description=text)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 for done, 2 for something the user can mend."""
    warnings.filterwarnings("ignore", "training interrupted", RuntimeWarning)
    arguments = make_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except UsageError as error:
        print(f"python -m fastbackprop: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
