"""Names that people bring from other libraries, and the names here.

`SYNONYMS` are values, such as "mse"; `KEYWORDS` are arguments, such as `lr=`; `ATTRIBUTES` are
methods and classes, such as `net.forward`. All are for messages: nothing here makes a synonym work.
`missing` is the error about a package of an extra.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

# By names in lower case, without "-", "_" and spaces.
SYNONYMS = {
    # activations
    **{"linear": "identity", "none": "identity", "logistic": "sigmoid", "expit": "sigmoid"},
    **{"swish": "silu", "hardswish": "hard_swish", "hardsilu": "hard_swish"},
    **{"leakyrelu": "leaky_relu", "lrelu": "leaky_relu", "hardtanh": "hard_tanh"},
    **{"gelunew": "gelu_tanh", "sine": "sin", "siren": "sin", "exponential": "exp"},
    **{"rectifier": "relu", "logsoftmax": "log_softmax", "softmin": "softmax"},
    # costs
    **dict.fromkeys(("mse", "meansquarederror", "l2", "l2loss", "mseloss"), "squared_error"),
    **dict.fromkeys(("mae", "meanabsoluteerror", "l1", "l1loss"), "absolute_error"),
    **dict.fromkeys(("smoothl1", "smoothl1loss", "huberloss"), "huber"),
    **dict.fromkeys(
        ("ce", "bce", "crossentropyloss", "bceloss", "bcewithlogits", "bcewithlogitsloss"),
        "cross_entropy",
    ),
    **dict.fromkeys(
        ("binarycrossentropy", "categoricalcrossentropy", "sparsecategoricalcrossentropy"),
        "cross_entropy",
    ),
    **dict.fromkeys(("logloss", "nll", "nllloss", "xent", "entropy"), "cross_entropy"),
    **dict.fromkeys(("kl", "kld", "kldiv", "kldivloss", "kullbackleibler"), "kl_divergence"),
    **dict.fromkeys(("pinball", "pinballloss", "quantileloss"), "quantile"),
    **dict.fromkeys(("gaussian", "gaussiannllloss", "normal", "mve"), "gaussian_nll"),
    **{"poissonnll": "poisson", "poissonnllloss": "poisson", "logcosh": "log_cosh"},
    **{"cosinesimilarity": "cosine", "cosineembeddingloss": "cosine", "focalloss": "focal"},
    # optimizers
    **dict.fromkeys(("gd", "gradientdescent", "momentum", "nesterov", "sgdm"), "sgd"),
    **dict.fromkeys(("rmspropmomentum", "rmsprop"), "rmsprop"),
    **dict.fromkeys(("bfgs", "lbfgsb", "lbfgs"), "lbfgs"),
    **{"amsgrad": "adam", "adamweightdecay": "adamw"},
    # initializers
    **dict.fromkeys(("xavier", "xavieruniform", "glorot"), "glorot_uniform"),
    **{"xaviernormal": "glorot_normal", "lecun": "lecun_normal"},
    **dict.fromkeys(("kaiming", "kaimingnormal", "he"), "he_normal"),
    **{"kaiminguniform": "he_uniform", "zero": "zeros"},
    # metrics
    **dict.fromkeys(("acc", "accuracyscore", "categoricalaccuracy"), "accuracy"),
    **{"r2score": "r2", "rsquared": "r2"},
    # engines
    **dict.fromkeys(("fast", "default", "numba", "tile"), "tiles"),
    **{"np": "numpy", "loop": "loops", "python": "loops"},
}

# By function; the text completes "there is no argument 'lr':".
_RATE = "the learning rate belongs to the optimizer, as in optimizer=fb.Adam(learning_rate=0.001)"
_SEED = "pass rng=, a seed or a numpy.random.Generator"
_COST = "pass cost=, such as 'squared_error' or 'cross_entropy'"
_OF_FIT = "it belongs to fit"
_OF_NETWORK = "it belongs to Network"
_DECAY = "penalties belong to the optimizer, as in optimizer=fb.Adam(l2=1e-4)"
KEYWORDS: dict[str, dict[str, str]] = {
    "Network": {
        **dict.fromkeys(("seed", "random_state", "key", "generator"), _SEED),
        **dict.fromkeys(("loss", "loss_function", "criterion", "objective"), _COST),
        **dict.fromkeys(
            ("activation", "activations", "hidden_activation", "nonlinearity"),
            "pass hidden= for the hidden layers, output= for the last layer",
        ),
        **dict.fromkeys(("out_activation", "output_activation"), "pass output="),
        **dict.fromkeys(
            ("hidden_layer_sizes", "layers", "units", "hidden_sizes", "layer_sizes"),
            "pass sizes, all layers from the input to the output, as in Network([64, 128, 10])",
        ),
        **dict.fromkeys(("lr", "learning_rate", "learning_rate_init"), f"{_RATE} of fit"),
        **dict.fromkeys(("optimizer", "solver", "optim"), "pass optimizer= to fit"),
        **dict.fromkeys(("epochs", "max_iter", "batch_size", "dropout", "early_stopping"), _OF_FIT),
        **dict.fromkeys(("alpha", "weight_decay", "l2"), f"{_DECAY} of fit"),
        **dict.fromkeys(("initializer", "kernel_initializer", "weight_init"), "pass init="),
        **{"device": "networks are on the CPU", "backend": "pass engine=", "type": "pass dtype="},
    },
    "fit": {
        **dict.fromkeys(("lr", "learning_rate", "learning_rate_init"), _RATE),
        **dict.fromkeys(("seed", "random_state"), f"{_SEED}, to Network"),
        **dict.fromkeys(
            ("validation_data", "validation_split", "validation_fraction", "eval_set", "X_val"),
            "pass validation=, a pair (X, y) or a fraction such as 0.1",
        ),
        **dict.fromkeys(
            ("class_weight", "class_weights"),
            "pass sample_weight=, 'balanced' or a dict of weights by label such as {0: 1, 1: 5}",
        ),
        **dict.fromkeys(("sample_weights", "weights", "w"), "pass sample_weight="),
        **dict.fromkeys(
            ("verbose", "progress_bar"), "pass progress=True for a bar; the result is a History"
        ),
        **dict.fromkeys(("n_epochs", "epoch", "nb_epoch", "max_iter", "n_iter"), "pass epochs="),
        **dict.fromkeys(("batchsize", "bs", "minibatch_size"), "pass batch_size="),
        **dict.fromkeys(("loss", "criterion", "cost"), f"{_COST}, to Network"),
        **dict.fromkeys(("activation", "hidden", "output", "hidden_layer_sizes"), _OF_NETWORK),
        **dict.fromkeys(("solver", "optim", "optimiser"), "pass optimizer="),
        **dict.fromkeys(
            ("schedule", "scheduler", "lr_scheduler"),
            "a schedule is the learning rate of the optimizer, as in "
            "optimizer=fb.Adam(fb.Cosine(1e-3, epochs=50))",
        ),
        **dict.fromkeys(("alpha", "weight_decay", "l2", "l1"), _DECAY),
        **dict.fromkeys(("patience", "n_iter_no_change"), "pass early_stopping=, a patience"),
        "interrupt": "fit raises Interrupted; with callbacks=[fb.ReturnOnInterrupt()] it returns",
        **dict.fromkeys(("checkpoint",), "pass callbacks=[fb.Checkpoint(path)]"),
        **dict.fromkeys(("time_budget", "timeout"), "pass callbacks=[fb.TimeBudget(seconds)]"),
        **dict.fromkeys(("n_jobs", "threads", "workers"), "pass n_threads="),
        **{"device": "networks are on the CPU", "loss_function": f"{_COST}, to Network"},
    },
    "fit_many": {
        "optimizer": "pass optimizers=, a name, or a list with an optimizer for each network",
        **dict.fromkeys(
            ("learning_rate", "learning_rates", "lr"),
            "pass optimizers=[fb.Adam(rate) for rate in rates]",
        ),
    },
    "optimizer": {
        **dict.fromkeys(("lr", "learning_rate_init", "eta", "step_size"), "pass learning_rate="),
        **dict.fromkeys(("beta_1", "beta_2", "beta1", "beta2", "b1", "b2"), "pass betas=, two"),
        "eps": "pass epsilon=",
        **dict.fromkeys(("decay", "alpha", "weight_decay"), "pass l2=, or use AdamW"),
        **dict.fromkeys(("clipnorm", "grad_clip", "max_grad_norm"), "pass clip_norm="),
        "clipvalue": "pass clip_value=",
        **dict.fromkeys(("scheduler", "schedule"), "pass the schedule as learning_rate="),
    },
}
KEYWORDS["fit_many"] = KEYWORDS["fit"] | KEYWORDS["fit_many"]

# By kind of object; the text completes "Network has no attribute 'forward':".
_PARAMETERS = "weights and biases are views, get_parameters() is a copy"
_STEP = "net.trainer(optimizer).step(X, y) takes one step"
_MODES = "there are no modes: dropout is in training only"
_LAYERS = "pass the sizes of all layers, as in Network([4, 8, 3], hidden='relu')"
_CPU = "networks are on the CPU"
_ESTIMATORS = ("MLPClassifier", "MLPRegressor", "GridSearchCV", "RandomizedSearchCV")
ATTRIBUTES: dict[str, dict[str, str]] = {
    "Network": {
        **dict.fromkeys(("forward", "predict_proba", "call", "apply"), "predict(X) is a^L"),
        **dict.fromkeys(("parameters", "named_parameters", "get_weights", "params"), _PARAMETERS),
        **dict.fromkeys(("coefs_", "intercepts_", "W", "b"), _PARAMETERS),
        **dict.fromkeys(
            ("state_dict", "load_state_dict", "set_weights"),
            "get_parameters() and set_parameters(vector), or save(path) and Network.load(path)",
        ),
        **{"train": f"fit(X, y) trains; {_MODES}", "eval": _MODES},
        **dict.fromkeys(("train_step", "train_on_batch", "step"), _STEP),
        "zero_grad": "gradients are returned, not kept",
        "compile": "pass cost= to Network, optimizer= and metrics= to fit",
        "summary": "print(net) has the layers, plot.network(net) draws them",
        **dict.fromkeys(("copy", "clone"), "copy.deepcopy(net)"),
        **dict.fromkeys(("score", "loss", "test_on_batch"), "evaluate(X, y) is the mean cost"),
        **dict.fromkeys(("layers", "layer_sizes"), "sizes, weights and biases have the layers"),
        **dict.fromkeys(("to", "cuda", "cpu", "device"), _CPU),
        "optimizer": "optimizers are passed to fit and trainer",
    },
    "optimizer": {
        "zero_grad": "gradients are returned, not kept",
        **dict.fromkeys(("step", "minimize", "apply_gradients"), _STEP),
        **dict.fromkeys(
            ("state_dict", "load_state_dict"), "net.trainer(optimizer).save(path) keeps its state"
        ),
        "param_groups": "learning_rate, and layer_rates for factors of each layer",
    },
    "fastbackprop": {
        **dict.fromkeys(("Sequential", "Module", "Model", "MLP", "Linear", "Dense"), _LAYERS),
        **dict.fromkeys(_ESTIMATORS, "it is in fastbackprop.sklearn"),
        **dict.fromkeys(
            ("TabularClassifier", "TabularRegressor", "Preprocessor"),
            "it is in fastbackprop.tabular",
        ),
        **dict.fromkeys(("CosineAnnealingLR", "CosineDecay"), "Cosine is the schedule"),
        **{"StepLR": "Step is the schedule", "ExponentialLR": "Exponential is the schedule"},
        **{"OneCycleLR": "OneCycle is the schedule", "PolynomialLR": "Polynomial is the schedule"},
        "ReduceLROnPlateau": "Plateau is the schedule",
        "LambdaLR": "pass a function of the step as learning_rate",
        "ModelCheckpoint": "Checkpoint is the callback",
        "Callback": "any object with methods such as on_epoch_end is a callback",
        **{"load": "Network.load(path)", "save": "net.save(path)", "train": "net.fit(X, y)"},
        **dict.fromkeys(
            ("plot", "onnx", "sklearn", "tabular", "dask", "skl2onnx", "formats"),
            "it is a module: import fastbackprop.{name}",
        ),
    },
}


def _plain(name: str) -> str:
    """In lower case, without "-", "_" and spaces."""
    return "".join(c for c in name.lower() if c not in "-_ ")


def closest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The names that somebody may have meant: that of a synonym, or similar ones."""
    names = list(known)
    meant = SYNONYMS.get(_plain(name))
    if meant in names:
        return [str(meant)]
    return difflib.get_close_matches(name.lower(), names, n=n, cutoff=0.5)


