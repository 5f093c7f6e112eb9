"""Random programs of many op families, for the devices to agree on.

A program grows op by op. Each op is evaluated at once by its reference, so the next one can be given indices that
exist, sizes that fit, and values that neither overflow nor vanish. Inputs come into being where no value suits.

What a program computes without rounding is called *exact*: inputs, what is moved, compared or chosen, and integers. Ops
that jump from one value to another, such as ``floor`` or ``argsort``, only get exact operands, since the least rounding
may decide between two results.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.errors import GristmillError
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.dims import Dim, Symbol, symbol
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.program import Block, Program, Value
from gristmill.ir.traits import ControlFlow, Exact
from gristmill.ir.types import DType, StateType, TensorType, bool_, fp16, fp32
from gristmill.ops.elementwise_unary import cast

SIZES = (1, 1, 2, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)
RARE_SIZES = (0, 32, 63, 64, 65, 129, 300)
"""Around the widths of vectors and the borders of tiles."""

LARGEST = 40_000
"""Elements of one tensor."""

MAGNITUDE = 50.0
"""Above which a value is scaled down, so that float16 overflows nowhere."""

FLOATS = (fp16, fp32)

Family = Callable[["Growing"], "Value | Sequence[Value]"]
FAMILIES: dict[str, tuple[Family, float]] = {}


def family(weight: float = 1.0) -> Callable[[Family], Family]:
    """Declares a function that adds an op or a few of a family, and how often it is drawn; a decorator."""

    def register(grow: Family) -> Family:
        FAMILIES[grow.__name__] = grow, weight
        return grow

    return register


@dataclass
class Example:
    """A program, and inputs for each of several predictions, which come one after the other.

    Attributes:
        program: With one function.
        calls: Inputs of each prediction, of other sizes where the program is symbolic.
    """

    program: Program
    calls: list[dict[str, np.ndarray]]


class Growing:
    """A program while it grows.

    Args:
        seed: Decides everything.
        families: Names of those to draw from; all when left out.
    """

    def __init__(self, seed: int, families: Sequence[str] | None = None) -> None:
        self.choose = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.families = sorted(families or FAMILIES)
        self.pool: list[Value] = []
        self.arrays: dict[Value, Any] = {}
        self.exact: set[Value] = set()
        self.refused: Counter[str] = Counter()
        self.body: Block
        self.symbol = symbol("s", 1) if self.chance(0.35) else None
        self.size = self.choose.choice((1, 3, 7, 16, 17))
        """Of the symbol while the program grows."""
        self.dtype = self.choose.choice(FLOATS)
        """Of most floats."""

    # -- the program ---------------------------------------------------------------------------------------------------

    def grown(self, draws: int | None = None) -> Example:
        """A program of some draws, 3 to 25 where it is not said how many."""
        program = Program(plain_scalars=True)
        with mb.function(program, "main", {}, Opset.iOS18):
            self.body = program.main.body
            for _ in range(self.choose.randint(3, 25) if draws is None else draws):
                self.draw()
            mb.output(*self._outputs())
        return Example(program, self._calls(program))

    def draw(self) -> None:
        """Adds something of one family; nothing where its operands do not fit."""
        names = self.families
        grow = FAMILIES[self.choose.choices(names, [FAMILIES[name][1] for name in names])[0]][0]
        before = self.body.last
        try:
            made = grow(self)
            for value in [made] if isinstance(made, Value) else made:
                self._keep(value)
        except GristmillError as error:  # a combination that the op does not take
            self.refused[f"{grow.__name__}: {error}"] += 1
            self._forget(before)

    def _forget(self, before: Op | None) -> None:
        while self.body.last is not before and self.body.last is not None:
            self.body.last.erase()
        self.pool = [v for v in self.pool if v.producer is None or v.producer.block is not None]

    def _keep(self, value: Value) -> None:
        array = self.array(value)
        if array.size > LARGEST or value.rank > 6:
            return
        if value.dtype.is_float and array.size:
            if not np.isfinite(array).all():
                return
            top = float(np.abs(array.astype(np.float64)).max())
            if top > MAGNITUDE:
                value = self.choose.choice(
                    (
                        lambda: mb.tanh(x=value),
                        lambda: mb.mul(x=value, y=self.number(value.dtype, 4 / top)),
                        lambda: mb.clip(x=value, alpha=-9.0, beta=11.0),
                    )
                )()
                self.array(value)
        self.pool.append(value)

    def _outputs(self) -> list[Value]:
        """Some values: those that nobody uses, some that others do, now and then an input or a value twice."""
        found = [value for value in self.pool if not value.uses or self.chance(0.15)]
        found = found or self.pool[-1:] or [self.input(self.dtype, (3,))]
        if self.chance(0.8):
            made = [value for value in found if value.producer is not None]
            found = made or found
        return list(dict.fromkeys(found))

    def _calls(self, program: Program) -> list[dict[str, np.ndarray]]:
        inputs = [value for value in program.main.inputs if not isinstance(value.type, StateType)]
        calls = [{value.name: self.arrays[value] for value in inputs}]
        sizes = [self.size]
        if self.symbol is not None:
            small = [size for size in (1, 2, 5, 8, 33, 40) if self._elements(program, size) <= 4 * LARGEST]
            sizes = self.choose.sample(small, min(3, len(small)))
        calls += [
            {v.name: self._contents(v.dtype, self._sizes(v.shape, size), self.arrays[v]) for v in inputs}
            for size in sizes
        ]
        if self.chance(0.2):
            calls.append({value.name: self._with_extremes(self.arrays[value]) for value in inputs})
        return calls

    def _elements(self, program: Program, size: int) -> int:
        """Elements of the largest tensor of a program at a size of the symbol, as far as it is known beforehand."""
        largest = 0
        for value in program.main.values():
            if isinstance(value.type, TensorType):
                with contextlib.suppress(GristmillError):
                    largest = max(largest, math.prod(self._sizes(value.shape, size)))
        return largest

    def _with_extremes(self, array: np.ndarray) -> np.ndarray:
        """Some floats replaced by infinities and NaN."""
        if array.dtype.kind != "f" or self.chance():
            return array
        extremes = self.rng.choice([np.inf, -np.inf, np.nan], array.shape)
        return np.where(self.rng.random(array.shape) < 0.05, extremes, array).astype(array.dtype)

    # -- values --------------------------------------------------------------------------------------------------------

    def array(self, value: Value) -> Any:
        """What a value holds."""
        if value.constant is not None:
            kind = value.type
            return value.constant.numpy() if isinstance(kind, TensorType) else value.constant.python()
        if value not in self.arrays:
            assert value.producer is not None
            self._evaluate(value.producer)
        return self.arrays[value]

    def _evaluate(self, op: Op) -> None:
        operands = {
            name: tuple(map(self.array, bound)) if isinstance(bound, tuple) else self.array(bound)
            for name, bound in op.operands.items()
        }
        results = op.control(operands, self._run) if op.has(ControlFlow) else op.compute(operands)
        self.arrays.update(zip(op.results, results, strict=True))
        self.exact.update(v for v in op.results if not v.dtype.is_float or is_exact(op, self.exact))

    def _run(self, block: Block, arguments: Sequence[Any]) -> list[Any]:
        self.arrays.update(zip(block.arguments, arguments, strict=True))
        for op in block:
            if not isinstance(op, const):
                self._evaluate(op)
        return [self.array(value) for value in block.outputs]

    def input(self, dtype: DType, shape: Sequence[Dim]) -> Value:
        """A new input of the function."""
        contents = self._contents(dtype, self._sizes(shape, self.size))
        value = self.body.add_argument(f"x{len(self.body.arguments)}", TensorType(dtype, tuple(shape)))
        self.arrays[value] = contents
        self.exact.add(value)
        self.pool.append(value)
        return value

    def state(self, dtype: DType, shape: Sequence[int]) -> Value:
        """A new state, whose contents are zero before the first prediction."""
        kind = StateType(TensorType(dtype, tuple(shape)))
        value = self.body.add_argument(f"state{len(self.body.arguments)}", kind)
        self.arrays[value] = _Cell(np.zeros(shape, dtype.numpy))
        self.exact.add(value)
        return value

    @staticmethod
    def _sizes(shape: Sequence[Dim], size: int) -> list[int]:
        return [dim if isinstance(dim, int) else dim.evaluate({"s": size}) for dim in shape]

    def _contents(self, dtype: DType, shape: Sequence[int], like: np.ndarray | None = None) -> np.ndarray:
        """Numbers for an input; integers within the range of those it had before, which indices need."""
        if dtype is bool_:
            return self.rng.integers(0, 2, shape).astype(bool)
        if not dtype.is_float:
            top = self.choose.choice((9, 9, 9, 1 << 26, dtype.max)) if like is None else int(like.max(initial=0)) + 1
            low = -top if like is None else min(0, int(like.min(initial=0)))
            return self.rng.integers(max(low, dtype.min), min(max(top, 1), dtype.max), shape).astype(dtype.numpy)
        made = self.rng.standard_normal(shape)
        if dtype is fp16 and self.chance(0.05):  # subnormal numbers, whose squares float32 has room for
            made *= 1e-6
        if self.chance(0.3):  # halves, zeros and equal numbers
            made = np.round(made * 2) / 2
        return made.astype(dtype.numpy)

    def any_size(self) -> Dim:
        """A size for a new axis."""
        if self.symbol is not None and self.chance(0.3):
            return self.choose.choice((self.symbol, self.symbol, self.symbol + 1, self.symbol * 2))
        return self.choose.choice(RARE_SIZES) if self.chance(0.08) else self.choose.choice(SIZES)

    def shape(self, rank: int, **fixed: Dim) -> tuple[Dim, ...]:
        """A shape of a few thousand elements at most, sizes by the name ``a0``, ``a1`` … fixed."""
        while True:
            dims = [fixed.get(f"a{axis}", self.any_size()) for axis in range(rank)]
            if np.prod(self._sizes(dims, self.size)) <= 6000:
                return tuple(dims)

    def value(
        self,
        dtypes: Sequence[DType] = FLOATS,
        ranks: Sequence[int] = range(6),
        *,
        exact: bool = False,
        like: Callable[[Value], bool] = lambda value: True,
    ) -> Value:
        """A value that suits: mostly one of the last that were made, or a new input."""
        found = [
            v for v in self.pool if v.dtype in dtypes and v.rank in ranks and (not exact or v in self.exact) and like(v)
        ]
        if found and self.chance(0.9):
            recent = found[-3:]
            return self.choose.choice(recent if self.chance(0.7) else found)
        for _ in range(50):
            dtype = self.dtype if self.dtype in dtypes and self.chance(0.8) else self.choose.choice(dtypes)
            made = self.input(dtype, self.shape(self.choose.choice(ranks)))
            if like(made):
                return made
            self.pool.remove(made)
        raise GristmillError("no value suits")

    def number(self, dtype: DType, number: float) -> np.ndarray:
        return np.asarray(number, dtype.numpy)

    def numbers(self, dtype: DType, *shape: int, scale: float = 1.0) -> np.ndarray:
        """A constant."""
        if dtype is bool_:
            return self.rng.integers(0, 2, shape).astype(bool)
        if not dtype.is_float:
            return self.rng.integers(max(-9, dtype.min), 9, shape).astype(dtype.numpy)
        return (self.rng.standard_normal(shape) * scale).astype(dtype.numpy)

    def chance(self, probability: float = 0.5) -> bool:
        return self.choose.random() < probability

    def axis(self, value: Value) -> int:
        """An axis of a value, counted from either end."""
        if value.rank == 0:
            raise GristmillError("no axis")
        return self.choose.randrange(-value.rank, value.rank)

    def axes(self, value: Value) -> list[int]:
        """Some axes, at least one."""
        if value.rank == 0:
            raise GristmillError("no axis")
        count = self.choose.randint(1, value.rank)
        return [axis - value.rank * self.chance(0.3) for axis in self.choose.sample(range(value.rank), count)]

    def sized(self, value: Value, axis: int) -> int:
        """A size that is a number."""
        size = value.shape[axis]
        if not isinstance(size, int):
            raise GristmillError("the size is not fixed")
        return size

    def least(self, value: Value, axis: int) -> int:
        """A size, or the least that it can have."""
        size = value.shape[axis]
        return size if isinstance(size, int) else (1 if isinstance(size, Symbol) else 0)

    def leasts(self, value: Value) -> list[int]:
        """All sizes, or the least that they can have."""
        return [self.least(value, axis) for axis in range(value.rank)]


class _Cell:
    """What a state is while a program grows."""

    def __init__(self, contents: np.ndarray) -> None:
        self._contents = contents

    def read(self) -> np.ndarray:
        return self._contents

    def write(self, contents: np.ndarray) -> None:
        self._contents = contents


def is_exact(op: Op, exact: Container[Value], *also: type[Op]) -> bool:
    """Whether an op computes without rounding, from operands that are exact themselves.

    All that is no float is exact, as nothing inexact decides about it.

    Args:
        op: No op that holds blocks.
        exact: What is known to be so.
        also: Ops that round in a way that is laid down.
    """
    if any(
        isinstance(v.type, TensorType) and v.dtype.is_float and v.constant is None and v not in exact
        for _, _, v in op.uses()
    ):
        return not any(isinstance(v.type, TensorType) and v.dtype.is_float for v in op.results)
    return op.has(Exact) or isinstance(op, (cast, *also))
