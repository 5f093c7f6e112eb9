"""Looking into a model while it runs: intermediate outputs, and the ops that make them wrong.

Operations are messages of the model's specification, as in coremltools: ``op.type``, ``op.outputs[0].name``. One
prediction shows every intermediate output, so nothing is cut out of the model or compiled again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gristmill.analysis.counterparts import counterparts
from gristmill.errors import InputError, InputTypeError
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Function, Value
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import TensorType
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.ml_program.experimental.blame import Search, Verdict
from gristmill.models.ml_program.experimental.remote_device import Device, only_here
from gristmill.models.model import MLModel
from gristmill.package.proto import Message

Operation: TypeAlias = Message
"""A ``MILSpec.Operation``."""

MOVING = frozenset(
    {
        "expand_dims",
        "reshape",
        "reshape_like",
        "squeeze",
        "transpose",
        "slice_by_index",
        "slice_by_size",
        "shape",
        "split",
        "stack",
        "concat",
        "fill",
        "const",
        "compression.constexpr_blockwise_shift_scale",
        "constexpr_blockwise_shift_scale",
        "constexpr_lut_to_dense",
        "constexpr_sparse_to_dense",
        "constexpr_lut_to_sparse",
        "constexpr_affine_dequantize",
        "constexpr_cast",
        "cast",
    }
)
"""Ops that coremltools does not look at by default: they move numbers and make none."""


def skip_op_by_type(op: Operation, op_types: Iterable[str] = MOVING) -> bool:
    """Whether an op's type is one of those to look through."""
    return op.type in op_types


class MLModelInspector:
    """Retrieves intermediate outputs of a model.

    Args:
        model: An ML Program.
        compute_units: Which units may run it; the model's own choice when left out.
        function_name: Which function to run; the model's own choice when left out.
        optimization_hints: As for ``MLModel``.
        device: ``None``, this computer.

    Raises:
        InputError: The model is no ML Program, or has no such function.
        UnsupportedError: ``device`` is given.

    Example::

        inspector = MLModelInspector(model)
        async for name, value in inspector.inspect({"x": x}):
            print(name, value.min(), value.max())
    """

    def __init__(
        self,
        model: MLModel,
        compute_units: ComputeUnit | None = None,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
        device: Device | None = None,
    ) -> None:
        if not isinstance(model, MLModel):
            raise InputTypeError("what is inspected is an MLModel", actual=type(model).__name__)
        only_here(device)
        if model.kind != "mlProgram":
            raise InputError("only ML Programs are inspected", expected="mlProgram", actual=model.kind)
        self.model = model
        self.device = device
        self.compute_units = compute_units or model.compute_unit
        self._running = MLModel(
            model.package,
            compute_units=self.compute_units,
            function_name=function_name or model.function_name,
            optimization_hints=optimization_hints,
        )
        self.function: Function = self._running._function(model.program)
        self._values = {value.name: value for op in self.function.body for value in op.results}
        named = _operations(model, self.function)
        self._operations = {name: operation for name, operation in named.items() if name in self._values}

    @property
    def output_names(self) -> list[str]:
        """Names of all values that can be retrieved, the last one first."""
        return list(reversed(self._operations))

    @property
    def output_name_to_op_map(self) -> OrderedDict[str, Operation]:
        """The operation that makes each value, in order."""
        return OrderedDict(self._operations)

    def op(self, output_name: str) -> Op | None:
        """The op that makes a value, which knows its place in the source (``location``)."""
        value = self._values.get(output_name)
        return value.producer if value is not None else None

    def clear_cached_models(self) -> None:
        """Nothing: no models are made."""

    def observe(self, inputs: Mapping[str, Any], see: Callable[[str, Array], None]) -> None:
        """Runs the model once and tells of every intermediate output as it is computed, so that none need be kept.

        Args:
            inputs: As for ``predict``. States start at zero.
            see: Told the name and the array, which are its own to keep.
        """
        body = self.function.body

        def observer(op: Op, results: list[RuntimeValue]) -> None:
            if op.block is body:  # a nested block may run any number of times
                for value, result in zip(op.results, results, strict=True):
                    if isinstance(result, np.ndarray):
                        see(value.name, result.copy())

        arrays, _ = self._running._arrays(inputs)
        session = self._running._session
        session.run(arrays, session.make_state(), observer)

    async def inspect(
        self,
        inputs: Mapping[str, Any],
        output_names: Sequence[str] | None = None,
        num_predict_intermediate_outputs: int | None = None,
        ignore_const_ops: bool = True,
    ) -> AsyncIterator[tuple[str, Array | None]]:
        """Gives intermediate outputs one after the other.

        Args:
            inputs: As for ``predict``.
            output_names: Which, in this order; all when left out.
            num_predict_intermediate_outputs: How many to hold at once; each such batch is one prediction.
            ignore_const_ops: Give ``None`` for constants in place of their contents.

        Yields:
            Name and value; ``None`` for what is no tensor and for what did not run.

        Raises:
            InputError: There is no such value.
        """
        names = list(dict.fromkeys(self.output_names if output_names is None else output_names))
        unknown = [name for name in names if name not in self._operations]
        if unknown:
            raise InputError(
                f"the function has no value '{unknown[0]}'", expected=", ".join(self._operations), actual=unknown
            )
        for batch in _batches(names, num_predict_intermediate_outputs or len(names)):
            found = await asyncio.to_thread(self._retrieve, inputs, frozenset(batch), ignore_const_ops)
            for name in batch:
                yield name, found.get(name)

    def _retrieve(
        self, inputs: Mapping[str, Any], wanted: frozenset[str], ignore_const_ops: bool
    ) -> dict[str, Array | None]:
        found: dict[str, Array | None] = {}
        constant = {name for name in wanted if _is_constant(self._values[name])}
        for name in constant:
            found[name] = None if ignore_const_ops else _contents(self._values[name])
        computed = wanted if not ignore_const_ops else wanted - constant

        def see(name: str, value: Array) -> None:
            if name in computed:
                found[name] = value

        if not all(found.get(name) is not None for name in computed):
            self.observe(inputs, see)
        return found

    async def retrieve_outputs(
        self,
        inputs: Mapping[str, Any],
        output_names: Sequence[str],
        num_predict_intermediate_outputs: int | None = None,
        ignore_const_ops: bool = True,
    ) -> dict[str, Array | None]:
        """Intermediate outputs by name; arguments as of ``inspect``."""
        found = self.inspect(inputs, output_names, num_predict_intermediate_outputs, ignore_const_ops)
        return {name: value async for name, value in found}


