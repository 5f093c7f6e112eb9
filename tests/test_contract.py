"""The precision contract, as a table: every op × declared type × device, on values that less precision gets wrong.

The lines come from the registry of ops and their cases, so a new op is in the table without being named here; how a
line is checked, and its bounds, stands in ``tests/contract.py``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gristmill.devices.base import Device
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.devices.neural_engine import NeuralEngineDevice
from gristmill.devices.profiles import NumericsProfile
from gristmill.devices.reference import ReferenceDevice
from gristmill.devices.reference.executor import ReferenceExecutable
from gristmill.errors import InputError, TypeInferenceError, UnsupportedError
from gristmill.ir import registry, types
from gristmill.ir.builder import mb
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Program
from gristmill.ir.types import DType, TensorType, fp16, fp32
from tests.contract import Row, rows
from tests.test_op_cases import CASES

CASES_EACH = 16
"""Of an op with more cases, so many from all over its family's list."""

ABSENT = {
    "const": "is not computed",
    "classify": "picks a label; tests/op_cases/classify.py",
    **dict.fromkeys(("cond", "while_loop"), "compute nothing themselves"),
    **dict.fromkeys(
        ("make_list", "list_gather", "list_length", "list_read", "list_scatter", "list_write"),
        "move elements of lists; tests/ops/test_lists.py",
    ),
    **dict.fromkeys(("coreml_update_state", "read_state", "write_state"), "move states; tests/ops/test_state.py"),
    **dict.fromkeys(
        ("random_bernoulli", "random_categorical", "random_normal", "random_uniform"),
        "draw anew each time; tests/op_cases/random.py",
    ),
}

# Their squares or products of two values leave the range of the type that they are declared in. The contract promises
# digits within that range, and docs/architecture.md says why no more. The reference device has float64's range.
SQUARES = {
    *("instance_norm", "l2_norm", "l2_pool", "layer_norm", "local_response_norm", "non_maximum_suppression"),
    "reduce_l2_norm",
}


@dataclass(frozen=True)
class Claim:
    """A device, and what it says of itself.

    Attributes:
        make: Makes it.
        accumulation: What it adds up float16 values in, at least.
        flushes: Whether float16's subnormal numbers may count as zero.
    """

    make: Callable[[], Device]
    accumulation: DType = fp32
    flushes: bool = False


DEVICES = {
    "reference": Claim(ReferenceDevice),
    "cpu-fast": Claim(lambda: CpuDevice(1)),
    "cpu-strict": Claim(lambda: CpuDevice(1, strict=True)),
    "neural-engine": Claim(NeuralEngineDevice),
    "neural-engine-float16": Claim(lambda: NeuralEngineDevice("neural_engine_float16"), fp16, flushes=True),
    "gpu": Claim(SimulatedGpuDevice),
    "gpu-float16": Claim(lambda: SimulatedGpuDevice("gpu_float16"), fp16),
}


@functools.cache
def lines(op: str) -> list[Row]:
    """The table's lines for an op, in each float type, in the newest opset that a case runs in."""
    cases = [case for case in CASES if case.op == op and case.expected is not None]
    cases = cases[:: math.ceil(len(cases) / CASES_EACH)]
    newest = {(index, dtype): opset for index, case in enumerate(cases) for _, dtype, opset in case.variants()}
    return [row for (index, dtype), opset in newest.items() for row in rows(cases[index], dtype, opset)]


OPS = sorted({case.op for case in CASES} - set(ABSENT))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", OPS)
def test_nothing_is_computed_or_stored_less_precisely_than_declared(op, device):
    """Every line is within its bound, or the device refuses the op."""
    claim = DEVICES[device]
    made = claim.make()
    for row in lines(op):
        narrow = claim.accumulation == fp16 and row.dtype == fp16
        beyond = row.op.op_name in SQUARES and row.values in ("large", "subnormal") and device != "reference"
        if beyond or (narrow and row.values == "large"):  # sums of those are beyond float16's range
            continue
        try:
            missed = row.miss(made, claim.accumulation, flushes=claim.flushes)
        except UnsupportedError:
            assert device.startswith("neural-engine")
            continue
        assert missed is None, f"{row}: {missed}"


def test_every_op_is_in_the_table():
    """With a line in each float type that it takes, or with the reason why not."""
    for op in registry.all_ops():
        if op.op_name in ABSENT:
            continue
        found = {row.dtype for row in lines(op.op_name)}
        declared = {dtype for case in CASES if case.op == op.op_name for _, dtype, _ in case.variants()}
        assert found == declared, op.op_name


