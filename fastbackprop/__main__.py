"""`python -m fastbackprop demo`, `compare` and `warmup`."""

import argparse
import sys
from collections.abc import Sequence

import fastbackprop
from fastbackprop.commands import compare, demo, exit_code, warmup
from fastbackprop.version import __version__

EPILOG = """\
for example:
  python -m fastbackprop demo                      train a network, on one page
  python -m fastbackprop compare --quick           time it here, beside the installed libraries
  python -m fastbackprop warmup                    compile in advance
  python -m fastbackprop compare --help            the options of a command

exit codes: 0 success, 2 for an error that you can correct (in one line), 130 after Ctrl-C.
"""


def make_parser() -> argparse.ArgumentParser:
    """Build the parser, with the three subcommands."""
    parser = argparse.ArgumentParser(
        prog="python -m fastbackprop",
        description=fastbackprop.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=lambda _: print(parser.format_help(), end=""))
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (demo, compare, warmup):
        text = (command.__doc__ or "").strip()
        name = command.__name__.rpartition(".")[2]
        subparser = subparsers.add_parser(name, help=text.splitlines()[0], description=text)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    arguments = make_parser().parse_args(argv)
    return exit_code(lambda: arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
