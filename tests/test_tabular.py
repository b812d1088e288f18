"""Estimators for tables: scikit-learn's checks, columns, folds, calibration, intervals, files."""

import pickle
import runpy
import warnings

import numpy as np
import pytest

import fastbackprop as fb

pytest.importorskip("sklearn")
pd = pytest.importorskip("pandas")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_diabetes, load_wine  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import estimator_checks_generator  # noqa: E402

from fastbackprop.tabular import (  # noqa: E402  # noqa: E402
    TabularClassifier,
    TabularRegressor,
    features,
    folds,
    frames,
    intervals,
    memory,
    plan,
)
from fastbackprop.tabular.blend import best_blend, row_losses, sharpened  # noqa: E402

RNG = np.random.default_rng(0)
N = 160
NUMBERS = RNG.normal(size=N)
CITIES = RNG.choice([f"city {i}" for i in range(12)], N)
FRAME = pd.DataFrame(
    {
        "number": np.where(RNG.random(N) < 0.1, np.nan, NUMBERS),
        "income": np.exp(3 * RNG.normal(size=N)),
        "flag": RNG.random(N) < 0.5,
        "city": CITIES,
        "size": pd.Categorical(RNG.choice(["S", "M", None], N)),
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 700, N), unit="D"),
        "constant": 1,
        "key": [f"id{i}" for i in range(N)],
        "gone": np.full(N, np.nan),
    }
)
FRAME["again"] = FRAME["number"]
SIGNAL = NUMBERS + np.log(FRAME["income"].to_numpy()) / 3 + (CITIES < "city 3")
TARGETS = SIGNAL + 0.1 * RNG.normal(size=N)
CLASSES = np.where(SIGNAL > 1, "high", np.where(SIGNAL > 0, "middle", "low"))


def regressor(**options):
    return TabularRegressor(**{"quality": "fast", "max_epochs": 24, "random_state": 0} | options)


def classifier(**options):
    return TabularClassifier(**{"quality": "fast", "max_epochs": 24, "random_state": 0} | options)


@pytest.fixture(scope="module")
def fitted():
    """A regressor and a classifier of FRAME."""
    return regressor().fit(FRAME, TARGETS), classifier().fit(FRAME, CLASSES)


# As of scikit-learn's own forests and boosting: rows are drawn into folds and minibatches, so a row
# that is there twice is not a row of weight 2.
WEIGHTS_ARE_NO_COPIES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "rows are drawn into folds and minibatches"
    for kind in ("dense", "sparse")
}


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{number}")
        for kind in (TabularClassifier, TabularRegressor)
        for number, (estimator, check) in enumerate(
            estimator_checks_generator(
                kind(quality="fast", max_epochs=16, n_folds=2),
                expected_failed_checks=WEIGHTS_ARE_NO_COPIES,
                mark="skip",
            )
        )
    ],
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


# --- columns -------------------------------------------------------------------------------------


def test_columns_can_be_read(fitted):
    table = fitted[0].columns_
    assert list(table.index) == list(FRAME.columns)
    assert table.loc["constant", "treatment"] == "left out: constant"
    assert table.loc["gone", "treatment"] == "left out: all values are missing"
    assert table.loc["again", "treatment"] == "left out: equals 'number'"
    assert table.loc["key", "treatment"].startswith("left out: nearly every row")
    assert table.loc["income", "treatment"] == "logarithm; scaled"
    assert table.loc["number", "treatment"] == "scaled; indicator of missing values"
    assert table.loc["city", "treatment"] == "12 categories: a feature each; target means"
    assert table.loc["day", "treatment"] == "date: year, month, day of week, elapsed; scaled"
    assert table["missing"].to_dict() == FRAME.isna().sum().to_dict()
    assert table["features"].sum() == fitted[0].network_[0].sizes[0]


def test_preprocessor_is_a_transformer(fitted):
    transformer = fitted[0].preprocessor_
    names = transformer.get_feature_names_out()
    out = clone(transformer, safe=False).set_output(transform="pandas").transform(FRAME)
    assert list(out.columns) == list(names) and len(set(names)) == len(names)
    assert np.array_equal(out.to_numpy(), fitted[0].preprocessor_.transform(FRAME))
    assert set(out["city=city 3"]) == {0.0, 1.0}
    assert (out["city=city 3"] == (CITIES == "city 3")).all()
    assert (out["number missing"] == FRAME["number"].isna()).all()


