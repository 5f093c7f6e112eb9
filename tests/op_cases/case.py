"""How an op's cases are written, and how they run.

A case is an op, its operands, and what must come out. NumPy arrays among the operands become inputs of a program;
everything else (Python numbers, strings, tuples, and arrays wrapped in ``Fixed``) becomes a constant. The expected
result is written down, or is a function of the arrays *as the program receives them*, widened to float64, so that an
oracle sees the values after they were rounded to the case's float type.

Floating arrays take each of the case's ``dtypes`` in turn; integer and bool arrays keep their own type, or take
``Typed(array, int16)``. Tolerances are in units of the result's type, because an op is rounded once to it: by default
two units in the last place of the expected value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.ir import registry
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import DType, TensorType, dtype_of, fp16, fp32


@dataclass(frozen=True)
class Fixed:
    """An array that becomes a constant; floats take the case's type unless ``dtype`` is given."""

    array: Any
    dtype: DType | None = None


@dataclass(frozen=True)
class Typed:
    """An array that becomes an input of this element type, whatever the case's."""

    array: Any
    dtype: DType


@dataclass(frozen=True)
class Case:
    """One op on given operands.

    Attributes:
        op: Name of the op.
        operands: By name; a list of arrays for a variadic operand.
        expected: The result, a tuple of results, or a function of the input arrays by operand name that gives them.
            ``None`` checks types and shapes only (random ops), with ``shape``.
        id: What the case shows, in a word or two.
        dtypes: Types that floating arrays take.
        opsets: Where to run; by default the oldest and the newest that have the op.
        ulp: Allowed error in units in the last place of the result's type.
        rtol: Allowed relative error instead, where an oracle is less precise; say why beside it.
        atol: Allowed absolute error.
        float32_sums: Further absolute error of devices that add in float32: the contract's bound, which for
            normalisations is multiplied by the greatest deviation.
        check: Further assertion on the results.
    """

    op: str
    operands: Mapping[str, Any]
    expected: Any
    id: str = ""
    dtypes: tuple[DType, ...] = (fp32, fp16)
    opsets: tuple[Opset, ...] | None = None
    ulp: float = 2
    rtol: float = 0
    atol: float = 0
    float32_sums: float = 0
    check: Callable[..., None] | None = None

    def variants(self) -> Iterator[tuple[str, DType, Opset]]:
        """Every float type and opset to run in, with a readable name."""
        floats = any(_is_float(v) for v in self.operands.values())
        for dtype in self.dtypes if floats else self.dtypes[:1]:
            for opset in self.opsets or _span(self.op):
                label = f"{self.op}-{self.id}" if self.id else self.op
                yield f"{label}-{dtype}-{opset}", dtype, opset

    def build(self, dtype: DType, opset: Opset) -> tuple[Program, dict[str, np.ndarray]]:
        """The program of one op, and its inputs."""
        inputs: dict[str, tuple[np.ndarray, DType]] = {}
        for name, operand in self.operands.items():
            items = operand if isinstance(operand, list) else [operand]
            for k, item in enumerate(items):
                label = f"{name}_{k}" if isinstance(operand, list) else name
                if isinstance(item, np.ndarray):
                    to = dtype if item.dtype.kind == "f" else dtype_of(item.dtype)
                    inputs[label] = (item.astype(to.numpy), to)
                elif isinstance(item, Typed):
                    inputs[label] = (np.asarray(item.array).astype(item.dtype.numpy), item.dtype)
        program = Program()
        types = {name: TensorType(to, array.shape) for name, (array, to) in inputs.items()}
        with mb.function(program, "main", types, opset) as values:
            by_name = dict(zip(types, values, strict=True))
            operands: dict[str, Any] = {}
            for name, operand in self.operands.items():
                if isinstance(operand, list):
                    operands[name] = [self._value(v, f"{name}_{k}", by_name, dtype) for k, v in enumerate(operand)]
                else:
                    operands[name] = self._value(operand, name, by_name, dtype)
            result = mb.op(self.op, **operands)
            mb.output(*(result if isinstance(result, tuple) else (result,)))
        return program, {name: array for name, (array, _) in inputs.items()}

    def _value(self, operand: Any, name: str, inputs: Mapping[str, Any], dtype: DType) -> Any:
        if isinstance(operand, np.ndarray | Typed):
            return inputs[name]
        if isinstance(operand, Fixed):
            array = np.asarray(operand.array)
            to = operand.dtype or (dtype if array.dtype.kind == "f" else dtype_of(array.dtype))
            return ArrayData(array.astype(to.numpy), to)
        return operand

    def expectation(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """What must come out for these inputs."""
        wanted = self.expected
        if callable(wanted):
            wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
            wanted = wanted(**wide)
        return tuple(map(np.asarray, wanted if isinstance(wanted, tuple) else (wanted,)))

    def compare(self, got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], *, exact_sums: bool = True) -> None:
        """Asserts agreement within the case's tolerance."""
        assert len(got) == len(wanted)
        for index, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
            assert mine.shape == theirs.shape, f"result {index}: shape {mine.shape}, expected {theirs.shape}"
            if mine.dtype.kind != "f":
                np.testing.assert_array_equal(mine, theirs, err_msg=f"result {index}")
                continue
            atol = self.atol + (0 if exact_sums else self.float32_sums)
            _assert_close(mine, theirs.astype(np.float64), self.replace(atol=atol), f"result {index}")

    def replace(self, **changes: Any) -> Case:
        return dataclasses.replace(self, **changes)


def _assert_close(got: np.ndarray, wanted: np.ndarray, case: Case, label: str) -> None:
    with np.errstate(all="ignore"):
        nearest = wanted.astype(got.dtype)  # an overflow of the type is an infinity, and rightly so
        spacing = np.spacing(np.abs(np.where(np.isfinite(nearest), nearest, 0))).astype(np.float64)
        allowed = case.ulp * spacing + case.rtol * np.abs(wanted) + case.atol
        same = (nearest == got) | (np.isnan(got) & np.isnan(wanted))
        close = same | (np.abs(got.astype(np.float64) - wanted) <= allowed)
    if not close.all():
        at = tuple(int(i) for i in np.argwhere(~close)[0])
        raise AssertionError(
            f"{label}: {np.count_nonzero(~close)}/{close.size} differ, first at {at}: {got[at]!r}, "
            f"expected {wanted[at]!r} ± {allowed[at]:.3g}"
        )


def _is_float(operand: Any) -> bool:
    if isinstance(operand, list):
        return any(map(_is_float, operand))
    if isinstance(operand, Fixed):
        return operand.dtype is None and np.asarray(operand.array).dtype.kind == "f"
    return isinstance(operand, np.ndarray) and operand.dtype.kind == "f"


def _span(op_name: str) -> tuple[Opset, ...]:
    cls = registry.lookup(op_name, max(Opset))
    having = [o for o in Opset if o >= max(cls.since, Opset.iOS15) and (cls.until is None or o < cls.until)]
    if not having:  # gone before ML Programs came
        having = [o for o in Opset if o >= cls.since and (cls.until is None or o < cls.until)]
    return (having[0],) if len(having) == 1 else (having[0], having[-1])
