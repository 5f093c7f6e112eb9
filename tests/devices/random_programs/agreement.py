"""Whether the CPU device agrees with the reference device on a program, as far as the precision contract says.

How far a result may be off follows from the program itself: it runs a few more times on a reference device that moves
each rounded result, and each operand of a sum, by a unit in the last place of its type with random signs. What is
computed without rounding must be equal.
"""

from __future__ import annotations

import functools
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.devices.base import Device
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.devices.reference.executor import ReferenceExecutable
from gristmill.errors import GristmillError
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.traits import Contraction, ControlFlow, Elementwise, Exact
from gristmill.ir.types import StateType
from gristmill.ops.elementwise_binary import add, mul, real_div, sub
from gristmill.ops.elementwise_unary import cast, sqrt
from gristmill.runtime.session import Session
from tests.devices.random_programs.growing import Example, is_exact

Results = dict[str, np.ndarray]

STRICTLY_EXACT = (add, mul, real_div, sqrt, sub)
"""Which the contract wants equal bit for bit in strict numerics; each is rounded once."""

MOVED_RUNS = 4


class MovedDevice(ReferenceDevice):
    """The reference device, but everything is a little off, as far as another device may be in each op."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def prepare(self, function: Function) -> ReferenceExecutable:
        return ReferenceExecutable(function, self._evaluate)

    def _evaluate(self, op: Op, operands: Mapping[str, Any]) -> list[Any]:
        if op.has(Exact) or isinstance(op, cast):
            return op.compute(operands)
        if not op.has(Elementwise):
            operands = {name: self._moved(value) for name, value in operands.items()}
        made = [self._moved(result) for result in op.compute(operands)]
        if op.has(Contraction):  # on its way a sum is as large as the largest of its results, and is rounded there
            made = [self._off(result) for result in made]
        return made

    def _moved(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._moved, value))
        if not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
            return value
        with np.errstate(all="ignore"):
            units = 1 if value.dtype == np.float16 else 2
            moved = value + np.spacing(np.abs(value)) * self._random.choice([-units, units], value.shape)
        return np.where(np.isfinite(value), moved, value).astype(value.dtype).reshape(value.shape)

    def _off(self, value: Any) -> Any:
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind != "f"
            or not value.size
            or not np.isfinite(value).all()
        ):
            return value
        unit = np.spacing(np.abs(value).max()) / (2 if value.dtype == np.float16 else 1)
        return (value + unit * self._random.choice([-1, 1], value.shape)).astype(value.dtype).reshape(value.shape)


def finding(example: Example) -> str | None:
    """A disagreement, or an error that no device may end in."""
    try:
        return disagreement(example)
    except Exception as error:  # what is searched for
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "gristmill" in frame.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return f"{type(error).__name__} at {place}: {error}"


def disagreement(example: Example) -> str | None:
    """What the CPU device does otherwise than the reference device, if anything."""
    main, calls = example.program.main, example.calls
    wanted = list(_predictions(main, ReferenceDevice(), calls))

    @functools.cache
    def moved() -> list[list[Results | GristmillError]]:
        return [list(_predictions(main, MovedDevice(seed), calls)) for seed in range(MOVED_RUNS)]

    for strict in (False, True):
        mode = "strict" if strict else "fast"
        exact = exact_outputs(main, STRICTLY_EXACT if strict else ())
        first = list(_predictions(main, CpuDevice(1, strict=strict), calls))
        for number, (got, right) in enumerate(zip(first, wanted, strict=True)):
            missed = _missed(got, right, lambda: [run[number] for run in moved()], exact)  # noqa: B023  # called at once
            if missed:
                return f"{mode}, call {number}: {missed}"
        for threads in (2,) if strict else (2, 3):
            again = list(_predictions(main, CpuDevice(threads, strict=strict), map(other_layout, calls)))
            for number, pair in enumerate(zip(first, again, strict=True)):
                missed = _unequal(*pair)
                if missed:
                    return f"{mode}, {threads} threads beside 1, call {number}: {missed}"
        if not strict:
            watched, number = list(_predictions(main, CpuDevice(1), calls[:1], watched=True)), 0
            missed = _missed(watched[0], wanted[0], lambda: [run[0] for run in moved()], exact)
            if missed:
                return f"observed: {missed}"
            missed = _unlike_alone(main, calls, first)
        if missed:
            return missed
    return None


def _predictions(
    function: Function, device: Device, calls: Any, *, watched: bool = False
) -> Iterator[Results | GristmillError]:
    """Results of each call, the states' contents after it included, or the error that it ends in."""
    session = Session(function, device)
    observe = (lambda op, results: None) if watched else None
    state = session.make_state() if any(isinstance(v.type, StateType) for v in function.inputs) else None
    for inputs in calls:
        try:
            found = {f"{name}": np.array(array) for name, array in session.run(inputs, state, observe).items()}
        except GristmillError as error:
            yield error
            continue
        if state is not None:
            found |= {f"contents of {name}": state.read(name).copy() for name in state.names}
        yield found


