"""The one parameter vector: its views, and padding that nobody sees."""

from itertools import pairwise

import numpy as np
import pytest
from problems import every_dtype, every_engine, problem

import fastbackprop as fb
from fastbackprop.layout import Layout

SIZES = [(1, 1), (3, 2), (3, 4, 2), (16, 8, 24), (5, 1, 17, 9, 2)]


def padded(sizes, lanes):
    return Layout(sizes, [-(-n // lanes) * lanes for n in sizes])


every_layout = pytest.mark.parametrize(
    "layout",
    [padded(sizes, lanes) for sizes in SIZES for lanes in (1, 4, 16)],
    ids=lambda layout: f"{layout.sizes} in {layout.strides}",
)


def all_views(layout, vector):
    """W^1, b^1, W^2, ..."""
    pairs = zip(layout.weights(vector), layout.biases(vector), strict=True)
    return [view for pair in pairs for view in pair]


@every_layout
def test_views_have_the_networks_shapes_and_share_the_vector(layout):
    vector = np.zeros(layout.length)
    views = all_views(layout, vector)
    shapes = [shape for m, n in pairwise(layout.sizes) for shape in ((m, n), (n,))]
    assert [view.shape for view in views] == shapes
    for number, view in enumerate(views, start=1):
        view[...] = number
    counts = np.bincount(vector.astype(int), minlength=len(views) + 1)
    assert counts.tolist() == [layout.length - layout.n_parameters, *(v.size for v in views)]


@every_layout
def test_flatten_is_the_views_in_order_and_unflatten_its_inverse(layout):
    flat = np.arange(1.0, layout.n_parameters + 1)
    vector = np.zeros(layout.length)
    layout.unflatten(flat, vector)
    assert np.array_equal(np.concatenate([v.ravel() for v in all_views(layout, vector)]), flat)
    copied = layout.flatten(vector)
    assert np.array_equal(copied, flat)
    copied[:] = 0
    assert np.array_equal(layout.flatten(vector), flat)


@every_layout
def test_unflatten_leaves_padding_zero(layout):
    vector = np.zeros(layout.length)
    layout.unflatten(np.ones(layout.n_parameters), vector)
    assert vector.sum() == np.count_nonzero(vector) == layout.n_parameters


@pytest.mark.parametrize("sizes", SIZES)
def test_one_lane_is_no_padding(sizes):
    layout = Layout(sizes)
    assert layout.strides == layout.sizes
    assert layout.length == layout.n_parameters
    flat = np.arange(layout.length)
    assert np.array_equal(layout.flatten(flat), flat)


@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("sizes", SIZES)
def test_rows_start_at_multiples_of_the_lanes(sizes, lanes):
    layout = padded(sizes, lanes)
    vector = np.zeros(layout.length, np.float32)
    assert all(n <= stride < n + lanes for n, stride in zip(sizes, layout.strides, strict=True))
    for view in all_views(layout, vector):
        rows = view if view.ndim == 2 else view[None]
        for row in rows:
            offset = row.__array_interface__["data"][0] - vector.__array_interface__["data"][0]
            assert offset // vector.itemsize % lanes == 0


@every_layout
def test_kernels_are_told_the_same_places(layout):
    L = len(layout.sizes) - 1
    layers, places = layout.layers(np.float32), np.arange(layout.length)
    assert layers["width"].tolist() == list(layout.sizes)
    assert layers["stride"].tolist() == list(layout.strides)
    neurons = np.cumsum([0, *layout.strides[1:]]).tolist()  # the inputs behind all others
    assert layers["start"].tolist() == [neurons[-1], *neurons[:-1]]
    for l in range(1, L + 1):
        stride = layers[l]["stride"]
        W, b = layout.weights(places)[l - 1], layout.biases(places)[l - 1]
        j, k = np.indices(W.shape)
        assert np.array_equal(W, layers[l]["weight_start"] + j * stride + k)
        assert np.array_equal(b, layers[l]["bias_start"] + np.arange(b.size))


# --- in a network --------------------------------------------------------------------------------


@every_dtype
@every_engine
def test_training_leaves_padding_zero(engine, dtype):
    options = {"output": "softmax", "cost": "cross_entropy", "hidden": "sigmoid"}
    p = problem([3, 5, 9, 2], 13, engine=engine, dtype=dtype, **options)
    net = p.net
    is_padding = np.ones(net.machine.layout.length, bool)
    for view in all_views(net.machine.layout, is_padding):
        view[...] = False
    for optimizer in (fb.SGD(momentum=0.9), fb.Adam()):
        net.fit(p.X, p.Y, epochs=2, batch_size=4, optimizer=optimizer)
        assert not net.machine.theta[is_padding].any()
    assert net.n_parameters == net.get_parameters().size == np.count_nonzero(~is_padding)
    assert net.gradient_sums(p.X, p.Y)[2].shape == (net.n_parameters,)


@every_engine
def test_views_stay_the_same_arrays(engine):
    net = fb.Network([2, 3, 1], engine=engine, rng=0)
    weights, biases = list(net.weights), list(net.biases)
    net.set_parameters(np.ones(13))
    net.fit([[0, 1], [1, 0]], [0, 1], epochs=2)
    assert all(new is old for new, old in zip(net.weights, weights, strict=True))
    assert all(new is old for new, old in zip(net.biases, biases, strict=True))
    with pytest.raises(AttributeError):
        net.weights = weights
