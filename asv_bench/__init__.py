"""Benchmarks for asv. All are parametrised by engine; `setup` compiles before anything is timed."""

from fastbackprop.engines import ENGINES

# Parameters shared by benchmarks: name -> values.
ENGINE = {"engine": list(ENGINES)}
DTYPE = {"dtype": ["float32", "float64"]}

# (min samples, max samples, max seconds): asv calls `setup` before every sample of one call.
REPEAT = (10, 200, 1.0)
