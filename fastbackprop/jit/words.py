"""Stand-in until the branch of the ground floor is merged: `formula` and elementary functions."""

from fastbackprop.jit.compiler import formula as formula
from fastbackprop.jit.math import (
    cos as cos,
)
from fastbackprop.jit.math import (
    erf as erf,
)
from fastbackprop.jit.math import (
    exp as exp,
)
from fastbackprop.jit.math import (
    expm1 as expm1,
)
from fastbackprop.jit.math import (
    log as log,
)
from fastbackprop.jit.math import (
    log1p as log1p,
)
from fastbackprop.jit.math import (
    near_cos as near_cos,
)
from fastbackprop.jit.math import (
    near_sin as near_sin,
)
from fastbackprop.jit.math import (
    plus as plus,
)
from fastbackprop.jit.math import (
    scalar as scalar,
)
from fastbackprop.jit.math import (
    sigmoid as sigmoid,
)
from fastbackprop.jit.math import (
    sin as sin,
)
from fastbackprop.jit.math import (
    tanh as tanh,
)
from fastbackprop.jit.math import (
    where as where,
)
