"""A session runs one function of a program on a device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from gristmill.devices.base import CallProfile, Device, DirectRun, Observer
from gristmill.errors import ExecutionError, InputError, InputTypeError, StateError
from gristmill.ir.constants import Array
from gristmill.ir.dims import DimExpr, Symbol
from gristmill.ir.op import RuntimeValue
from gristmill.ir.program import Function, Value
from gristmill.ir.types import StateType
from gristmill.runtime.state import State


class Session:
    """A function ready to run.

    Args:
        function: What to run.
        device: What runs it.
    """

    def __init__(self, function: Function, device: Device) -> None:
        self.function = function
        self.device = device
        try:
            self._executable = device.prepare(function)
        except MemoryError as error:
            raise ExecutionError(f"there is not enough memory for '{function.name}': {error}") from error
        self._tensors = [value for value in function.inputs if not isinstance(value.type, StateType)]

    def direct(self) -> DirectRun | None:
        """The device's short way to run the function, if it has one."""
        return self._executable.direct()

    def make_state(self) -> State:
        """Fresh states, all zero."""
        return State(self._state_types())

    def _state_types(self) -> dict[str, StateType]:
        return {value.name: value.type for value in self.function.inputs if isinstance(value.type, StateType)}

    def run(
        self, inputs: Mapping[str, Array], state: State | None = None, observe: Observer | None = None
    ) -> dict[str, RuntimeValue]:
        """Runs the function once.

        Args:
            inputs: One array for each tensor input, in its declared type and a shape that the declared one allows.
            state: From ``make_state``; needed if and only if the function has states.
            observe: Told of every op's results.

        Returns:
            The outputs by name.

        Raises:
            InputError: A name, rank, shape or element type is wrong.
            StateError: The state is missing, is another function's, or is in use.
            ExecutionError: An op failed on these values; the state is then as before.
        """
        with self._bound(inputs, state) as values:
            outputs = self._executable.run(values, observe)
        owned = _owned(outputs, inputs.values())
        return {value.name: output for value, output in zip(self.function.outputs, owned, strict=True)}

    def profile(self, inputs: Mapping[str, Array], state: State | None = None) -> list[CallProfile]:
        """Runs the function once and says what each call of the device took; arguments and errors as of ``run``."""
        with self._bound(inputs, state) as values:
            return self._executable.profile(values)

    @contextlib.contextmanager
    def _bound(self, inputs: Mapping[str, Array], state: State | None) -> Iterator[dict[str, RuntimeValue]]:
        """Values for all inputs; states are written when the block has succeeded."""
        self._check(inputs)
        with contextlib.ExitStack() as stack:
            values: dict[str, RuntimeValue] = dict(inputs)
            states = self._state_types()
            if states:
                # Functions of one model that have the same states may hand theirs to each other.
                if state is None or state.types != states:
                    raise StateError(
                        "the function needs its own state",
                        expected=_listed(states),
                        actual="none" if state is None else _listed(state.types),
                        hint="pass the result of make_state()",
                    )
                values.update(stack.enter_context(state.transaction()))
            yield values

    def _check(self, inputs: Mapping[str, Array]) -> None:
        expected = [value.name for value in self._tensors]
        for name in inputs:
            if name not in expected:
                raise InputError(f"there is no input '{name}'", expected=", ".join(expected), actual=name)
        sizes: dict[str, tuple[int, str]] = {}
        for value in self._tensors:
            if value.name not in inputs:
                raise InputError(
                    f"input '{value.name}' is missing", expected=value.type, actual=", ".join(inputs) or "no input"
                )
            check_tensor(value, inputs[value.name], sizes)


def _owned(outputs: Iterable[RuntimeValue], inputs: Iterable[Array]) -> Iterator[RuntimeValue]:
    """Outputs that who gets them may write to: copies of those that are constants, inputs, or other outputs."""
    given = {id(array) for array in inputs}
    for output in outputs:
        if isinstance(output, np.ndarray) and (id(output) in given or not output.flags.writeable):
            yield output.copy()
        else:
            given.add(id(output))
            yield output


def _listed(states: Mapping[str, StateType]) -> str:
    return ", ".join(f"{name}: {type}" for name, type in states.items())


def check_tensor(value: Value, array: Array, sizes: dict[str, tuple[int, str]]) -> None:
    """Holds an array against an input's declared type.

    Args:
        value: The input.
        array: What came.
        sizes: Sizes of symbols met so far, each with the name of the input that fixed it; extended here.

    Raises:
        InputError: The shape differs.
        InputTypeError: The element type differs.
    """
    declared = value.tensor
    if array.dtype != declared.dtype.numpy:
        raise InputTypeError(f"input '{value.name}' has another element type", expected=declared, actual=array.dtype)
    if array.ndim != declared.rank:
        raise InputError(
            f"input '{value.name}' has another rank",
            expected=f"rank {declared.rank}: {declared}",
            actual=f"rank {array.ndim}: {list(array.shape)}",
        )
    for axis, (dim, size) in enumerate(zip(declared.shape, array.shape, strict=True)):
        if isinstance(dim, Symbol):
            _bind(value, axis, dim, size, sizes)
        elif not isinstance(dim, DimExpr) and dim != size:
            raise _wrong_size(value, axis, dim, array.shape)
    for axis, (dim, size) in enumerate(zip(declared.shape, array.shape, strict=True)):
        if isinstance(dim, DimExpr) and all(symbol.name in sizes for symbol in dim.symbols):
            wanted = dim.evaluate({name: bound for name, (bound, _) in sizes.items()})
            if wanted != size:
                raise _wrong_size(value, axis, wanted, array.shape)


def _bind(value: Value, axis: int, dim: Symbol, size: int, sizes: dict[str, tuple[int, str]]) -> None:
    low, high = dim.bounds
    if (low is not None and size < low) or (high is not None and size > high):
        raise InputError(
            f"input '{value.name}' is out of range on axis {axis}",
            expected=f"{low} to {'any size' if high is None else high}",
            actual=size,
        )
    known, source = sizes.setdefault(dim.name, (size, value.name))
    if known != size:
        raise InputError(
            f"input '{value.name}' disagrees with input '{source}' on size '{dim.name}'", expected=known, actual=size
        )


def _wrong_size(value: Value, axis: int, wanted: int, shape: Sequence[int]) -> InputError:
    return InputError(
        f"input '{value.name}' has another shape: axis {axis} is not {wanted}",
        expected=value.type,
        actual=list(shape),
    )
