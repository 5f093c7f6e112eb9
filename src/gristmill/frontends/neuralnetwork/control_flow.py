"""Branches and loops.

Tensors that a branch or a loop overwrites become its results: what stood for them before goes in, what they stand for
at the end comes out. ``loopBreak`` and ``loopContinue`` end a body early; a branch that may do so takes the rest of the
body into its two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.context import Context, nested, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.frontends.neuralnetwork.source import Layer, Network
from gristmill.ir import dims, types
from gristmill.ir.builder import mb
from gristmill.ir.program import Block, Value
from gristmill.ir.types import TensorType, Type

_EXITS = ("loopBreak", "loopContinue")


def _written(layers: Sequence[Layer]) -> Iterator[str]:
    """Names that layers bind, those in nested networks included."""
    for layer in layers:
        yield from layer.outputs
        for network in nested(layer.params):
            yield from _written(network.layers)


def _leaves(layers: Sequence[Layer]) -> bool:
    """Whether layers may leave the loop's body that they are in."""
    return any(
        layer.kind in _EXITS
        or (layer.kind == "branch" and any(_leaves(network.layers) for network in nested(layer.params)))
        for layer in layers
    )


def _layers(network: Network | None) -> Sequence[Layer]:
    return network.layers if network is not None else ()


def _own(values: Sequence[Value]) -> list[Value]:
    """Results of a block: what comes from outside passes through an op of the block."""
    here = mb.point.block
    return [
        value
        if value.producer is not None and value.producer.block is here and value.constant is None
        else ops.identity(x=value)
        for value in values
    ]


def _verdict(ctx: Context, value: Value) -> Value:
    """Whether the first element of a tensor is true."""
    return ctx.truth(ctx.scalar(ctx.slice(ctx.reshape(value, [-1]), 0, 0, 1)))


# --- branches --------------------------------------------------------------------------------------------------------


@maps("branch", typed=True)
def branch(ctx: Context, p: Any, condition: Value) -> None:
    """Runs one of two networks; afterwards there is what both have made, or was there before."""
    names = _changed(ctx, p)

    def side(network: Network | None) -> list[Value]:
        ctx.run(_layers(network))
        return [ctx.tensor(name) for name in names]

    found = _either(ctx, condition, lambda: side(p.ifBranch), lambda: side(p.elseBranch))
    for name, value in zip(names, found, strict=True):
        ctx.bind(name, value)


def _changed(ctx: Context, p: Any) -> list[str]:
    """Names that stand for something after a branch, whichever side runs, and not for what they did before."""
    yes, no = (dict.fromkeys(_written(_layers(network))) for network in (p.ifBranch, p.elseBranch))
    return [name for name in {**yes, **no} if name in ctx.tensors or (name in yes and name in no)]


def _either(
    ctx: Context, condition: Value, yes: Callable[[], list[Value]], no: Callable[[], list[Value]]
) -> tuple[Value, ...]:
    """A ``cond`` of two sides that give their results."""
    verdict = _verdict(ctx, condition)
    blocks: list[Block] = []
    for side in (yes, no):
        with ctx.scope(), mb.nested() as block:
            mb.output(*_own([_as_carried(ctx, value) for value in side()]))
        blocks.append(block)
    if not blocks[0].outputs:
        return ()
    return ops.several("cond", pred=verdict, blocks=blocks)


def _as_carried(ctx: Context, value: Value) -> Value:
    """A value in the type in which it crosses the borders of blocks."""
    return value if value.dtype == types.bool_ and value.rank == 0 else ctx.floating(value)


# --- loops -----------------------------------------------------------------------------------------------------------


@maps("loop", typed=True)
def loop(ctx: Context, p: Any, limit: Value | None = None) -> None:
    """Runs the body while the condition holds, as often as an input or ``maxLoopIterations`` says at most.

    The condition network runs before each round. Without one, ``conditionVar`` is what the body leaves; without that,
    only the number of rounds counts.
    """
    test = _layers(p.conditionNetwork)
    ctx.run(test)
    names = [name for name in dict.fromkeys(_written([*test, *_layers(p.bodyNetwork)])) if name in ctx.tensors]
    go = _verdict(ctx, ctx.tensor(p.conditionVar)) if p.conditionVar else ops.const(True)
    most = None
    if limit is not None:
        most = ctx.scalar(ctx.integers(limit))
    elif p.maxLoopIterations or not p.conditionVar:
        most = ops.const(np.int32(min(p.maxLoopIterations, 2**31 - 1)))
    body = _Body(ctx, names, p.conditionVar, test)
    start = [ops.const(np.int32(0)), go, *(ctx.floating(ctx.tensor(name)) for name in names)]
    found = _repeat(ctx, start, most, lambda: body.run(list(_layers(p.bodyNetwork))), names)
    for name, value in zip(names, found[2:], strict=True):
        ctx.bind(name, value)


