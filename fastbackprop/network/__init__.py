"""Network, and what its methods return."""

from fastbackprop.network.network import Network
from fastbackprop.network.results import Gradient, Trace

__all__ = ["Gradient", "Network", "Trace"]