class MLModelValidator:
    """Finds the ops whose results break a rule although their operands keep it.

    Args:
        model: An ML Program.
        function_name: Which function to run; the model's own choice when left out.
        compute_units: Which units may run it; the model's own choice when left out.
        optimization_hints: As for ``MLModel``.
        num_predict_intermediate_outputs: Accepted for coremltools' sake: one prediction shows everything.
        device: ``None``, this computer.

    Raises:
        InputError: The model is no ML Program, or has no such function.
        UnsupportedError: ``device`` is given.

    Example::

        validator = MLModelValidator(model)
        for op in await validator.find_failing_ops_with_infinite_output({"x": x}):
            print(op.type, op.outputs[0].name)
    """

    def __init__(
        self,
        model: MLModel,
        function_name: str | None = None,
        compute_units: ComputeUnit | None = None,
        optimization_hints: Mapping[str, object] | None = None,
        num_predict_intermediate_outputs: int = 20,
        device: Device | None = None,
    ) -> None:
        self.model = model
        self._inspector = MLModelInspector(model, compute_units, function_name, optimization_hints, device)

    async def find_failing_ops(
        self,
        inputs: Mapping[str, Any],
        validate_output: Callable[[Operation, Array], bool],
        output_names: Sequence[str] | None = None,
        skip_op: Callable[[Operation], bool] = skip_op_by_type,
    ) -> list[Operation]:
        """Ops that fail while what they depend on does not, as far as it matters to the outputs.

        Args:
            inputs: As for ``predict``.
            validate_output: Told an op and its value; says whether the value is right.
            output_names: Where to begin; at the function's outputs when left out.
            skip_op: Ops to look through.

        Returns:
            The ops, those nearest to the outputs first.

        Raises:
            InputError: There is no such output.
        """
        search = _search(self._inspector, output_names, skip_op)

        async def judge(ops: list[Op]) -> Mapping[Op, Verdict]:
            verdicts: dict[Op, Verdict] = {}
            wanted = set(ops)

            def see(name: str, value: Array) -> None:
                op = self._inspector.op(name)
                if op in wanted and verdicts.get(op) is not Verdict.FAIL:
                    right = validate_output(self._inspector._operations[name], value)
                    verdicts[op] = Verdict.PASS if right else Verdict.FAIL

            await asyncio.to_thread(self._inspector.observe, inputs, see)
            return verdicts

        return _as_operations(self._inspector, await search.run(judge))

    async def find_failing_ops_with_infinite_output(
        self,
        inputs: Mapping[str, Any],
        output_names: Sequence[str] | None = None,
        skip_op: Callable[[Operation], bool] = skip_op_by_type,
    ) -> list[Operation]:
        """Ops that make infinities of operands that hold none; arguments as of ``find_failing_ops``."""
        return await self.find_failing_ops(
            inputs, lambda op, value: not np.isinf(_numbers(value)).any(), output_names, skip_op
        )

    async def find_failing_ops_with_nan_output(
        self,
        inputs: Mapping[str, Any],
        output_names: Sequence[str] | None = None,
        skip_op: Callable[[Operation], bool] = skip_op_by_type,
    ) -> list[Operation]:
        """Ops that make NaN of operands that hold none; arguments as of ``find_failing_ops``."""
        return await self.find_failing_ops(
            inputs, lambda op, value: not np.isnan(_numbers(value)).any(), output_names, skip_op
        )


