"""The methods of `Network` that look at more than the gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.analysis import quantities
from fastbackprop.inputs import architecture
from fastbackprop.layout import read_only
from fastbackprop.machine import Machine
from fastbackprop.network.samples import all_at_hand, dense_samples, total_weight
from fastbackprop.samples import COST, N_SUMS
from fastbackprop.training.plan import samples_of


class Analysis:
    """What explicit backpropagation gives beyond the gradient."""

    machine: Machine

    def sample_gradients(self, X: Any, y: Any, out: np.ndarray | None = None) -> np.ndarray:
        """dC_i/dtheta of each sample's own cost, a row for each.

        Parameters
        ----------
        X, y
            As for `evaluate`.
        out : ndarray, (n_samples, n_parameters), optional
            Filled and returned; of the network's dtype, C-contiguous. Fresh memory takes longer to
            come by than the gradients.

        Returns
        -------
        ndarray, (n_samples, n_parameters), of the network's dtype
            In the order of `get_parameters`. Their mean is `gradient`.

        Raises
        ------
        ValueError, TypeError
            As `evaluate` does; `out` is untouched then.
        """
        samples = dense_samples(self.machine, X, y)
        shape = (len(samples.X), self.machine.layout.n_parameters)
        if out is None:
            out = np.empty(shape, self.machine.dtype)
        else:
            inputs.check_output(out, shape, self.machine.dtype)
            inputs.check_apart(out, parameters=self.machine.theta, X=samples.X, y=samples.Y)
        quantities.sample_gradients(self.machine, samples, out)
        return out

    def sample_gradient_norms(self, X: Any, y: Any) -> np.ndarray:
        """||dC_i/dtheta|| of each sample's own cost, (n_samples,), without the gradients.

        The gradient of a layer's weights is an outer product, so the square is the sum over the
        layers of ||delta^l||^2 (1 + ||a^{l-1}||^2) (Goodfellow, 2015, "Efficient per-example
        gradient computations"). Arguments and errors as for `evaluate`.
        """
        return quantities.sample_gradient_norms(self.machine, dense_samples(self.machine, X, y))

    def error_sizes(self, X: Any, y: Any) -> np.ndarray:
        """How large the errors are: the root mean square of delta^l = dC_i/dz^l, layer by layer.

        Over the samples and the neurons of a layer; (L,), float64. Arguments and errors as for
        `evaluate`. `fastbackprop.ErrorFlow` records it during a training.
        """
        return quantities.error_sizes(self.machine, dense_samples(self.machine, X, y))

    def input_gradient(self, X: Any, y: Any, *, n_threads: int | None = None) -> np.ndarray:
        """dC_i/da^0 of each sample's own cost, (n_samples, n_0): (2) once more, without sigma'.

        Arguments and errors as for `evaluate`.
        """
        machine, n_threads = self.machine, inputs.thread_count(n_threads)
        none = machine.no_parameters
        if type(X) is np.ndarray and X.ndim == 2:
            out = np.empty(X.shape, machine.dtype)
            if machine.few_gradient(X, y, None, 1.0, none, out, n_threads) is not None:
                return out
        samples = dense_samples(machine, X, y)
        out = np.empty((len(samples.X), machine.sizes[0]), machine.dtype)
        machine.gradient_sums(samples, 1.0, n_threads, out, none)
        return out

    def jacobian(self, X: Any, *, n_threads: int | None = None) -> np.ndarray:
        """da^L/da^0 at each row of X, (n_samples, n_L, n_0): (2) from each output by itself.

        Raises as `predict` does; `n_threads` is as for `fit`.
        """
        n_threads = inputs.thread_count(n_threads)
        X = inputs.matrix(X, self.machine.sizes[0], self.machine.dtype)
        return quantities.jacobian(self.machine, X, n_threads)

    def hessian_vector_product(
        self, X: Any, y: Any, v: Any, sample_weight: Any = None
    ) -> np.ndarray:
        """H v, where H is the matrix of second derivatives of the mean cost. Exact.

        By Pearlmutter's R-operator, at the price of some two or three gradients (Pearlmutter, 1994,
        "Fast exact multiplication by the Hessian"); `fastbackprop.analysis` has the
        equations. The second derivative of relu is 0, at its kink too.

        Parameters
        ----------
        X, y, sample_weight
            As for `evaluate`.
        v : array_like, (n_parameters,)
            In the order of `get_parameters`.

        Returns
        -------
        ndarray, (n_parameters,), of the network's dtype

        Raises
        ------
        ValueError, TypeError
            As `evaluate` does; for a v of another shape or with values that are not finite; for an
            activation or a cost without a second derivative.
        """
        return self._product(X, y, v, sample_weight, gauss_newton=False)

    def gauss_newton_vector_product(
        self, X: Any, y: Any, v: Any, sample_weight: Any = None
    ) -> np.ndarray:
        """G v, where G is the Gauss-Newton matrix, the mean of J_i^T H_i J_i.

        J_i is da^L/dtheta and H_i the second derivatives of C_i by a^L; where the cost belongs to
        the output (cross_entropy), both are of z^L, and G is Fisher's information matrix. It has no
        negative eigenvalue if the cost is convex (Schraudolph, 2002, "Fast curvature matrix-vector
        products for second-order gradient descent"). Arguments and errors as for
        `hessian_vector_product`; activations need no second derivative.
        """
        return self._product(X, y, v, sample_weight, gauss_newton=True)

    def _product(
        self, X: Any, y: Any, v: Any, sample_weight: Any, gauss_newton: bool
    ) -> np.ndarray:
        architecture.have_second_derivatives(
            [] if gauss_newton else self.machine.sigma, self.machine.cost
        )
        direction = inputs.parameters(v, self.machine.layout.n_parameters, self.machine.dtype, "v")
        samples = dense_samples(self.machine, X, y, sample_weight)
        return quantities.product(
            self.machine, samples, total_weight(samples), direction, gauss_newton
        )

    def check_gradient(
        self, X: Any, y: Any, sample_weight: Any = None, *, max_parameters: int = 1000
    ) -> float:
        """Largest error of the gradient against central differences, in float64.

        Relative to the largest entry of the gradient; around 1e-10 for a correct gradient. Of a
        larger network, `max_parameters` parameters are drawn and checked. Differences are of fourth
        order with a step of 1e-3; where they disagree, smaller steps and one-sided differences are
        tried too, for the cost may have a kink (relu) nearby or right there. Arguments and errors
        as for `evaluate`.
        """
        max_parameters = inputs.positive_integer(max_parameters, "max_parameters")
        description = self.machine.sizes, self.machine.sigma, self.machine.cost
        machine = Machine(*description, np.dtype(np.float64), self.machine.engine_name)
        samples = all_at_hand(samples_of(machine, X, y, sample_weight))
        samples = samples._replace(s=read_only(samples.s / total_weight(samples)))
        theta = self.machine.layout.flatten(self.machine.theta).astype(np.float64)
        machine.layout.unflatten(theta, machine.theta)
        gradient = machine.layout.flatten(machine.gradient_sums(samples, 1.0)[2])
        checked = np.arange(theta.size)
        if theta.size > max_parameters:
            checked = np.random.default_rng(0).choice(theta.size, max_parameters, replace=False)

        def cost_at(p: int, step: float) -> float:
            moved = theta.copy()
            moved[p] += step
            machine.layout.unflatten(moved, machine.theta)
            sums = np.zeros(N_SUMS)
            with machine.bound(1, samples.is_sparse) as bound:
                machine.engine.cost_sum(bound, samples, sums, 0, len(samples.X))
            return float(sums[COST])

        largest = np.abs(gradient).max()
        scale = largest if largest > 0 else 1.0
        error = max(_difference(cost_at, p, gradient[p]) for p in checked.tolist())
        return float(error / scale)


def _difference(cost_at: Callable[[int, float], float], p: int, derivative: float) -> float:
    """Smallest distance of the derivative from a difference quotient."""
    smallest, here = np.inf, cost_at(p, 0.0)
    for h in (1e-3, 1e-4, 1e-5, 1e-6):
        below, above = cost_at(p, -h), cost_at(p, h)
        far_below, far_above = cost_at(p, -2 * h), cost_at(p, 2 * h)
        central = (8 * (above - below) - (far_above - far_below)) / (12 * h)
        right = (4 * above - far_above - 3 * here) / (2 * h)
        left = (3 * here - 4 * below + far_below) / (2 * h)
        smallest = min([smallest, *(abs(q - derivative) for q in (central, right, left))])
        if smallest < 1e-9 * abs(derivative):
            break
    return smallest
