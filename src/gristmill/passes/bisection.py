"""Cuts a function in two that give the same results one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gristmill.errors import UnsupportedError
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_block
from gristmill.ir.dims import product
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset, iOS16
from gristmill.ir.program import Block, Function, Program, Value
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import DType, StateType, TensorType
from gristmill.passes.dead_code import DeadCode

_CLOSE = 0.05
"""Cuts whose halves differ by so much more of all weights than those of the best cut are as good."""


@dataclass(frozen=True)
class Cut:
    """A place between two ops.

    Attributes:
        last: The last op before it.
        crossing: Values that are made before it and used after it, function outputs included.
        before: Bytes of weights that are used before it, and not only after it.
        total: Bytes of all weights.
    """

    last: Op
    crossing: tuple[Value, ...]
    before: int
    total: int


def bisect(function: Function) -> tuple[Program, Program, Cut]:
    """Cuts where each half has about half of the weights, and little has to cross.

    Returns:
        Two programs, the halves; and where the cut is. The second takes what the first returns, under the same names,
        and those of the function's inputs that it needs; it returns what the function returns.

    Raises:
        UnsupportedError: There is no place to cut: the function has too few ops, or states that all of it uses.
    """
    cuts = list(_cuts(function))
    if not cuts:
        raise UnsupportedError(
            f"function '{function.name}' cannot be cut in two",
            expected="two ops with tensors between them, and states used on one side only",
        )
    least = min(_imbalance(cut) for cut in cuts)
    chosen = min((cut for cut in cuts if _imbalance(cut) <= least + _CLOSE), key=_transferred)
    return *_halves(function, chosen), chosen


def _imbalance(cut: Cut) -> float:
    return abs(2 * cut.before - cut.total) / max(cut.total, 1)


def _transferred(cut: Cut) -> tuple[int, int]:
    """What a cut lets cross: bits, as far as sizes are known, and values."""
    sizes = [(product(value.shape), value.dtype.bits) for value in cut.crossing]
    return sum(count * bits for count, bits in sizes if isinstance(count, int)), len(sizes)


def _cuts(function: Function) -> Iterator[Cut]:
    """All places where a function can be cut."""
    ops = [op for op in function.body if not _is_constant(op)]
    place = {op: index for index, op in enumerate(ops)}
    last_use = {value: _last_use(value, place, len(ops)) for op in ops for value in op.results}
    weights = _weights(function, place)
    states = [
        [place[outer] for user in state.users if isinstance(outer := _outermost(user, function.body), Op)]
        for state in function.states
    ]
    total, before = sum(weights), 0
    alive: dict[Value, None] = {}
    for index, op in enumerate(ops[:-1]):
        before += weights[index]
        alive.update(dict.fromkeys(value for value in op.results if last_use[value] > index))
        alive = {value: None for value in alive if last_use[value] > index}
        divided = any(min(users) <= index < max(users) for users in states if users)
        if alive and not divided and all(_interface_dtype(value, function.opset) for value in alive):
            yield Cut(op, tuple(alive), before, total)


def _is_constant(op: Op) -> bool:
    return isinstance(op, const) or op.has(Decompresses)


def _outermost(user: Op | Block, body: Block) -> Op | Block:
    """The op of the function's own block that a user is, or stands in; or that block, which returns."""
    while user is not body and not (isinstance(user, Op) and user.block is body):
        owner = user.block if isinstance(user, Op) else user.owner
        assert isinstance(owner, Op | Block)
        user = owner
    return user


def _last_use(value: Value, place: dict[Op, int], end: int) -> int:
    body = value.producer.block if value.producer is not None else None
    assert body is not None
    outermost = (_outermost(user, body) for user in value.users)
    return max((place[user] if isinstance(user, Op) else end for user in outermost), default=-1)


