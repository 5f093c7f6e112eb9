"""Random valid programs, for property tests of whatever reads, writes, copies or changes programs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gristmill.ir import dims, types
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData, BlobData, Constant, constant, list_constant, tuple_constant
from gristmill.ir.opset import Opset
from gristmill.ir.program import Function, Program, Value
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32

NAMES = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
    st.sampled_from(["x.1", "a b", 'quo"te', "back\\slash", "new\nline", "été", "tensor", "true", "inf", "func", "("]),
)
TEXTS = st.text(st.characters(), max_size=12)  # every code point, surrogates too: escapes must carry them
DTYPES = st.sampled_from([t for t in types.DTYPES.values() if t is not types.unit_float])

dimensions = st.one_of(
    st.integers(1, 4),
    st.sampled_from(["n", "m", "batch"]).map(dims.symbol),
    st.builds(dims.symbol, st.sampled_from(["bounded", "b2"]), st.just(1), st.just(512)),
    st.builds(lambda k: dims.symbol("k", 2) * k + 1, st.integers(1, 3)),
    # `?` where that says all: not where an unknown occurs twice, has bounds, or stands in an expression.
    st.integers(0, 5).map(lambda k: dims.symbol(f"{dims.UNKNOWN}{k}")),
    st.sampled_from([dims.symbol(f"{dims.UNKNOWN}6", 1), dims.symbol(f"{dims.UNKNOWN}7") * 2]),
)


def arrays(dtype: types.DType, shape: tuple[int, ...], data: Any) -> ArrayData:
    """Contents of every kind that a type has: extremes, subnormals, infinities, NaNs with any bits."""
    count = int(np.prod(shape))
    if dtype.kind == "string":
        array = np.empty(count, dtype=object)
        array[:] = [data.draw(TEXTS) for _ in range(count)]
    elif dtype.is_float:
        width = dtype.numpy.itemsize
        bits = data.draw(st.lists(st.integers(0, 2 ** (8 * width) - 1), min_size=count, max_size=count))
        array = np.array(bits, dtype=f"u{width}").view(dtype.numpy)
    elif dtype.kind == "bool":
        array = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=bool)
    else:
        values = st.one_of(st.integers(dtype.min, dtype.max), st.sampled_from([dtype.min, dtype.max, 0]))
        array = np.array(data.draw(st.lists(values, min_size=count, max_size=count)), dtype=dtype.numpy)
    return ArrayData(array.reshape(shape), dtype)


@st.composite
def constants(draw: Callable[..., Any], depth: int = 2) -> Constant:
    """Of every type that a constant may have."""
    data = draw(st.data())
    kind = draw(st.sampled_from(["tensor"] * 3 + ["blob"] + (["tuple", "list", "dict", "open dict"] if depth else [])))
    inner = constants(depth=depth - 1)
    match kind:
        case "tuple":
            return tuple_constant(tuple(draw(st.lists(inner, max_size=3))))
        case "list":
            element = draw(inner)
            found = list_constant((element,) * draw(st.integers(0, 3)), element.type)
            growing = types.ListType(element.type, draw(st.sampled_from([1, 4])), dynamic=True)
            return Constant(growing, found.payload) if draw(st.booleans()) else found
        case "dict":
            return constant(draw(st.dictionaries(TEXTS, TEXTS, max_size=3)))
        case "open dict":
            shapes = draw(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3))
            pairs = tuple((constant(str(k)), constant(np.array(s, np.int32))) for k, s in enumerate(shapes))
            value = TensorType(int32, (dims.unknown(),))
            return Constant(types.DictType(types.scalar(types.string), value), pairs)
    dtype = draw(DTYPES)
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    if kind == "blob" and dtype.kind != "string":
        return Constant(TensorType(dtype, shape), BlobData(dtype, shape, draw(TEXTS), draw(st.integers(0, 2**64 - 1))))
    return Constant(TensorType(dtype, shape), arrays(dtype, shape, data))


@st.composite
def functions(draw: Callable[..., Any], program: Program, name: str) -> Function:
    """Some ops of every shape: variadic operands, several results or none, nested blocks, states, unknown sizes."""
    opset = draw(st.sampled_from([Opset.iOS15, Opset.iOS17, Opset.iOS18]))
    floats = draw(st.sampled_from([fp16, fp32]))
    shapes = draw(st.lists(st.lists(dimensions, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3))
    input_names = draw(st.lists(NAMES, min_size=len(shapes), max_size=len(shapes), unique=True))
    inputs: dict[str, types.Type] = {n: TensorType(floats, s) for n, s in zip(input_names, shapes, strict=True)}
    if opset >= Opset.iOS18 and draw(st.booleans()):
        inputs["the state"] = StateType(TensorType(fp16, (2, 3)))
    with mb.function(program, name, inputs, opset) as arguments:
        function = program.functions[name]
        values: list[Value] = [v for v in arguments if not isinstance(v.type, StateType)]
        for _ in range(draw(st.integers(0, 6))):
            _step(draw, function, values)
        outputs = draw(st.lists(st.sampled_from(values), max_size=3))
        mb.output(*outputs)
    function.attributes = draw(st.dictionaries(NAMES, constants(), max_size=2))
    function.body.attributes = draw(st.dictionaries(NAMES, constants(depth=1), max_size=1))
    return function


def _step(draw: Callable[..., Any], function: Function, values: list[Value]) -> None:
    value = draw(st.sampled_from(values))
    name = draw(NAMES)
    floating = isinstance(value.type, TensorType) and value.dtype in (fp16, fp32)
    match draw(st.sampled_from(["unary", "concat", "split", "const", "inline", "cond", "while", "non_zero", "state"])):
        case "unary" if floating:
            values.append(mb.op(draw(st.sampled_from(["relu", "exp", "sigmoid"])), name=name, x=value))
        case "concat" if floating:
            count = draw(st.integers(1, 3))
            values.append(mb.concat(name=name, values=[value] * count, axis=value.rank - 1, interleave=False))
        case "split" if floating and value.shape[0] == 2:
            values.extend(mb.split(name=name, x=value, num_splits=2, axis=0))
        case "const":
            made = draw(constants())
            if isinstance(made.type, TensorType) and name:
                mb.const(made, name=name)
        case "inline" if floating:
            operand = mb.const(np.asarray(draw(st.floats(-10, 10))).astype(value.dtype.numpy))
            operand.producer.inline = True
            values.append(mb.add(name=name, x=value, y=operand))
        case "cond" if floating:
            with mb.nested() as yes:
                mb.output(mb.relu(x=value))
            with mb.nested() as no:
                mb.output(mb.exp(x=value))
            values.append(mb.cond(name=name, pred=True, blocks=(yes, no)))
        case "while" if floating:
            with mb.nested({"i": TensorType(int32), "v": value.type}) as test:
                mb.output(mb.less(x=test.arguments[0], y=3))
            with mb.nested({"i": TensorType(int32), "v": value.type}) as body:
                mb.output(mb.add(x=body.arguments[0], y=1), mb.relu(x=body.arguments[1]))
            values.append(mb.while_loop(name=name, loop_vars=(mb.const(0), value), blocks=(test, body))[1])
        case "non_zero" if floating:
            mb.non_zero(name=name, x=mb.cast(x=value, dtype="bool" if draw(st.booleans()) else "int32"))
        case "state" if function.states:
            (state,) = function.states
            read = mb.read_state(input=state)
            mb.write_state(input=state, data=mb.relu(x=read))
            values.append(read)


@st.composite
def programs(draw: Callable[..., Any]) -> Program:
    """Valid programs of one to three functions."""
    program = Program(
        version=draw(st.sampled_from(["1.0", "1.3"])),
        attributes=draw(st.dictionaries(NAMES, constants(), max_size=2)),
        plain_scalars=draw(st.booleans()),
    )
    for name in draw(st.lists(NAMES, min_size=1, max_size=2, unique=True)):
        draw(functions(program, name))
    return program
