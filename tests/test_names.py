"""Names that people bring from other libraries, and reprs that can be pasted."""

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import names, plot
from fastbackprop.engines import ENGINES
from fastbackprop.functions import ACTIVATIONS, COSTS, INITIALIZERS
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.metrics import METRICS

X, Y = np.zeros((4, 2)), np.zeros((4, 1))


def network(**options):
    return fb.Network([2, 3, 1], engine="numpy", **options)


# --- values --------------------------------------------------------------------------------------

BROUGHT = [
    ("hidden", "swish", "silu"),
    ("hidden", "LeakyReLU", "leaky_relu"),
    ("output", "logistic", "sigmoid"),
    ("output", "linear", "identity"),
    ("cost", "mse", "squared_error"),
    ("cost", "MAE", "absolute_error"),
    ("cost", "bce", "cross_entropy"),
    ("cost", "ce", "cross_entropy"),
    ("cost", "categorical_crossentropy", "cross_entropy"),
    ("cost", "pinball", "quantile"),
    ("init", "xavier", "glorot_uniform"),
    ("init", "kaiming_uniform", "he_uniform"),
]


@pytest.mark.parametrize(("argument", "brought", "ours"), BROUGHT)
def test_synonyms(argument, brought, ours):
    with pytest.raises(ValueError, match=f"{brought}': did you mean '{ours}'\\?"):
        fb.Network([2, 3, 1], **{argument: brought})


@pytest.mark.parametrize(
    ("brought", "ours"), [("rmsprop_momentum", "rmsprop"), ("L-BFGS-B", "lbfgs"), ("gd", "sgd")]
)
def test_synonyms_of_optimizers(brought, ours):
    with pytest.raises(ValueError, match=f"did you mean '{ours}'\\?"):
        network().fit(X, Y, optimizer=brought)


def test_the_table_of_synonyms_has_names_that_exist():
    known = {*ACTIVATIONS, *COSTS, *OPTIMIZERS, *INITIALIZERS, *METRICS, *ENGINES}
    assert set(names.SYNONYMS.values()) <= known
    assert all(key == key.lower() and not set("-_ ") & set(key) for key in names.SYNONYMS)


# --- keywords ------------------------------------------------------------------------------------

KEYWORDS = [
    (fb.Network, {"seed": 1}, "rng="),
    (fb.Network, {"random_state": 1}, "rng="),
    (fb.Network, {"loss": "mse"}, "cost="),
    (fb.Network, {"activation": "tanh"}, "hidden="),
    (fb.Network, {"hidden_layer_sizes": (3,)}, "sizes"),
    (fb.Network, {"lr": 1}, r"fb\.Adam\(learning_rate="),
    (fb.Network, {"ouput": "softmax"}, "did you mean output="),
    ("fit", {"lr": 1}, r"fb\.Adam\(learning_rate="),
    ("fit", {"seed": 1}, "rng="),
    ("fit", {"validation_data": (X, Y)}, "validation="),
    ("fit", {"class_weight": "balanced"}, "sample_weight=, 'balanced' or a dict"),
    ("fit", {"verbose": 1}, "progress=True"),
    ("fit", {"loss": "mse"}, "cost=.*Network"),
    ("fit", {"epoch": 3}, "epochs="),
    ("partial_fit", {"lr": 1}, r"fb\.Adam\(learning_rate="),
    ("fit", {"device": "cuda"}, "CPU"),
    (fb.fit_many, {"optimizer": "adam"}, "optimizers=, a name, or a list"),
    (fb.fit_many, {"learning_rates": [1]}, r"optimizers=\[fb\.Adam"),
    (fb.fit_many, {"verbose": 1}, "progress=True"),
    (fb.Adam, {"lr": 1}, "learning_rate="),
    (fb.SGD, {"weight_decay": 1}, "l2="),
    (fb.RMSprop, {"momentun": 1}, "did you mean momentum="),
]


@pytest.mark.parametrize(("call", "keyword", "message"), KEYWORDS)
def test_an_unknown_keyword_is_answered_with_ours(call, keyword, message):
    net = network()
    before = net.get_parameters()
    function, arguments = call, [[2, 1]] if call is fb.Network else []
    if isinstance(call, str):
        function, arguments = getattr(net, call), [X, Y]
    with pytest.raises(TypeError, match=f"has no argument '{next(iter(keyword))}': .*{message}"):
        function(*arguments, **keyword)
    assert (net.get_parameters() == before).all()


def test_own_optimizers_have_their_own_keywords():
    class Gentle(fb.SGD):
        def __init__(self, lr, **options):
            super().__init__(learning_rate=lr / 10, **options)

    class Fixed(fb.SGD):
        def __init__(self, eta):
            super().__init__(eta)

    assert Gentle(lr=1.0, momentum=0.5).learning_rate == 0.1
    assert Fixed(eta=0.5).learning_rate == 0.5
    with pytest.raises(TypeError, match="Fixed has no argument 'lr': pass learning_rate="):
        Fixed(lr=1)


def test_an_unknown_keyword_without_a_hint():
    with pytest.raises(TypeError, match=r"^fit has no argument 'zzz'$"):
        network().fit(X, Y, zzz=1)


