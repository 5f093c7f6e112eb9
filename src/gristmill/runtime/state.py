"""States: tensors that outlive a prediction.

A prediction works on cells, which hold what the run has written so far; only when the whole run has succeeded do the
contents of the cells become the state's. So a failed prediction leaves the state as it was. A device may also write to
the state's own array, and then puts back what was there when the run fails.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

import numpy as np

from gristmill.errors import InputError, InputTypeError, StateError
from gristmill.ir.constants import Array
from gristmill.ir.types import StateType, TensorType


class Cell:
    """What the ops of one run see of a state: its present contents.

    Args:
        contents: At the beginning.
        owned: Whether nobody else has the array.
    """

    def __init__(self, contents: Array, *, owned: bool) -> None:
        self._contents, self.owned = contents, owned

    def read(self) -> Array:
        """The present contents; not to be written to."""
        return self._contents

    def own(self) -> Array:
        """The present contents as an array to write to. Who does so puts them back when the run fails."""
        if not self.owned:
            self._contents, self.owned = np.array(self._contents, order="C"), True
        return self._contents

    def write(self, contents: Array, *, owned: bool = False) -> None:
        """Replaces the contents, which must keep shape and type; ``owned`` says that nobody else has the array."""
        if contents.shape != self._contents.shape or contents.dtype != self._contents.dtype:
            raise StateError(
                "a state keeps its shape and type",
                expected=f"{self._contents.dtype}{list(self._contents.shape)}",
                actual=f"{contents.dtype}{list(contents.shape)}",
            )
        self._contents, self.owned = contents, owned


class State:
    """All states of one function, zero at first.

    Args:
        types: Declared type of each state by name; the shapes are static.
    """

    def __init__(self, types: Mapping[str, StateType]) -> None:
        self._types: dict[str, TensorType] = {name: declared.wrapped for name, declared in types.items()}
        self._lock = threading.Lock()
        self._cells: dict[str, Cell] = {}
        for name, tensor in self._types.items():
            if not tensor.is_static:
                raise StateError(f"state '{name}' has no fixed shape", expected="sizes", actual=tensor)
            zeros = np.zeros([int(str(n)) for n in tensor.shape], tensor.dtype.numpy)
            self._cells[name] = Cell(zeros, owned=True)

    @property
    def types(self) -> Mapping[str, StateType]:
        """Declared type of each state by name."""
        return {name: StateType(tensor) for name, tensor in self._types.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._types)

    def read(self, name: str) -> Array:
        """A copy of one state's contents."""
        with self._use():
            return self._cells[self._known(name)].read().copy()

    def write(self, name: str, value: Array) -> None:
        """Replaces one state's contents.

        Args:
            name: Of the state.
            value: Array of the declared shape; another floating type is rounded to the declared one.

        Raises:
            InputError: The shape differs, or the kind of number does.
        """
        tensor = self._types[self._known(name)]
        array = np.asarray(value)
        shape = self._cells[name].read().shape
        if array.shape != shape:
            raise InputError(f"state '{name}' has another shape", expected=list(shape), actual=list(array.shape))
        if not np.can_cast(array.dtype, tensor.dtype.numpy, casting="same_kind"):
            raise InputTypeError(f"state '{name}' has another type", expected=tensor.dtype, actual=array.dtype)
        with self._use():
            self._cells[name] = Cell(array.astype(tensor.dtype.numpy, order="C"), owned=True)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[dict[str, Cell]]:
        """Cells for one run; what they hold at the end becomes the state's contents, unless the run raised."""
        with self._use():
            cells = {name: Cell(cell.read(), owned=cell.owned) for name, cell in self._cells.items()}
            yield cells
            self._cells = cells

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise StateError(
                "the state is in use by another prediction",
                hint="make one state for each concurrent sequence with make_state()",
            )
        try:
            yield
        finally:
            self._lock.release()

    def _known(self, name: str) -> str:
        if name not in self._types:
            raise InputError(
                f"there is no state '{name}'", expected=", ".join(self._types) or "no state at all", actual=name
            )
        return name
