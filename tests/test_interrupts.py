"""Ctrl-C and forks while something is compiled."""

import os
import signal
import sys
import threading

import numpy as np
import pytest
from test_compile import RIGHT, run

from fastbackprop.jit import interrupts
from fastbackprop.jit import numba_internals as internals
from fastbackprop.jit.kernels import kernel as make_kernel

compiled = pytest.mark.compiled
signals = pytest.mark.skipif(os.name != "posix", reason="about signals")


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


@signals
def test_ctrl_c_waits_for_the_end_of_a_block():
    done = []

    def block():
        with interrupts.deferred():
            ctrl_c()
            done.append("after it")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@signals
def test_ctrl_c_acts_where_it_may():
    def block():
        with interrupts.deferred() as act:
            act()
            ctrl_c()
            act()
            pytest.fail("it did not act")

    with pytest.raises(KeyboardInterrupt):
        block()


@signals
def test_another_handler_is_asked_once_and_restored(monkeypatch):
    seen = []

    def handler(number, frame):
        seen.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupts.deferred() as act:
            ctrl_c()
            assert seen == []
            act()
            act()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


@signals
@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_python_does_not_handle_is_left_alone(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupts.deferred():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_no_signals():
    def use():
        with interrupts.deferred() as act:
            act()
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


@pytest.fixture
def chain():
    """A kernel for Python that calls another one; not of the package, so never on disk."""

    def inner(x):
        for i in range(x.shape[0]):
            x[i] += 1

    inner = make_kernel(inner)

    @make_kernel(entry=True)
    def outer(x):
        inner(x)

    return outer, inner


def works(kernel):
    x = np.zeros(2)
    kernel(x)
    return x.tolist() == [1.0, 1.0]


@compiled
@signals
def test_ctrl_c_acts_between_two_kernels(chain, monkeypatch):
    outer, inner = chain
    original = internals._Compiler.compile_extra

    def interrupted(self, function):
        ctrl_c()
        return original(self, function)

    with monkeypatch.context() as patch:
        patch.setattr(internals._Compiler, "compile_extra", interrupted)
        with pytest.raises(KeyboardInterrupt):
            outer(np.zeros(2))
    assert not outer.signatures and not inner.signatures
    assert internals._open == []
    assert not internals.global_compiler_lock.is_locked()
    assert works(outer)


@compiled
@signals
def test_numbas_registries_are_filled_to_the_end(tmp_path):
    """Half filled, as KeyboardInterrupt leaves them, no later compilation succeeds."""
    script = """
        import signal
        import numpy as np
        from numba.core.typing.context import BaseContext
        from fastbackprop.engines import loops

        filled, original = [], BaseContext.refresh

        def interrupted(self):
            if not filled:
                signal.raise_signal(signal.SIGINT)
            original(self)
            filled.append(True)

        BaseContext.refresh = interrupted
        g = np.ones(3)
        try:
            loops.bias_gradient(np.arange(3.0), g)
            raise SystemExit("Ctrl-C got lost")
        except KeyboardInterrupt:
            assert filled
        loops.bias_gradient(np.arange(3.0), g)
        print(g.tolist())
    """
    assert run(script, NUMBA_CACHE_DIR=tmp_path) == RIGHT


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_waits_for_a_compilation_of_another_thread(tmp_path):
    """The child would inherit a lock that nobody releases."""
    script = """
        import os, threading, time, warnings
        import numpy as np
        from fastbackprop.engines import loops
        from fastbackprop.jit import numba_internals as internals

        warnings.simplefilter("ignore")
        begun, original = threading.Event(), internals._Compiler.compile_extra

        def slowly(self, function):
            begun.set()
            time.sleep(0.3)
            return original(self, function)

        internals._Compiler.compile_extra = slowly
        thread = threading.Thread(
            target=loops.bias_gradient, args=(np.arange(3.0), np.ones(3))
        )
        thread.start()
        begun.wait()
        child = os.fork()
        g = np.ones(3, "f4")
        loops.bias_gradient(np.arange(3, dtype="f4"), g)
        if child == 0:
            os._exit(0 if g.tolist() == [1.0, 2.0, 3.0] else 1)
        thread.join()
        print((os.waitpid(child, 0)[1], g.tolist()))
    """
    assert run(script, NUMBA_CACHE_DIR=tmp_path) == (0, RIGHT)


@compiled
def test_a_terminal_is_told_once_that_a_compilation_takes_long(chain, monkeypatch, capsys):
    outer, _ = chain
    monkeypatch.setattr(internals, "_told", [])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    hours = iter(range(0, 1000, 2))
    monkeypatch.setattr(internals.time, "monotonic", lambda: float(next(hours)))
    assert works(outer)
    assert capsys.readouterr().err == "fastbackprop: compiling, which takes some seconds\n"