# --- attributes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("forward", r"predict\(X\)"),
        ("parameters", r"get_parameters\(\)"),
        ("state_dict", r"Network\.load\(path\)"),
        ("train", r"fit\(X, y\)"),
        ("train_on_batch", r"trainer\(optimizer\)\.step"),
        ("copy", r"copy\.deepcopy"),
    ],
)
def test_a_method_of_another_library_is_answered_with_ours(name, message):
    net = network()
    with pytest.raises(AttributeError, match=f"Network has no attribute '{name}': .*{message}"):
        getattr(net, name)
    assert not hasattr(net, name)


def test_methods_and_arguments_of_other_optimizers_are_answered():
    adam = fb.Adam()
    for name, message in (("zero_grad", "returned"), ("step", r"trainer\(optimizer\)\.step")):
        with pytest.raises(AttributeError, match=f"Adam has no attribute '{name}': .*{message}"):
            getattr(adam, name)
    assert pickle.loads(pickle.dumps(adam)) == copy.deepcopy(adam) == adam
    with pytest.raises(TypeError, match="learning_rate must be") as info:
        fb.SGD([np.zeros((100, 100))])  # the parameters come first elsewhere
    assert len(str(info.value)) < 300


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Sequential", r"Network\(\[4, 8, 3\]"),
        ("CosineAnnealingLR", "Cosine is"),
        ("MLPClassifier", r"in fastbackprop\.sklearn"),
        ("MSELoss", "pass the name 'squared_error'"),
        ("skl2onnx", r"import fastbackprop\.skl2onnx"),
    ],
)
def test_a_class_of_another_library_is_answered_with_ours(name, message):
    with pytest.raises(
        AttributeError, match=f"fastbackprop has no attribute '{name}': .*{message}"
    ):
        fb.__getattr__(name)  # a module that a test has imported is an attribute


def test_an_unknown_attribute_without_a_hint():
    for owner in (fb, network(), fb.Adam()):
        with pytest.raises(AttributeError, match=r"has no attribute 'zzz'$") as info:
            owner.zzz  # noqa: B018
        assert info.value.name == "zzz" and info.value.obj is owner


