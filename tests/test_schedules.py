"""Factors of the learning rate: against PyTorch's schedulers, and in the steps that are taken."""

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.engines import ENGINES

every_engine = pytest.mark.parametrize("engine", ENGINES)

LIKE_TORCH = {
    "Step": (fb.Step(1.0, 3, 0.5), lambda s, o: s.StepLR(o, 3, 0.5)),
    "Exponential": (fb.Exponential(1.0, 0.9), lambda s, o: s.ExponentialLR(o, 0.9)),
    "Polynomial": (fb.Polynomial(1.0, 8, 2.0), lambda s, o: s.PolynomialLR(o, 8, 2.0)),
    "Cosine": (fb.Cosine(1.0, 12, end=0.1), lambda s, o: s.CosineAnnealingLR(o, 12, 0.1)),
    "OneCycle": (fb.OneCycle(1.0, 12), lambda s, o: s.OneCycleLR(o, 1.0, total_steps=12)),
    "Warmup": (
        fb.Warmup(4, then=fb.Exponential(1.0, 0.9), start=0.2),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.2, total_iters=4), s.ExponentialLR(o, 0.9)], [4]
        ),
    ),
}


def torch_optimizer():
    torch = pytest.importorskip("torch")
    return torch.optim.lr_scheduler, torch.optim.SGD([torch.zeros(1)], lr=1.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LIKE_TORCH)
def test_factors_are_those_of_torch(name):
    schedule, make = LIKE_TORCH[name]
    schedulers, optimizer = torch_optimizer()
    scheduler, expected = make(schedulers, optimizer), []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(schedule.factors(np.arange(12), 1), expected, rtol=1e-12)
    if name not in ("OneCycle", "Warmup"):  # which count steps
        np.testing.assert_allclose(schedule.factors(np.arange(60), 5)[::5], expected, rtol=1e-12)


@pytest.mark.parametrize("cooldown", [0, 3])
def test_plateau_is_that_of_torch(cooldown):
    schedulers, optimizer = torch_optimizer()
    costs = np.random.default_rng(1).uniform(1, 2, 60).round(1).tolist()
    options = {"factor": 0.5, "patience": 2, "cooldown": cooldown}
    scheduler = schedulers.ReduceLROnPlateau(optimizer, **options, min_lr=1 / 64)
    plateau = fb.Plateau(1.0, **options, min_factor=1 / 64)
    seen = set()
    for cost in costs:
        scheduler.step(cost)
        plateau.epoch_ended(cost)
        twin = fb.Plateau(1.0, **options, min_factor=1 / 64)
        twin.set_state(plateau.get_state())
        plateau = twin
        seen.add(plateau.factors(np.arange(3), 3)[0])
        assert plateau.factors(np.arange(3), 3).tolist() == [optimizer.param_groups[0]["lr"]] * 3
    assert len(seen) > 4


@every_engine
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_every_step_has_its_rate(name, engine):
    """One fit with a schedule is one-step fits with the learning rate of that step."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((11, 3)), rng.standard_normal((11, 2))

    def network():
        return fb.Network([3, 4, 2], dtype="float64", rng=0, engine=engine)

    def rate(step):
        assert type(step) is int
        return 0.1 / (1 + step)

    make = {"sgd": fb.SGD, "adam": fb.Adam}[name]
    net, same, optimizer, single = network(), network(), make(rate), make(0.1)
    for _ in range(2):  # a second fit goes on
        history = net.fit(X, Y, epochs=1, batch_size=4, optimizer=optimizer, shuffle=False)
    for step in range(6):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        single.learning_rate = 0.1 / (1 + step)
        same.fit(X[rows], Y[rows], epochs=1, batch_size=4, optimizer=single, shuffle=False)
    np.testing.assert_allclose(net.get_parameters(), same.get_parameters(), rtol=1e-12)
    assert history["learning_rate"] == [0.1 / 6]
    assert np.abs(net.get_parameters() - network().get_parameters()).max() > 1e-2


@pytest.mark.parametrize(
    "make", [lambda: fb.OneCycle(0.3, 4), lambda: fb.Warmup(1, fb.Plateau(0.3, 0.5, 0))]
)
def test_two_fits_are_one_bit_for_bit(make):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((11, 3)), rng.standard_normal((11, 2))
    results = []
    for epochs in ([4], [2, 2]):
        net = fb.Network([3, 4, 2], rng=0, engine="numpy")
        optimizer = fb.SGD(make(), momentum=0.9)
        for n in epochs:
            net.fit(X, Y, epochs=n, batch_size=4, optimizer=optimizer)
        results.append(net.get_parameters().tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (lambda step: -1.0, ValueError, "gave the factor -1.0 for step 0"),
        (lambda step: np.nan, ValueError, "gave the factor nan"),
        ("cosine", TypeError, "one of Step, Exponential"),
        (fb.Cosine, TypeError, r"pass Cosine\(...\)"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, error, message):
    net = fb.Network([3, 2], rng=0, engine="numpy")
    before = net.get_parameters()
    with pytest.raises(error, match=message):
        net.fit(np.zeros((4, 3)), np.ones((4, 2)), epochs=1, optimizer=fb.SGD(schedule))
    assert (net.get_parameters() == before).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: fb.Cosine(0.1, "10"),
        lambda: fb.Cosine(0.1, 0),
        lambda: fb.Step(0.1, True),
        lambda: fb.Plateau(0.1, factor=1.0),
        lambda: fb.Plateau(0.1, patience=1.5),
        lambda: fb.OneCycle(0.1, 5, rise=1.0),
        lambda: fb.Cosine(-0.1, 5),
        lambda: fb.Warmup(1, then=-0.1),
        lambda: fb.SGD(type("Own", (fb.Schedule,), {"learning_rate": -0.1})()),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match=r"must be a number .*; got"):
        make()


def test_the_rate_of_a_schedule_is_a_number():
    with pytest.raises(TypeError, match=r"learning_rate must be a number .*; got Cosine"):
        fb.Cosine(fb.Cosine(0.1, 5), 5)


def test_a_reset_optimizer_begins_its_schedule_anew():
    optimizer = fb.SGD(fb.Warmup(1, then=fb.Plateau(0.5, 0.5, patience=0)))
    results = []
    for _ in range(2):
        net = fb.Network([3, 2], rng=0, engine="numpy")
        history = net.fit(np.eye(3), np.ones((3, 2)), epochs=6, batch_size=1, optimizer=optimizer)
        history_of_noise = net.fit(
            np.eye(3), 1e3 * np.ones((3, 2)), epochs=3, batch_size=1, optimizer=optimizer
        )
        results.append([history["learning_rate"], history_of_noise["learning_rate"]])
        optimizer.reset()
    assert results[0] == results[1] and results[0][1][-1] < 0.5


def test_a_warmup_leads_to_the_first_rate_of_a_function():
    schedule = fb.Warmup(4, then=lambda step: 0.02 / (1 + step), start=0.0)
    rates = fb.SGD(schedule).schedule.factors(np.arange(6), 1)
    np.testing.assert_allclose(rates, [0, 0.005, 0.01, 0.015, 0.02, 0.01])
    assert schedule.learning_rate == 1.0
