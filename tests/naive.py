"""The derivation as scalar sums in pure Python: the oracle the engines are compared with.

Shares no code with the package. The letters and the equation numbers are the derivation's: W^l is
`weights[l-1]`, b^l `biases[l-1]`, z^l `z[l-1]`, a^l `a[l]` with a^0 = x, delta^l `delta[l-1]`.
`hidden` names sigma_1 ... sigma_{L-1}, `output` names sigma_L. One sample is a list of floats, a
batch a list of such rows.
"""

import math
from itertools import pairwise
from typing import NamedTuple


def sigmoid(z):
    e = math.exp(-abs(z))  # of a negative number: may underflow, never overflows
    return (1.0 if z >= 0.0 else e) / (1.0 + e)


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def normal_cdf(z):
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def normal_pdf(z):
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def exp(z):
    return math.exp(z) if z < 709.78 else math.inf


SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def gelu_tanh_argument(z):
    """2 u of (1 + tanh u) / 2 = sigmoid(2 u)."""
    return 2.0 * math.sqrt(2.0 / math.pi) * (z + 0.044715 * z * z * z)


def gelu_tanh_rest(z):
    if abs(z) > 1e3:
        return 0.0
    v = gelu_tanh_argument(z)
    slope = 2.0 * math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * z * z)
    return z * sigmoid(v) * sigmoid(-v) * slope


def mish_slope(z):
    """tanh s + z (1 - tanh^2 s) ds/dz, s = log(1 + e^z)."""
    s = softplus(z)
    return math.tanh(s) + z * (4.0 * sigmoid(2.0 * s) * sigmoid(-2.0 * s)) * sigmoid(z)


ACTIVATIONS = {  # name: (sigma, sigma'), both of z; 1 - sigmoid(z) is written sigmoid(-z)
    "identity": (lambda z: z, lambda z: 1.0),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": (math.tanh, lambda z: 4.0 * sigmoid(2.0 * z) * sigmoid(-2.0 * z)),
    "relu": (lambda z: z if z > 0.0 else 0.0, lambda z: 1.0 if z > 0.0 else 0.0),
    "leaky_relu": (lambda z: z if z > 0.0 else 0.01 * z, lambda z: 1.0 if z > 0.0 else 0.01),
    "elu": (
        lambda z: z if z > 0.0 else math.expm1(z),
        lambda z: 1.0 if z > 0.0 else math.exp(z),
    ),
    "softplus": (softplus, sigmoid),
    "gelu": (lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * normal_pdf(z)),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) + z * sigmoid(z) * sigmoid(-z),
    ),
    "hard_sigmoid": (
        lambda z: min(max(z + 3.0, 0.0), 6.0) / 6.0,
        lambda z: 1.0 / 6.0 if -3.0 < z < 3.0 else 0.0,
    ),
    "hard_tanh": (
        lambda z: min(max(z, -1.0), 1.0),
        lambda z: 1.0 if -1.0 < z < 1.0 else 0.0,
    ),
    "softsign": (lambda z: z / (1.0 + abs(z)), lambda z: (1.0 / (1.0 + abs(z))) ** 2),
    "relu6": (lambda z: min(max(z, 0.0), 6.0), lambda z: 1.0 if 0.0 < z < 6.0 else 0.0),
    "celu": (
        lambda z: z if z > 0.0 else math.expm1(z),
        lambda z: 1.0 if z > 0.0 else math.exp(z),
    ),
    "selu": (
        lambda z: SELU[0] * (z if z > 0.0 else SELU[1] * math.expm1(z)),
        lambda z: SELU[0] * (1.0 if z > 0.0 else SELU[1] * math.exp(z)),
    ),
    "gelu_tanh": (
        lambda z: z * sigmoid(gelu_tanh_argument(z)),
        lambda z: sigmoid(gelu_tanh_argument(z)) + gelu_tanh_rest(z),
    ),
    "hard_swish": (
        lambda z: z * (min(max(z + 3.0, 0.0), 6.0) / 6.0),
        lambda z: 0.0 if z <= -3.0 else 1.0 if z >= 3.0 else z / 3.0 + 0.5,
    ),
    "mish": (lambda z: z * math.tanh(softplus(z)), mish_slope),
    "sin": (math.sin, math.cos),
    "gaussian": (lambda z: math.exp(-z * z), lambda z: -2.0 * (z * math.exp(-z * z))),
    "exp": (exp, exp),
}


