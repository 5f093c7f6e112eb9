"""TorchScript modules convert like the modules that they were made of."""

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from gristmill.errors import FormatError, InputError, UnsupportedError
from gristmill.frontends.common import InputSpec
from gristmill.frontends.torch import lower
from gristmill.frontends.torch.script import load_script
from gristmill.ir import dims, types
from gristmill.ir.opset import iOS17
from tests.frontends.torch.harness import compare, floats, ints, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    # Tracing warns of every size that Python looks at, which is what these tests are about.
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4, 2)
        self.register_buffer("offset", torch.tensor([1.0, 2.0]))

    def forward(self, image):
        features = torch.relu(self.norm(self.conv(image)))
        features[:, 0] += 1
        pooled = features.mean((2, 3)).view(image.size(0), -1)
        return self.dense(pooled) + self.offset, features.flatten(1).shape[1]


def _saved(script) -> torch.jit.ScriptModule:
    """As it comes back from a file, where names and types of a trace are gone."""
    stream = io.BytesIO()
    torch.jit.save(script, stream)
    stream.seek(0)
    return torch.jit.load(stream)


IMAGE = floats(1, 3, 8, 8)


@pytest.mark.parametrize("make", [lambda m: torch.jit.trace(m, (IMAGE,)), torch.jit.script], ids=["traced", "scripted"])
def test_a_module_gives_the_same_results(make):
    net = Net().eval()
    script = _saved(make(net))
    program = lower(script, inputs=[InputSpec(shape=(1, 3, 8, 8))], opset=iOS17)
    assert [value.name for value in program.main.inputs] == ["image"]
    found = run(program, IMAGE)
    compare(found[:1], net(IMAGE)[0], 1e-5)
    assert found[1] == 4 * 6 * 6


def test_weights_are_constants_under_their_own_paths_and_places_are_the_users():
    program = lower(_saved(torch.jit.script(Net().eval())), inputs=[InputSpec("x", (1, 3, 8, 8))])
    names = {op.name for op in program.main.body if op.op_name == "const"}
    assert {"model_dense_weight", "model_dense_bias", "model_offset"} <= names
    (relu,) = [op for op in program.main.body if op.op_name == "relu"]
    assert Path(relu.location.file).name == Path(__file__).name
    assert "torch.relu" in Path(__file__).read_text().splitlines()[relu.location.line - 1]


def test_sizes_stay_flexible_in_a_trace():
    """A trace computes with sizes as tensors; they must not freeze to those of the example."""

    class Halves(nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0], 2, x.shape[1] // 2).sum(1)

    script = _saved(torch.jit.trace(Halves(), (floats(3, 6),)))
    program = lower(script, inputs=[InputSpec("x", (dims.symbol("batch", 1, 8), 6))], opset=iOS17)
    for batch in (1, 5):
        compare(run(program, floats(batch, 6)), Halves()(floats(batch, 6)))


def test_control_flow_over_sizes_and_constants_is_followed():
    class Loops(nn.Module):
        def forward(self, x, steps: int = 3):
            parts = []
            for k in range(steps):
                if k % 2 == 0 and x.dim() > 1:
                    parts.append(x * k)
                else:
                    parts.append(x - k)
            return torch.cat(parts, 0)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loops = Loops()

        def forward(self, x):
            return self.loops(x, x.shape[0])

    script = _saved(torch.jit.script(Outer()))
    program = lower(script, inputs=[InputSpec("x", (4, 3))])
    compare(run(program, floats(4, 3)), Outer()(floats(4, 3)))


def test_structured_inputs_are_given_flat():
    lstm = nn.LSTM(3, 4)
    inputs = (floats(5, 2, 3), (floats(1, 2, 4), floats(1, 2, 4)))
    script = _saved(torch.jit.trace(lstm, inputs))
    program = lower(script, inputs=[InputSpec(n, s) for n, s in (("x", (5, 2, 3)), ("h", (1, 2, 4)), ("c", (1, 2, 4)))])
    compare(run(program, *inputs), lstm(*inputs), 1e-5)


def test_integers_index():
    class Table(nn.Module):
        def forward(self, x, places):
            return torch.gather(x, 1, places)

    inputs = (floats(2, 4), ints(2, 3, low=0, high=4))
    script = _saved(torch.jit.trace(Table(), inputs))
    program = lower(script, inputs=[InputSpec("x", (2, 4)), InputSpec("places", (2, 3), types.int32)])
    assert program.main.inputs[1].dtype == types.int32
    compare(run(program, *inputs), Table()(*inputs))


def test_a_branch_on_data_becomes_one_of_the_program():
    """Weights and values from outside are used in both branches, one of which gives a number."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(3, 3)

        def forward(self, x):
            y = x + 1
            if x.sum() > 0:
                z, factor = self.dense(y), 2
            else:
                z, factor = y - x.mean(), 5
            return z * factor

    module = Branching()
    program = lower(_saved(torch.jit.script(module)), inputs=[InputSpec("x", (3,))])
    assert any(op.op_name == "cond" for op in program.main.body)
    for x in (torch.ones(3), -torch.ones(3)):
        compare(run(program, x), module(x))


def test_a_loop_on_data_is_refused_with_its_place():
    class Looping(nn.Module):
        def forward(self, x):
            while x.sum() < 10:
                x = x * 2
            return x

    with pytest.raises(UnsupportedError, match="contents of a tensor") as caught:
        lower(_saved(torch.jit.script(Looping())), inputs=[InputSpec("x", (3,))])
    assert Path(__file__).name in str(caught.value)


def test_shapes_are_needed():
    with pytest.raises(InputError, match="shapes must be given"):
        lower(_saved(torch.jit.script(Net().eval())))


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"not a model")
    with pytest.raises(FormatError, match="no TorchScript module"):
        load_script(path)


def test_a_file_of_weights_alone_is_refused_with_advice(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(FormatError, match="load it into its module"):
        load_script(tmp_path / "model.pt")
