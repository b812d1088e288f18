"""What `compare` puts side by side, under the names people know."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastbackprop.commands import analyses, peers, predictors
from fastbackprop.commands.work import ANALYSES, System, Work
from fastbackprop.engines import ENGINES

OURS = f"fastbackprop {ENGINES[0]}"
PACKAGES = ("torch", "scikit-learn", "jax", "onnxruntime")


@dataclass(frozen=True)
class Peer:
    """Another package's way to do a task."""

    label: str
    task: str
    system: Callable[[Work], System]
    slow_to_start: bool = False  # compiles for seconds, for every shape


PEERS = (
    Peer("PyTorch (eager)", "train", peers.Torch),
    Peer("PyTorch (torch.compile)", "train", peers.TorchCompiled, slow_to_start=True),
    Peer("scikit-learn (MLPClassifier)", "train", peers.ScikitLearn),
    Peer("JAX (jit, scan over the epoch)", "train", peers.Jax),
    Peer("PyTorch (eager)", "predict", predictors.Torch),
    Peer("scikit-learn (MLPClassifier)", "predict", predictors.ScikitLearn),
    Peer("JAX (jit)", "predict", predictors.Jax),
    Peer("ONNX Runtime", "predict", predictors.Onnx),
    *(Peer("JAX (jit)", task, analyses.Jax) for task in ANALYSES),
)


def systems(task: str, quick: bool = False) -> dict[str, Callable[[Work], System]]:
    """Label -> a function that makes the system for a `Work` of this task; ours come first."""
    engines: dict[str, Callable[..., System]]
    engines = {"train": peers.Engine, "predict": predictors.Engine}
    engine = engines.get(task, analyses.Engine)
    found: dict[str, Callable[[Work], System]] = {
        f"fastbackprop {name}": partial(engine, engine=name) for name in ENGINES
    }
    if task == "predict":
        reuse: Callable[[Work], System] = partial(predictors.Engine, engine=ENGINES[0], reuse=True)
        found = {OURS: found.pop(OURS), f"{OURS}, out=": reuse} | found
    chosen = [peer for peer in PEERS if peer.task == task and not (quick and peer.slow_to_start)]
    return found | {peer.label: peer.system for peer in chosen}