def test_numbers_are_scaled_by_median_and_quartiles(fitted):
    transformer = fitted[0].preprocessor_
    x = FRAME["number"].to_numpy()
    low, middle, high = np.nanquantile(x, [0.25, 0.5, 0.75])
    z = np.nan_to_num((x - middle) / (high - low))
    place = list(transformer.get_feature_names_out()).index("number")
    expected = z / np.sqrt(1 + (z / 3) ** 2)
    np.testing.assert_allclose(transformer.transform(FRAME)[:, place], expected, rtol=1e-5)


def test_target_means_do_not_see_the_own_fold():
    """By naive loops; those of new rows are of all rows."""
    values, T = features.texts(CITIES), np.column_stack([TARGETS, TARGETS**2, TARGETS**3])
    of_rows, s = RNG.integers(0, 3, N), RNG.uniform(0.5, 2, N)
    category, crossed = plan._of_category(values, plan.Targets(T, s, of_rows))
    naive = np.empty_like(T)

    def mean(rows):
        total = sum(s[i] * T[i] for i in rows) / sum(s[i] for i in rows)

        def of(level):
            own = [i for i in rows if values[i] == level]
            weight = sum(s[i] for i in own)
            sums = sum((s[i] * T[i] for i in own), start=np.zeros(3))
            return (sums + plan.SMOOTHING * total) / (weight + plan.SMOOTHING)

        return of

    for i in range(N):
        naive[i] = mean([j for j in range(N) if of_rows[j] != of_rows[i]])(values[i])
    shift, width = naive.mean(axis=0), naive.std(axis=0)
    np.testing.assert_allclose(crossed, np.clip((naive - shift) / width, -4, 4), rtol=1e-9)
    everything = mean(range(N))
    for level, means in zip(category["levels"], category["table"][:-1, -3:], strict=True):
        expected = np.clip((everything(level) - shift) / width, -4, 4)
        np.testing.assert_allclose(means, expected, rtol=1e-5)


