"""Graphs inside graphs: branches, loops, and regions that only set a mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.frontends.torch.context import Complex, Context
from gristmill.frontends.torch.registry import lowers
from gristmill.frontends.torch.shape import select, stack
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.program import Block, Value
from gristmill.ir.types import Type


def _results(ctx: Context, found: Sequence[Any]) -> list[Value]:
    """A block's results; what comes from outside passes through an op of the block."""
    here = mb.point.block
    values = []
    for item in found:
        if isinstance(item, Complex):
            raise ctx.unsupported("complex tensors as results of a branch or a loop")
        value = item if isinstance(item, Value) else ctx.mb.const(item)
        inside = value.producer is not None and value.producer.block is here and value.constant is None
        values.append(value if inside else ctx.mb.identity(x=value))
    return values


@lowers("cond")
def cond(ctx: Context, predicate: Any, yes: Any, no: Any, operands: Sequence[Any] = ()) -> list[Value]:
    if not isinstance(predicate, Value):
        return ctx.inline(yes if predicate else no, operands)
    blocks: list[Block] = []
    for module in (yes, no):
        with mb.nested() as block:
            mb.output(*_results(ctx, ctx.inline(module, operands)))
        blocks.append(block)
    predicate = ctx.cast(ctx.reshape(predicate, []), types.bool_)
    return ctx.mb.results("cond", pred=predicate, blocks=blocks)


@lowers("while_loop")
def while_loop(
    ctx: Context, condition: Any, body: Any, carried: Sequence[Any], extra: Sequence[Any] = ()
) -> list[Value]:
    start = [value if isinstance(value, Value) else ctx.mb.const(value) for value in carried]
    variables: dict[str, Type] = {f"{ctx.name}_{k}": value.type for k, value in enumerate(start)}
    with mb.nested(variables) as test:
        (verdict,) = ctx.inline(condition, [*test.arguments, *extra])
        mb.output(ctx.cast(ctx.reshape(verdict, []), types.bool_))
    with mb.nested(variables) as step:
        mb.output(*_results(ctx, ctx.inline(body, [*step.arguments, *extra])))
    return ctx.mb.results("while_loop", loop_vars=start, blocks=[test, step])


@lowers("map_impl")
def map_(ctx: Context, function: Any, sequences: Sequence[Value], extra: Sequence[Any]) -> list[Any]:
    """Slice by slice, written out: the number of slices is known."""
    count = sequences[0].shape[0]
    if not isinstance(count, int):
        raise ctx.unsupported("mapping over an axis whose size is only known at run time")
    rows = [ctx.inline(function, [*(select(ctx, x, 0, k) for x in sequences), *extra]) for k in range(count)]
    metas = ctx.meta
    found = []
    for place in range(len(rows[0])):
        ctx.meta = metas[place]
        found.append(stack(ctx, [row[place] for row in rows], 0))
    ctx.meta = metas
    return found


@lowers("wrap_with_set_grad_enabled")
def set_grad(ctx: Context, enabled: bool, module: Any, *operands: Any) -> list[Any]:
    return ctx.inline(module, operands)


@lowers("wrap_with_autocast")
def autocast(
    ctx: Context, device: str, dtype: Any, enabled: bool, cached: bool | None, module: Any, *operands: Any
) -> list[Any]:
    """The casts stand inside already."""
    return ctx.inline(module, operands)


@lowers("tag_activation_checkpoint")
def checkpoint(ctx: Context, module: Any, *operands: Any) -> list[Any]:
    return ctx.inline(module, operands)
