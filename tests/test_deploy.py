"""Fitted estimators on their way out: skl2onnx, skops, PyInstaller; scalers in files."""

import copy
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import engines
from fastbackprop.formats import write_c, write_numpy
from fastbackprop.pyinstaller import hook_folders

pytest.importorskip("sklearn")

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from test_sources import compiled, compiler

from fastbackprop.sklearn import TRUSTED, MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)) * [1, 10, 100, 0.1] + 5
PLACES = np.arange(40)
TARGETS = {
    "texts": np.array(["a", "b", "c"])[PLACES % 3],
    "two numbers": PLACES % 2 + 3,
    "several labels": RNG.integers(0, 2, (40, 3)),
}


def fitted(estimator, y, **options):
    options = {"max_iter": 3, "engine": "numpy", "random_state": 0, "tol": 0} | options
    with pytest.warns(Warning, match="did not suffice"):
        return make_pipeline(StandardScaler(), estimator(**options)).fit(X, y)


# --- skl2onnx ------------------------------------------------------------------------------------


def outputs(pipeline, dtype):
    """Of the pipeline as one ONNX model, run by ONNX Runtime."""
    skl2onnx = pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    from fastbackprop.skl2onnx import register

    register()
    options = {"zipmap": False} if hasattr(pipeline, "classes_") else None
    model = skl2onnx.to_onnx(pipeline, X[:1].astype(dtype), options=options)
    session = runtime.InferenceSession(model.SerializeToString())
    return session.run(None, {"X": X.astype(dtype)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
def test_skl2onnx_classifiers(target, dtype):
    options = {"activation": fb.LayerNorm("gelu")} if dtype == "float32" else {}
    pipeline = fitted(MLPClassifier, TARGETS[target], **options)
    labels, probabilities = outputs(pipeline, dtype)
    np.testing.assert_array_equal(labels, pipeline.predict(X))
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(X), atol=tolerance)


@pytest.mark.parametrize("cost", [None, "gaussian_nll", fb.Quantile([0.1, 0.5, 0.9]), "poisson"])
def test_skl2onnx_regressors(cost):
    pipeline = fitted(MLPRegressor, abs(X[:, 0]), cost=cost)
    (y,) = outputs(pipeline, "float64")
    np.testing.assert_allclose(y.ravel(), pipeline.predict(X), rtol=1e-12)


# --- skops and pickle ----------------------------------------------------------------------------

ESTIMATORS = [
    (MLPClassifier, "texts", {}),
    (MLPClassifier, "two numbers", {"solver": "sgd", "learning_rate": "invscaling"}),
    (MLPRegressor, "two numbers", {"solver": fb.Lion(), "learning_rate": fb.Cosine(1e-3, 3)}),
    (MLPRegressor, "two numbers", {"solver": "sgd", "activation": fb.LayerNorm("tanh")}),
    (MLPRegressor, "two numbers", {"cost": "gaussian_nll", "early_stopping": True}),
]


@pytest.mark.parametrize(("estimator", "target", "options"), ESTIMATORS)
@pytest.mark.parametrize("way", ["skops", "pickle", "deepcopy"])
def test_stored_estimators_go_on_as_if_nothing_had_happened(estimator, target, options, way):
    y = TARGETS[target]
    pipeline = fitted(estimator, y, **options)
    if way == "skops":
        io = pytest.importorskip("skops.io")
        if "activation" in options:
            pytest.skip("skops asks for each function of a LayerNorm that is a parameter")
        file = io.dumps(pipeline)
        assert set(io.get_untrusted_types(data=file)) <= {*TRUSTED}
        again = io.loads(file, trusted=TRUSTED)
    else:
        again = pickle.loads(pickle.dumps(pipeline)) if way == "pickle" else copy.deepcopy(pipeline)
    np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))
    if options.get("early_stopping"):
        return
    scaled = pipeline[0].transform(X)
    for model in (pipeline[1], again[1]):
        model.partial_fit(scaled, y)
    np.testing.assert_array_equal(
        again[1].network_.get_parameters(), pipeline[1].network_.get_parameters()
    )


def test_trusted_types_exist():
    for name in TRUSTED:
        module, _, kind = name.rpartition(".")
        assert isinstance(getattr(sys.modules[module], kind), type)


# --- PyInstaller ---------------------------------------------------------------------------------


def test_the_hook_names_every_module_that_is_imported_by_name():
    (folder,) = hook_folders()
    hook = runpy.run_path(str(Path(folder) / "hook-fastbackprop.py"))
    names = set(hook["hiddenimports"])
    for module in engines.MODULES.values():
        assert f"fastbackprop.engines.{module}" in names
    for module in ("jit.math", "formats.c_source", "formats.numpy_source"):
        assert f"fastbackprop.{module}" in names
    assert not any("sklearn" in name.split(".")[1:2] or "onnx" in name for name in names)
    assert hook["module_collection_mode"]["fastbackprop"] == "pyz+py"


# --- scalers in files ----------------------------------------------------------------------------

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler((-1, 1)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False),
]


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_scalers_in_numpy_files(scaler, tmp_path):
    net = fb.Network([4, 5, 2], hidden="tanh", rng=0, dtype="float64", engine="numpy")
    Y = np.column_stack([X[:, 0] * 100, X[:, 1] + 7])
    scaler, of_targets = scaler.fit(X), StandardScaler().fit(Y)
    write_numpy(net, tmp_path / "f.py", scaler=scaler, target_scaler=of_targets)
    predict = runpy.run_path(str(tmp_path / "f.py"))["predict"]
    expected = of_targets.inverse_transform(net.predict(scaler.transform(X)))
    np.testing.assert_allclose(predict(X), expected, rtol=1e-12)


@pytest.mark.skipif(not compiler, reason="there is no C compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalers_in_c_files(dtype, tmp_path):
    net = fb.Network([4, 5, 2], hidden="tanh", rng=0, dtype=dtype, engine="numpy")
    scaler = StandardScaler().fit(X)
    pair = (np.array([1.0, -2.0]), 3.0)
    predict = compiled(net, tmp_path, scaler=scaler, target_scaler=pair)
    expected = net.predict(scaler.transform(X)) * 3 + pair[0]
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(predict(X.astype(dtype)), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("write", [write_c, write_numpy])
@pytest.mark.parametrize(
    ("scaler", "message"),
    [
        (StandardScaler(), "fitted StandardScaler"),
        (MinMaxScaler(clip=True).fit(X), "clips its values"),
        (StandardScaler().fit(X[:, :3]), r"shape \(4,\); got \(3,\)"),
        ((0.0, [1, 1, 0, 1]), "must not be 0"),
        ((0.0, [1, 1, np.nan, 1]), "finite"),
        ("standard", "fitted StandardScaler"),
        (np.ones(4), "fitted StandardScaler"),
    ],
)
def test_scalers_that_do_not_fit_are_refused(write, scaler, message, tmp_path):
    net = fb.Network([4, 1], engine="numpy")
    with pytest.raises((TypeError, ValueError), match=message):
        write(net, tmp_path / "f", scaler=scaler)
    assert not list(tmp_path.iterdir())
