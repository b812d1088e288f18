"""The same network by PyTorch's and JAX's automatic differentiation, in float64.

A machine without the library skips the test that asks for it. Arguments are naive.py's (lists or
arrays); gradients come back as lists of arrays.
"""

import naive
import numpy as np
import pytest


def doubles(arrays):
    return [np.asarray(array, dtype=np.float64) for array in arrays]


def torch_mean_cost(parameters, hidden, output, cost, X, Y, s):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    sigma = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "elu": F.elu,
        # The default threshold of 20 drops exp(-20), which float64 sees; 40 is below rounding.
        "softplus": lambda z: F.softplus(z, threshold=40.0),
        "gelu": F.gelu,
        "silu": F.silu,
        "hard_sigmoid": lambda z: F.relu6(z + 3) / 6,  # theirs has the 1/6 of float32
        "hard_tanh": F.hardtanh,
        "softsign": F.softsign,
        "relu6": F.relu6,
        "celu": F.celu,
        "selu": F.selu,
        "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
        "hard_swish": F.hardswish,
        "mish": F.mish,
        "sin": torch.sin,
        "gaussian": lambda z: torch.exp(-z * z),
        "exp": torch.exp,
        "softmax": lambda z: torch.softmax(z, dim=1),
        "log_softmax": lambda z: F.log_softmax(z, dim=1),
    }
    a = X
    for W, b, name in zip(parameters[::2], parameters[1::2], [*hidden, output], strict=True):
        z = a @ W + b
        a = sigma[name](z)
    return (s * torch_costs(cost, output, z, a, Y)).sum() / s.sum()