def log_softmax(z):
    largest = max(z)
    log_sum = math.log(sum(math.exp(z_k - largest) for z_k in z))
    return [z_k - largest - log_sum for z_k in z]


def softmax(z):
    return [math.exp(v) for v in log_softmax(z)]


def softmax_jacobian(z):
    """J[k][j] = da_k/dz_j = a_k (1[k=j] - a_j)."""
    a = softmax(z)
    return [[a[k] * ((k == j) - a[j]) for j in range(len(a))] for k in range(len(a))]


def log_softmax_jacobian(z):
    """J[k][j] = 1[k=j] - softmax(z)_j."""
    a = softmax(z)
    return [[(k == j) - a[j] for j in range(len(a))] for k in range(len(a))]


ROWS = {"softmax": softmax, "log_softmax": log_softmax}  # what couples the neurons of a layer
JACOBIANS = {"softmax": softmax_jacobian, "log_softmax": log_softmax_jacobian}


def activate(name, z):
    if name in ROWS:
        return ROWS[name](z)
    return [ACTIVATIONS[name][0](z_k) for z_k in z]


def plain(values):
    """Nested lists of floats from lists or arrays: float32 entries would round every product."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    return [plain(v) for v in values] if isinstance(values, list | tuple) else float(values)


def one_hot(labels, n):
    return [[1.0 if k == label else 0.0 for k in range(n)] for label in labels]


# One sample


def forward(weights, biases, hidden, output, x):
    """(z, a) by (0): z^l_k = sum_j a^{l-1}_j w^l_{jk} + b^l_k, a^l = sigma_l(z^l)."""
    z, a = [], [plain(x)]
    for W, b, sigma in zip(plain(weights), plain(biases), [*hidden, output], strict=True):
        z.append([sum(a[-1][j] * W[j][k] for j in range(len(W))) + b[k] for k in range(len(b))])
        a.append(activate(sigma, z[-1]))
    return z, a


P = {
    "huber": (1.0,),
    "quantile": (0.5,),
    "tweedie": (1.5,),
    "focal": (2.0,),
    "cross_entropy": (0.0,),
}

OF_DISTANCE = {  # cost: (term, dterm/da), of a and y and parameters
    "squared_error": (lambda a, y: 0.5 * (a - y) ** 2, lambda a, y: a - y),
    "absolute_error": (lambda a, y: abs(a - y), lambda a, y: sign(a - y)),
    "huber": (
        lambda a, y, p: 0.5 * (a - y) ** 2 if abs(a - y) < p else p * (abs(a - y) - 0.5 * p),
        lambda a, y, p: a - y if abs(a - y) < p else p * sign(a - y),
    ),
    "log_cosh": (lambda a, y: log_cosh(a - y), lambda a, y: math.tanh(a - y)),
    "hinge": (
        lambda a, y: max(1.0 - y * a, 0.0),
        lambda a, y: -y if y * a < 1.0 else 0.0,
    ),
    "squared_hinge": (
        lambda a, y: max(1.0 - y * a, 0.0) ** 2,
        lambda a, y: -2.0 * y * max(1.0 - y * a, 0.0),
    ),
}

OF_LOG_MEAN = {  # cost: (term, dterm/dz), where the mean is e^z
    "poisson": (lambda z, y: exp(z) - y * z, lambda z, y: exp(z) - y),
    "gamma": (lambda z, y: y * exp(-z) + z, lambda z, y: 1.0 - y * exp(-z)),
    "tweedie": (
        lambda z, y, p: -y * exp((1.0 - p) * z) / (1.0 - p) + exp((2.0 - p) * z) / (2.0 - p),
        lambda z, y, p: -y * exp((1.0 - p) * z) + exp((2.0 - p) * z),
    ),
}


def sign(x):
    return math.copysign(1.0, x) if x else 0.0


def log_cosh(x):
    if abs(x) < 1.0:
        return math.log1p(2.0 * math.sinh(0.5 * x) ** 2)
    return abs(x) + math.log1p(math.exp(-2.0 * abs(x))) - math.log(2.0)


def dot(u, v):
    return sum(u_k * v_k for u_k, v_k in zip(u, v, strict=True))


def smoothed(output, y, s):
    n = 2 if output == "sigmoid" else len(y)
    return [(1.0 - s) * y_k + s / n for y_k in y]


def focal_terms(z_k, y_k, g):
    """-y (1 - a)^g log a - (1 - y) a^g log(1 - a); log a = -softplus(-z)."""
    right, wrong = softplus(-z_k), softplus(z_k)
    return y_k * right * math.exp(-g * wrong) + (1.0 - y_k) * wrong * math.exp(-g * right)


def sample_cost(cost, output, z, a, y, p=None):
    """C; of probabilities from z^L, because log a^L is -inf where a^L has underflowed."""
    z, a, p = z[-1], a[-1], P.get(cost, ()) if p is None else p
    if cost in OF_DISTANCE:
        return sum(OF_DISTANCE[cost][0](a_k, y_k, *p) for a_k, y_k in zip(a, y, strict=True))
    if cost in OF_LOG_MEAN and output in ("identity", "exp"):
        return sum(OF_LOG_MEAN[cost][0](z_k, y_k, *p) for z_k, y_k in zip(z, y, strict=True))
    if cost == "quantile":
        levels = [level for level in p for _ in range(len(a) // len(p))]
        return sum(
            max(level * (y_k - a_k), (level - 1.0) * (y_k - a_k))
            for level, a_k, y_k in zip(levels, a, y, strict=True)
        )
    if cost == "cosine":
        return 1.0 - dot(a, y) / (math.hypot(*a) * math.hypot(*y))
    if (cost, output) == ("gaussian_nll", "identity"):
        n = len(a) // 2
        return sum(0.5 * (a[n + k] + (a[k] - y[k]) ** 2 * exp(-a[n + k])) for k in range(n))
    if output in ("softmax", "log_softmax"):
        log_a = log_softmax(z)
        if cost == "cross_entropy":
            return -dot(smoothed(output, y, *p), log_a)
        if cost == "kl_divergence":
            return -sum(
                y_k * (v - math.log(y_k)) for y_k, v in zip(y, log_a, strict=True) if y_k > 0.0
            )
        if (cost, output) == ("focal", "softmax"):
            return -sum(y_k * (-math.expm1(v)) ** p[0] * v for y_k, v in zip(y, log_a, strict=True))
    if (cost, output) == ("cross_entropy", "sigmoid"):  # -log a = softplus(-z)
        return sum(
            y_k * softplus(-z_k) + (1.0 - y_k) * softplus(z_k)
            for y_k, z_k in zip(smoothed(output, y, *p), z, strict=True)
        )
    if (cost, output) == ("focal", "sigmoid"):
        return sum(focal_terms(z_k, y_k, *p) for z_k, y_k in zip(z, y, strict=True))
    raise ValueError(f"{cost} is not defined for {output}")


def cost_gradient(cost, output, a, y, p=None):
    """grad C = dC/da^L (not dC/dz^L), where the chain rule is good enough for it."""
    a, p = a[-1], P.get(cost, ()) if p is None else p
    pairs = list(zip(a, y, strict=True))
    if cost in OF_DISTANCE:
        return [OF_DISTANCE[cost][1](a_k, y_k, *p) for a_k, y_k in pairs]
    if cost in OF_LOG_MEAN and output == "identity":
        return [OF_LOG_MEAN[cost][1](a_k, y_k, *p) for a_k, y_k in pairs]
    if cost in OF_LOG_MEAN and output == "exp":
        return [OF_LOG_MEAN[cost][1](math.log(a_k), y_k, *p) / a_k for a_k, y_k in pairs]
    if cost == "quantile":
        levels = [level for level in p for _ in range(len(a) // len(p))]
        return [
            0.0 if a_k == y_k else (1.0 if a_k > y_k else 0.0) - level
            for level, (a_k, y_k) in zip(levels, pairs, strict=True)
        ]
    if cost == "cosine":
        n_a, n_y = math.hypot(*a), math.hypot(*y)
        c = dot(a, y) / (n_a * n_y)
        return [c * a_k / n_a**2 - y_k / (n_a * n_y) for a_k, y_k in pairs]
    if (cost, output) == ("gaussian_nll", "identity"):
        n = len(a) // 2
        of_means = [(a[k] - y[k]) * exp(-a[n + k]) for k in range(n)]
        return of_means + [0.5 - 0.5 * (a[k] - y[k]) ** 2 * exp(-a[n + k]) for k in range(n)]
    if cost == "cross_entropy" and output in ("softmax", "log_softmax", "sigmoid"):
        pairs = list(zip(a, smoothed(output, y, *p), strict=True))
        if output == "softmax":
            return [-y_k / a_k for a_k, y_k in pairs]
        if output == "log_softmax":
            return [-y_k for _, y_k in pairs]
        return [(a_k - y_k) / (a_k * (1.0 - a_k)) for a_k, y_k in pairs]
    if cost == "kl_divergence" and output in ("softmax", "log_softmax"):
        return [-y_k / a_k if output == "softmax" else -y_k for a_k, y_k in pairs]
    if cost == "focal" and output in ("softmax", "sigmoid"):
        g = p[0]
        slope = [focal_slope(a_k, g) for a_k in a]
        if output == "softmax":
            return [y_k * s for s, y_k in zip(slope, y, strict=True)]
        return [
            y_k * s - (1.0 - y_k) * focal_slope(1.0 - a_k, g)
            for s, (a_k, y_k) in zip(slope, pairs, strict=True)
        ]
    raise ValueError(f"{cost} is not defined for {output}")


def focal_slope(a, g):
    """d/da of -(1 - a)^g log a."""
    return g * (1.0 - a) ** (g - 1.0) * math.log(a) - (1.0 - a) ** g / a


def output_error(cost, output, z, a, y, p=None):
    """(1) delta^L_j = sum_k dC/da^L_k da^L_k/dz^L_j: one term where sigma_L is element-wise."""
    g = cost_gradient(cost, output, a, y, p)
    if output in JACOBIANS:
        J = JACOBIANS[output](z[-1])
        return [sum(g[k] * J[k][j] for k in range(len(g))) for j in range(len(g))]
    slope = ACTIVATIONS[output][1]
    return [g_j * slope(z_j) for g_j, z_j in zip(g, z[-1], strict=True)]


def fused_output_error(cost, output, z, a, y, p=None):
    """(1) collapsed by hand, where the chain rule meets 0 * inf at saturation; else None."""
    z, a, p = z[-1], a[-1], P.get(cost, ()) if p is None else p
    if cost in OF_LOG_MEAN:
        return [OF_LOG_MEAN[cost][1](z_j, y_j, *p) for z_j, y_j in zip(z, y, strict=True)]
    if output == "log_softmax":
        a = [exp(a_j) for a_j in a]
    if cost in ("cross_entropy", "kl_divergence"):
        y = smoothed(output, y, *p) if cost == "cross_entropy" else y
        total = sum(y) if output in ("softmax", "log_softmax") else 1.0
        return [a_j * total - y_j for a_j, y_j in zip(a, y, strict=True)]
    if (cost, output) == ("focal", "sigmoid"):
        return [focal_delta(z_j, y_j, *p) for z_j, y_j in zip(z, y, strict=True)]
    if (cost, output) == ("focal", "softmax"):
        log_a, (g,) = log_softmax(z), p
        h = []
        for v, y_k in zip(log_a, y, strict=True):
            q = -math.expm1(v)
            h.append(y_k * (g * q ** (g - 1.0) * math.exp(v) * v - q**g) if q > 0.0 else 0.0)
        return [h_j - a_j * sum(h) for h_j, a_j in zip(h, a, strict=True)]
    return None


def focal_delta(z, y, g):
    right, wrong, s, rest = softplus(-z), softplus(z), sigmoid(z), sigmoid(-z)
    of_y = -math.exp(-g * wrong) * (rest + g * s * right)
    return y * of_y + (1.0 - y) * math.exp(-g * right) * (s + g * rest * wrong)


def backward(weights, hidden, output, cost, z, a, y, factor=1.0, p=None):
    """delta^1 ... delta^L by (1) and (2); factor is s_i / sum s, which enters once, in (1)."""
    last = fused_output_error(cost, output, z, a, y, p)
    if last is None:
        last = output_error(cost, output, z, a, y, p)
    delta = [[factor * d for d in last]]
    # (2) delta^l_j = sigma_l'(z^l_j) sum_k delta^{l+1}_k w^{l+1}_{jk}, for l = L-1 ... 1
    for W, sigma, z_l in zip(weights[:0:-1], hidden[::-1], z[-2::-1], strict=True):
        slope, d = ACTIVATIONS[sigma][1], delta[0]
        delta.insert(
            0,
            [slope(z_l[j]) * sum(d[k] * W[j][k] for k in range(len(d))) for j in range(len(z_l))],
        )
    return delta


# A batch: the cost is sum_i s_i C_i / sum_i s_i


def weight_gradient(A, D):
    """(3) dC/dw^l_{kj} = a^{l-1}_k delta^l_j, summed over the samples i."""
    samples, n_in, n_out = range(len(D)), range(len(A[0])), range(len(D[0]))
    return [[sum(A[i][k] * D[i][j] for i in samples) for j in n_out] for k in n_in]


def bias_gradient(D):
    """(4) dC/db^l_j = delta^l_j, summed over the samples i."""
    return [sum(D[i][j] for i in range(len(D))) for j in range(len(D[0]))]


class Trace(NamedTuple):
    """z, a and delta by layer, then by sample; delta and the gradients are the mean cost's."""

    z: list
    a: list
    delta: list
    weight_gradients: list
    bias_gradients: list
    cost: float


