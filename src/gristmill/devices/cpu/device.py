"""The CPU device."""

from __future__ import annotations

from collections.abc import Mapping

from gristmill.devices.base import Device, Executable, Observer, Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.emit import Prepared
from gristmill.devices.cpu.plan import Environment, Planner
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import UnsupportedError
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Function


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

    def prepare(self, function: Function) -> CpuExecutable:
        for op in function.body.walk():
            refusal = self.supports(op)
            if refusal is not None:
                raise UnsupportedError(refusal.reason, op=op.title, location=op.location, hint=refusal.fix)
        return CpuExecutable(function, self.threads, strict=self.strict)


class CpuExecutable(Executable):
    """A function as native segments and reference ops."""

    def __init__(self, function: Function, threads: int, *, strict: bool) -> None:
        self._function = function
        self._prepared: Prepared = {}
        self._threads, self._strict = threads, strict
        self.plan = Planner(threads, self._prepared, strict=strict).plan(function.body)

    def run(self, inputs: Mapping[str, RuntimeValue], observe: Observer | None = None) -> list[RuntimeValue]:
        plan = self.plan
        if observe is not None:  # every result must be seen, so nothing is fused
            plan = Planner(self._threads, self._prepared, strict=self._strict, fuse=False).plan(self._function.body)
        return plan.run(Environment(observe), [inputs[value.name] for value in self._function.inputs])