def _unlike_alone(function: Function, calls: list[Results], first: list[Results | GristmillError]) -> str | None:
    """Whether predictions of a model without states differ when they come in another order, and two at once."""
    if any(isinstance(v.type, StateType) for v in function.inputs):
        return None
    session = Session(function, CpuDevice(2))
    direct = session.direct()
    if direct is not None:
        for number, inputs in enumerate(calls):
            got = direct(inputs)
            missed = None if got is None else _unequal(first[number], got)
            if missed:
                return f"called directly, call {number}: {missed}"

    def predict(number: int) -> tuple[int, Results | GristmillError]:
        try:
            return number, session.run(calls[number])
        except GristmillError as error:
            return number, error

    with ThreadPoolExecutor(2) as pool:
        for number, got in pool.map(predict, [*range(len(calls)), *reversed(range(len(calls)))]):
            missed = _unequal(first[number], got)
            if missed:
                return f"two Python threads at once, call {number}: {missed}"
    return None


def other_layout(inputs: Results) -> Results:
    """The same numbers, elsewhere: in Fortran's order, as parts of larger arrays, read-only."""
    choose = random.Random(len(inputs))

    def moved(array: np.ndarray) -> np.ndarray:
        match choose.randrange(3):
            case 0:
                return np.asfortranarray(array) if array.ndim else array
            case 1:
                larger = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
                part = larger[(*(slice(1, None, 2) for _ in array.shape), ...)]
                part[...] = array
                return part
        array = np.array(array)
        array.flags.writeable = False
        return array

    return {name: moved(array) for name, array in inputs.items()}


def exact_outputs(function: Function, also: tuple[type[Op], ...]) -> set[str]:
    """Names of the outputs that are computed without rounding, and of all states."""
    exact: set[Value] = set(function.inputs)
    for op in function.body:
        if not op.has(ControlFlow) and is_exact(op, exact, *also):
            exact.update(op.results)
    exact.update(v for op in function.body for v in op.results if not v.dtype.is_float)
    found = {value.name for value in function.outputs if value in exact}
    return found | {f"contents of {v.name}" for v in function.inputs if isinstance(v.type, StateType)}


def _unequal(first: Results | GristmillError, other: Results | GristmillError) -> str | None:
    """How two predictions differ that should be the same bits."""
    if isinstance(first, GristmillError) or isinstance(other, GristmillError):
        return None if isinstance(first, type(other)) else f"{_ending(first)} beside {_ending(other)}"
    for name, array in first.items():
        if array.tobytes() != other[name].tobytes():
            return f"'{name}' has other bits {_first(_differs(array, other[name]), array, other[name])}"
    return None


def _ending(found: Results | GristmillError) -> str:
    return f"{type(found).__name__}: {found}" if isinstance(found, GristmillError) else "results"


def _differs(got: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (got != right) & ~((got != got) & (right != right))


def _missed(
    got: Results | GristmillError,
    right: Results | GristmillError,
    moved: Callable[[], list[Results | GristmillError]],
    exact: set[str],
) -> str | None:
    """What of a prediction is not what the reference device gives, within the contract's bounds."""
    if isinstance(got, GristmillError) or isinstance(right, GristmillError):
        if isinstance(got, GristmillError) and isinstance(right, GristmillError):
            return None
        return f"{_ending(got)} beside {_ending(right)}"
    for name, wanted in right.items():
        found = got[name]
        if found.dtype != wanted.dtype or found.shape != wanted.shape:
            return f"'{name}' is {found.dtype}{list(found.shape)}, expected {wanted.dtype}{list(wanted.shape)}"
        wrong = _differs(found, wanted)
        if name not in exact and wanted.dtype.kind == "f":
            wrong &= ~_near(found, wanted)
            if wrong.any():
                others = [other[name] for other in moved() if not isinstance(other, GristmillError)]
                wrong &= ~_within(found, wanted, others)
        if wrong.any():
            kind = f"{'exact ' * (name in exact)}{wanted.dtype}{list(wanted.shape)}"
            return f"'{name}' of {kind} {_first(wrong, found, wanted)}"
    return None


def _within(found: np.ndarray, wanted: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """Where a result is as near as the results that were moved a little."""
    wide = wanted.astype(np.float64)
    with np.errstate(all="ignore"):
        far = np.zeros(wide.shape)
        for other in others:
            if other.shape == wide.shape:
                same = ~_differs(other, wanted)
                far = np.fmax(far, np.where(same, 0, np.nan_to_num(np.abs(other - wide), nan=np.inf)))
        mean = float(far[np.isfinite(far)].mean()) if np.isfinite(far).any() else 0.0
        allowed = 4 * np.maximum(far, mean)
        return (np.abs(found.astype(np.float64) - wide) <= allowed) | ~np.isfinite(far)


def _near(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where results are a few units in the last place apart."""
    with np.errstate(all="ignore"):
        return np.abs(found.astype(np.float64) - wanted) <= 4 * np.spacing(np.abs(wanted)).astype(np.float64)


def _first(wrong: np.ndarray, found: np.ndarray, wanted: np.ndarray) -> str:
    if not wrong.any():
        return "(signs of zeros, or NaNs)"
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{np.count_nonzero(wrong)}/{wrong.size} differ, first {list(at)}: {found[at]!r}, expected {wanted[at]!r}"