def torch_costs(cost, output, z, a, Y, p=None):
    """C of each sample, by PyTorch's own functions where it has them."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    each = {"reduction": "none"}
    p = naive.P.get(cost, ()) if p is None else p
    in_logits = output in ("softmax", "log_softmax")
    if cost == "squared_error":  # PyTorch has no 1/2
        C = 0.5 * F.mse_loss(a, Y, **each)
    elif cost == "absolute_error":
        C = F.l1_loss(a, Y, **each)
    elif cost == "huber":
        C = F.huber_loss(a, Y, delta=p[0], **each)
    elif cost == "log_cosh":
        C = torch.log(torch.cosh(a - Y))
    elif cost == "quantile":
        level = torch.tensor(p, dtype=a.dtype).repeat_interleave(a.shape[1] // len(p))
        C = torch.where(a < Y, level * (Y - a), (level - 1) * (Y - a))
    elif cost == "hinge":
        C = F.relu(1 - Y * a)
    elif cost == "squared_hinge":
        C = F.relu(1 - Y * a) ** 2
    elif cost == "cosine":
        C = (1 - F.cosine_similarity(a, Y))[:, None]
    elif cost == "poisson" and output in ("identity", "exp"):
        C = F.poisson_nll_loss(a, Y, log_input=output == "identity", eps=0, **each)
    elif cost == "gamma" and output in ("identity", "exp"):
        C = Y * torch.exp(-z) + z
    elif cost == "tweedie" and output in ("identity", "exp"):
        mu = torch.exp(z)
        C = mu ** (2 - p[0]) / (2 - p[0]) - Y * mu ** (1 - p[0]) / (1 - p[0])
    elif (cost, output) == ("gaussian_nll", "identity"):
        mean, log_variance = a.tensor_split(2, dim=1)
        C = F.gaussian_nll_loss(
            mean, Y[:, : mean.shape[1]], torch.exp(log_variance), eps=1e-300, **each
        )
    elif cost == "cross_entropy" and in_logits:
        C = F.cross_entropy(z, Y, label_smoothing=p[0], **each)[:, None]
    elif cost == "kl_divergence" and in_logits:
        C = F.kl_div(F.log_softmax(z, dim=1), Y, **each)
    elif cost == "focal" and output == "softmax":
        log_a = F.log_softmax(z, dim=1)
        C = -Y * (1 - torch.exp(log_a)) ** p[0] * log_a
    elif (cost, output) == ("cross_entropy", "sigmoid"):
        Y = (1 - p[0]) * Y + p[0] / 2
        C = F.binary_cross_entropy_with_logits(z, Y, **each)
    elif (cost, output) == ("focal", "sigmoid"):
        q = torch.sigmoid(-z)
        C = -Y * q ** p[0] * F.logsigmoid(z) - (1 - Y) * (1 - q) ** p[0] * F.logsigmoid(-z)
    else:
        raise ValueError(f"{cost} is not defined for {output}")
    return C.sum(dim=1)


def torch_inputs(weights, biases, X, Y, s):
    """Parameters W^1, b^1, W^2, ... as leaves; X, Y and s (ones for None) as constants."""
    torch = pytest.importorskip("torch")
    s = np.ones(len(X)) if s is None else s
    pairs = zip(doubles(weights), doubles(biases), strict=True)
    parameters = [torch.tensor(array, requires_grad=True) for pair in pairs for array in pair]
    return parameters, [torch.tensor(array) for array in doubles((X, Y, s))]


def torch_gradient(weights, biases, hidden, output, cost, X, Y, s=None):
    """(cost, weight gradients, bias gradients) of the mean cost."""
    parameters, data = torch_inputs(weights, biases, X, Y, s)
    C = torch_mean_cost(parameters, hidden, output, cost, *data)
    C.backward()
    gradients = [p.grad.numpy() for p in parameters]
    return C.item(), gradients[::2], gradients[1::2]


TORCH_OPTIMIZERS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adamax": "Adamax",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "rprop": "Rprop",
}
TORCH_OPTIONS = {
    "learning_rate": "lr",
    "epsilon": "eps",
    "l2": "weight_decay",
    "rate_decay": "lr_decay",
    "initial_accumulator": "initial_accumulator_value",
}


def torch_trajectory(
    optimizer,
    weights,
    biases,
    hidden,
    output,
    cost,
    X,
    Y,
    orders,
    batch_size,
    s=None,
    *,
    layer_rates=None,
    bias_rate=1.0,
    decay_biases=True,
    clip_norm=None,
    clip_value=None,
    **options,
):
    """(theta after every step, mean cost of every epoch), as naive.train returns them.

    `optimizer` and `options` have this package's names; l2 is of the biases too.
    """
    torch = pytest.importorskip("torch")
    parameters, (X, Y, s) = torch_inputs(weights, biases, X, Y, s)
    make = getattr(torch.optim, TORCH_OPTIMIZERS[optimizer])
    options = {TORCH_OPTIONS.get(key, key): value for key, value in options.items()}
    rule = make(parameters, **options)
    if layer_rates is not None or bias_rate != 1 or not decay_biases:
        group, *_ = rule.param_groups
        rates = layer_rates or [1.0] * len(weights)
        groups = [
            {"params": [p], "lr": group["lr"] * r}
            for p, r in zip(
                parameters, [r * f for r in rates for f in (1.0, bias_rate)], strict=True
            )
        ]
        for of_biases in groups[1::2]:
            of_biases |= {} if decay_biases else {"weight_decay": 0.0}
        rule = make(groups, **options)
    trajectory, costs = [], []
    for order in orders:
        order, total = list(order), 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rule.zero_grad()
            C = torch_mean_cost(parameters, hidden, output, cost, X[batch], Y[batch], s[batch])
            C.backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
            if clip_value is not None:
                torch.nn.utils.clip_grad_value_(parameters, clip_value)
            torch.set_default_dtype(torch.float64)  # the dtype in which NAdam keeps a product
            try:
                rule.step()
            finally:
                torch.set_default_dtype(torch.float32)
            total += C.item() * s[batch].sum().item()
            trajectory.append(np.concatenate([p.detach().numpy().ravel() for p in parameters]))
        costs.append(total / s[order].sum().item())
    return trajectory, costs


def jax_functions(hidden, output, cost):
    """(X to z^L and a^L, costs of the samples), of parameters (weights, biases)."""
    jax = pytest.importorskip("jax")
    jnp, nn = jax.numpy, jax.nn
    sigma = {
        "identity": lambda z: z,
        "sigmoid": nn.sigmoid,
        "tanh": jnp.tanh,
        "relu": nn.relu,
        "leaky_relu": nn.leaky_relu,  # slope 1 at z = 0, where PyTorch and this package have 0.01
        "elu": nn.elu,
        "softplus": nn.softplus,
        "gelu": lambda z: nn.gelu(z, approximate=False),
        "silu": nn.silu,
        "hard_sigmoid": nn.hard_sigmoid,
        "hard_tanh": nn.hard_tanh,
        "softsign": nn.soft_sign,
        "relu6": nn.relu6,
        "celu": nn.celu,
        "selu": nn.selu,
        "gelu_tanh": lambda z: nn.gelu(z, approximate=True),
        "hard_swish": nn.hard_swish,
        "mish": nn.mish,
        "sin": jnp.sin,
        "gaussian": lambda z: jnp.exp(-z * z),
        "exp": jnp.exp,
        "softmax": nn.softmax,
        "log_softmax": nn.log_softmax,
    }

    def outputs(parameters, X):
        a = X
        for W, b, name in zip(*parameters, [*hidden, output], strict=True):
            z = a @ W + b
            a = sigma[name](z)
        return z, a

    def costs(z, a, Y):
        if cost == "squared_error":
            return 0.5 * ((a - Y) ** 2).sum(axis=-1)
        if (cost, output) == ("cross_entropy", "softmax"):
            return -(Y * nn.log_softmax(z)).sum(axis=-1)
        if (cost, output) == ("cross_entropy", "sigmoid"):
            return -(Y * nn.log_sigmoid(z) + (1.0 - Y) * nn.log_sigmoid(-z)).sum(axis=-1)
        pytest.skip(f"{cost} with {output} is left to PyTorch")

    return outputs, costs


def jax_data(jax, weights, biases, X, Y, s):
    s = np.ones(len(X)) if s is None else s
    data = [jax.numpy.asarray(array) for array in doubles((X, Y, s))]
    return tuple([jax.numpy.asarray(p) for p in doubles(ps)] for ps in (weights, biases)), data


def jax_gradient(weights, biases, hidden, output, cost, X, Y, s=None):
    """(cost, weight gradients, bias gradients) of the mean cost."""
    jax = pytest.importorskip("jax")
    outputs, costs = jax_functions(hidden, output, cost)

    def mean_cost(parameters, X, Y, s):
        return (s * costs(*outputs(parameters, X), Y)).sum() / s.sum()

    with jax.enable_x64(True):
        parameters, data = jax_data(jax, weights, biases, X, Y, s)
        C, gradients = jax.value_and_grad(mean_cost)(parameters, *data)
        return (float(C), *([np.asarray(g) for g in gs] for gs in gradients))


def jax_analysis(weights, biases, hidden, output, cost, X, Y, s, v):
    """By name what fastbackprop.analysis computes; parameters are W^1, b^1, W^2, ... in a row."""
    jax = pytest.importorskip("jax")
    flatten_util = pytest.importorskip("jax.flatten_util")
    outputs, costs = jax_functions(hidden, output, cost)

    def analyse(flat, X, Y, s, v):
        def network(flat, X):
            return outputs(tuple(zip(*unflatten(flat), strict=True)), X)

        def cost_of_one(flat, x, y):
            return costs(*network(flat, x), y)

        def mean_cost(flat):
            return (s * costs(*network(flat, X), Y)).sum() / s.sum()

        last = 0 if cost == "cross_entropy" else 1  # z^L or a^L

        def cost_of_last(values):
            z, a = (values, None) if last == 0 else (None, values)
            return (s * costs(z, a, Y)).sum() / s.sum()

        def last_layer(flat):
            return network(flat, X)[last]

        values, along_v = jax.jvp(last_layer, (flat,), (v,))
        curved = jax.jvp(jax.grad(cost_of_last), (values,), (along_v,))[1]
        return {
            "sample_gradients": jax.vmap(jax.grad(cost_of_one), (None, 0, 0))(flat, X, Y),
            "input_gradient": jax.vmap(jax.grad(cost_of_one, 1), (None, 0, 0))(flat, X, Y),
            "jacobian": jax.vmap(jax.jacrev(lambda x: network(flat, x)[1]))(X),
            "hessian_vector_product": jax.jvp(jax.grad(mean_cost), (flat,), (v,))[1],
            "gauss_newton_vector_product": jax.vjp(last_layer, flat)[1](curved)[0],
        }

    with jax.enable_x64(True):
        parameters, data = jax_data(jax, weights, biases, X, Y, s)
        flat, unflatten = flatten_util.ravel_pytree(list(zip(*parameters, strict=True)))
        results = jax.jit(analyse)(flat, *data, v)
        return {name: np.asarray(result) for name, result in results.items()}


def jax_backward(weights, biases, hidden, output, X, G):
    """Gradients by W^1, b^1, W^2, ..., flat, and by X, of the sum of G * a^L: JAX's vjp."""
    jax = pytest.importorskip("jax")
    outputs, _ = jax_functions(hidden, output, "squared_error")

    def pulled_back(parameters, X, G):
        return jax.vjp(lambda *arguments: outputs(*arguments)[1], parameters, X)[1](G)

    with jax.enable_x64(True):
        parameters, (X, G, _) = jax_data(jax, weights, biases, X, G, None)
        (dW, db), below = jax.jit(pulled_back)(parameters, X, G)
        parts = [np.ravel(part) for pair in zip(dW, db, strict=True) for part in pair]
        return np.concatenate(parts), np.asarray(below)


