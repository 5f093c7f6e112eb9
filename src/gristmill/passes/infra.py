"""What a pass is, and how passes run.

A pass changes a program in place and says whether it did. After each pass the program is verified, so a fault is found
where it was made; its error names the pass and those that ran before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gristmill.errors import GristmillError
from gristmill.ir.program import Block, Function, Program


class PassError(GristmillError, RuntimeError):
    """A pass failed, or left an invalid program."""


class Pass(ABC):
    """A change to a program."""

    name: str
    """How pipelines and messages call it."""

    @abstractmethod
    def run(self, program: Program) -> bool:
        """Changes the program in place; returns whether anything changed."""


class FunctionPass(Pass):
    """A pass that treats each function by itself."""

    @abstractmethod
    def run_on(self, function: Function) -> bool:
        """Changes the function in place; returns whether anything changed."""

    def run(self, program: Program) -> bool:
        changed = False
        for function in program.functions.values():
            changed |= self.run_on(function)
        return changed


@dataclass
class Report:
    """What a run of passes did: the names of those that changed the program, in order."""

    changed: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)


def run_passes(
    program: Program,
    passes: Iterable[Pass],
    *,
    verify: Callable[[Program], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Runs passes in order.

    Args:
        program: Changed in place.
        passes: What to run.
        verify: Called after each pass that changed something; raises when the program is invalid.
        progress: Told the name of each pass before it runs.

    Raises:
        PassError: A pass failed; the cause is attached.
    """
    report = Report()
    for step in passes:
        if progress is not None:
            progress(step.name)
        try:
            changed = step.run(program)
            if changed and verify is not None:
                verify(program)
        except GristmillError as error:
            raise PassError(
                f"pass '{step.name}' failed: {error.message}",
                op=error.op,
                location=error.location,
                expected=error.expected,
                actual=error.actual,
                hint=f"passes before it: {', '.join(report.ran) or 'none'}",
            ) from error
        report.ran.append(step.name)
        if changed:
            report.changed.append(step.name)
    return report


def blocks_of(function: Function) -> Sequence[Block]:
    """All blocks of a function, each before the blocks that its ops hold."""
    found = [function.body]
    for op in function.body.walk():
        found += op.blocks
    return found
