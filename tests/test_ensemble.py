"""Ensemble: against the predictions of each network, and NumPy."""

import numpy as np
import pytest

import fastbackprop as fb

X = np.random.default_rng(0).normal(size=(11, 3))


def members(n, sizes=(3, 5, 2), **options):
    return [fb.Network(sizes, rng=seed, **options) for seed in range(n)]


def mixture():
    """Some that go together, some that do not."""
    return [
        *members(19),
        *members(2, hidden="tanh"),
        *members(1, [3, 2]),
        *members(2, engine="numpy"),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 3, 8, 17, 40])
def test_each_has_the_bits_of_predict(n, dtype):
    networks = members(n, dtype=dtype, output="softmax", cost="cross_entropy")
    expected = [network.predict(X) for network in networks]
    np.testing.assert_array_equal(fb.Ensemble(networks).each(X), expected)


def test_mixtures_and_rows_of_each():
    networks = mixture()
    ensemble = fb.Ensemble(networks)
    np.testing.assert_array_equal(ensemble.each(X), [network.predict(X) for network in networks])
    own = np.random.default_rng(1).normal(size=(len(networks), 4, 3))
    expected = [network.predict(rows) for network, rows in zip(networks, own, strict=True)]
    np.testing.assert_array_equal(ensemble.each(own), expected)
    assert ensemble.each(own[:, :1]).shape == (len(networks), 1, 2)


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 10.0)])
@pytest.mark.parametrize("block", [1 << 22, 40])
def test_figures_are_those_of_the_predictions_of_each(weights, block, monkeypatch):
    monkeypatch.setattr("fastbackprop.many.ensemble.BLOCK", block)
    ensemble = fb.Ensemble(members(9, dtype="float64"), weights=weights)
    each, w = ensemble.each(X), np.ones(9) if weights is None else weights
    mean = np.average(each, axis=0, weights=w)
    np.testing.assert_allclose(ensemble.predict(X), mean, rtol=1e-12, atol=1e-14)
    std = np.sqrt(np.average((each - mean) ** 2, axis=0, weights=w))
    np.testing.assert_allclose(ensemble.std(X), std, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ensemble.weights, w / w.sum())
    q = [0.1, 0.5, 1.0]
    expected = np.quantile(each, q, axis=0)
    if weights is not None:
        expected = np.quantile(each, q, axis=0, weights=w, method="inverted_cdf")
    np.testing.assert_allclose(ensemble.quantile(X, q), expected)
    np.testing.assert_allclose(ensemble.quantile(X, 0.5), expected[1])


@pytest.mark.parametrize("n", [1, 2, 20])
def test_parameters_are_a_matrix_and_a_copy(n):
    networks = members(n)
    ensemble = fb.Ensemble(networks)
    matrix = np.array([network.get_parameters() for network in networks])
    np.testing.assert_array_equal(ensemble.get_parameters(), matrix)
    networks[0].weights[0][:] = 9
    np.testing.assert_array_equal(ensemble.get_parameters(), matrix)
    changed = np.random.default_rng(2).normal(size=matrix.shape)
    ensemble.set_parameters(changed)
    for network, row in zip(networks, changed, strict=True):
        network.set_parameters(row)
    np.testing.assert_array_equal(ensemble.each(X), [network.predict(X) for network in networks])
    np.testing.assert_array_equal(ensemble.get_parameters(), changed.astype(np.float32))


def test_bad_input_is_refused():
    ensemble, networks = fb.Ensemble(mixture()), members(2)
    before = ensemble.each(X)
    with pytest.raises(ValueError, match="at least one"):
        fb.Ensemble([])
    with pytest.raises(TypeError, match=r"networks\[1\] must be a Network"):
        fb.Ensemble([networks[0], 3])
    with pytest.raises(ValueError, match=r"networks\[2\] has 3, 1"):
        fb.Ensemble([*networks, fb.Network([3, 1])])
    with pytest.raises(ValueError, match="same dtype"):
        fb.Ensemble([*networks, fb.Network([3, 2], dtype="float64")])
    with pytest.raises(ValueError, match=r"weights must have shape \(n_networks,\) = \(2,\)"):
        fb.Ensemble(networks, weights=[1.0])
    with pytest.raises(ValueError, match="not be negative"):
        fb.Ensemble(networks, weights=[1, -1])
    for wrong in (X[:, :2], X[0], np.full((2, 3), np.nan), np.zeros((2, 4, 3))):
        with pytest.raises(ValueError, match="X"):
            ensemble.each(wrong)
    with pytest.raises(ValueError, match="q must be"):
        ensemble.quantile(X, 1.5)
    with pytest.raises(ValueError, match="different numbers"):
        ensemble.set_parameters(np.zeros((3, 4)))
    two = fb.Ensemble(networks)
    with pytest.raises(ValueError, match=r"\(2, 32\)"):
        two.set_parameters(np.zeros((2, 31)))
    with pytest.raises(ValueError, match="finite"):
        two.set_parameters(np.full((2, 32), np.inf))
    np.testing.assert_array_equal(ensemble.each(X), before)
    np.testing.assert_array_equal(two.each(X), [network.predict(X) for network in networks])
