"""The methods of `Network` about derivatives of its outputs along directions of its inputs."""

from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.analysis.jets import quantities
from fastbackprop.inputs import jets as of_jets
from fastbackprop.machine import Machine
from fastbackprop.network.results import Jet


class Jets:
    """What equations in derivatives, and training on slopes, need."""

    machine: Machine

    def jet(self, X: Any, directions: Any, order: int = 2, *, n_threads: int | None = None) -> Jet:
        """a^L and its derivatives d/dt, d2/dt2 at t = 0 of x + t v, for directions v.

        Along unit vectors, da is the columns of the Jacobian, and the sum of d2a is the Laplacian.
        `fastbackprop.analysis.jets` has the equations.

        Parameters
        ----------
        X : array_like, (n_samples, n_0)
        directions : array_like, (n_directions, n_0) or (n_samples, n_directions, n_0)
            The same for all samples, or each sample's own.
        order : {1, 2}
            1 leaves out the second derivatives, half of the work.
        n_threads : int or None
            As for `fit`.

        Returns
        -------
        Jet
            a, (n_samples, n_L); da and d2a, (n_directions, n_samples, n_L).

        Raises
        ------
        ValueError, TypeError
            For wrong shapes, values that are not finite, another order; for an activation that
            couples neurons (softmax, LayerNorm) or, for order 2, has no second derivative.
        """
        order = of_jets.order(order)
        of_jets.have_derivatives(self.machine.sigma, order)
        X, n_threads = self._inputs(X), inputs.thread_count(n_threads)
        rays = of_jets.rays(directions, len(X), X.shape[1], self.machine.dtype)
        a, D = quantities.jet(self.machine, X, rays, order, n_threads), rays.shape[1]
        return Jet(a[0], a[1 : 1 + D], a[1 + D :] if order == 2 else None)

    def jet_backward(
        self,
        X: Any,
        directions: Any,
        dC_da: Any,
        dC_d_da: Any,
        dC_d_d2a: Any = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient of a cost of what `jet` gives, by the parameters and by the inputs.

        Exact: (2) to (4) once more, for the values and their derivatives together.

        Parameters
        ----------
        X, directions, n_threads
            As for `jet`.
        dC_da : array_like, (n_samples, n_L)
            dC/da of the cost C, a number for all samples together.
        dC_d_da, dC_d_d2a : array_like, (n_directions, n_samples, n_L)
            Likewise by da and by d2a. Without the last, C does not depend on d2a.

        Returns
        -------
        parameter_gradient : ndarray, (n_parameters,)
            dC/dtheta, summed over the samples, in the order of `get_parameters`.
        input_gradient : ndarray, (n_samples, n_0)
            dC/dX, with the directions held fixed.

        Raises
        ------
        ValueError, TypeError
            As `jet` does; for gradients of other shapes or that are not finite; for an activation
            without a second derivative, or, with dC_d_d2a, without a third.
        """
        of_jets.have_derivatives(self.machine.sigma, 2 if dC_d_d2a is None else 3)
        X, n_threads = self._inputs(X), inputs.thread_count(n_threads)
        dtype, shape = self.machine.dtype, (len(X), self.machine.sizes[-1])
        rays = of_jets.rays(directions, len(X), X.shape[1], dtype)
        gradients = dC_da, dC_d_da, dC_d_d2a
        G = of_jets.output_gradients(gradients, rays.shape[1], shape, dtype)
        gradient, input_gradient = quantities.gradient(self.machine, X, rays, G, n_threads)
        return self.machine.layout.flatten(gradient), input_gradient

    def laplacian(self, X: Any, *, n_threads: int | None = None) -> np.ndarray:
        """sum_j d2a^L/dx_j^2, (n_samples, n_L): `jet` along the unit vectors.

        Arguments and errors as for `jet`.
        """
        of_jets.have_derivatives(self.machine.sigma, 2)
        n_threads = inputs.thread_count(n_threads)
        return quantities.laplacian(self.machine, self._inputs(X), n_threads)

    def input_hessian(self, X: Any, *, n_threads: int | None = None) -> np.ndarray:
        """d2a^L_k/dx_i dx_j, (n_samples, n_L, n_0, n_0): `jet` along n_0 (n_0 + 1) / 2 directions.

        Arguments and errors as for `jet`.
        """
        of_jets.have_derivatives(self.machine.sigma, 2)
        n_threads = inputs.thread_count(n_threads)
        return quantities.input_hessian(self.machine, self._inputs(X), n_threads)

    def _inputs(self, X: Any) -> np.ndarray:
        """X in memory; its directions take a multiple of that anyway."""
        inputs.refuse_sparse(X, "derivatives along directions take a dense X")
        array: np.ndarray = inputs.matrix(X, self.machine.sizes[0], self.machine.dtype)[:]
        return array
