"""ErrorFlow: a callback that records the sizes of the errors."""

from typing import Any

import numpy as np


class ErrorFlow:
    """A callback that records how large the errors delta^l are, in every layer after every epoch.

    Vanishing and exploding gradients made visible: `fastbackprop.plot.error_flow` draws it.

    Parameters
    ----------
    X, y
        Samples as for `Network.evaluate`, those of the training or some of them. They are checked
        when the training begins.

    Attributes
    ----------
    sizes : list of ndarray, (L,)
        The root mean square of delta^l = dC_i/dz^l over the samples and the neurons of layer l:
        before the training, and after each epoch. A second training goes on where the first ended.

    Examples
    --------
    >>> import fastbackprop as fb
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> net = fb.Network([2, 4, 4, 1], hidden="sigmoid", rng=0)
    >>> flow = fb.ErrorFlow(X, y)
    >>> history = net.fit(X, y, epochs=3, callbacks=flow)
    >>> len(flow.sizes), flow.sizes[0].shape
    (4, (3,))
    """

    def __init__(self, X: Any, y: Any) -> None:
        self._data = X, y
        self.sizes: list[np.ndarray] = []

    def on_train_begin(self, network: Any) -> None:
        size = network.error_sizes(*self._data)
        if not self.sizes:
            self.sizes.append(size)

    def on_epoch_end(self, network: Any, epoch: int, logs: dict[str, float]) -> None:
        self.sizes.append(network.error_sizes(*self._data))