def trace(weights, biases, hidden, output, cost, X, Y, s=None, p=None):
    weights, biases, X, Y = plain(weights), plain(biases), plain(X), plain(Y)
    s = [1.0] * len(X) if s is None else plain(s)
    total, mean, samples = sum(s), 0.0, []
    for x, y, s_i in zip(X, Y, s, strict=True):
        z, a = forward(weights, biases, hidden, output, x)
        mean += s_i / total * sample_cost(cost, output, z, a, y, p)
        delta = backward(weights, hidden, output, cost, z, a, y, s_i / total, p)
        samples.append((z, a, delta))
    z, a, delta = (
        [list(rows) for rows in zip(*quantity, strict=True)]
        for quantity in zip(*samples, strict=True)
    )
    dW = [weight_gradient(A, D) for A, D in zip(a[:-1], delta, strict=True)]
    db = [bias_gradient(D) for D in delta]
    return Trace(z, a, delta, dW, db, mean)


def gradient(weights, biases, hidden, output, cost, X, Y, s=None):
    """(cost, weight gradients, bias gradients) of the mean cost."""
    t = trace(weights, biases, hidden, output, cost, X, Y, s)
    return t.cost, t.weight_gradients, t.bias_gradients


# The parameter vector W^1, b^1, W^2, ... (each W row by row), and training on it


