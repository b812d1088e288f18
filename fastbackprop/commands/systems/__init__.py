"""The systems that `compare` measures: this package's engines and other libraries.

A module for each library, with a function for each task that the library can do. It takes a `Work`
and returns a `System`.
"""

from collections.abc import Callable
from functools import partial

from fastbackprop.commands.systems import jax, onnxruntime, ours, sklearn, torch
from fastbackprop.commands.work import System, Work
from fastbackprop.engines import ENGINES

OURS = f"fastbackprop {ENGINES[0]}"
OURS_TOGETHER = "fastbackprop fit_many"
PACKAGES = ("torch", "scikit-learn", "jax", "onnxruntime")

Maker = Callable[[Work], System]


def systems(task: str, quick: bool = False) -> dict[str, Maker]:
    """Label -> function that makes the system for a `Work` of this task; our engines come first.

    With `quick`, without `torch.compile`, which compiles for seconds for every shape.
    """
    if task == "loop":
        return {
            OURS: ours.loop,
            f"{OURS}, fit": partial(ours.train, engine=ENGINES[0]),
            "PyTorch (eager)": torch.train,
            "JAX (jit, a call for each step)": jax.loop,
        }
    if task == "residual":
        return {OURS: ours.residual, "PyTorch (eager)": torch.residual, "JAX (jit)": jax.residual}
    if task == "many":
        return {
            OURS_TOGETHER: ours.together,
            "fastbackprop, one by one": ours.one_by_one,
            "JAX (jit, scan of vmap)": jax.together,
            "PyTorch (baddbmm, fused Adam)": torch.together,
            "scikit-learn, one by one": sklearn.one_of_many,
        }
    ours_for = {"train": ours.train, "predict": ours.predict}.get(task, ours.analyse)
    found: dict[str, Maker] = {
        f"fastbackprop {engine}": partial(ours_for, engine=engine) for engine in ENGINES
    }
    if task == "train":
        peers: dict[str, Maker] = {
            "PyTorch (eager)": torch.train,
            "PyTorch (torch.compile)": partial(torch.train, compiled=True),
            "scikit-learn (MLPClassifier)": sklearn.train,
            "JAX (jit, scan over the epoch)": jax.train,
        }
        if quick:
            del peers["PyTorch (torch.compile)"]
    elif task == "predict":
        reuse: Maker = partial(ours.predict, engine=ENGINES[0], reuse=True)
        found = {OURS: found[OURS], f"{OURS}, out=": reuse} | found
        peers = {
            "PyTorch (eager)": torch.predict,
            "scikit-learn (MLPClassifier)": sklearn.predict,
            "JAX (jit)": jax.predict,
            "ONNX Runtime": onnxruntime.predict,
        }
    else:
        peers = {"JAX (jit)": jax.analyse}
    return found | peers
