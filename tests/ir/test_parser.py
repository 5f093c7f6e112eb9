"""Reading MIL text: what was written comes back exactly, what is wrong is refused quickly and says where it is."""

import contextlib
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.errors import FormatError, GristmillError, TypeInferenceError, UnsupportedError
from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.clone import clone_program
from gristmill.ir.compare import difference
from gristmill.ir.constants import ArrayData, BlobData
from gristmill.ir.opset import iOS15, iOS18
from gristmill.ir.parser import parse_program
from gristmill.ir.printer import print_program
from gristmill.ir.program import Program
from gristmill.ir.types import DictType, ListType, StateType, TensorType, TupleType, fp16, fp32, int32, scalar, string
from gristmill.ir.verify import problems, verify
from tests.ir.programs import programs
from tests.timing import processor_seconds

# The structure of what the compiler writes for a model with flexible shapes, ours in names and sizes.
FLEXIBLE = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3600.16.1"}, {"coremlc-version", "3600.25.1"}})]
{
    func main<ios18>(tensor<fp32, [?, 3]> x, state<tensor<fp16, [4]>> cache) [FlexibleShapeInformation = \
tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>\
((("DefaultShapes", {{"x", [1, 3]}}), ("RangeDims", {{"x", [[1, 512], [3, 3]]}})))] {
            tensor<fp32, [?, 3]> y = add(x = x, y = fp32(-0x1.8p+1))[name = string("op_7")];
            int32 axis = const()[name = string("axis"), val = int32(1)];
            tensor<fp32, [?, 6]> z = concat(axis = axis, interleave = bool(false), values = (x, y));
            tensor<fp32, [?, 3]> a, tensor<fp32, [?, 3]> b = split(axis = axis, num_splits = int32(2), x = z);
            tensor<fp16, [4]> old = read_state(input = cache)[name = string("old")];
            tensor<fp16, [4]> w = const()[val = tensor<fp16, [4]>(BLOBFILE(path = \
string("@model_path/weights/weight.bin"), offset = uint64(64)))];
            tensor<fp16, [4]> new = add(x = old, y = w);
            write_state(data = new, input = cache)[name = string("write")];
            tensor<fp32, [?, 3]> chosen = cond(pred = bool(true))
                () {
                        tensor<fp32, [?, 3]> c = relu(x = a);
                    } -> (c)
                () {
                    } -> (b);
        } -> (chosen);
}"""


def simple(body: str, *, inputs: str = "tensor<fp32, [2]> x", output: str = "x", opset: str = "ios15") -> str:
    return f"program(1.0) {{ func main<{opset}>({inputs}) {{ {body} }} -> ({output}); }}"


# --- what comes back -------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(programs())
def test_round_trip(program):
    """Parsing what was printed gives the same program, which prints as the same text; copies are the same as well."""
    verify(program)
    text = print_program(program)
    parsed = parse_program(text)
    assert difference(program, parsed) is None
    assert print_program(parsed) == text
    assert not list(problems(parsed))
    assert difference(program, clone_program(program)) is None


def test_text_of_a_compiler_comes_back_byte_for_byte():
    """Immediate operands, unknown sizes, flexible shapes, states, nested blocks, ops without name or results."""
    program = parse_program(FLEXIBLE)
    assert print_program(program) == FLEXIBLE
    verify(program)
    assert (program.version, program.plain_scalars, program.main.opset) == ("1.3", True, iOS18)


def test_what_text_means():
    program = parse_program(FLEXIBLE)
    main = program.main
    rows = main.inputs[0].shape[0]
    assert isinstance(rows, dims.Symbol)
    assert main.inputs[1].type == StateType(TensorType(fp16, (4,)))
    assert main.outputs[0].type == TensorType(fp32, (rows, 3)), "`?` in a result is what inference finds"
    add = next(op for op in main.body if op.op_name == "add")
    assert (add.name, add.results[0].name) == ("op_7", "y")
    assert add.y.constant.python() == -3.0
    flexible = main.attributes["FlexibleShapeInformation"]
    assert flexible.python() == (("DefaultShapes", {"x": [1, 3]}), ("RangeDims", {"x": [[1, 512], [3, 3]]}))
    assert isinstance(flexible.type, TupleType)
    ranges = flexible.type.elements[1]
    assert ranges == TupleType((scalar(string), DictType(scalar(string), ListType(TensorType(int32, (2,))))))


def test_parsing_is_repeatable():
    """Names that the text does not give depend on the text alone."""
    names = [[(v.name, str(v.type)) for v in parse_program(FLEXIBLE).main.values()] for _ in range(2)]
    assert names[0] == names[1]


def test_ops_know_their_line():
    ops = list(parse_program(FLEXIBLE, file="model.mil").main.body)
    assert {str(op.location) for op in ops if op.op_name == "concat"} == {"model.mil:7"}


@pytest.mark.real_model
def test_a_compiled_model_comes_back_byte_for_byte(real_model):
    """`model.mil` as Apple's compiler wrote it, with 425 ops and weights outside."""
    (path,) = real_model("tattoo-detector").rglob("TattooDetector.mlmodelc/model.mil")
    text = path.read_text()
    program = parse_program(text)
    assert print_program(program) == text
    verify(program)
    assert program.main.opset == iOS15
    assert program.main.outputs[0].type == TensorType(fp32, (1, 3549, 6))