def pass_name(value: Any, known: Iterable[str]) -> str:
    """The end of a message: the name to pass for an object or a function of another library."""
    plain = _plain(getattr(value, "__name__", type(value).__name__))
    meant = SYNONYMS.get(plain, plain)
    same = [name for name in known if meant in (name, _plain(name))]
    return f": pass {same[0]!r}" if same else ""


def unknown_keyword(what: str, name: str, known: Iterable[str], table: str) -> TypeError:
    """The error for an argument that there is not, with the name that it has here."""
    hint = KEYWORDS[table].get(name)
    if hint is None and (close := closest(name, known)):
        hint = f"did you mean {', '.join(f'{other}=' for other in close)}?"
    return TypeError(f"{what} has no argument {name!r}" + f": {hint}" * bool(hint))


def unknown_attribute(owner: Any, name: str, table: str) -> AttributeError:
    """The error for an attribute that there is not, with the name of what is meant."""
    kind = table if isinstance(owner, ModuleType) else type(owner).__name__
    message = f"{kind} has no attribute {name!r}"
    hint = ATTRIBUTES[table].get(name)
    value = SYNONYMS.get(_plain(name))
    if hint is None and not name.startswith("_") and value is not None:
        hint = f"pass the name {value!r}"
    if hint is not None:
        message += f": {hint.format(name=name)}"
    return AttributeError(message, name=name, obj=owner)  # Python adds what is similar


