"""Sizes: symbols of ``torch.export`` as dimensions, and arithmetic on sizes as ops."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from gristmill.errors import ConversionError
from gristmill.frontends.torch.context import Context, Size
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.dims import Dim, Symbol, bounds, maximum, minimum, mod, product, symbol
from gristmill.ir.program import Value

MAX_SIZE = 2**31 - 1
"""Bounds from here on mean that there is none."""


def symbolic_shape(exported: ExportedProgram) -> Callable[[int | torch.SymInt], Dim]:
    """A function that gives the dimension for a size of an exported program, with the bounds stated there."""
    names: dict[str, str] = {}
    known: dict[str, Dim] = {}

    def dim_of(size: int | torch.SymInt) -> Dim:
        if isinstance(size, int):
            return size
        if not names:
            names.update(_given_names(size))
        return of_expression(size.node.expr)

    def of_expression(expression: Any) -> Dim:
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol:
            return known.setdefault(expression.name, of_symbol(expression))
        parts = [of_expression(part) for part in expression.args]
        match type(expression).__name__:
            case "Add":
                total: Dim = 0
                for part in parts:
                    total = total + part
                return total
            case "Mul":
                return product(parts)
            case "Pow" if isinstance(parts[1], int) and parts[1] > 0:
                return product([parts[0]] * parts[1])
            case "FloorDiv" | "CleanDiv":
                return parts[0] // parts[1]
            case "Mod" | "PythonMod":
                return mod(parts[0], parts[1])
            case "Max":
                return maximum(*parts)
            case "Min":
                return minimum(*parts)
        raise ConversionError("a size of the model is of a form that is not known here", actual=expression)

    def of_symbol(expression: Any) -> Dim:
        limits = exported.range_constraints.get(expression)
        low = int(limits.lower) if limits is not None and limits.lower.is_Integer else 0
        high = int(limits.upper) if limits is not None and limits.upper.is_Integer else None
        if high is not None and high >= MAX_SIZE:
            high = None
        return symbol(names.get(expression.name, expression.name), max(low, 0), high)

    return dim_of


def _given_names(size: torch.SymInt) -> dict[str, str]:
    """Names that the user gave to sizes with ``torch.export.Dim``, by symbol, where the program still knows them."""
    environment = size.node.shape_env
    given: dict[str, str] = dict(getattr(environment, "source_name_to_debug_name", None) or {})
    sources = getattr(environment, "var_to_sources", None) or {}
    names: dict[str, str] = {}
    replaced = getattr(environment, "replacements", None) or {}
    for variable, places in sources.items():
        if variable in replaced:  # another symbol stands for it, since both sizes are equal
            continue
        for place in places:
            name = place.name if isinstance(place.name, str) else place.name()
            name = given.get(name, name)
            if name.isidentifier() and name not in names.values():
                names[str(variable)] = name
                break
    return names


def limits(exported: Dim) -> tuple[int | None, int | None]:
    """The sizes that an exported program takes; ``None`` where it sets no limit.

    PyTorch writes 2 as the least size of every dimension that is not fixed to 0 or 1, so a 2 forbids nothing here: ops
    broadcast by the sizes that they meet, and a fixed size would show as a number.
    """
    least, most = bounds(exported)
    return None if least == 2 else least, most


def cut_to(declared: Symbol, exported: Dim) -> Symbol:
    """A declared range of sizes without those that an exported program does not take."""
    least, most = limits(exported)
    lower = declared.lower if least is None else max(declared.lower, least)
    upper = min((size for size in (declared.upper, most) if size is not None), default=None)
    if lower == declared.lower and upper == declared.upper:
        return declared
    return symbol(declared.name, lower, upper)


# --- arithmetic on sizes ---------------------------------------------------------------------------------------------


def lower_size(context: Context, function: Any, arguments: Sequence[Any]) -> Any:
    """Applies a Python function of the graph to sizes, or takes an item of an operator's results."""
    if function is operator.getitem:
        return arguments[0][arguments[1]]
    plain = [
        context.known(a) if isinstance(a, Value) and a.dtype == types.int32 and a.rank == 0 else a for a in arguments
    ]
    if not any(item is None or isinstance(item, Value) for item in plain):
        return function(*plain)
    name = getattr(function, "__name__", str(function))
    rule = _SIZE_OPS.get(name)
    if rule is None:
        raise context.unsupported(f"'{name}' of a size that is only known at run time")
    return rule(context, *arguments)


def _binary(op_name: str) -> Callable[..., Any]:
    def rule(context: Context, x: Size, y: Size) -> Any:
        dtype = types.int32
        if any(isinstance(v, float) or (isinstance(v, Value) and v.dtype.is_float) for v in (x, y)):
            dtype = types.fp32
        return getattr(context.mb, op_name)(x=context.cast(x, dtype), y=context.cast(y, dtype))

    return rule


def _true_division(context: Context, x: Size, y: Size) -> Any:
    return context.mb.real_div(x=context.cast(x, types.fp32), y=context.cast(y, types.fp32))


def _rounded(op_name: str) -> Callable[..., Any]:
    def rule(context: Context, x: Value) -> Any:
        return x if x.dtype == types.int32 else context.cast(getattr(context.mb, op_name)(x=x), types.int32)

    return rule


_SIZE_OPS: dict[str, Callable[..., Any]] = {
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "floordiv": _binary("floor_div"),
    "mod": _binary("mod"),
    "pow": _binary("pow"),
    "sym_max": _binary("maximum"),
    "sym_min": _binary("minimum"),
    "eq": _binary("equal"),
    "ne": _binary("not_equal"),
    "lt": _binary("less"),
    "le": _binary("less_equal"),
    "gt": _binary("greater"),
    "ge": _binary("greater_equal"),
    "truediv": _true_division,
    "neg": lambda context, x: context.mb.mul(x=x, y=-1),
    "sym_int": _rounded("floor"),
    "trunc": _rounded("floor"),  # sizes are not negative
    "floor": _rounded("floor"),
    "ceil": _rounded("ceil"),
    "round": _rounded("round"),
    "sym_float": lambda context, x: context.cast(x, types.fp32),
    "sym_not": lambda context, x: context.mb.logical_not(x=x),
    "sym_ite": lambda context, cond, a, b: context.mb.select(cond=cond, a=a, b=b),
    "_sym_sqrt": lambda context, x: context.mb.sqrt(x=context.cast(x, types.fp32)),
    "and_": lambda context, x, y: context.mb.logical_and(x=x, y=y),
    "or_": lambda context, x, y: context.mb.logical_or(x=x, y=y),
}


@lowers("aten.sym_size.int")
def sym_size(context: Context, x: Value, dim: int) -> Size:
    return context.size(x, dim)


@lowers("aten.sym_numel.default")
def sym_numel(context: Context, x: Value) -> Size:
    static = math.prod(dim for dim in x.shape if isinstance(dim, int))
    total: Size = static
    for axis, dim in enumerate(x.shape):
        if not isinstance(dim, int):
            total = context.mb.mul(x=context.size(x, axis), y=total)
    return total


@lowers("aten.sym_storage_offset.default")
def sym_storage_offset(context: Context, x: Value) -> int:
    return 0  # every value here owns its storage


@lowers("aten._local_scalar_dense.default", "aten.item.default")
def item(context: Context, x: Value) -> Any:
    static = context.static(x)
    if static is not None:
        return static.reshape(-1)[0].item()
    return context.reshape(x, ())