def test_the_style_follows_the_text_and_else_the_version():
    assert not parse_program(simple("", inputs="tensor<fp32, []> x")).plain_scalars
    assert parse_program(simple("", inputs="fp32 x")).plain_scalars
    assert not parse_program(simple("")).plain_scalars
    assert parse_program(simple("").replace("1.0", "1.3")).plain_scalars


def test_a_declared_name_of_a_size_counts():
    """A size that depends on data has the name that the text gives it, in every later type too."""
    text = simple(
        "tensor<int32, [found, 1]> i = non_zero(x = x); tensor<int32, [found, 1]> j = abs(x = i);", output="j"
    )
    program = parse_program(text)
    assert program.main.outputs[0].shape == (dims.symbol("found"), 1)


def test_weight_files_are_read_by_who_opened_them():
    seen = []

    def blob(path, offset, kind):
        seen.append((path, offset, kind))
        return ArrayData(np.arange(4, dtype=np.float16))

    program = parse_program(FLEXIBLE, blob=blob)
    assert seen == [("@model_path/weights/weight.bin", 64, TensorType(fp16, (4,)))]
    weight = next(v for v in program.main.values() if v.name == "w")
    assert weight.constant.python() == [0, 1, 2, 3]
    unread = next(v for v in parse_program(FLEXIBLE).main.values() if v.name == "w").constant.data
    assert isinstance(unread, BlobData)
    assert not unread.readable


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("fp16(0.1)", np.float16(0.1)),
        ("fp32(1)", np.float32(1)),
        ("fp32(1e-5)", np.float32(1e-5)),
        ("fp32(0x1.8P1)", np.float32(3)),
        ("fp16(0x1.0008p+0)", np.float16(1.0)),  # rounded to nearest
        ("tensor<fp64, [2]>([-inf, inf])", np.array([-np.inf, np.inf])),
        ("tensor<int32, [2, 0]>([[], []])", np.zeros((2, 0), np.int32)),
        ("int4(-8)", np.int8(-8)),
        ('string("\\u00e9\\n")', "é\n"),
        ("tensor < bool , [ 2 ] > ( [ true , false ] )", np.array([True, False])),
    ],
)
def test_literals(literal, expected):
    """Decimal numbers and free spacing are understood too."""
    program = parse_program(simple(f"{literal.split('(')[0]} s = const()[val = {literal}];"))
    np.testing.assert_array_equal(program.main.body.first.value.numpy(), expected)


# --- what is refused -------------------------------------------------------------------------------------------------

X = "tensor<fp32, [2]> y = "
DEEP = 10_000