def names_keywords(table: str) -> Callable[[Function], Function]:
    """A decorator: the error for an unknown keyword says which one is meant."""

    def decorate(function: Function) -> Function:
        known = frozenset(inspect.signature(function).parameters)
        what = table if function.__name__ == "__init__" else function.__name__

        @functools.wraps(function)
        def checked(*arguments: Any, **options: Any) -> Any:
            if not known.issuperset(options):
                refuse_unknown(options, known - {"self"}, what, table)
            return function(*arguments, **options)

        return cast(Function, checked)

    return decorate


def missing(what: str, extra: str) -> ImportError:
    """The error where a package of an extra is not installed: `what` begins the sentence."""
    return ImportError(
        f'{what}: pip install "fastbackprop[{extra}]", or, in a clone of the repository, '
        f'pip install ".[{extra}]"'
    )


@functools.cache
def keywords_of(kind: type) -> frozenset[str] | None:
    """The keywords that a class is made with; None if it takes any."""
    parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return frozenset(parameters) - {"self"}


def refuse_unknown(given: Any, known: Iterable[str] | None, what: str, table: str) -> None:
    """Raise TypeError for the first keyword that is not known, where anything is."""
    names = frozenset(given if known is None else known)
    for name in given:
        if name not in names:
            raise unknown_keyword(what, name, names, table)