# --- extras --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("matplotlib", "plot", lambda: plot.history(fb.History())),
        ("pandas", "pandas", lambda: fb.History().to_pandas()),
        ("tqdm.auto", "progress", lambda: network().fit(X, Y, progress=True)),
        ("scipy.optimize", "scipy", lambda: network().fit(X, Y, optimizer="lbfgs")),
    ],
)
def test_a_missing_extra_is_named_for_both_kinds_of_installation(package, extra, use, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as info:
        use()
    assert f'pip install "fastbackprop[{extra}]"' in str(info.value)
    assert f'pip install ".[{extra}]"' in str(info.value)


def test_a_missing_extra_of_a_module_is_named():
    script = """
        import importlib, sys
        for package, module in [line.split() for line in sys.argv[1:]]:
            sys.modules[package] = None
            try:
                importlib.import_module(f"fastbackprop.{module}")
            except ImportError as error:
                for form in ('"fastbackprop[{}]"', '".[{}]"'):
                    assert f"pip install {form.format(module)}" in str(error), (module, error)
            else:
                raise AssertionError(module)
            del sys.modules[package]
    """
    modules = ["sklearn sklearn", "pandas tabular", "distributed dask", "skl2onnx skl2onnx"]
    command = [sys.executable, "-c", textwrap.dedent(script), *modules]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- callbacks -----------------------------------------------------------------------------------


def test_a_callback_with_an_unknown_method_is_refused():
    class Listener:
        def on_epoch_end(self, network, epoch, logs): ...

        def on_epochs_begin(self, network, epoch): ...

    net = network()
    before = net.get_parameters()
    message = "on_epochs_begin, which no training calls: did you mean on_epoch_begin"
    with pytest.raises(TypeError, match=message):
        net.fit(X, Y, callbacks=Listener())
    assert (net.get_parameters() == before).all()


def test_every_event_of_the_package_is_known():
    """Those of the built-in callbacks, as `Callbacks` sees them."""
    known = {*Callbacks.EVENTS, *Callbacks.OF_THE_PACKAGE}
    assert all(f"{event}(" in Callbacks.__doc__ or event in Callbacks.__doc__ for event in known)


# --- reprs ---------------------------------------------------------------------------------------

OBJECTS = [
    *(fb.Quantile([0.1, 0.5, 0.9]), fb.Quantile(0.9), fb.Huber(2.0), fb.CrossEntropy(0.1)),
    *(fb.Tweedie(1.2), fb.Focal(1.0), fb.LeakyReLU(0.2), fb.ELU(0.5), fb.CELU(2.0)),
    *(fb.LayerNorm(), fb.LayerNorm(fb.LeakyReLU(0.2), 1e-3), fb.SmallOutput("zeros", 0.1)),
    *(fb.Adam(fb.Cosine(1e-3, epochs=5), l2=0.1), fb.SGD(0.1, momentum=0.9)),
    *(fb.Warmup(1, then=fb.Plateau(1e-3)), fb.OneCycle(0.1, 3), fb.Polynomial(0.1, 3)),
    *(fb.EarlyStopping(3), fb.Dropout(0.1, noise=0.2), fb.SGD(averaging=fb.EMA(0.9))),
    *ACTIVATIONS.values(),
    *(cost for costs in COSTS.values() for cost in costs),
    *(kind() for kind in OPTIMIZERS.values()),
]


@pytest.mark.parametrize("thing", OBJECTS, ids=repr)
def test_reprs_can_be_pasted(thing):
    again = eval(repr(thing), vars(fb) | {"ACTIVATIONS": ACTIVATIONS, "COSTS": COSTS})
    assert again == thing and type(again) is type(thing)


def test_the_repr_that_is_asked_for():
    assert repr(fb.Quantile([0.1, 0.5, 0.9])) == "Quantile([0.1, 0.5, 0.9])"


def halved(z, p):
    return p[0] * z


def half(z, a, p):
    return p[0]


def test_reprs_of_own_functions_name_them():
    own = fb.Activation("halved", halved, half, p=(0.5,))
    assert repr(own) == "Activation('halved', halved, half, p=(0.5,))"
    assert eval(repr(own), {"Activation": fb.Activation} | globals()) == own
    assert "learning_rate=halved" in repr(fb.SGD(halved))
    estimators = pytest.importorskip("fastbackprop.sklearn")
    regressor = estimators.MLPRegressor(cost=fb.Quantile([0.1, 0.9]))
    assert repr(regressor) == "MLPRegressor(cost=Quantile([0.1, 0.9]))"


# --- small things --------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_last_layer(engine):
    usual = fb.Network([3, 4, 2], rng=0, engine=engine)
    small = fb.Network([3, 4, 2], rng=0, engine=engine, init=fb.SmallOutput(scale=0.25))
    np.testing.assert_array_equal(small.weights[0], usual.weights[0])
    np.testing.assert_array_equal(small.weights[1], usual.weights[1] * np.float32(0.25))
    with pytest.raises(ValueError, match="scale of SmallOutput"):
        fb.SmallOutput(scale=0)
    with pytest.raises(ValueError, match="did you mean 'zeros'"):
        fb.Network([3, 2], init=fb.SmallOutput("zero"))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_rows_give_no_rows(engine):
    net = fb.Network([3, 4, 2], engine=engine)
    none = net.predict(np.zeros((0, 3)))
    assert none.shape == (0, 2) and none.dtype == np.float32
    assert net.predict(np.zeros((0, 3), "float32"), n_threads=2).shape == (0, 2)
    out = np.empty((0, 2), "float32")
    assert net.predict(np.zeros((0, 3)), out=out) is out
    with pytest.raises(ValueError, match="at least one row"):
        net.evaluate(np.zeros((0, 3)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"shape \(n_samples, 3\)"):
        net.predict(np.zeros((0, 4)))


LABELS = np.array([0, 1, 1, 2, 1, 1])


@pytest.mark.parametrize("weights", [{0: 2, 1: 0.5, 2: 1}, "balanced"])
def test_weights_of_classes(weights):
    """As a weight for each sample; of an output of softmax, and of one sigmoid."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 2))
    by_label = {0: 2.0, 1: 0.5, 2: 2.0} if weights == "balanced" else weights
    each = np.array([by_label[label] for label in LABELS])
    options = {"cost": "cross_entropy", "engine": "numpy", "rng": 0, "dtype": "float64"}
    net = fb.Network([2, 3, 3], output="softmax", **options)
    assert net.evaluate(X, LABELS, weights) == pytest.approx(net.evaluate(X, LABELS, each))
    twin = fb.Network([2, 3, 3], output="softmax", **options)
    for n, s in ((net, weights), (twin, each)):
        n.fit(X, LABELS, epochs=2, batch_size=3, sample_weight=s)
    np.testing.assert_allclose(net.get_parameters(), twin.get_parameters(), rtol=1e-12)
    single, y = fb.Network([2, 3, 1], output="sigmoid", **options), LABELS > 0
    both = {0: 6 / 2, 1: 6 / 10} if weights == "balanced" else {0: 2, 1: 0.5}
    expected = single.evaluate(X, y, np.where(y, both[1], both[0]))
    assert single.evaluate(X, y, weights if weights == "balanced" else both) == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 1, 1: 1}, r"no weight for the labels \[2\]"),
        ("balance", "did you mean 'balanced'"),
        ({0: 1, 1: -1, 2: 1}, "must not be negative"),
        ({0: 1, 1: "x", 2: 1}, r"sample_weight\[1\] must be a number"),
    ],
)
def test_weights_of_classes_that_make_no_sense(weights, message):
    net = fb.Network([2, 3], output="softmax", cost="cross_entropy", engine="numpy")
    with pytest.raises((ValueError, TypeError), match=message):
        net.evaluate(np.zeros((6, 2)), LABELS, weights)
    with pytest.raises(ValueError, match="by class needs integer labels"):
        fb.Network([2, 3], engine="numpy").evaluate(np.zeros((6, 2)), np.zeros((6, 3)), "balanced")
