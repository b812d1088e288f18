"""The command line: see the package's docstring."""

import argparse
import importlib
import sys
import tempfile

from tests.fuzz import watch

IN_ONE_PROCESS = {
    "calls": 10_000,
    "kills": 200,
    "damages": 20_000,
    "configurations": 2000,
    "guards": 2000,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    for kind in IN_ONE_PROCESS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one attempt again")
    parser.add_argument("--table", action="store_true", help="outcomes by name")
    parser.add_argument("--within", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        return _within(*options.within.split(":"))
    asked = [(kind, 0, getattr(options, kind)) for kind in IN_ONE_PROCESS]
    if options.only:
        kind, number = options.only.split(":")
        asked = [(kind, int(number), int(number) + 1)]
    wrong = 0
    for kind, first, last in asked:
        if first < last:
            report = watch.Report()
            for start in range(first, last, IN_ONE_PROCESS[kind]):
                stop = min(start + IN_ONE_PROCESS[kind], last)
                watch.attempts(kind, options.seed, start, stop, report)
            print(report.text(kind))
            if options.table:
                for (name, outcome), n in sorted(report.counts.items()):
                    print(f"  {name:40} {outcome:20} {n:,}")
            wrong += len(report.wrong)
    return 1 if wrong else 0


def _within(kind: str, seed: str, first: str, last: str, folder: str) -> int:
    module = importlib.import_module(f"tests.fuzz.{kind}")
    tempfile.tempdir = folder
    module.within(int(seed), int(first), int(last), watch.tell)
    watch.tell(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