# Each text has a mark where its error is.
MALFORMED = {
    "§": "'program'",
    "program(1.0§": r"'\)'",
    "program(§x) {}": "a version",
    "program(1.0)\n{\n  func main<§ios99>() {} -> (); }": "unknown operation set",
    "program(1.0) {} §}": "the end of the text",
    "program(1.0) { func f<ios15>() {} -> (); §func f<ios15>() {} -> (); }": "two functions",
    simple("", inputs="tensor<§fp99, [1]> x"): "an element type",
    simple("", inputs="tensor<fp32, [1]> x, tensor<fp32, [1]> §x"): "two values",
    simple("", inputs="tensor<fp32, [-1§]> x"): "out of range",
    simple("", inputs=f"tensor<fp32, [{'9' * 30}§]> x"): "out of range",
    simple("", inputs="tensor<fp32, [n{5..2}§]> x"): "lower bound",
    "program(1.0) { func f<ios15>(tensor<fp32, §[1": "there is no end",
    simple("", output="§nowhere"): "no value of this name",
    simple(f"{X}relu(x = §y);"): "no value of this name",
    simple(f"{X}relu(x = x, §x = x);"): "given twice",
    "program(1.0) { func f<ios15>(fp32 x) { fp32 y = relu(x = x) §} -> (x); }": "';'",
    simple("§\x00"): "unexpected character",
    simple(f'{X}relu(x = x)[name = string(§"never ends'): "does not end",
    simple(f'{X}relu(x = x)[name = string(§"nul \x00")];'): "control character",
    simple(f'{X}relu(x = x)[name = string(§"\\q")];'): "unknown escape",
    simple(f"{X}relu(x = x)§[name = int32(1)];"): "a string",
    simple(f"{X}relu(x = x)§[flush_denormals = bool(true)];"): "no attribute 'flush_denormals'",
    simple(f"{X}relu(x = x)§[x = fp32(1)];"): "no attribute 'x', or has it twice",
    simple(f"{X}const()[val = fp32(§0x1p+999999999)];"): "a value of type fp32",
    simple(f"{X}const()[val = tensor<fp16, [2]>(§[1, 70000])];"): "out of its type's range",
    simple(f"{X}const()[val = uint8(§256)];"): "a value of type uint8",
    simple(f"{X}const()[val = bool(§1)];"): "a value of type bool",
    simple(f"{X}const()[val = int32(§{'1' * 5000})];"): "number too long",
    simple(f"{X}const()[val = fp16(nan(§0x7c00))];"): "the bits of a NaN",
    simple(f"{X}const()[val = tensor<fp32, [2, 2]>([[1, 2], [3]§])];"): "differ in length",
    simple(f"{X}const()[val = tensor<fp32, [1000000000]>(§[1, 2])];"): "another shape",
    simple(f"{X}const()[val = tensor<fp32, [2]>(§ELIDED)];"): "without its large constants",
    simple(f"{X}const()[val = tensor<fp32, [?]>(§BLOBFILE())];"): "without unknowns",
    simple(f'{X}const()[val = tensor<fp32, [2]>(§BLOBFILE(path = string("w")))];'): "malformed weight file",
    simple(f"{X}const()[val = list<fp32, 2>(§[1])];"): "wrong number of list elements",
    simple(f"{X}const()[val = tuple<fp32, fp32>(§(1))];"): "too few tuple elements",
    simple(f"{X}const()[val = {'tuple<' * 49}§{'tuple<' * DEEP}"): "nested too deeply",
    simple("".join(f"{'§' * (k == 49)}bool b{k} = cond(pred = x) () {{" for k in range(DEEP))): "nested too deeply",
    simple(f"{X}const()[val = tensor<fp32, [{'1, ' * 40}1]>(§{'[' * 41}"): "too many dimensions",
}


@pytest.mark.parametrize(("marked", "message"), MALFORMED.items(), ids=[text[:60] for text in MALFORMED])
def test_malformed_text_is_refused_with_its_place(marked, message):
    before, _, after = marked.partition("§")
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    with pytest.raises(FormatError, match=message) as caught:
        parse_program(before + after, file="model.mil")
    assert caught.value.location == f"model.mil, line {line}, column {column}"


def test_an_unknown_op_is_named_with_its_opset_and_place():
    with pytest.raises(UnsupportedError, match="'relux' in opset iOS16") as caught:
        parse_program(simple(f"{X}relux(x = x);", opset="ios16"), file="model.mil")
    assert (caught.value.op, str(caught.value.location)) == ("relux", "model.mil:1")


def test_types_that_do_not_fit_are_refused_with_their_place():
    """Operands that the op does not take, and declared types that contradict inference."""
    for body, message in (
        (f"{X}relu(y = x);", "no operand 'y'"),
        ("tensor<fp32, [3]> y = relu(x = x);", "declared type of result 0"),
        ("relu(x = x);", "number of results"),
    ):
        with pytest.raises(TypeInferenceError, match=message) as caught:
            parse_program(simple(body), file="model.mil")
        assert str(caught.value.location) == "model.mil:1"


