"""Benchmarks for asv. All are parametrised by engine; `setup` compiles before anything is timed."""

from fastbackprop.engines import ENGINES

# Parameters that benchmarks share: name -> values.
ENGINE = {"engine": list(ENGINES)}
DTYPE = {"dtype": ["float32", "float64"]}

# Samples a round, and seconds: asv calls `setup` before every sample, and times one call.
REPEAT = (10, 200, 1.0)
