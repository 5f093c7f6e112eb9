"""The CPU device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from gristmill.devices.base import CallProfile, Device, DirectRun, Executable, Observer, Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.direct import direct_run
from gristmill.devices.cpu.emit import PreparedConstants
from gristmill.devices.cpu.plan import BlockPlan, Environment, Planner
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir.constants import FilePlace
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Function, Value

_FOR_VALUES = 1 << 24
"""Bytes that are made ready beside a weight file, unless the file is smaller; or an eighth of it, if that is more. The
first run needs them for values and working memory; weights stay in their file at first. An eighth keeps a transformer's
memory within 1.3 of its weights."""


class CpuDevice(Device):
    """Runs programs with native kernels, and ops that have none by their reference.

    Args:
        threads: How many a prediction may use; ``GRISTMILL_NUM_THREADS``, or all processors, when left out.
        strict: Round every result to its declared type, as the reference device does. Otherwise float16 values stay
            float32 inside a fused group.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, *, strict: bool = False) -> None:
        self.threads = threads or _native.default_threads()
        self.strict = strict
        self._reference = ReferenceDevice()

    def supports(self, op: Op) -> Refusal | None:
        return self._reference.supports(op)

    @contextmanager
    def expecting(self, weights: Iterable[tuple[FilePlace, int]]) -> Iterator[None]:
        expected = [
            _native.Expected(place.descriptor, size, place.mapped, min(size, max(size // 8, _FOR_VALUES)))
            for place, size in weights
        ]
        yield
        del expected  # what was not used goes

    def prepare(self, function: Function) -> CpuExecutable:
        self.check(function)
        return CpuExecutable(function, self.threads, strict=self.strict)


class CpuExecutable(Executable):
    """A function as native segments and reference ops."""

    def __init__(self, function: Function, threads: int, *, strict: bool) -> None:
        self._function = function
        self._constants: dict[Value, RuntimeValue] = {}
        self._prepared: PreparedConstants = {}
        self._threads, self._strict = threads, strict
        self.plan = self._planned(fuse=True)

    def _planned(self, *, fuse: bool) -> BlockPlan:
        return Planner(self._threads, self._prepared, strict=self._strict, fuse=fuse).plan(self._function.body)

    @cached_property
    def _unfused(self) -> BlockPlan:
        """The plan in which every result can be seen."""
        return self._planned(fuse=False)

    def run(self, inputs: Mapping[str, RuntimeValue], observe: Observer | None = None) -> list[RuntimeValue]:
        plan = self.plan if observe is None else self._unfused
        environment = Environment(self._constants, observe)
        with environment.whole():
            return plan.run(environment, [inputs[value.name] for value in self._function.inputs])

    def direct(self) -> DirectRun | None:
        return direct_run(self._function, self.plan)

    def profile(self, inputs: Mapping[str, RuntimeValue]) -> list[CallProfile]:
        environment = Environment(self._constants)
        with environment.whole():
            return self.plan.profile(environment, [inputs[value.name] for value in self._function.inputs])
