"""Predictions from several Python threads at once, and in children after `fork`."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gristmill.devices.cpu import CpuDevice
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.runtime.session import Session
from tests.passes.programs import build

RNG = np.random.default_rng(5)


def _perceptron(rows) -> Session:
    w, v = RNG.standard_normal((2, 96, 96)).astype(np.float32) / 10
    program = build(lambda x: mb.linear(x=mb.relu(x=mb.linear(x=x, weight=w)), weight=v), (rows, 96))
    return Session(program.main, CpuDevice(2))


@pytest.mark.parametrize("models", [1, 8])
@pytest.mark.parametrize("rows", [40, symbol("s")], ids=["fixed", "symbolic"])
def test_eight_python_threads_predict_at_once(models, rows):
    """One model that all share, or one for each; results are those of a thread alone, bit for bit."""
    sessions = [_perceptron(rows) for _ in range(models)]
    lengths = [40] * 8 if rows == 40 else [1, 7, 40, 64, 3, 129, 40, 20]
    inputs = [RNG.standard_normal((length, 96)).astype(np.float32) for length in lengths]

    def predict(i: int) -> np.ndarray:
        (result,) = sessions[i % models].run({"x": inputs[i]}).values()
        return result

    alone = [predict(i) for i in range(8)]

    def many(i: int) -> bool:
        return all(np.array_equal(predict(i), alone[i]) for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(many, range(8)))


FORK = """
    import os, signal, threading, warnings
    import numpy as np
    from tests.devices.test_cpu_threads import _perceptron

    warnings.simplefilter("ignore", DeprecationWarning)  # newer interpreters warn of fork beside threads
    session, x = _perceptron(200), np.ones((200, 96), np.float32)
    (wanted,) = session.run({"x": x}).values()
    stop = threading.Event()

    def predict():
        while not stop.is_set():
            session.run({"x": x})

    busy = [threading.Thread(target=predict, daemon=True) for _ in range(BUSY)]
    for thread in busy:
        thread.start()
    for _ in range(20):
        if (child := os.fork()) == 0:
            signal.alarm(20)  # ends a child that hangs
            good = all(np.array_equal(*session.run({"x": x}).values(), wanted) for _ in range(5))
            os._exit(0 if good else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    stop.set()
    for thread in busy:
        thread.join()
    assert np.array_equal(*session.run({"x": x}).values(), wanted)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
@pytest.mark.parametrize("busy", [0, 3])
def test_a_model_works_in_a_child_after_fork(busy):
    """Used before in the parent; also while other threads of the parent are in the midst of predictions."""
    code = textwrap.dedent(FORK).replace("BUSY", str(busy))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