def jax_jets(weights, biases, hidden, output, X, rays, G):
    """(channels of a^L, dC/dtheta, dC/dX) for C = sum of G times the channels; rays (n, D, n_0)."""
    jax = pytest.importorskip("jax")
    flatten_util = pytest.importorskip("jax.flatten_util")
    outputs, _ = jax_functions(hidden, output, "squared_error")

    def channels(flat, X, rays):
        def network(x):
            return outputs(tuple(zip(*unflatten(flat), strict=True)), x)[1]

        def along(v):
            first = lambda x: jax.jvp(network, (x,), (v,))[1]  # noqa: E731
            return jax.jvp(first, (X,), (v,))

        da, d2a = jax.vmap(along)(rays.swapaxes(0, 1))
        return jax.numpy.concatenate([network(X)[None], da, d2a])

    def everything(flat, X, rays, G):
        cost = lambda flat, X: (G * channels(flat, X, rays)).sum()  # noqa: E731
        return channels(flat, X, rays), *jax.grad(cost, (0, 1))(flat, X)

    with jax.enable_x64(True):
        parameters, (X, rays, G) = jax_data(jax, weights, biases, X, rays, G)
        flat, unflatten = flatten_util.ravel_pytree(list(zip(*parameters, strict=True)))
        quickly = {
            "xla_backend_optimization_level": 0
        }  # compiled in half of the time, and run once
        compiled = jax.jit(everything, compiler_options=quickly)
        return [np.asarray(result) for result in compiled(flat, X, rays, G)]