class _Body:
    """The body of a loop.

    Args:
        ctx: Where names are bound.
        names: Tensors that rounds hand on.
        condition: Name of the one that says whether to go on; empty for always.
        test: Layers that compute it.
    """

    def __init__(self, ctx: Context, names: Sequence[str], condition: str, test: Sequence[Layer]) -> None:
        self._ctx, self._names, self._condition, self._test = ctx, names, condition, test

    def run(self, layers: Sequence[Layer]) -> list[Value]:
        """Runs the rest of a round: whether to go on, then the tensors."""
        ctx = self._ctx
        for place, layer in enumerate(layers):
            if layer.kind == "loopBreak":
                return [ops.const(False), *self._carried()]
            if layer.kind == "loopContinue":
                break
            if layer.kind == "branch" and _leaves([layer]):
                return self._branch(layer, layers[place + 1 :])
            ctx.map(layer)
        ctx.run(self._test)
        go = _verdict(ctx, ctx.tensor(self._condition)) if self._condition else ops.const(True)
        return [go, *self._carried()]

    def _branch(self, layer: Layer, rest: Sequence[Layer]) -> list[Value]:
        """A branch that may leave the body: each side goes on with the rest, unless it leaves."""
        ctx, p = self._ctx, layer.params
        ctx.begin(layer)
        yes, no = ([*_layers(network), *rest] for network in (p.ifBranch, p.elseBranch))
        return list(_either(ctx, ctx.tensor(layer.inputs[0]), lambda: self.run(yes), lambda: self.run(no)))

    def _carried(self) -> list[Value]:
        return [self._ctx.floating(self._ctx.tensor(name)) for name in self._names]


def _repeat(
    ctx: Context, start: Sequence[Value], most: Value | None, step: Callable[[], list[Value]], names: Sequence[str]
) -> tuple[Value, ...]:
    """A ``while_loop`` over a counter, whether to go on, and tensors.

    A size that a round changes is unknown in the loop; which ones do so is found by building the body again until none
    is left.
    """
    kinds: list[Type] = [value.type for value in start]
    while True:
        variables = {f"loop_{k}": kind for k, kind in enumerate(kinds)}
        with mb.nested(variables) as test:
            count, go, *_ = test.arguments
            again = go if most is None else ops.logical_and(x=go, y=ops.less(x=count, y=most))
            mb.output(*_own([again]))
        with ctx.scope(), mb.nested(variables) as body:
            count, _, *tensors = body.arguments
            ctx.tensors.update(zip(names, tensors, strict=True))
            mb.output(*_own([ops.add(x=count, y=np.int32(1)), *step()]))
        wider = [_wider(ctx, kind, value.type) for kind, value in zip(kinds, body.outputs, strict=True)]
        if wider == kinds:
            return ops.several("while_loop", loop_vars=list(start), blocks=[test, body])
        kinds = wider
        for block in (test, body):
            block.outputs = ()
            for op in reversed(block):
                op.erase()


def _wider(ctx: Context, before: Type, after: Type) -> Type:
    """A type for what is of one type before a round and of another after it."""
    assert isinstance(before, TensorType)
    assert isinstance(after, TensorType)
    if before.rank != after.rank:
        raise ctx.unsupported("a loop changes the rank of a tensor", expected=before, actual=after)
    pairs = zip(before.shape, after.shape, strict=True)
    return before.with_shape(
        tuple(a if dims.always_equal(a, b) or not isinstance(a, int) else dims.unknown() for a, b in pairs)
    )


@maps("loopBreak", "loopContinue")
def leave(ctx: Context, p: Any) -> None:
    """Only inside a loop's body, which looks for them itself."""
    raise ctx.wrong("the layer is in no loop")