def flatten(weights, biases):
    flat = []
    for W, b in zip(plain(weights), plain(biases), strict=True):
        flat += [w for row in W for w in row] + b
    return flat


def unflatten(theta, sizes):
    weights, biases, rest = [], [], iter(theta)
    for n_in, n_out in pairwise(sizes):
        weights.append([[next(rest) for _ in range(n_out)] for _ in range(n_in)])
        biases.append([next(rest) for _ in range(n_out)])
    return weights, biases


def central_differences(cost, theta, h=1e-3):
    """d cost / d theta with an error of O(h^4), by two central differences of h and 2 h."""
    gradient = []
    for p in range(len(theta)):
        f = [cost([*theta[:p], theta[p] + m * h, *theta[p + 1 :]]) for m in (-2, -1, 1, 2)]
        gradient.append((8.0 * (f[2] - f[1]) - (f[3] - f[0])) / (12.0 * h))
    return gradient


def sgd(theta, g, state, t, learning_rate=1e-2, momentum=0.0, nesterov=False):
    """One step of torch.optim.SGD, in place; state is a dict, empty before step t = 1."""
    v = state.setdefault("v", [0.0] * len(theta))
    for p in range(len(theta)):
        v[p] = momentum * v[p] + g[p]
        theta[p] -= learning_rate * (g[p] + momentum * v[p] if nesterov else v[p])


