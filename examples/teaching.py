"""One sample through a network of 2, 3 and 2 neurons, and back: every number with its equation.

The script prints every z, a, delta and gradient with the index formulas of docs/derivation.md and
the numbers filled in, then compares them with the library. Run it with
`python examples/teaching.py`.
"""

import numpy as np

import fastbackprop as fb

X, Y = np.array([[0.5, -1.0]]), np.array([[1.0, 0.0]])
W = [
    np.array([[0.2, -0.4, 0.6], [0.1, 0.3, -0.5]]),
    np.array([[0.7, -0.3], [-0.2, 0.4], [0.5, 0.1]]),
]
B = [np.array([0.1, 0.0, -0.2]), np.array([0.05, -0.1])]


def network():
    """Hidden tanh, output sigmoid, C = 1/2 sum_k (a_k - y_k)^2."""
    net = fb.Network([2, 3, 2], hidden="tanh", output="sigmoid", dtype="float64", engine="loops")
    for l in range(2):
        net.weights[l] = W[l]
        net.biases[l] = B[l]
    return net


def number(x):
    """Four decimals; negative numbers in brackets, because they follow a sign."""
    return f"{x:.4f}" if x >= 0 else f"({x:.4f})"


def products(x, y):
    return " + ".join(f"{number(x_i)} * {number(y_i)}" for x_i, y_i in zip(x, y, strict=True))


def heading(equation, formula, remark=""):
    print(f"\n{equation:5}{formula}" + f"    {remark}" * bool(remark))


def line(name, terms, value):
    print(f"     {name:10} = {terms} = {value:.4f}")


def forward(a, z):
    """(0) and sigma, layer by layer; fills a and z."""
    sigma = {1: ("tanh", np.tanh), 2: ("sigmoid", lambda z: 1 / (1 + np.exp(-z)))}
    for l in (1, 2):
        w, b = W[l - 1], B[l - 1]
        heading("(0)", f"z^{l}_k = sum_j a^{l - 1}_j w^{l}_jk + b^{l}_k")
        for k in range(w.shape[1]):
            z_k = sum(a[l - 1][j] * w[j, k] for j in range(w.shape[0])) + b[k]
            line(f"z^{l}_{k + 1}", f"{products(a[l - 1], w[:, k])} + {number(b[k])}", z_k)
            z[l].append(z_k)
        name, function = sigma[l]
        heading("", f"a^{l}_k = sigma_{l}(z^{l}_k)", f"sigma_{l} is {name}")
        for k in range(w.shape[1]):
            a[l].append(function(z[l][k]))
            line(f"a^{l}_{k + 1}", f"{name}({z[l][k]:.4f})", a[l][k])


def backward(a, y):
    """(1), then (2); returns delta for each layer."""
    delta = {1: [], 2: []}
    heading(
        "(1)",
        "delta^2_j = dC/da^2_j sigma_2'(z^2_j)",
        "dC/da_j = a_j - y_j, sigma_2'(z_j) = a_j (1 - a_j)",
    )
    for j in range(2):
        a_j, y_j = a[2][j], y[j]
        delta_j = (a_j - y_j) * a_j * (1 - a_j)
        terms = f"({a_j:.4f} - {y_j:.4f}) * {a_j:.4f} * (1 - {a_j:.4f})"
        line(f"delta^2_{j + 1}", terms, delta_j)
        delta[2].append(delta_j)
    heading(
        "(2)",
        "delta^1_j = sigma_1'(z^1_j) sum_k delta^2_k w^2_jk",
        "sigma_1'(z_j) = 1 - a_j^2",
    )
    for j in range(3):
        a_j, w_j = a[1][j], W[1][j]
        delta_j = (1 - a_j**2) * sum(delta[2][k] * w_j[k] for k in range(2))
        terms = f"(1 - {number(a_j)}^2) * ({products(delta[2], w_j)})"
        line(f"delta^1_{j + 1}", terms, delta_j)
        delta[1].append(delta_j)
    return delta


def gradients(a, delta):
    """(3) and (4) for both layers; returns dC/dW and dC/db for each layer."""
    weights, biases = {}, {}
    for l in (2, 1):
        heading("(3)", f"dC/dw^{l}_kj = a^{l - 1}_k delta^{l}_j")
        weights[l] = np.outer(a[l - 1], delta[l])
        for k, a_k in enumerate(a[l - 1]):
            for j, delta_j in enumerate(delta[l]):
                terms = f"{number(a_k)} * {number(delta_j)}"
                line(f"dC/dw^{l}_{k + 1}{j + 1}", terms, weights[l][k, j])
        heading("(4)", f"dC/db^{l}_j = delta^{l}_j")
        biases[l] = np.array(delta[l])
        for j, delta_j in enumerate(delta[l]):
            print(f"     {f'dC/db^{l}_{j + 1}':10} = {delta_j:.4f}")
    return weights, biases


def largest_difference(net, z, a, delta, weights, biases):
    """Largest difference between these numbers and those of `Network.trace`."""
    trace = net.trace(X, Y)
    pairs = []
    for l in (1, 2):
        pairs += [(z[l], trace.z[l - 1]), (a[l], trace.a[l]), (delta[l], trace.delta[l - 1])]
        pairs += [(weights[l], trace.weight_gradients[l - 1])]
        pairs += [(biases[l], trace.bias_gradients[l - 1])]
    return max(np.abs(np.asarray(ours) - theirs).max() for ours, theirs in pairs)


def main():
    net = network()
    a, z = {0: list(X[0]), 1: [], 2: []}, {1: [], 2: []}
    print(f"{net}\n\nForward\n\n     a^0 = x = {X[0]}, y = {Y[0]}")
    forward(a, z)
    terms = " + ".join(f"({a_k:.4f} - {y_k:.4f})^2" for a_k, y_k in zip(a[2], Y[0], strict=True))
    heading("", "C = 1/2 sum_k (a^2_k - y_k)^2")
    line("C", f"1/2 * ({terms})", net.evaluate(X, Y))
    print("\n\nBackward")
    delta = backward(a, Y[0])
    weights, biases = gradients(a, delta)
    difference = largest_difference(net, z, a, delta, weights, biases)
    print(f"\n\nnet.trace(x, y) has the same numbers; the largest difference is {difference:.0e}.")
    print(
        f"net.check_gradient(x, y): the gradient is within {net.check_gradient(X, Y):.0e}\n"
        f"of difference quotients of C, relative to its largest entry."
    )


if __name__ == "__main__":
    main()
