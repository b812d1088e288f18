"""Benchmarks for asv. All are parametrised by engine; `setup` compiles before anything is timed."""

from fastbackprop.engines import ENGINES

# By engine and dtype in every benchmark: name of the parameter -> its values.
ENGINE = {"engine": list(ENGINES)}
DTYPE = {"dtype": ["float32", "float64"]}

# asv calls `setup` before every sample and times one call: at least 10, at most 200 samples a round.
REPEAT = (10, 200, 1.0)
