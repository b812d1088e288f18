"""Network, and what its methods return."""

from fastbackprop.network.network import Network
from fastbackprop.network.results import Gradient, Jet, Trace

__all__ = ["Gradient", "Jet", "Network", "Trace"]
