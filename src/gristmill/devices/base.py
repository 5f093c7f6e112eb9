"""What a device offers to the runtime."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gristmill.errors import UnsupportedError
from gristmill.ir.constants import Array, FilePlace
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Function

Observer: TypeAlias = Callable[[Op, list[RuntimeValue]], None]
"""Called after each op with the values of its results."""


@dataclass(frozen=True)
class Refusal:
    """Why a device does not run an op.

    Attributes:
        reason: One sentence.
        fix: What the user can change so that it would.
    """

    reason: str
    fix: str | None = None


@dataclass(frozen=True)
class CallProfile:
    """What one call, or one op on the reference device, took.

    Attributes:
        kernel: Its name; ``reference`` for an op without one.
        ops: The ops that it ran: several where they were fused, none where data only changed its order in memory.
        start: When, in seconds of ``time.perf_counter``.
        seconds: How long it ran.
        flops: Floating-point operations, where the kernel counts them.
        bytes: Of operands, results and constants, each counted once.
        variant: Which of the kernel's ways was taken, or why the op has no kernel.
    """

    kernel: str
    ops: tuple[Op, ...]
    start: float
    seconds: float
    flops: float
    bytes: float
    variant: str


class DirectRun(Protocol):
    """A short way to run a function whose arrays all have fixed shapes, where a device has one."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Array] | None:
        """Runs on contiguous arrays of exactly the declared types and shapes, by input name.

        Float32 is rounded where float16 is declared.

        Returns:
            The outputs by name, or ``None``, without having run, if an array is not as declared.
        """

    def bind(self) -> tuple[dict[str, Array], dict[str, Array], Callable[[], None]]:
        """Arrays for the inputs and the outputs by name, and a function that computes these from those."""


class Executable(ABC):
    """A function prepared for a device."""

    @abstractmethod
    def run(self, inputs: Mapping[str, RuntimeValue], observe: Observer | None = None) -> list[RuntimeValue]:
        """Runs the function once.

        Args:
            inputs: Arrays of the declared types by input name; cells for states.
            observe: Told of every op's results, in the order in which they are computed.

        Returns:
            The outputs, in order.

        Raises:
            ExecutionError: An op failed on these values.
        """

    def direct(self) -> DirectRun | None:
        """The short way to run the function, if there is one."""
        return None

    def profile(self, inputs: Mapping[str, RuntimeValue]) -> list[CallProfile]:
        """Runs the function once and says what each op took, those in nested blocks too.

        Raises:
            ExecutionError: An op failed on these values.
        """
        calls: list[CallProfile] = []
        last = time.perf_counter()

        def observe(op: Op, results: list[RuntimeValue]) -> None:
            nonlocal last
            now = time.perf_counter()
            calls.append(CallProfile(op.op_name, (op,), last, now - last, 0, 0, ""))
            last = now

        self.run(inputs, observe)
        return calls


class Device(ABC):
    """A unit that runs functions."""

    name: str

    @abstractmethod
    def supports(self, op: Op) -> Refusal | None:
        """``None`` when the device runs the op in its declared types, else the reason why not."""

    def check(self, function: Function) -> None:
        """Raises UnsupportedError for the first op of a function that the device refuses."""
        for op in function.body.walk():
            refusal = self.supports(op)
            if refusal is not None:
                raise UnsupportedError(refusal.reason, op=op.title, location=op.location, hint=refusal.fix)

    def expecting(self, weights: Iterable[tuple[FilePlace, int]]) -> AbstractContextManager[object]:
        """While a function is decoded and prepared: a device may get ready for its weights meanwhile.

        Args:
            weights: Where they lie: files, and how many bytes of each.
        """
        return nullcontext()

    @abstractmethod
    def prepare(self, function: Function) -> Executable:
        """Makes a function ready to run.

        Raises:
            UnsupportedError: It holds an op that the device refuses.
        """
