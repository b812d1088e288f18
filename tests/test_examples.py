"""The examples with loops of their own, at small size."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import fastbackprop as fb

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_cartpole(tmp_path):
    """The parts are right, and some hundred steps of learning make the values those of a fall."""
    example = runpy.run_path(str(EXAMPLES / "cartpole.py"))
    learner = example["Fastbackprop"](0)
    lengths, tests, seconds = example["play"](learner, 1000)
    assert 500 < sum(lengths) <= 1000 and len(tests) == 1 and seconds > 0
    assert learner.trainer.steps == 501
    assert not np.array_equal(learner.net.weights[0], learner.target.weights[0])
    upright, falling = np.zeros(4, np.float32), np.array([0, 0, 0.2, 3], np.float32)
    values = learner.values(np.stack([upright, falling])).max(axis=1)
    assert values[0] > values[1] + 0.1
    pytest.importorskip("matplotlib")
    example["picture"](lengths, tests, tmp_path / "cartpole.png")
    assert (tmp_path / "cartpole.png").stat().st_size > 1000


def test_cartpole_learns_as_pytorch_does():
    pytest.importorskip("torch")
    example = runpy.run_path(str(EXAMPLES / "cartpole.py"))
    ours, theirs = example["Fastbackprop"](0), example["Torch"](0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        states, next_states = rng.normal(size=(2, 64, 4)).astype(np.float32)
        batch = states, rng.integers(0, 2, 64), next_states, rng.integers(0, 2, 64).astype("f4")
        ours.learn(*batch)
        theirs.learn(*batch)
    values = ours.values(next_states), theirs.values(next_states)
    np.testing.assert_allclose(*values, rtol=2e-3, atol=2e-3)


def test_contrastive():
    example = runpy.run_path(str(EXAMPLES / "contrastive.py"))
    losses, before, after, _ = example["train"](example["Fastbackprop"](), 150)
    assert np.mean(losses[-20:]) < 0.7 * losses[0] and after > 3 * before
    a, b = np.random.default_rng(0).normal(size=(2, 6, 3))
    _, *gradients = example["loss"](a, b)
    for array, gradient in zip((a, b), gradients, strict=True):
        for place in np.ndindex(array.shape):
            at = array[place]
            array[place] = at + 1e-5
            above = example["loss"](a, b)[0]
            array[place] = at - 1e-5
            slope = (above - example["loss"](a, b)[0]) / 2e-5
            array[place] = at
            assert slope == pytest.approx(gradient[place], abs=1e-6)


def test_contrastive_steps_are_those_of_pytorch():
    pytest.importorskip("torch")
    example = runpy.run_path(str(EXAMPLES / "contrastive.py"))
    ours, theirs = (example["train"](example[name](), 10)[0] for name in ("Fastbackprop", "Torch"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_against_boosting(tmp_path, capsys):
    """Measured lines continue where a file ends; ratios and ranks of known losses are right."""
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    example = runpy.run_path(str(EXAMPLES / "against_boosting.py"))
    path, systems = tmp_path / "results.csv", ["fastbackprop, fast", "scikit-learn's MLP"]
    for _ in range(2):
        example["run"](path, ["diabetes"], [0], systems, 1)
    lines = example["read"](path)
    assert [r["system"] for r in lines] == systems
    assert all(40 < r["loss"] < 80 and r["seconds"] > 0 for r in lines)
    known = [
        {"table": table, "split": 0, "system": system, "loss": loss, "seconds": 1.0}
        | {"cpu_seconds": 2.0, "ms_per_1000_rows": 3.0}
        for table, losses in {"ames": (1, 2, 4), "boston": (3, 2, 4)}.items()
        for system, loss in zip(("fastbackprop", "A", "B"), losses, strict=True)
    ]
    rows = [line.split(" | ") for line in example["summary"](known, ["ames", "boston"]).split("\n")]
    ours, a = rows[2], rows[3]
    assert ours[:2] == ["| fastbackprop", "1.50"] and a[:2] == ["| A", "1.50"]
    assert a[2].startswith(f"{np.sqrt(1 / 2 * 3 / 2):.3f} ±") and a[3] == "1 of 2"
    pytest.importorskip("matplotlib")
    example["plot"](known, ["ames", "boston"], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_tuning():
    """Trials in batches have the scores that each has alone."""
    pytest.importorskip("optuna")
    example = runpy.run_path(str(EXAMPLES / "tuning.py"))
    X, y = example["data"]()
    X, y = X[:150], y[:150]
    study, seconds = example["search"](X, y, n_batches=2, batch_size=3, epochs=2)
    assert len(study.trials) == 6 and seconds > 0
    assert len({str(trial.params) for trial in study.trials}) == 6
    for trial in study.trials[::2]:
        assert example["score_alone"](trial.params, X, y, 2) == trial.value
    assert study.best_value > 0.8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_searches():
    """The two searches around our estimator find the same scores."""
    pytest.importorskip("sklearn")
    example = runpy.run_path(str(EXAMPLES / "searches.py"))
    (_, X, y, widths), *_ = example["problems"]()
    assert X.shape == (1797, 64) and len(widths) == 97
    ways, results = example["WAYS"], []
    for name in ("together", "scikit-learn's search"):
        results.append(example["search"](ways[name], X[:60], y[:60] // 5, [3, 4], 2, n_jobs=1))
    tables = [result.cv_results_ for result in results]
    np.testing.assert_array_equal(*(table["mean_test_score"] for table in tables))
    assert tables[0]["params"] == tables[1]["params"]


def test_burgers(tmp_path):
    """The gradient by differences; the reference solves the equation; Adam and L-BFGS go down."""
    pytest.importorskip("scipy")
    example = runpy.run_path(str(EXAMPLES / "burgers.py"))
    x, t, h = np.linspace(-0.9, 0.9, 7), np.full(7, 0.3), 1e-4
    u = {
        (i, j): example["solution"](x + i * h, t + j * h)
        for i, j in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    }
    u_x, u_t = (u[1, 0] - u[-1, 0]) / (2 * h), (u[0, 1] - u[0, -1]) / (2 * h)
    u_xx = (u[1, 0] - 2 * u[0, 0] + u[-1, 0]) / h**2
    assert abs(u_t + u[0, 0] * u_x - example["NU"] * u_xx).max() < 1e-4
    net = fb.Network([2, 5, 1], hidden="tanh", dtype="float64", rng=0)
    data = example["points"](20, np.random.default_rng(0))
    theta = net.get_parameters()
    before, gradient = example["cost_and_gradient"](net, *data)
    for p in range(len(theta)):
        costs = []
        for step in (1e-5, -1e-5):
            net.set_parameters(theta + step * (np.arange(len(theta)) == p))
            costs.append(example["cost_and_gradient"](net, *data)[0])
        assert (costs[0] - costs[1]) / 2e-5 == pytest.approx(gradient[p], abs=1e-6)
    net.set_parameters(theta)
    for train in ("adam", "lbfgs"):
        example[train](net, lambda net: example["cost_and_gradient"](net, *data), 30)
        after = example["cost_and_gradient"](net, *data)[0]
        assert after < before
        before = after
    pytest.importorskip("matplotlib")
    example["draw"](net, tmp_path / "burgers.png")
    assert (tmp_path / "burgers.png").stat().st_size > 1000