BACKSLASH = "\\"
HOSTILE = {
    "parentheses": "program" + "(" * 1_000_000,
    "brackets": simple(f"{X}const()[val = tensor<fp32, [1]>({'[' * 1_000_000}"),
    "types": simple("", inputs="list<" * 300_000),
    "dimensions": simple("", inputs=f"tensor<fp32, [{'(' * 1_000_000}]> x"),
    "many dimensions": simple("", inputs=f"tensor<fp32, [{'n*' * 200_000}]> x"),
    "powers": simple("", inputs="tensor<fp32, [" + "*".join(["(n+m+k+1)"] * 2000) + "]> x"),
    "escapes": simple(f"{X}relu(x = x)[name = string(" + '"' + 2 * BACKSLASH * 300_000),
    "quotes": '"' * 500_000,
    "spaces": "program(1.0)" + " " * 2_000_000,
    "numbers": simple(f"{X}const()[val = int32(-{'9' * 1_000_000})];"),
    "exponents": simple(f"{X}const()[val = fp32(1e{'9' * 300})];"),
    "sizes": simple(
        "tensor<fp32, [?, ?]> t = tile(reps = tensor<int32, [2]>([2147483647, 2147483647]), x = x);",
        inputs="tensor<fp32, [1000000000, 1000000000]> x",
    ),
    "empty sizes": simple("", inputs="tensor<fp32, [9223372036854775807, 9223372036854775807]> x"),
    "blocks": simple("cond() () {} -> () " * 100_000),
    "attributes": simple(f"{X}relu(x = x)[{', '.join(f'a{k} = int32({k})' for k in range(20000))}];"),
}


def _parse(text: str) -> None:
    with contextlib.suppress(GristmillError):
        parse_program(text)


def _peak(text: str) -> int:
    """The most bytes that parsing a text, or refusing it, held at a time."""
    tracemalloc.start()
    try:
        _parse(text)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def ordinary() -> float:
    """Seconds that a program of 1,000 ops takes on this machine: some 100 kB, nothing unusual in it."""
    text = print_program(_chain(1000))
    return processor_seconds(lambda: _parse(text))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_costs_little(text, ordinary):
    """An error or a program, in the time of an honest program of a few thousand ops, in memory proportional to it."""
    assert processor_seconds(lambda: _parse(text)) < 8 * ordinary  # the attributes take half of that
    assert _peak(text) < 20 * len(text) + 4_000_000


def test_time_is_linear_in_the_text():
    """Eight times the ops take about eight times the time; quadratic behaviour would take sixty-four times."""
    short, long = (print_program(_chain(count)) for count in (500, 4000))
    assert processor_seconds(lambda: parse_program(long)) < 16 * processor_seconds(lambda: parse_program(short))


def _chain(count: int) -> Program:
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}) as (x,):
        for _ in range(count):
            x = mb.relu(x=x)
        mb.output(x)
    return program


# --- mutated text ----------------------------------------------------------------------------------------------------

FRAGMENTS = [
    "?",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    '"',
    ",",
    "-1",
    "9" * 25,
    "inf",
    "\x00",
    "tensor",
    "list<",
    "->",
]


def mutate(text: str, rng: random.Random) -> str:
    """Deletes, repeats, swaps, replaces or inserts something, up to four times."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.randint(1, 40))
        other = rng.randrange(len(text) + 1)
        match rng.randrange(5):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:end] + text[at:end] + text[end:]
            case 2:
                text = text[:at] + rng.choice(FRAGMENTS) + text[at:]
            case 3:
                text = text[:at] + rng.choice(FRAGMENTS) + text[end:]
            case 4:
                text = text[:at] + text[other : other + 30] + text[end:]
    return text


def read_or_refuse(text: str) -> None:
    """Whatever is read is valid and comes back; anything else is an error of ours."""
    try:
        program = parse_program(text)
    except GristmillError as refusal:
        error = refusal
    else:
        error = None
    if error is not None:
        assert error.location is not None
        return
    assert not list(problems(program))
    again = print_program(program)
    assert difference(program, parse_program(again)) is None


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_mutated_text_is_read_or_refused(rng):
    read_or_refuse(mutate(FLEXIBLE, rng))


@pytest.mark.real_model
def test_a_mutated_compiled_model_is_read_or_refused(real_model):
    """The same for pieces of what Apple's compiler wrote, cut so that a mutation is met soon."""
    (path,) = real_model("tattoo-detector").rglob("TattooDetector.mlmodelc/model.mil")
    lines = path.read_text().splitlines(keepends=True)
    rng = random.Random(20)
    for _ in range(200):
        count = rng.randint(4, 120)
        read_or_refuse(mutate("".join(lines[:count]) + "        } -> (images);\n}", rng))