def adam(theta, g, state, t, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8):
    """One step of torch.optim.Adam, in place; state is a dict, empty before step t = 1."""
    m, v = state.setdefault("m", [0.0] * len(theta)), state.setdefault("v", [0.0] * len(theta))
    for p in range(len(theta)):
        m[p] += (1.0 - betas[0]) * (g[p] - m[p])
        v[p] = betas[1] * v[p] + (1.0 - betas[1]) * g[p] * g[p]
        root = math.sqrt(v[p]) / math.sqrt(1.0 - betas[1] ** t)
        theta[p] -= learning_rate / (1.0 - betas[0] ** t) * m[p] / (root + epsilon)


def lion(theta, g, state, t, learning_rate=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """One step of algorithm 2 of Chen et al. (2023), in place; state is empty before t = 1."""
    m = state.setdefault("m", [0.0] * len(theta))
    for p in range(len(theta)):
        c = betas[0] * m[p] + (1.0 - betas[0]) * g[p]
        sign = (c > 0.0) - (c < 0.0)
        theta[p] -= learning_rate * (sign + weight_decay * theta[p])
        m[p] = betas[1] * m[p] + (1.0 - betas[1]) * g[p]


def with_options(
    step,
    sizes,
    l2=0.0,
    l1=0.0,
    penalize_biases=False,
    clip_norm=None,
    clip_value=None,
    max_norm=None,
):
    """The step with what all optimizers take, for a vector W^1, b^1, W^2, ... of these sizes."""

    def more(theta, g, state, t):
        if clip_norm is not None:
            norm = math.sqrt(sum(x * x for x in g))
            if norm > clip_norm:
                for p in range(len(g)):
                    g[p] *= clip_norm / norm
        if clip_value is not None:
            for p in range(len(g)):
                g[p] = min(max(g[p], -clip_value), clip_value)
        p = 0
        for n_in, n_out in pairwise(sizes):
            for i in range(n_in * n_out + n_out):
                if i < n_in * n_out or penalize_biases:
                    g[p] += l2 * theta[p] + l1 * ((theta[p] > 0.0) - (theta[p] < 0.0))
                p += 1
        step(theta, g, state, t)
        start = 0
        for n_in, n_out in pairwise(sizes):
            for k in range(n_out):
                column = range(start + k, start + n_in * n_out, n_out)
                norm = math.sqrt(sum(theta[p] * theta[p] for p in column))
                if max_norm is not None and norm > max_norm:
                    for p in column:
                        theta[p] *= max_norm / norm
            start += n_in * n_out + n_out

    return more


def train(weights, biases, hidden, output, cost, X, Y, orders, batch_size, step, s=None):
    """(theta after every step, mean cost of every epoch).

    `orders` holds one order of the samples per epoch; the last batch of an epoch may be smaller.
    `step(theta, g, state, t)` is sgd, adam, lion or one with options. A sample's cost counts as it
    was just before its own batch's update.
    """
    s = [1.0] * len(X) if s is None else plain(s)
    sizes = [len(weights[0]), *(len(b) for b in biases)]
    theta, state, trajectory, costs = flatten(weights, biases), {}, [], []
    for order in orders:
        total = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            X_b, Y_b, s_b = ([rows[i] for i in batch] for rows in (X, Y, s))
            W, b = unflatten(theta, sizes)
            mean, dW, db = gradient(W, b, hidden, output, cost, X_b, Y_b, s_b)
            total += mean * sum(s_b)
            step(theta, flatten(dW, db), state, len(trajectory) + 1)
            trajectory.append(list(theta))
        costs.append(total / sum(s[i] for i in order))
    return trajectory, costs
