"""Branches and loops: what ops hand on as results and arguments, layers write into tensors of common names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.ir.program import Value
from gristmill.ir.types import TensorType
from gristmill.ops import control_flow
from gristmill.package.network_writer.registry import writes
from gristmill.package.network_writer.writer import Writer


def _copy(w: Writer, value: Value, name: str) -> None:
    """Lets a tensor have a value's contents."""
    _overwrite(w, value, w.tensor(value), name)


def _overwrite(w: Writer, value: Value, tensor: str, name: str) -> None:
    """As ``_copy``, from a tensor. Numbers get one axis, so that all that is written there has as many."""
    if isinstance(value.type, TensorType) and not value.rank:
        w.into("reshapeStatic", [name], tensor, targetShape=[1])
    else:
        w.into("copy", [name], tensor)


@writes(control_flow.cond)
def branch(w: Writer, op: Any) -> list[str]:
    names = [value.name for value in op.results]
    verdict = w.row(op.pred)
    branch = w.into("branch", [], verdict)
    for block, network in zip(op.blocks, (branch.ifBranch, branch.elseBranch), strict=True):
        with w.nested(network):
            w.block(block)
            for value, name in zip(block.outputs, names, strict=True):
                _copy(w, value, name)
    return names


@writes(control_flow.while_loop)
def loop(w: Writer, op: Any) -> list[str]:
    """The variables are tensors that the body overwrites. New ones are computed first, as they may be of each other."""
    names = [value.name for value in op.results]
    go = w.fresh("condition")
    for value, name in zip(op.loop_vars, names, strict=True):
        _copy(w, value, name)
    loop = w.into("loop", [], conditionVar=go)
    condition, body = op.blocks
    with w.nested(loop.conditionNetwork, dict(zip(condition.arguments, names, strict=True))):
        w.block(condition)
        _copy(w, condition.outputs[0], go)
    with w.nested(loop.bodyNetwork, dict(zip(body.arguments, names, strict=True))):
        w.block(body)
        made = [w.tensor(value) for value in body.outputs]
        for value, tensor, name in zip(body.outputs, _apart(w, made, names), names, strict=True):
            if tensor != name:
                _overwrite(w, value, tensor, name)
    return names


def _apart(w: Writer, tensors: Sequence[str], names: Sequence[str]) -> list[str]:
    """The tensors, those that are about to be overwritten as copies."""
    return [
        w.layer("copy", tensor) if tensor in names and tensor != name else tensor
        for tensor, name in zip(tensors, names, strict=True)
    ]