def _weights(function: Function, place: dict[Op, int]) -> list[int]:
    """Bytes of constants, each at the op that uses it first."""
    found = [0] * len(place)
    first: dict[Op, int] = {}
    for op in reversed(function.body):  # what decompresses a constant stands between it and whoever uses the result
        if not _is_constant(op):
            continue
        outermost = (_outermost(user, function.body) for value in op.results for user in value.users)
        places = [first.get(user, place.get(user, -1)) for user in outermost if isinstance(user, Op)]
        first[op] = min(places, default=-1)
        if isinstance(op, const) and first[op] >= 0 and isinstance(op.result.type, TensorType):
            found[first[op]] += op.value.data.size * op.result.dtype.bits // 8
    return found


def _interface_dtype(value: Value, opset: Opset) -> DType | None:
    """The type in which applications can hand a value over without loss, if there is one."""
    if not isinstance(value.type, TensorType):
        return None
    dtype = value.type.dtype
    if dtype == types.fp16 and opset < iOS16:
        return types.fp32
    if dtype in (types.fp16, types.fp32, types.int32):
        return dtype
    if dtype == types.bool_ or (dtype.is_integer and dtype.bits <= 16):
        return types.int32
    return None


def _halves(function: Function, cut: Cut) -> tuple[Program, Program]:
    """The two halves, each made of a copy of the whole."""
    names: dict[Value, str] = {}
    for value in cut.crossing:
        dtype = _interface_dtype(value, function.opset)
        renamed = dtype != value.dtype or value in function.outputs  # an input and an output cannot share a name
        names[value] = function.unique_name(f"{value.name}_{dtype}") if renamed else value.name
    programs = Program(), Program()
    for program, make in zip(programs, (_make_first, _make_second), strict=True):
        half, mapping = Function("main", {}, function.opset), dict[Value, Value]()
        half.attributes = dict(function.attributes)
        clone_block(function.body, mapping, into=half.body)
        last = mapping[cut.last.results[0]].producer
        assert last is not None
        make(half, last, {mapping[value]: name for value, name in names.items()})
        half.body.arguments[:] = [
            value for value in half.body.arguments if value.uses or not isinstance(value.type, StateType)
        ]
        program.add_function(half)
        DeadCode().run(program)
    second = programs[1].main.body
    second.arguments[:] = [value for value in second.arguments if value.uses]
    return programs


def _make_first(half: Function, last: Op, crossing: Mapping[Value, str]) -> None:
    """Returns what crosses, and ends there."""
    with mb.at(half.body):
        half.body.outputs = [_converted(value, name, _handed_over(value, half)) for value, name in crossing.items()]
    kept = {value.producer for value in half.body.outputs}
    op = half.body.last
    while op is not last:
        assert op is not None
        previous = op.previous
        if op not in kept and not any(value.uses for value in op.results):
            op.erase()
        op = previous


def _make_second(half: Function, last: Op, crossing: Mapping[Value, str]) -> None:
    """Takes what crosses, and begins there."""
    following = set[Op | Block]({half.body})
    op = last.next
    while op is not None:
        following.add(op)
        op = op.next
    place = last.next
    for value, name in crossing.items():
        own, uses = value.name, [u for u in value.uses if _outermost(u.user, half.body) in following]
        value.name = half.unique_name(f"{own}_before")  # it goes; others take its name
        taken = half.body.add_argument(name, value.tensor.with_dtype(_handed_over(value, half)))
        with mb.at(half.body, before=place):
            value.replace_uses(_converted(taken, own, value.dtype), only=uses)
    op = last
    while op is not None:
        previous = op.previous
        if not any(value.uses for value in op.results):
            op.erase()
        op = previous


def _handed_over(value: Value, half: Function) -> DType:
    dtype = _interface_dtype(value, half.opset)
    assert dtype is not None  # a cut has no others
    return dtype


def _converted(value: Value, name: str, dtype: DType) -> Value:
    """A value in a type and under a name, at the insertion point."""
    if dtype != value.dtype:
        made = mb.cast(x=value, dtype=dtype.name)
    elif name != value.name:
        made = mb.identity(x=value)
    else:
        return value
    assert isinstance(made, Value)
    assert made.producer is not None
    made.name = made.producer.name = name
    return made
