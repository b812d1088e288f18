"""Network, and what its methods return."""

from fastbackprop.network.network import Network
from fastbackprop.network.results import Backward, Gradient, Jet, Trace

__all__ = ["Backward", "Gradient", "Jet", "Network", "Trace"]