def test_date_parts():
    dates = pd.Series(
        pd.to_datetime(["1969-12-31 23:30", "2024-02-29 06:00", None, "2023-05-01 00:00"])
    )
    values = frames.frame_of(dates.to_frame("d")).columns["d"]
    hours = dates.dt.hour + dates.dt.minute / 60
    expected = dates.dt.year, dates.dt.month, dates.dt.day_of_week, hours
    for part, theirs in zip(features.PARTS[:4], expected, strict=True):
        np.testing.assert_array_equal(features.date_part(values, part), theirs.to_numpy(float))
    days = (dates - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    np.testing.assert_allclose(features.date_part(values, "elapsed"), days)


def test_kinds_of_frames_give_the_same_columns():
    """pandas of several dtypes, polars, matrices of objects."""
    pl = pytest.importorskip("polars")
    some = FRAME[["number", "flag", "city", "size", "day"]]
    expected = frames.frame_of(some).columns
    nullable = some.astype({"number": "Float64", "flag": "boolean", "city": "category"})
    as_objects = some.astype(object)
    polars = pl.DataFrame(
        {
            "number": pl.Series(some["number"].to_numpy()).fill_nan(None),
            "flag": some["flag"].to_numpy(),
            "city": pl.Series(CITIES.tolist()).cast(pl.Categorical),
            "size": [None if v != v else v for v in some["size"].astype(object)],
            "day": some["day"].to_numpy(),
        }
    )
    zone = some.assign(day=some["day"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    for other in (nullable, as_objects, polars, zone):
        columns = frames.frame_of(other).columns
        for name, values in expected.items():
            assert columns[name].dtype.kind == values.dtype.kind
            np.testing.assert_array_equal(columns[name], values)
    matrix = frames.frame_of(as_objects.to_numpy())
    np.testing.assert_array_equal(matrix.columns["x2"], expected["city"])
    words = frames.frame_of(np.array([["1", "a"], ["2", "b"]])).columns
    assert words["x0"].tolist() == [1.0, 2.0] and words["x1"].tolist() == ["a", "b"]


def test_another_dtype_at_prediction(fitted):
    """Categories as objects, whole numbers as floats, numbers as text."""
    codes = pd.DataFrame({"code": RNG.integers(0, 4, N).astype(str), "x": NUMBERS})
    model = regressor(max_epochs=2).fit(codes, TARGETS)
    expected = model.predict(codes)
    for code in (
        codes["code"].astype(int),
        codes["code"].astype(float),
        codes["code"].astype("category"),
    ):
        assert np.array_equal(model.predict(codes.assign(code=code)), expected)
    assert np.array_equal(model.predict(codes.assign(x=codes["x"].map(repr))), expected)
    with pytest.raises(ValueError, match=r"column 'x' of X: numbers were expected.*'many'"):
        model.predict(codes.assign(x="many"))
    assert np.isfinite(model.predict(codes.assign(code="new", x=np.nan))).all()


def test_logarithm_only_where_it_helps():
    x = np.exp(3 * RNG.normal(size=(N, 1)))
    some = RNG.integers(0, 5, N)
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    z = (x - middle) / (high - low)
    logarithms = []
    for T in (np.log(x), z / np.sqrt(1 + (z / 3) ** 2)):
        targets = plan.Targets(T, np.ones(N), some)
        made, _ = plan.make_plan(frames.frame_of(x), targets, np.random.default_rng(0))
        logarithms.append(bool(made.steps["log"][0]))
    assert logarithms == [True, False]


# --- folds, blend, intervals ---------------------------------------------------------------------


def test_folds_have_their_part_of_every_class():
    labels = np.repeat([0, 1, 2], [50, 7, 1])
    of_rows = folds.folds_of(58, labels, None, 5, np.random.default_rng(0))
    counts = np.array([np.bincount(of_rows[labels == c], minlength=5) for c in range(3)])
    assert (np.ptp(counts, axis=1) <= 1).all() and np.ptp(counts.sum(axis=0)) <= 1


@pytest.mark.parametrize("labels", [None, RNG.integers(0, 2, N)])
def test_groups_are_held_out_together(labels):
    groups = RNG.integers(0, 9, N)
    of_rows = folds.folds_of(N, labels, groups, 4, np.random.default_rng(0))
    assert set(of_rows) == {0, 1, 2, 3}
    assert all(len(set(of_rows[groups == g])) == 1 for g in range(9))


def test_blend_has_the_least_loss():
    """No other shares and temperature of a fine grid are better."""
    labels, s = RNG.integers(0, 3, N), RNG.uniform(0.1, 2, N)
    logits = RNG.normal(size=(2, N, 3)) + 2 * np.eye(3)[labels]
    P = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    blend = best_blend(P, labels, s)
    assert blend.loss == pytest.approx(np.average(row_losses(blend(P), labels), weights=s))
    for share in np.linspace(0, 1, 11):
        mean = share * P[0] + (1 - share) * P[1]
        for power in np.geomspace(0.3, 3.5, 100):
            Q = mean**power / (mean**power).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(Q, sharpened(mean, power), rtol=1e-12)
            assert np.average(-np.log(Q[np.arange(N), labels]), weights=s) > blend.loss - 1e-5


def test_ranked_is_the_sorted_value():
    mean, width = RNG.normal(size=(3, 7)), RNG.uniform(0.5, 2, (3, 7))
    scores = [np.sort(RNG.normal(size=n)) for n in (4, 5, 6)]
    pooled = np.concatenate(
        [m + w * s[:, None] for m, w, s in zip(mean, width, scores, strict=True)]
    )
    for rank in (1, 2, 8, 15):
        expected = np.sort(pooled, axis=0)[rank - 1]
        np.testing.assert_allclose(intervals._ranked(mean, width, scores, rank), expected)
    assert (intervals._ranked(mean, width, scores, 0) == -np.inf).all()
    assert (intervals._ranked(mean, width, scores, 16) == np.inf).all()


def test_intervals_cover_new_rows_and_follow_the_spread():
    """Noise that depends on x: coverage near the nominal one, narrow where the noise is small."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (1600, 1))
    y = x[:, 0] + np.where(x[:, 0] > 0, 1.0, 0.1) * rng.normal(size=1600)
    model = regressor(max_epochs=4, n_folds=3).fit(x[:800], y[:800])
    new, targets = x[800:], y[800:]
    previous = np.zeros(800)
    for coverage in (0.5, 0.8, 0.95):
        low, high = model.predict_interval(new, coverage).T
        hits = (low <= targets) & (targets <= high)
        assert abs(hits.mean() - coverage) < 0.06  # three standard deviations of 800 rows
        assert (high - low > previous).all()
        previous = high - low
    wide = new[:, 0] > 0.2
    assert previous[wide].mean() > 2 * previous[new[:, 0] < -0.2].mean()
    quantiles = model.predict_quantiles(new, [0.1, 0.5, 0.9])
    assert (np.diff(quantiles, axis=1) > 0).all()
    assert np.mean(targets < quantiles[:, 0]) == pytest.approx(0.1, abs=0.04)


def test_small_tables_have_infinite_intervals():
    model = regressor(max_epochs=1, n_folds=2).fit(np.arange(4.0)[:, None], np.arange(4.0))
    assert np.isinf(model.predict_interval([[1.0]], 0.9)).all()
    with pytest.raises(ValueError, match="coverage"):
        model.predict_interval([[1.0]], 90)


# --- estimators ----------------------------------------------------------------------------------


def test_held_out_predictions_are_of_networks_that_did_not_see_the_row(fitted):
    model = fitted[0]
    out = np.empty(N)
    F = model.preprocessor_.transform(FRAME).copy()
    for network, k in zip(model.network_, model._members.fold, strict=True):
        rows = model.folds_ == k
        out[rows] = network.predict(F[rows])[:, 0]
    # target means of training rows are cross-fitted, those of `transform` are not
    close = np.corrcoef(out * TARGETS.std() + TARGETS.mean(), model.oof_prediction_)[0, 1]
    assert close > 0.98
    error = np.mean((model.oof_prediction_ - TARGETS) ** 2) / TARGETS.var()
    assert error == pytest.approx(model.oof_loss_, rel=0.02)  # predictions are clipped


def test_learns(fitted):
    number, label = fitted
    assert number.oof_loss_ < 0.5 and number.score(FRAME, TARGETS) > 0.6
    assert label.score(FRAME, CLASSES) > 0.6
    P = label.predict_proba(FRAME)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert (label.classes_[P.argmax(axis=1)] == label.predict(FRAME)).all()
    np.testing.assert_allclose(np.exp(label.predict_log_proba(FRAME)), P)
    X, y = load_wine(return_X_y=True, as_frame=True)
    assert (classifier().fit(X, y).oof_prediction_.argmax(axis=1) == y).mean() > 0.93


def test_deterministic_whatever_the_threads():
    parts = [
        regressor(n_threads=n, random_state=np.random.RandomState(3), max_epochs=2).fit(
            FRAME, TARGETS
        )
        for n in (1, 2)
    ]
    assert np.array_equal(parts[0].predict(FRAME), parts[1].predict(FRAME))
    other = regressor(random_state=4, max_epochs=2).fit(FRAME, TARGETS)
    assert not np.array_equal(other.predict(FRAME), parts[0].predict(FRAME))


def test_spread_is_that_of_the_networks(fitted):
    number, label = fitted
    F = number.preprocessor_.transform(FRAME)
    each = np.stack([net.predict(F)[:, 0] for net in number.network_]) * TARGETS.std()
    np.testing.assert_allclose(number.predict_spread(FRAME), each.std(axis=0), rtol=1e-4)
    assert label.predict_spread(FRAME).shape == (N, 3)


def test_importances(fitted):
    values = dict(zip(FRAME.columns, fitted[0].feature_importances_, strict=True))
    assert values["number"] > 5 * values["flag"] and values["income"] > 5 * values["flag"]
    assert values["key"] == values["constant"] == values["gone"] == values["again"] == 0
    before = fitted[0].feature_importances_
    fitted[0].feature_importances_[:] = 7  # a copy
    assert np.array_equal(fitted[0].feature_importances_, before)


def test_many_targets():
    Y = np.column_stack([TARGETS, -10 * TARGETS + 3])
    model = regressor().fit(FRAME, Y)
    assert model.predict(FRAME).shape == (N, 2) == model.oof_prediction_.shape
    assert model.predict_interval(FRAME[:3]).shape == (3, 2, 2)
    assert model.predict_quantiles(FRAME[:3], [0.2, 0.4, 0.6]).shape == (3, 2, 3)
    assert model.score(FRAME, Y) > 0.6


def test_weights_and_class_weights():
    """Rows of weight 0 do not count; rare classes count as told."""
    wrong = RNG.random(N) < 0.3
    y = np.where(wrong, 100.0, TARGETS)
    model = regressor().fit(FRAME, y, sample_weight=1.0 - wrong)
    assert np.corrcoef(model.predict(FRAME)[~wrong], TARGETS[~wrong])[0, 1] > 0.7
    assert model.predict(FRAME).max() < 10
    rare = np.where(SIGNAL + RNG.normal(size=N) > 2.2, 1, 0)
    shares = [
        classifier(class_weight=w).fit(FRAME, rare).predict_proba(FRAME)[:, 1].mean()
        for w in (None, "balanced")
    ]
    assert shares[1] > 1.5 * shares[0]
    assert abs(shares[0] - rare.mean()) < 0.1
    with pytest.raises(ValueError, match="zero for all rows"):
        regressor().fit(FRAME, TARGETS, sample_weight=np.zeros(N))


def test_in_searches_and_pipelines():
    X, y = (part[:200] for part in load_diabetes(return_X_y=True, as_frame=True))
    pipeline = make_pipeline(StandardScaler(), regressor(max_epochs=4, n_folds=2))
    pipeline.set_output(transform="pandas")
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.1
    search = GridSearchCV(regressor(n_folds=2), {"max_epochs": [1, 6]}, cv=2).fit(X, y)
    assert search.best_params_ == {"max_epochs": 6}


def test_pickle_and_clone(fitted):
    for model in fitted:
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.predict(FRAME), model.predict(FRAME))
        assert again.feature_importances_.shape == (10,)
        assert clone(model).get_params() == model.get_params()
        assert all(isinstance(network, fb.Network) for network in model.network_)


def test_qualities_and_time_budget():
    model = regressor(quality="best", max_epochs=2).fit(FRAME, TARGETS)
    assert len(model.network_) == 10 and model.network_shares_.sum() == pytest.approx(1)
    model = regressor(time_budget=0.01, max_epochs=3).fit(FRAME, TARGETS)
    assert np.isfinite(model.predict(FRAME)).all() and len(model.network_) == 5
    model = regressor(time_budget=1e3, max_epochs=2, n_folds=2).fit(FRAME, TARGETS)
    assert len(model.network_) == 8  # there is time for four on each fold
    assert len({network.get_parameters().tobytes() for network in model.network_}) == 8


def test_progress():
    seen = []

    class Bar:
        def __init__(self, **options):
            seen.append(options["total"])

        def update(self, n):
            seen.append(n)

        def set_postfix(self, figures):
            pass

        def close(self):
            seen.append("closed")

    regressor(progress=Bar, max_epochs=2).fit(FRAME, TARGETS)
    assert seen == [10, *[1] * 10, "closed"]


def test_interrupt_gives_the_model_so_far(monkeypatch):
    def interrupted(networks, *arguments, **options):
        options["epochs"] = [1] * len(networks)
        fb.fit_many(networks, *arguments, **options)
        raise fb.Interrupted("training interrupted", [])

    from fastbackprop.tabular import groups

    model = regressor()
    monkeypatch.setattr(groups, "fit_many_of", lambda client: interrupted)
    with pytest.raises(fb.Interrupted):
        model.fit(FRAME, TARGETS)
    assert model.score(FRAME, TARGETS) > 0
    assert model.predict_interval(FRAME).shape == (N, 2)
    model = regressor()
    monkeypatch.setattr(groups, "fit_many_of", lambda client: _ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        model.fit(FRAME, TARGETS)
    assert not hasattr(model, "network_") and not hasattr(model, "n_features_in_")


def _ctrl_c(*arguments, **options):
    raise KeyboardInterrupt


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (FRAME[:0], TARGETS[:0], "no rows"),
        (FRAME[:1], TARGETS[:1], "two are needed"),
        (FRAME, np.where(np.arange(N) < 3, np.nan, TARGETS), f"NaN in 3 of {N} rows"),
        (FRAME, np.where(np.arange(N) < 3, np.inf, TARGETS), f"infinity.*in 3 of {N} rows"),
        (FRAME.assign(income=np.inf), TARGETS, f"'income'.*{N} of {N} values are infinity"),
        (FRAME.assign(city=1j), TARGETS, "Complex data not supported"),
        (FRAME.assign(city=[[]] * N), TARGETS, "'city'.*got a list"),
        (FRAME, TARGETS[:-1], "inconsistent numbers of samples"),
        (FRAME, 3.0, "y must have shape"),
        (FRAME, CLASSES, "y of a regressor must be numbers"),
        (pd.concat([FRAME, FRAME], axis=1), TARGETS, "two columns with the name 'number'"),
        (FRAME[[]], TARGETS, "0 feature"),
        (FRAME["number"], TARGETS, "2D"),
    ],
)
def test_refused(X, y, message):
    model = regressor()
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, y)
    assert vars(model) == vars(regressor())


def test_refused_classes_and_parameters():
    with pytest.raises(ValueError, match="one class, 'a'"):
        classifier().fit(FRAME, ["a"] * N)
    with pytest.raises(ValueError, match=f"NaN in 1 of {N} rows"):
        classifier().fit(FRAME, np.where(np.arange(N) == 3, None, CLASSES.astype(object)))
    with pytest.raises(ValueError, match="quality"):
        regressor(quality="medium").fit(FRAME, TARGETS)
    with pytest.raises(ValueError, match="n_folds must be 2 at least"):
        regressor(n_folds=1).fit(FRAME, TARGETS)
    with pytest.raises(ValueError, match="groups must have shape"):
        regressor().fit(FRAME, TARGETS, groups=[1, 2])
    with pytest.raises(ValueError, match="two groups at least"):
        regressor().fit(FRAME, TARGETS, groups=np.ones(N))


def test_other_columns_at_prediction(fitted):
    with pytest.raises(ValueError, match="missing"):
        fitted[0].predict(FRAME.drop(columns="city"))
    with pytest.raises(ValueError, match="order"):
        fitted[0].predict(FRAME[FRAME.columns[::-1]])
    with pytest.raises(ValueError, match="infinity"):
        fitted[0].predict(FRAME.assign(income=np.inf))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of scikit-learn: X has no names
        predicted = fitted[0].predict(FRAME.astype(object).to_numpy())
    assert np.array_equal(predicted, fitted[0].predict(FRAME))
    assert fitted[0].predict(FRAME[:1]).shape == (1,)


def test_a_fit_that_fails_changes_nothing(fitted):
    model = pickle.loads(pickle.dumps(fitted[1]))
    before = model.predict_proba(FRAME)
    with pytest.raises(ValueError, match="one class"):
        model.fit(FRAME[["number"]], ["a"] * N)
    assert np.array_equal(model.predict_proba(FRAME), before)


def test_nothing_to_learn_from():
    """Only columns that are left out: the mean, or the frequencies."""
    X = pd.DataFrame({"a": np.ones(N), "b": np.full(N, np.nan)})
    model = regressor(max_epochs=2).fit(X, TARGETS)
    assert model.predict(X) == pytest.approx(np.full(N, TARGETS.mean()), abs=0.2)
    assert (model.feature_importances_ == 0).all()
    assert np.isfinite(regressor(max_epochs=1).fit(FRAME, np.ones(N)).predict(FRAME)).all()


def test_a_class_with_one_member_and_ten_thousand_categories():
    n = 12_000
    X = pd.DataFrame({"code": RNG.integers(0, 10_000, n).astype(str), "x": RNG.normal(size=n)})
    y = (X["x"] > 0).astype(int).to_numpy(copy=True)
    y[5] = 2
    model = classifier(max_epochs=1, n_folds=2).fit(X, y)
    assert list(model.classes_) == [0, 1, 2]
    assert (
        "a feature of the 32 most frequent; target means" in model.columns_.loc["code", "treatment"]
    )
    assert model.score(X, y) > 0.8


def test_a_column_that_is_left_out_may_be_anything_later(fitted):
    changed = FRAME.assign(gone="now a text", constant=[None] * N, key=7)
    assert np.array_equal(fitted[0].predict(changed), fitted[0].predict(FRAME))


def test_fitted_again(fitted):
    """Nothing of the first table stays."""
    model = pickle.loads(pickle.dumps(fitted[0]))
    assert len(model.feature_importances_) == 10
    model.set_params(max_epochs=1).fit(FRAME[["number", "flag"]].to_numpy(float), TARGETS)
    assert len(model.feature_importances_) == 2 and not hasattr(model, "feature_names_in_")


def test_polars_like_pandas():
    pl = pytest.importorskip("polars")
    some = {"x": NUMBERS, "city": CITIES}
    model = regressor(max_epochs=1).fit(pl.DataFrame(some), TARGETS)
    assert list(model.feature_names_in_) == ["x", "city"]
    expected = regressor(max_epochs=1).fit(pd.DataFrame(some), TARGETS).predict(pd.DataFrame(some))
    assert np.array_equal(model.predict(pl.DataFrame(some)), expected)


def test_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.where(RNG.random((N, 5)) < 0.7, 0, RNG.normal(size=(N, 5)))
    model = regressor(max_epochs=1).fit(sparse.csr_array(dense), TARGETS)
    assert np.array_equal(model.predict(sparse.coo_array(dense)), model.predict(dense))


def test_too_many_rows_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1e4)
    model = regressor()
    with pytest.raises(MemoryError, match=rf"{N} rows of \d+ features.*X\.sample\(\d+\)"):
        model.fit(FRAME, TARGETS)
    assert vars(model) == vars(regressor())


# --- files ---------------------------------------------------------------------------------------


def test_numpy_file(fitted, tmp_path):
    new = FRAME.assign(city=FRAME["city"].where(FRAME.index % 3 > 0, "elsewhere"))
    new.loc[::5, ["number", "size", "day", "income"]] = None
    for name, model in zip(("regressor", "classifier"), fitted, strict=True):
        path = tmp_path / f"{name}.py"
        model.write_numpy(path)
        assert "fastbackprop." not in path.read_text().partition('"""')[2].partition('"""')[2]
        written = runpy.run_path(str(path))
        np.testing.assert_allclose(
            np.asarray(written["predict"](new) == model.predict(new))
            if name == "classifier"
            else written["predict"](new),
            1 if name == "classifier" else model.predict(new),
            rtol=1e-4,
            atol=1e-4,
        )
        columns = {c: list(new[c]) for c in new}
        assert np.array_equal(written["predict"](columns), written["predict"](new))
        with pytest.raises(ValueError, match="the column 'city' is missing"):
            written["predict"](new.drop(columns="city"))
    np.testing.assert_allclose(written["predict_proba"](new), model.predict_proba(new), atol=1e-5)


@pytest.mark.parametrize("labels", ["texts", "numbers"])
def test_onnx_file(tmp_path, labels):
    runtime = pytest.importorskip("onnxruntime")
    some = FRAME[["number", "income", "flag", "city", "size"]].rename(columns={"flag": "c1"})
    path = str(tmp_path / "model.onnx")

    def run(X):
        session = runtime.InferenceSession(path)
        kinds = {i.name: i.type for i in session.get_inputs()}
        feed = {
            name: features.texts(X[name])[:, None]
            if kind == "tensor(string)"
            else X[[name]].to_numpy(np.float64)
            for name, kind in kinds.items()
        }
        return dict(
            zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True)
        )

    new = some.assign(city=some["city"].where(some.index % 3 > 0, "elsewhere"))
    new.loc[::5, ["number", "size", "income"]] = None
    y = CLASSES if labels == "texts" else np.searchsorted(["high", "low"], CLASSES)
    model = classifier(max_epochs=2).fit(some, y)
    model.write_onnx(path)
    out = run(new)
    np.testing.assert_allclose(out["probabilities"], model.predict_proba(new), atol=1e-5)
    assert np.array_equal(out["prediction"], model.predict(new))
    if labels == "texts":
        model = regressor(max_epochs=2).fit(some, TARGETS)
        model.write_onnx(path)
        np.testing.assert_allclose(run(new)["prediction"][:, 0], model.predict(new), atol=1e-4)


def test_dates_do_not_go_into_onnx(fitted, tmp_path):
    with pytest.raises(ValueError, match=r"parts of 'day' as numbers"):
        fitted[0].write_onnx(tmp_path / "model.onnx")
    named = regressor(max_epochs=1).fit(pd.DataFrame({"prediction": NUMBERS}), TARGETS)
    with pytest.raises(ValueError, match="'prediction' is the name of an output"):
        named.write_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_names_that_are_hard_to_write(tmp_path):
    names = ['a"""b', "\\", "c\n\t'", "naïve"]
    X = pd.DataFrame({name: RNG.choice([*names, "x  y"], N) for name in names})
    model = regressor(max_epochs=1).fit(X, TARGETS)
    model.write_numpy(tmp_path / "model.py")
    written = runpy.run_path(str(tmp_path / "model.py"))
    np.testing.assert_allclose(written["predict"](X), model.predict(X), atol=1e-5)