class MLModelComparator:
    """Finds the ops whose results differ between two models of one source although their operands do not.

    Values of the two are matched by name; what typing in float16 adds to a name does not count.

    Args:
        reference_model: The model that is right, such as the float32 one.
        target_model: The other one.
        function_name: Which function to run; the models' own choice when left out.
        optimization_hints: As for ``MLModel``.
        num_predict_intermediate_outputs: How many values of each to hold at once; each such batch is one prediction.
        reference_device: ``None``, this computer.
        target_device: ``None``, this computer.

    Raises:
        InputError: A model is no ML Program, or has no such function.
        UnsupportedError: A device is given.

    Example::

        comparator = MLModelComparator(float32_model, float16_model)
        ops = await comparator.find_failing_ops(
            {"x": x}, lambda op, reference, target: compute_snr_and_psnr(target, reference)[1] >= 40
        )
    """

    def __init__(
        self,
        reference_model: MLModel,
        target_model: MLModel,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
        num_predict_intermediate_outputs: int = 20,
        reference_device: Device | None = None,
        target_device: Device | None = None,
    ) -> None:
        self.reference_model, self.target_model = reference_model, target_model
        self._reference = MLModelInspector(
            reference_model, None, function_name, optimization_hints, device=reference_device
        )
        self._target = MLModelInspector(target_model, None, function_name, optimization_hints, device=target_device)
        self._batch = num_predict_intermediate_outputs
        self._names = counterparts(self._reference._operations, self._target._operations)

    async def find_failing_ops(
        self,
        inputs: Mapping[str, Any],
        compare_outputs: Callable[[Operation, Array, Array], bool],
        output_names: Sequence[str] | None = None,
        skip_op: Callable[[Operation], bool] = skip_op_by_type,
    ) -> list[Operation]:
        """Ops of the reference model that differ while what they depend on does not.

        Args:
            inputs: As for ``predict`` of both.
            compare_outputs: Told an op, the reference's value and the target's; says whether they agree.
            output_names: Where to begin; at the function's outputs when left out.
            skip_op: Ops to look through.

        Returns:
            The ops, those nearest to the outputs first.

        Raises:
            InputError: There is no such output.
        """
        search = _search(self._reference, output_names, skip_op)

        async def judge(ops: list[Op]) -> Mapping[Op, Verdict]:
            names = [value.name for op in ops for value in op.results if value.name in self._names]
            mine = await self._reference.retrieve_outputs(inputs, names)
            theirs = await self._target.retrieve_outputs(inputs, [self._names[name] for name in names])
            verdicts: dict[Op, Verdict] = {}
            for name in names:
                op, reference, target = self._reference.op(name), mine[name], theirs[self._names[name]]
                assert op is not None
                if reference is None or target is None:
                    verdicts[op] = Verdict.UNKNOWN
                elif verdicts.get(op) in (None, Verdict.PASS):
                    agree = compare_outputs(self._reference._operations[name], reference, target)
                    verdicts[op] = Verdict.PASS if agree else Verdict.FAIL
            return verdicts

        return _as_operations(self._reference, await search.run(judge, self._batch))


