"""Costs of a new process: import and first fit. Each sample is a process; its start is excluded."""

import subprocess
import sys

from asv_runner.benchmarks.mark import parameterize

from asv_bench import ENGINE

IMPORT = "import fastbackprop as fb"

FIRST_FIT = """
network = fb.Network([4, 16, 3], output="softmax", cost="cross_entropy", engine="{engine}", rng=0)
network.fit([[0.1, 0.2, 0.3, 0.4]] * 32, [0, 1] * 16, epochs=1)
"""

# Numba reads the variable when it is imported.
EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = folder.name
"""


class Import:
    repeat, rounds, timeout = 5, 1, 300

    def timeraw_import(self):
        return IMPORT


@parameterize(ENGINE)
class FirstFit:
    """Seconds until the first `fit` returns."""

    repeat, rounds, timeout = 3, 1, 600

    def setup(self, engine):
        """Fill the cache."""
        script = IMPORT + FIRST_FIT.format(engine=engine)
        subprocess.run([sys.executable, "-c", script], check=True)

    def timeraw_compile(self, engine):
        """An empty cache: compilation, without the import."""
        return FIRST_FIT.format(engine=engine), EMPTY_CACHE + IMPORT

    def timeraw_cold_start(self, engine):
        """A full cache: import and fit."""
        return IMPORT + FIRST_FIT.format(engine=engine)
