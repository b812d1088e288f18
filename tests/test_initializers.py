"""Initial weights: their moments, orthogonality, and which one "auto" picks."""

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.initializers import INITIALIZERS

MOMENTS = {  # name: variance of a weight as a function of n_in and n_out, and its distribution
    "glorot_uniform": (lambda n_in, n_out: 2 / (n_in + n_out), "uniform"),
    "glorot_normal": (lambda n_in, n_out: 2 / (n_in + n_out), "normal"),
    "he_uniform": (lambda n_in, n_out: 2 / n_in, "uniform"),
    "he_normal": (lambda n_in, n_out: 2 / n_in, "normal"),
    "lecun_normal": (lambda n_in, n_out: 1 / n_in, "normal"),
}
every_initializer = pytest.mark.parametrize("name", INITIALIZERS)


@pytest.mark.parametrize(("n_in", "n_out"), [(300, 100), (100, 300), (1, 10_000)])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name, n_in, n_out):
    W = INITIALIZERS[name](np.random.default_rng(1), n_in, n_out)
    variance, distribution = MOMENTS[name]
    w = W.ravel() / np.sqrt(variance(n_in, n_out))
    fourth, largest = {"uniform": (9 / 5, (1.7, np.sqrt(3))), "normal": (3, (3, 6))}[distribution]
    assert W.shape == (n_in, n_out)
    # Five standard errors each.
    assert abs(w.mean()) < 5 / np.sqrt(w.size)
    assert abs((w**2).mean() - 1) < 5 * np.sqrt((fourth - 1) / w.size)
    assert abs((w**4).mean() - fourth) < 5 * np.sqrt(96 / w.size)
    assert largest[0] < np.abs(w).max() <= largest[1]


@pytest.mark.parametrize(("n_in", "n_out"), [(5, 3), (3, 5), (4, 4), (1, 3), (3, 1), (1, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns(n_in, n_out):
    W = INITIALIZERS["orthogonal"](np.random.default_rng(1), n_in, n_out)
    assert W.shape == (n_in, n_out)
    product = W.T @ W if n_in >= n_out else W @ W.T
    assert np.allclose(product, np.eye(min(n_in, n_out)), rtol=0, atol=1e-14)


def test_orthogonal_matrices_are_uniformly_distributed():
    rng = np.random.default_rng(2)
    W = np.array([INITIALIZERS["orthogonal"](rng, 3, 3) for _ in range(2000)])
    # Every entry has mean 0 and variance 1/3; five standard errors.
    assert np.abs(W.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 2000)
    assert np.abs((W**2).mean(axis=0) - 1 / 3).max() < 5 * np.sqrt(4 / 45 / 2000)


def test_zeros():
    assert not np.any(INITIALIZERS["zeros"](np.random.default_rng(1), 3, 4))


def test_every_initializer_is_tested():
    assert set(INITIALIZERS) == {*MOMENTS, "orthogonal", "zeros"}


# --- in a network --------------------------------------------------------------------------------


@every_initializer
def test_layers_are_drawn_one_after_the_other_from_the_generator(name):
    net = fb.Network([3, 4, 2], init=name, dtype="float64", rng=5)
    rng = np.random.default_rng(5)
    for W, b in zip(net.weights, net.biases, strict=True):
        assert np.array_equal(W, INITIALIZERS[name](rng, *W.shape))
        assert not np.any(b)


@pytest.mark.parametrize("name", ["auto", *INITIALIZERS])
def test_float32_is_float64_rounded(name):
    single, double = (
        fb.Network([3, 8, 2], init=name, dtype=dtype, rng=5).get_parameters()
        for dtype in ("float32", "float64")
    )
    assert single.dtype == np.float32
    assert np.array_equal(single, double.astype(np.float32))


AUTO = {
    "identity": "glorot_uniform",
    "sigmoid": "glorot_uniform",
    "tanh": "glorot_uniform",
    "softmax": "glorot_uniform",
    "relu": "he_normal",
    "leaky_relu": "he_normal",
    "elu": "he_normal",
    "softplus": "he_normal",
    "gelu": "he_normal",
    "silu": "he_normal",
    "relu6": "he_normal",
    "celu": "he_normal",
    "selu": "lecun_normal",  # which it was made for
    "gelu_tanh": "he_normal",
    "mish": "he_normal",
    "hard_swish": "he_normal",
    "hard_sigmoid": "glorot_uniform",
    "hard_tanh": "glorot_uniform",
    "softsign": "glorot_uniform",
    "sin": "glorot_uniform",
    "gaussian": "glorot_uniform",
    "exp": "glorot_uniform",
    "log_softmax": "glorot_uniform",
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_auto_picks_by_the_activation_the_weights_lead_into(name):
    if not ACTIVATIONS[name].coupled:
        as_hidden, same = (
            fb.Network([3, 4, 2], hidden=name, init=init, rng=5) for init in ("auto", AUTO[name])
        )
        assert np.array_equal(as_hidden.weights[0], same.weights[0])
    as_output, same = (
        fb.Network([4, 2], output=name, init=init, rng=5) for init in ("auto", AUTO[name])
    )
    assert np.array_equal(as_output.weights[0], same.weights[0])


def test_a_function_gives_the_weights():
    def narrow(rng, n_in, n_out):
        return rng.normal(0, 0.1 / n_in, (n_in, n_out))

    net = fb.Network([3, 5, 2], init=narrow, rng=7)
    rng = np.random.default_rng(7)
    for W in net.weights:
        np.testing.assert_array_equal(W, narrow(rng, *W.shape).astype(np.float32))
    small = fb.Network([3, 5, 2], init=fb.SmallOutput(narrow, scale=0.5), rng=7)
    np.testing.assert_array_equal(small.weights[1], np.float32(0.5) * net.weights[1])
    with pytest.raises(ValueError, match=r"shape \(n_in, n_out\) = \(3, 5\); got \(5, 3\)"):
        fb.Network([3, 5, 2], init=lambda rng, n_in, n_out: np.zeros((n_out, n_in)))
    with pytest.raises(ValueError, match="weights that init returns"):
        fb.Network([3, 5, 2], init=lambda rng, n_in, n_out: np.full((n_in, n_out), np.nan))
