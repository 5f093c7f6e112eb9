# ruff: noqa: E501
# One case a line: the tables are read across.
"""What the walk over an exported graph keeps: names, places in the source, constants, sizes, states, nested graphs."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ConversionError, InputError, InputTypeError, UnsupportedError
from gristmill.frontends.common import InputSpec, UnsupportedOperatorsError
from gristmill.frontends.torch import lower, registry
from gristmill.frontends.torch.graph import Graph
from gristmill.ir import dims, types
from gristmill.ir.opset import iOS17, iOS18
from gristmill.ir.types import StateType, TensorType
from gristmill.runtime.session import Session
from tests.frontends.torch.harness import Case, agree, compare, exported, floats, ints, run

HERE = str(Path(__file__))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x):
        return torch.relu(self.dense(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.blocks[1].dense.weight = self.blocks[0].dense.weight

    def forward(self, features, scale):
        for block in self.blocks:
            features = block(features) * scale
        return features


# --- names, places, constants ----------------------------------------------------------------------------------------


def test_inputs_are_named_after_arguments_and_outputs_after_nodes():
    program = lower(exported(Net(), floats(2, 4), floats(4)))
    assert [value.name for value in program.main.inputs] == ["features", "scale"]
    assert [value.name for value in program.main.outputs] == ["mul_1"]


def test_the_caller_names_inputs_and_outputs():
    program = lower(
        exported(Net(), floats(2, 4), floats(4)), inputs=[InputSpec("a"), InputSpec("b")], output_names=["c"]
    )
    assert [value.name for value in program.main.inputs] == ["a", "b"]
    assert [value.name for value in program.main.outputs] == ["c"]


def test_structures_are_flattened_to_stable_names():
    def function(pair, named):
        return {"sum": pair[0] + pair[1], "list": [named["k"] * 2, None, 3]}

    program = lower(exported(function, (floats(2), floats(2)), {"k": floats(3)}))
    assert [value.name for value in program.main.inputs] == ["inputs_0_0", "inputs_0_1", "inputs_1_k"]
    compare(run(program, (floats(2), floats(2)), {"k": floats(3)}), function((floats(2), floats(2)), {"k": floats(3)}))


def test_an_output_may_be_an_input_a_constant_or_another_output():
    table = floats(3)
    program = agree(Case(lambda x: (x, table, x + 1, x + 1, table * 2, torch.zeros(2)), (floats(2),)))
    names = [value.name for value in program.main.outputs]
    assert len(set(names)) == len(names)
    y = lower(exported(lambda x: (lambda y: (y, y))(x + 1), floats(2)))
    assert len({value.name for value in y.main.outputs}) == 2


def test_every_op_knows_its_place_in_the_users_source():
    """The module's path, the operator, and a line of this file rather than of torch's own."""
    program = lower(exported(Net(), floats(2, 4), floats(4)))
    ops = [op for op in program.main.body if op.op_name != "const"]
    assert [op.op_name for op in ops] == ["linear", "relu", "mul", "linear", "relu", "mul"]
    assert [op.location.module for op in ops] == [
        "blocks.0.dense",
        "blocks.0",
        None,
        "blocks.1.dense",
        "blocks.1",
        None,
    ]
    assert ops[0].location.source == "aten.linear.default"
    lines = Path(HERE).read_text().splitlines()
    for op in ops:
        assert op.location.file == HERE
    assert "torch.relu" in lines[ops[1].location.line - 1]
    assert "* scale" in lines[ops[2].location.line - 1]


def test_shared_weights_are_one_constant_without_a_copy():
    net = Net()
    program = lower(exported(net, floats(2, 4), floats(4)))
    weights = [op for op in program.main.body if op.op_name == "const" and op.result.shape == (4, 4)]
    assert len(weights) == 1
    assert weights[0].name in ("blocks_0_dense_weight", "blocks_1_dense_weight")
    assert np.shares_memory(weights[0].value.numpy(), net.blocks[0].dense.weight.detach().numpy())


def test_bfloat16_weights_become_float32_when_they_are_read():
    program = lower(exported(lambda x: x @ torch.ones(3, 2, dtype=torch.bfloat16).float(), floats(2, 3)))
    assert all(value.dtype != types.fp16 for value in program.main.values() if isinstance(value.type, TensorType))
    module = nn.Linear(3, 2).to(torch.bfloat16)
    program = lower(exported(lambda x: module(x.bfloat16()).float(), floats(2, 3)))
    (found,) = run(program, floats(2, 3))
    # PyTorch rounds to bfloat16's 8 bits, the program computes in float32.
    expected = module(floats(2, 3).bfloat16()).float().detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=2**-6, atol=2**-6)


def test_float16_stays_float16():
    program = lower(exported(lambda x: x * 2, floats(3).half()))
    assert program.main.outputs[0].dtype == types.fp16


def test_a_large_64_bit_constant_is_named_in_the_error():
    module = nn.Module()
    module.register_buffer("ids", torch.tensor([2**40]))
    module.forward = lambda x: x + module.ids
    with pytest.raises(ConversionError, match="ids") as caught:
        lower(exported(module, ints(1)))
    assert str(2**40) in str(caught.value)


def test_booleans_and_scalars_cross_the_interface_as_core_ml_has_them():
    """Truth values as float32 in and out, an input of rank 0 with shape (1,)."""
    program = lower(exported(lambda b, s: (~b, s * 2), torch.tensor([True, False]), torch.tensor(3.0)))
    assert [value.type for value in program.main.inputs] == [TensorType(types.fp32, (2,)), TensorType(types.fp32, (1,))]
    found = run(program, torch.tensor([True, False]), torch.tensor(3.0))
    np.testing.assert_array_equal(found[0], np.float32([0, 1]))
    assert found[1] == 6


def test_an_input_that_is_written_to_is_left_as_it_came():
    def function(x):
        x.add_(1)
        return x * 2

    agree(Case(function, (floats(3),)))


# --- errors ----------------------------------------------------------------------------------------------------------


def test_all_unsupported_operators_are_listed_with_their_places():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.lgamma(x) + torch.linalg.det(x), torch.lgamma(x + 1)

    with pytest.raises(UnsupportedOperatorsError) as caught:
        lower(exported(Odd(), floats(3, 3)))
    message = str(caught.value)
    names = {operator.name: len(operator.locations) for operator in caught.value.operators}
    assert names["aten.lgamma.default"] == 2
    assert len(names) >= 2
    assert f"{HERE}:" in message
    assert isinstance(caught.value, ConversionError | UnsupportedError)


def test_an_operator_that_no_output_needs_is_no_obstacle():
    def function(x):
        torch.lgamma(x)
        return x + 1

    agree(Case(function, (floats(3),)))


def test_randomness_of_training_is_refused():
    module = nn.Dropout(0.5)
    with pytest.raises(UnsupportedError, match="training"):
        lower(torch.export.export(module.train(), (floats(3),)))


@pytest.mark.parametrize("source", ["a path", 3, None])
def test_what_is_no_model_is_refused(source):
    with pytest.raises(InputTypeError, match="not a PyTorch model"):
        lower(source)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"inputs": [InputSpec()]}, "number of inputs"),
        ({"inputs": [InputSpec(shape=(3, 4)), InputSpec()]}, "cannot have this shape"),
        ({"inputs": [InputSpec(shape=(2,)), InputSpec()]}, "another rank"),
        ({"output_names": ["a", "b"]}, "number of output names"),
        ({"output_names": ["scale"]}, "one name"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        lower(exported(Net(), floats(2, 4), floats(4)), **arguments)


def test_a_module_needs_shapes():
    with pytest.raises(InputError, match="shapes must be given"):
        lower(Net())


def test_a_module_that_torch_cannot_export_says_so():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ConversionError, match=r"torch\.export failed"):
        lower(Branching(), inputs=[InputSpec(shape=(3,))])


def test_a_result_that_is_not_converted_is_named_where_it_is_used():
    """Only the values of a pooling with indices are converted."""

    def function(x):
        return nn.functional.max_unpool2d(*nn.functional.max_pool2d(x, 2, return_indices=True), 2)

    with pytest.raises(UnsupportedError, match="'getitem_1' of an operator is not converted"):
        lower(exported(function, floats(1, 2, 4, 4)))


def test_checks_of_what_cannot_be_converted_are_not_reported_too():
    with pytest.raises(UnsupportedOperatorsError) as caught:
        lower(exported(torch.linalg.inv, floats(3, 3)))
    assert [operator.name for operator in caught.value.operators] == ["aten.linalg_inv_ex.default"]


# --- plain modules ---------------------------------------------------------------------------------------------------


def test_a_plain_module_is_exported_in_evaluation_mode_and_left_as_it_was():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    program = lower(module, inputs=[InputSpec("x", (3, 4))], output_names=["y"])
    assert module.training
    assert module[1].training
    compare(run(program, floats(3, 4)), module.eval()(floats(3, 4)))


def test_a_plain_module_with_a_flexible_size():
    shape = (dims.symbol("batch", 1, 16), 4)
    program = lower(nn.Linear(4, 2), inputs=[InputSpec("x", shape)])
    assert program.main.inputs[0].shape == shape
    for batch in (1, 3, 16):
        assert run(program, floats(batch, 4))[0].shape == (batch, 2)


def test_a_module_that_small_sizes_do_not_suit_takes_larger_ones():
    """A window of 7 needs images of at least 7 pixels: the result declares so, and the caller is told."""
    module = nn.Sequential(nn.Conv2d(1, 2, 7), nn.ReLU())
    side = dims.symbol("side", 1, 64)
    with pytest.warns(UserWarning, match=r"takes side\{7\.\.64\} for side\{1\.\.64\} of 'x'"):
        program = lower(module, inputs=[InputSpec("x", (1, 1, side, side))])
    assert program.main.inputs[0].shape == (1, 1, *[dims.symbol("side", 7, 64)] * 2)
    for size in (7, 30, 64):
        compare(run(program, floats(1, 1, size, size)), module(floats(1, 1, size, size)), 1e-5)


# --- sizes -----------------------------------------------------------------------------------------------------------

BATCH, LENGTH = torch.export.Dim("batch", max=8), torch.export.Dim("length", min=2, max=32)


def test_symbols_keep_their_names_and_bounds():
    program = lower(exported(lambda x: x * 2, floats(3, 5), dynamic_shapes=(((BATCH, LENGTH),),)))
    assert program.main.inputs[0].shape == (dims.symbol("batch", 0, 8), dims.symbol("length", 2, 32))
    assert program.main.outputs[0].shape == program.main.inputs[0].shape


def test_equal_sizes_of_several_inputs_are_one_symbol_under_its_name():
    shapes = (((BATCH, LENGTH), (BATCH, LENGTH)),)
    program = lower(exported(lambda x, y: x + y, floats(3, 5), floats(3, 5), dynamic_shapes=shapes))
    wanted = (dims.symbol("batch", 0, 8), dims.symbol("length", 2, 32))
    assert [value.shape for value in (*program.main.inputs, *program.main.outputs)] == [wanted] * 3


FLEXIBLE = {
    "reshape": lambda x: x.reshape(-1, 1, x.shape[1]).flatten(1),
    "merge": lambda x: x[:, :, None].expand(-1, -1, 3).reshape(x.shape[0], -1),
    "two unknown sizes": lambda x: x.view(x.shape[0], x.shape[1], 1).expand(-1, -1, 3),
    "arange": lambda x: x + torch.arange(x.shape[1]),
    "masks": lambda x: x.masked_fill(x > 1, 0.0),
    "zeros": lambda x: torch.cat([x, torch.zeros(x.shape[0], 3)], 1),
    "all but one": lambda x: torch.cat([x, x], 1)[:, 1:],
    "last": lambda x: x[:, -1],
    "behind the end": lambda x: x[:, :100],
    "mean": lambda x: x.sum(1) / x.shape[1],
    "outer": lambda x: x[:, :, None] * x[:, None, :],
    "attention": lambda x: torch.softmax(x[:, :, None] @ x[:, None, :], -1),
    "causal": lambda x: nn.functional.scaled_dot_product_attention(*(x[:, :, None].expand(-1, -1, 4),) * 3, is_causal=True),
    "triangle": lambda x: (x[:, :, None] * x[:, None, :]).tril(),
    "split": lambda x: torch.stack([x, x], 1).unbind(1)[1],
    "pad": lambda x: nn.functional.pad(x, (1, 2)),
    "cumsum": lambda x: x.cumsum(1),
    "sizes as results": lambda x: (x + 1, x.shape[1] * 2),
    "variance": lambda x: x.var(1),
    "group norm": lambda x: nn.functional.group_norm(x[:, None].expand(-1, 4, -1), 2),
    "masks by broadcast places": lambda x: x[torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])[None]],
    "flip": lambda x: x.flip(1).repeat(1, 2),
    "einsum": lambda x: torch.einsum("bi,bj->bij", x, x).sum(2),
    "diagonals": lambda x: (x.diagonal(), x.diagonal(2), x.diagonal(-1), torch.einsum("bijj->bj", x[:, :, None, None] * x[:, None, None].mT @ x[:, None, None])),
}  # fmt: skip


@pytest.mark.parametrize("name", FLEXIBLE)
def test_flexible_sizes_hold_for_other_sizes_than_the_example(name):
    function = FLEXIBLE[name]
    program = lower(exported(function, floats(3, 6), dynamic_shapes=(((BATCH, LENGTH),),)), opset=iOS17)
    for shape in ((3, 6), (1, 2), (5, 8)):
        x = floats(*shape)
        compare(run(program, x), function(x), 1e-5)


@pytest.mark.parametrize("name", ["nearest", "bilinear"])
def test_images_of_any_size_are_resized_by_a_factor(name):
    def function(x):
        return nn.functional.interpolate(x, scale_factor=2, mode=name)

    size = torch.export.Dim("size", min=2, max=64)
    program = lower(exported(function, floats(1, 2, 5, 5), dynamic_shapes=(((1, 2, size, size),),)), opset=iOS17)
    compare(run(program, floats(1, 2, 7, 7)), function(floats(1, 2, 7, 7)))


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "nearest"},
        {"mode": "nearest-exact"},
        {"mode": "bilinear"},
        {"mode": "bilinear", "align_corners": True},
    ],
    ids=str,
)
def test_images_are_resized_to_sizes_that_only_the_run_knows(options):
    """As feature pyramids do: larger and smaller, to one pixel, and by factors that are no whole numbers."""

    def function(x, like):
        return nn.functional.interpolate(x, size=like.shape[2:], **options)

    sizes = [torch.export.Dim(name, min=1, max=64) for name in ("h", "w", "height", "width")]
    shapes = (((1, 2, *sizes[:2]), (1, 1, *sizes[2:])),)
    program = lower(exported(function, floats(1, 2, 5, 6), floats(1, 1, 7, 8), dynamic_shapes=shapes))
    for (h, w), (height, width) in (((5, 6), (7, 8)), ((9, 4), (4, 17)), ((6, 3), (1, 3)), ((2, 1), (8, 5))):
        x, like = floats(1, 2, h, w), floats(1, 1, height, width)
        compare(run(program, x, like), function(x, like), 1e-6)


def test_signals_are_resized_to_a_part_of_their_size():
    def function(x):
        return nn.functional.interpolate(x, scale_factor=0.7, mode="linear", recompute_scale_factor=True)

    length = torch.export.Dim("length", min=4, max=64)
    program = lower(exported(function, floats(1, 2, 22), dynamic_shapes=(((1, 2, length),),)))
    for size in (22, 5, 41):
        # PyTorch rounds a place among 41 elements to float32: by up to 2e-6 of an element's distance to the next.
        compare(run(program, floats(1, 2, size)), function(floats(1, 2, size)), 1e-5)


# --- states ----------------------------------------------------------------------------------------------------------


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total += x
        return self.total * 2


def test_a_buffer_that_is_written_to_becomes_a_state():
    program = lower(exported(Counter(), floats(3)), opset=iOS18)
    assert program.main.states[0].type == StateType(TensorType(types.fp32, (3,)))
    session = Session(program.main, ReferenceDevice())
    state = session.make_state()
    name = program.main.outputs[0].name
    for step in (1, 2, 3):
        found = session.run({"x": np.ones(3, np.float32)}, state)[name]
        np.testing.assert_array_equal(found, np.full(3, 2.0 * step))


def test_states_need_an_opset_that_has_them():
    with pytest.raises(UnsupportedError, match="states") as caught:
        lower(exported(Counter(), floats(3)), opset=iOS17)
    assert "total" in str(caught.value)


def test_a_buffer_that_does_not_start_at_zero_is_pointed_out():
    module = Counter()
    module.total.fill_(3.0)
    with pytest.warns(UserWarning, match="'total' starts with other values than zero"):
        lower(exported(module, floats(3)), opset=iOS18)


# --- graphs inside graphs --------------------------------------------------------------------------------------------


def test_branches():
    weight = floats(3)

    def function(x):
        return torch.cond(x.sum() > 0, lambda x: x * weight, lambda x: x - 1, (x,))

    for x in (torch.ones(3), -torch.ones(3)):
        agree(Case(function, (x,)))


def test_loops():
    def function(x, n):
        from torch._higher_order_ops import while_loop

        return while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, y * 2), (n, x))

    agree(Case(function, (floats(3), torch.tensor(2))))


def test_modes_inside_a_graph():
    def function(x):
        with torch.no_grad():
            y = x * 2
        return y + x

    agree(Case(function, (floats(3),)))


# --- imports ---------------------------------------------------------------------------------------------------------


def test_the_common_part_of_the_frontends_does_not_import_torch():
    import subprocess

    code = "import sys, gristmill.frontends.common; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- lowerings -------------------------------------------------------------------------------------------------------


def test_a_user_adds_a_lowering():
    """An operator of the user's own, by its name; the result is checked against what the operator declares."""
    library = torch.library.Library("gristmill_test", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
    registry.lowers("gristmill_test.twice", override=True)(lambda ctx, x: ctx.mb.add(x=x, y=x))
    agree(Case(lambda x: torch.ops.gristmill_test.twice(x), (floats(3),)))
    registry.lowers("gristmill_test.twice", override=True)(lambda ctx, x: ctx.mb.expand_dims(x=x, axes=[0]))
    with pytest.raises(ConversionError, match="lowering of an operator is wrong"):
        lower(exported(lambda x: torch.ops.gristmill_test.twice(x), floats(3)))


def test_an_operator_has_one_lowering():
    with pytest.raises(ValueError, match="two lowerings"):
        registry.lowers("aten.relu.default")(lambda ctx, x: x)


def test_large_fillings_are_made_by_the_program():
    program = lower(exported(lambda x: x + torch.zeros(300, 300), floats(300)))
    assert any(op.op_name == "fill" for op in program.main.body)
    assert all(op.value.data.size < 300 * 300 for op in program.main.body if op.op_name == "const")


def _taken_apart(function, *inputs) -> bool:
    """Whether the frontend has PyTorch take an exported program apart."""
    program = exported(function, *inputs)
    return Graph(program).exported is not program


def test_only_what_needs_it_is_taken_apart():
    """PyTorch's decomposition is slow: most models go without."""
    x = floats(3, 4)
    assert not _taken_apart(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(inplace=True)), x)
    assert not _taken_apart(lambda x: torch.nn.functional.dropout(x.flatten(), training=False), x)
    assert _taken_apart(lambda x: x.diff(), x)  # has no lowering of its own
    assert _taken_apart(lambda x: x[0].relu_() + x, x)  # a view of what others see
    assert _taken_apart(lambda x: (y := x + 1, z := y.view(-1), y.relu_(), z * 2)[-1], x)  # another view of the same


CHANGES = [
    lambda x: torch.relu_(x * 2) + 1,
    lambda x: (y := x * 2, torch.relu_(y), y + 1)[-1],
    lambda x: (y := x * 2, torch.relu_(y[0]), y + 1)[-1],
    lambda x: (y := x * 2, z := y + 1, torch.relu_(y), z + y)[-1],
    lambda x: (x * 2).add_(x).mul_(3).relu_(),
    lambda x: (y := (x * 2).view(-1), y.add_(1), y.neg())[-1],
]


@pytest.mark.parametrize("function", CHANGES)
def test_what_is_changed_in_place(function):
    """With and without other users, through views, one after the other."""
    x = floats(3, 4)
    compare(run(lower(exported(function, x)), x), function(x.clone()), 1e-6)