def compute_snr_and_psnr(x: Array, y: Array) -> tuple[float, float]:
    """How far an array is from another one, as ratios of signal to noise.

    Args:
        x: The array.
        y: What it should be, of the same shape.

    Returns:
        The ratio of the mean square of ``y`` to that of the difference, and that of the largest square of ``y`` to it,
        in dB. As in coremltools 1e-5 is added to signals and 1e-10 to noise, so equal arrays have a finite ratio; means
        are taken over all elements, where coremltools divides by the length of the first axis.

    Raises:
        InputError: The shapes differ.
    """
    if x.shape != y.shape:
        raise InputError("arrays of one shape are compared", expected=list(y.shape), actual=list(x.shape))
    wide, reference = np.asarray(x, np.float64), np.asarray(y, np.float64)
    with np.errstate(all="ignore"):  # infinities have ratios too
        noise = np.square(wide - reference).sum() / max(x.size, 1) + 1e-10
        power = np.square(reference)
        snr = 10 * np.log10((power.sum() / max(y.size, 1) + 1e-5) / noise)
        psnr = 10 * np.log10((power.max(initial=0) + 1e-5) / noise)
    return float(snr), float(psnr)


def _operations(model: MLModel, function: Function) -> dict[str, Operation]:
    """The operations of a function's block by the names of their outputs, in order."""
    spec = model.get_spec().mlProgram.functions[function.name]
    operations = spec.block_specializations[spec.opset].operations
    return {output.name: operation for operation in operations for output in operation.outputs}


def _batches(names: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(names)
    while batch := tuple(itertools.islice(rest, size)):
        yield batch


def _is_constant(value: Value) -> bool:
    return value.producer is None or isinstance(value.producer, const) or value.producer.has(Decompresses)


def _contents(value: Value) -> Array | None:
    return value.constant.numpy() if value.constant is not None and isinstance(value.type, TensorType) else None


def _numbers(value: Array) -> Array:
    """The value, or nothing of it where it holds no floats, which alone may be infinite or NaN."""
    return value if value.dtype.kind == "f" else np.zeros(0)


def _search(
    inspector: MLModelInspector, output_names: Sequence[str] | None, skip_op: Callable[[Operation], bool]
) -> Search[Op]:
    """A search over the ops of a function's block."""
    names = [value.name for value in inspector.function.outputs] if output_names is None else list(output_names)
    inputs = {value.name for value in inspector.function.inputs}
    unknown = [name for name in names if inspector.op(name) is None and name not in inputs]
    if unknown:
        raise InputError(
            f"the function has no value '{unknown[0]}'", expected=", ".join(inspector._operations), actual=unknown
        )
    outputs = [op for name in names if (op := inspector.op(name)) is not None]

    @functools.cache
    def skipped(op: Op) -> bool:
        operations = [inspector._operations[v.name] for v in op.results if v.name in inspector._operations]
        return op not in outputs and (not operations or any(map(skip_op, operations)))

    return Search(outputs, dependencies, skipped)


def dependencies(op: Op) -> Iterator[Op]:
    """The ops whose results an op uses, those that its nested blocks take from outside included."""
    for user in (op, *(inner for block in op.blocks for inner in block.walk())):
        for _, _, value in user.uses():
            if value.producer is not None and value.producer.block is op.block:
                yield value.producer


def _as_operations(inspector: MLModelInspector, ops: Iterable[Op]) -> list[Operation]:
    return [inspector._operations[op.results[0].name] for op in ops]
