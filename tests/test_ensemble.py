"""Ensemble: against the predictions of each network, and NumPy."""

import json

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.formats import safetensors
from fastbackprop.many import choice

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


def test_members_are_networks_and_copies():
    networks = mixture()
    ensemble = fb.Ensemble(networks)
    for member, network in zip(ensemble, networks, strict=True):
        np.testing.assert_array_equal(member.get_parameters(), network.get_parameters())
        assert (member.sizes, member.hidden, member.engine) == (
            network.sizes,
            network.hidden,
            network.engine,
        )
    ensemble[-1].set_parameters(np.zeros(ensemble[-1].n_parameters))
    np.testing.assert_array_equal(ensemble[-1].get_parameters(), networks[-1].get_parameters())
    with pytest.raises(IndexError):
        ensemble[len(networks)]


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 25.0)])
def test_save_and_load(weights, tmp_path):
    ensemble = fb.Ensemble(mixture(), weights=weights)
    ensemble.save(tmp_path / "e")
    loaded = fb.Ensemble.load(tmp_path / "e")
    np.testing.assert_array_equal(loaded.each(X), ensemble.each(X))
    np.testing.assert_array_equal(loaded.quantile(X, 0.3), ensemble.quantile(X, 0.3))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "e").read_bytes()


def test_functions_of_the_users_own_are_given_to_load(tmp_path):
    own = fb.Activation("mine", lambda z: z * z, lambda z, a: 2 * z)
    ensemble = fb.Ensemble(members(2, hidden=own, engine="numpy"))
    ensemble.save(tmp_path / "e")
    with pytest.raises(ValueError, match="of the user's own making"):
        fb.Ensemble.load(tmp_path / "e")
    loaded = fb.Ensemble.load(tmp_path / "e", functions=[own])
    np.testing.assert_array_equal(loaded.each(X), ensemble.each(X))


def altered(path, name, change):
    """The file with another entry in its metadata."""
    contents = safetensors.Contents(path)
    metadata = contents.metadata | {name: json.dumps(change(json.loads(contents.metadata[name])))}
    tensors = {tensor: contents.read(tensor) for tensor in contents.tensors}
    safetensors.write(path, tensors, metadata)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("kinds", lambda kinds: [], "kinds are no list"),
        (
            "kinds",
            lambda kinds: [kinds[0] | {"sizes": [3, 6, 2]}, *kinds[1:]],
            "must be float32 of",
        ),
        ("kinds", lambda kinds: [kinds[0] | {"dtype": "int8"}, *kinds[1:]], "dtype"),
        ("kinds", lambda kinds: kinds * 2, "members are no list"),
        ("members", lambda members: [*members[:-1], 9], "members are no list"),
        ("members", lambda members: members[1:], "of shape"),
        ("members", lambda members: "0" * len(members), "members are no list"),
    ],
)
def test_files_that_contradict_themselves_are_refused(name, change, words, tmp_path):
    path = tmp_path / "e"
    networks = [*members(2, engine="numpy"), *members(1, [3, 2], engine="numpy")]
    fb.Ensemble(networks).save(path)
    altered(path, name, change)
    with pytest.raises(ValueError, match=f"cannot read .*{words}"):
        fb.Ensemble.load(path)


def test_a_network_is_no_ensemble(tmp_path):
    networks = members(2, engine="numpy")
    networks[0].save(tmp_path / "net")
    fb.Ensemble(networks).save(tmp_path / "e")
    with pytest.raises(ValueError, match=r"it holds a network: Network\.load"):
        fb.Ensemble.load(tmp_path / "net")
    with pytest.raises(ValueError, match=r"it holds an ensemble: Ensemble\.load"):
        fb.Network.load(tmp_path / "e")
    networks[0].weights[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        fb.Ensemble(networks).save(tmp_path / "e")
    assert len(fb.Ensemble.load(tmp_path / "e")) == 2


def test_bags():
    y = X.sum(axis=1)

    def networks():
        return [fb.Network([3, 2, 1], rng=seed, engine="numpy") for seed in range(4)]

    options = {"epochs": 2, "rng": 0, "validation": "left_out"}
    weights = np.arange(1.0, 12.0)
    trained = networks()
    folds = fb.Ensemble.fit(trained, X, y, bags="folds", sample_weight=weights, **options)
    fold = np.random.default_rng(0).permutation(11) % 4
    for k, reference in enumerate(networks()):
        seen, left = fold != k, fold == k
        history = reference.fit(
            X[seen],
            y[seen],
            epochs=2,
            sample_weight=weights[seen],
            validation=(X[left], y[left], weights[left]),
        )
        np.testing.assert_array_equal(folds[k].get_parameters(), reference.get_parameters())
        np.testing.assert_array_equal(trained[k].get_parameters(), reference.get_parameters())
        assert folds.histories[k].validation_cost == history.validation_cost
    drawn = fb.Ensemble.fit(networks(), X, y, bags="bootstrap", **options)
    draws = np.random.default_rng(0).multinomial(11, np.full(11, 1 / 11), 4)
    for k, reference in enumerate(networks()):
        seen = draws[k] > 0
        reference.fit(X[seen], y[seen], epochs=2, sample_weight=draws[k][seen])
        np.testing.assert_array_equal(drawn[k].get_parameters(), reference.get_parameters())
    every = fb.Ensemble.fit(networks(), X, y, epochs=1, weights=[1, 2, 3, 4])
    np.testing.assert_allclose(every.weights, [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"bags": "bags"}, ValueError, "bags"),
        ({"validation": "left_out"}, ValueError, "needs bags"),
        ({"bags": "folds", "validation": "left"}, ValueError, "left_out"),
        ({"rows": [[0], [1]]}, TypeError, "rows"),
        ({"bags": "folds", "sample_weight": np.ones((2, 11))}, ValueError, r"\(n_samples,\)"),
        ({"weights": [1.0]}, ValueError, "weights"),
        ({"bags": "bootstrap", "epochs": 0}, ValueError, "epochs"),
    ],
)
def test_bad_bags_change_nothing(options, error, words):
    networks = [fb.Network([3, 2, 1], rng=seed, engine="numpy") for seed in range(2)]
    before = [network.get_parameters() for network in networks]
    with pytest.raises(error, match=words):
        fb.Ensemble.fit(networks, X, X.sum(axis=1), **{"epochs": 1} | options)
    with pytest.raises(ValueError, match="2 networks or more"):
        fb.Ensemble.fit(networks[:1], X, X.sum(axis=1), bags="folds", epochs=1)
    for network, parameters in zip(networks, before, strict=True):
        np.testing.assert_array_equal(network.get_parameters(), parameters)


@pytest.mark.parametrize("n_bytes", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_choice(n_bytes, dtype):
    dtype = np.dtype(dtype)
    width = n_bytes // dtype.itemsize
    for n in range(1, 101):
        small = choice.together(n, [4, 16, 3], width, dtype)
        assert n - small < width and small <= n
        assert choice.together(n, [64, 512, 10], width, dtype) == 0
    assert choice.together(width, [2, 8, 1], width, dtype) == width
    assert choice.together(1, [64, 32, 4], width, dtype) == 0
