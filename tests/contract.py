"""The precision contract as a check: an op's cases on values that less precision than declared gets wrong.

Each case of ``tests/op_cases`` is taken with its arrays changed: mantissas filled to the last bit; numbers that differ
in the last bit only, such as 1 and 1 + 2⁻²³; the first floating array scaled to 10³⁰, or into the subnormal numbers;
integers beyond 2²⁴ and near 2³¹. What must come out is the op's definition evaluated in float64 (or in 64-bit
integers), without rounding.

How far a result may be from it follows from the declared type's unit roundoff u (2⁻²⁴ or 2⁻¹¹) and from how much the
exact result moves when each operand moves by u with random signs. For a sum of K products that is about u·√(Σ(aᵢbᵢ)²),
at most u·Σ|aᵢbᵢ| and, unless few terms count, 1/√K of it; so 4·√K times as much stays near the contract's
4·√K·u·Σ|aᵢbᵢ| and holds for what is no sum of products, too. TF32's operands are 2¹³ times further off, bfloat16's 2¹⁶.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gristmill.devices.base import Device
from gristmill.errors import GristmillError
from gristmill.ir import registry
from gristmill.ir.opset import Opset
from gristmill.ir.signature import Const
from gristmill.ir.traits import Elementwise, Exact
from gristmill.ir.types import DType, TensorType, fp16, fp32
from gristmill.runtime.session import Session
from tests.op_cases.case import Case, Fixed

SCALES = {"large": {fp16: 2.0**9, fp32: 1e30}, "subnormal": {fp16: 2.0**-20, fp32: 1e-40}}
VALUES = ("full", "neighbours", *SCALES, "integers")
COUNTING = {"range_1d"}  # its integers say how large the result is
INTEGERS = np.array([2**24, 2**24 + 1, 2**24, -(2**24), -(2**24) - 1, 2**31 - 9, 2**31 - 8, 8 - 2**31, 7 - 2**31])
ULP = {np.dtype(np.float16): 1.0, np.dtype(np.float32): 4.0}  # what the contract grants transcendentals
LEAST_NORMAL = 2.0**-14  # of float16


class Row:
    """One line of the table: a case in a declared type, on one kind of values.

    Args:
        case: Of an op.
        dtype: What floating arrays are declared as.
        opset: Which form of the op.
        values: One of ``VALUES``.

    Raises:
        GristmillError: The op does not take such values.
    """

    def __init__(self, case: Case, dtype: DType, opset: Opset, values: str) -> None:
        self.case, self.dtype, self.values = case, dtype, values
        self._params = registry.lookup(case.op, opset).params
        self._opset, self._scaled, self._turn = opset, False, 0
        self._random = np.random.default_rng(zlib.crc32(f"{case.op} {case.id}".encode()))
        changed = {name: self._change(name, operand) for name, operand in case.operands.items()}
        with np.errstate(over="ignore"):
            self.program, self.inputs = case.replace(operands=changed).build(dtype, opset)
        (self.op,) = (op for op in self.program.main.body if op.op_name == case.op)
        self.operands = {
            name: tuple(map(self._array, bound)) if isinstance(bound, tuple) else self._array(bound)
            for name, bound in self.op.operands.items()
        }
        self.exact = self._evaluate(self.operands)

    def __str__(self) -> str:
        return f"{self.case.op} {self.case.id} in {self.dtype}, {self.values}"

    # -- the values --------------------------------------------------------------------------------------------------

    def _change(self, name: str, operand: Any) -> Any:
        """An operand with arrays of data changed; indices, sizes and parameters stay."""
        allowed = self._params[name].allowed(self._opset) or (fp16, fp32)  # anything, lists too
        if isinstance(self._params[name], Const) or not (fp16 in allowed or fp32 in allowed):
            return operand
        if isinstance(operand, list):
            return [self._change(name, item) for item in operand]
        if isinstance(operand, Fixed):
            return Fixed(self._change(name, np.asarray(operand.array)), operand.dtype)
        if not isinstance(operand, np.ndarray):
            return operand
        if operand.dtype == np.int32 or (self.values == "integers" and operand.dtype.kind == "f"):
            if self.case.op in COUNTING:
                return operand
            return self._next(INTEGERS, operand.shape).astype(np.int32)
        if operand.dtype.kind != "f":
            return operand
        if self.values == "neighbours":
            step = float(np.finfo(self.dtype.numpy).eps)
            return self._next(np.array([1 - step, 1, 1 + step, 1, 2.5 * (1 + step), 2.5]), operand.shape)
        scale = 1.0 if self._scaled or self.values not in SCALES else SCALES[self.values][self.dtype]
        self._scaled = True
        return self._filled(operand * scale * (1 + self._random.uniform(-1, 1, operand.shape) / 64))

    def _filled(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers whose last bits, those that TF32 or bfloat16 lack, lie in the middle between what these have."""
        with np.errstate(all="ignore"):
            held = numbers.astype(self.dtype.numpy)
        bits = held.view(f"u{held.itemsize}")
        low, patterns = (0x7, [0x3, 0x5]) if self.dtype == fp16 else (0x1FFF, [0x0CCD, 0x1333])
        bits = (bits & ~bits.dtype.type(low)) | self._random.choice(patterns, bits.shape).astype(bits.dtype)
        return np.where(np.isfinite(held) & (held != 0), bits.view(held.dtype), held).astype(np.float64)

    def _next(self, numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The numbers in turn, for each operand beginning at another one: so neighbours meet."""
        self._turn += 1
        return np.resize(np.roll(numbers, 1 - self._turn), shape)

    def _array(self, value: Any) -> Any:
        if value.constant is None:
            return self.inputs[value.name]
        return value.constant.numpy() if isinstance(value.type, TensorType) else value.constant.python()

    # -- what must come out ------------------------------------------------------------------------------------------

    def _evaluate(self, operands: Mapping[str, Any]) -> list[np.ndarray]:
        """The op's definition on float64 and 64-bit integers, not rounded."""
        return list(map(np.asarray, self.op.evaluate({name: _wide(value) for name, value in operands.items()})))

    @functools.cache  # noqa: B019  # rows live as long as the tests
    def moves(self, accumulation: DType) -> list[np.ndarray]:
        """How far each result moves when floating operands move as if rounded to a type, with random signs."""
        found = np.finfo(accumulation.numpy)
        unit, least = float(found.eps) / 2, float(found.smallest_subnormal)
        random = np.random.default_rng(1)
        farthest = [np.zeros(result.shape) for result in self.exact]

        def moved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(moved, value))
            if not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
                return value
            wide = value.astype(np.float64)
            step = np.where(np.isfinite(wide), np.maximum(unit * np.abs(wide), least), 0)
            return wide + step * random.choice([-1, 1], value.shape)

        for _ in range(8):
            results = self._evaluate({name: moved(value) for name, value in self.operands.items()})
            farthest = [
                np.fmax(far, _distance(result, exact)) if result.shape == exact.shape else np.full(far.shape, np.inf)
                for far, result, exact in zip(farthest, results, self.exact, strict=True)
            ]
        return farthest

    def bound(self, index: int, dtype: np.dtype[Any], accumulation: DType, *, flushes: bool) -> np.ndarray:
        """How far a floating result may be from the exact one.

        Args:
            index: Of the result.
            dtype: Its declared type.
            accumulation: What the device adds up float16 values in; float32 values are added in float32 or wider.
            flushes: Whether float16's subnormal numbers may count as zero.
        """
        exact = self.exact[index]
        with np.errstate(all="ignore"):
            ulp = np.nan_to_num(np.spacing(np.abs(exact).astype(dtype)).astype(np.float64), nan=0)  # of an infinity
        allowed = ULP[dtype] * ulp
        if not self.op.has(Elementwise):
            size = max((value.size for value in _arrays(self.operands) if value.dtype.kind == "f"), default=1)
            narrow = accumulation == fp16 and self.dtype == fp16
            # A growing sum in float16 loses more than at random: the bound that always holds has K for √K.
            steps = size if narrow else np.sqrt(size)
            allowed = allowed + 4 * steps * (self.moves(accumulation if narrow else fp32)[index] + narrow * ulp)
        if flushes and dtype == np.float16:
            flushed = self._evaluate({name: _flush(value) for name, value in self.operands.items()})[index]
            allowed = allowed + _distance(flushed, exact) + np.where(np.abs(exact) < LEAST_NORMAL, LEAST_NORMAL, 0)
        return allowed

    # -- what came out -----------------------------------------------------------------------------------------------

    def miss(self, device: Device, accumulation: DType = fp32, *, flushes: bool = False) -> str | None:
        """Runs the op on a device; says what is less precise than declared, if anything is."""
        got = list(Session(self.program.main, device).run(self.inputs).values())
        for index, (value, found) in enumerate(zip(self.op.results, got, strict=True)):
            if not isinstance(value.type, TensorType):
                continue
            if found.dtype != value.dtype.numpy:
                return f"'{value.name}' is stored as {found.dtype}, declared {value.dtype}"
            exact = self.exact[index]
            if found.shape != exact.shape:
                return f"'{value.name}' has the shape {found.shape}, exactly {exact.shape}"
            with np.errstate(all="ignore"):
                nearest = _wrapped(exact, value.dtype) if value.dtype.is_integer else exact.astype(found.dtype)
            same = (found == nearest) | ((found != found) & (nearest != nearest))
            if found.dtype.kind == "f" and not self.op.has(Exact):
                allowed = self.bound(index, found.dtype, accumulation, flushes=flushes)
                same = same | (_distance(found.astype(np.float64), exact) <= allowed)
                if accumulation == self.dtype == fp16:
                    same = same | ~np.isfinite(found)  # sums end at 65504
            if not np.all(same):
                at = tuple(int(i) for i in np.argwhere(~same)[0])
                return f"'{value.name}'{list(at)} is {found[at]!r}, exactly {exact[at]!r}"
        return None


def rows(case: Case, dtype: DType, opset: Opset) -> Iterator[Row]:
    """The lines of a case: each kind of values that its op takes."""
    for values in VALUES:
        try:
            row = Row(case, dtype, opset, values)
        except (GristmillError, ValueError, IndexError, OverflowError, AttributeError):
            continue
        yield row


def _wide(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_wide, value))
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    return value.astype(np.int64) if isinstance(value, np.ndarray) and value.dtype == np.int32 else value


def _flush(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_flush, value))
    if isinstance(value, np.ndarray) and value.dtype == np.float16:
        return np.where(np.abs(value) < LEAST_NORMAL, np.float16(0), value)
    return value


def _wrapped(exact: np.ndarray, dtype: DType) -> np.ndarray:
    wrapped = np.asarray((exact.astype(object) - dtype.min) % (1 << dtype.bits) + dtype.min, dtype=object)
    return wrapped.astype(dtype.numpy)


def _arrays(operands: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for value in operands.values():
        yield from (item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, np.ndarray))


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``|a - b|``; 0 between equal infinities, and ∞ where only one is a number."""
    with np.errstate(all="ignore"):
        far = np.abs(a - b)
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.where(np.isnan(far), np.inf, far))