def test_the_neural_engine_refuses_whatever_is_declared_as_float32():
    """Each op on float32 tensors, with a reason that names the type, and a remedy."""
    engine = NeuralEngineDevice()
    for op in OPS:
        for row in lines(op):
            refusal = engine.supports(row.op)
            tensors = (value for value in (*row.program.main.inputs, *row.op.results))
            if any(isinstance(value.type, TensorType) and value.dtype == fp32 for value in tensors):
                assert refusal is not None, row
                assert "float16 only" in refusal.reason
                assert "fp32" in refusal.reason
                assert refusal.fix


def test_bfloat16_cannot_be_had_without_asking():
    """No element type, no cast, no profile has it; and there is nothing to ask with yet."""
    assert not {name for name in types.DTYPES if "bf" in name}
    program = Program()
    with (
        pytest.raises(TypeInferenceError, match="unknown target type"),
        mb.function(program, "main", {"x": TensorType(fp32, (2,))}) as (x,),
    ):
        mb.cast(x=x, dtype="bf16")
    bfloat16 = DType("bf16", "float", 16, np.dtype(np.float16))
    with pytest.raises(InputError, match="float16 or float32"):
        NumericsProfile("mine", "gpu", bfloat16, flushes_subnormals=False)


# --- the table itself can fail ---------------------------------------------------------------------------------------


class LesserDevice(ReferenceDevice):
    """The reference device, but for values that lose something on their way in and out."""

    def __init__(self, lose: Callable[[np.ndarray], np.ndarray]) -> None:
        self._lose = lose

    def prepare(self, function: Function) -> ReferenceExecutable:
        return ReferenceExecutable(function, self._evaluate)

    def _evaluate(self, op: Op, operands: Mapping[str, Any]) -> list[Any]:
        results = op.compute({name: self._lost(value) for name, value in operands.items()})
        return list(map(self._lost, results))

    def _lost(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._lost, value))
        return self._lose(value) if isinstance(value, np.ndarray) else value


def shortened(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Floats with so many explicit bits of mantissa, to nearest."""

    def shorten(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        mantissa, exponent = np.frexp(array.astype(np.float64))
        with np.errstate(all="ignore"):
            short = np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1).astype(array.dtype)
        return np.where(np.isfinite(array), short, array)

    return shorten


def flushed(array: np.ndarray) -> np.ndarray:
    """Subnormal numbers as zero."""
    if array.dtype.kind != "f":
        return array
    return np.where(np.abs(array) < np.finfo(array.dtype).smallest_normal, array.dtype.type(0), array)


def through_float32(array: np.ndarray) -> np.ndarray:
    """Integers that passed through a float."""
    if array.dtype != np.int32:
        return array
    return np.clip(array.astype(np.float32).astype(np.int64), -(2**31), 2**31 - 1).astype(np.int32)


# Ops whose results do not change with what is lost.
COARSE = {
    *("fill_like", "shape", "non_zero", "sign"),  # give sizes or signs
    "quantize",  # gives one of a few integers
}
SWAMPED = {
    # near zero they are constant, or so small a number vanishes beside another operand
    *("acos", "add", "batch_norm", "conv_quantized", "cos", "cosh", "exp", "exp2", "gru", "linear_activation", "lstm"),
    *("reduce_log_sum_exp", "rnn", "scaled_dot_product_attention", "sigmoid", "sigmoid_hard", "softmax", "softplus"),
    *("softplus_parametric", "sub", "inverse", "range_1d", "rsqrt"),
    *("reduce_prod", "reduce_sum_square", "square"),  # their results vanish
    *("less", "greater_equal", "round", "threshold", "thresholded_relu"),  # take it for zero rightly
}
COUNTED = {
    *("fill", "one_hot", "range_1d"),  # their integers are sizes and places
    *("exp2", "reduce_log_sum"),  # such powers are 0, such logarithms equal
}
LOSSES = {
    "TF32": (shortened(10), ("full", "neighbours"), (fp32,), COARSE),
    "bfloat16": (shortened(7), ("full", "neighbours"), (fp32, fp16), COARSE),
    "flush-to-zero": (flushed, ("subnormal",), (fp32, fp16), COARSE | SWAMPED),
    "integers-through-float32": (through_float32, ("integers",), (fp32,), COARSE | COUNTED),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_device_of_less_precision_fails_the_table(loss):
    """On every op that takes such values, except those that are named above."""
    lose, values, dtypes, unmoved = LOSSES[loss]
    device, missed = LesserDevice(lose), set()
    for dtype in dtypes:
        chosen = [
            row
            for op in OPS
            for row in lines(op)
            if row.values in values
            and row.dtype == dtype
            and any(array.dtype.kind == ("i" if loss.startswith("int") else "f") for array in row.inputs.values())
        ]
        passed = {row.op.op_name for row in chosen} - {row.op.op_name for row in chosen if row.miss(device)}
        missed |= passed
    assert missed <= unmoved
