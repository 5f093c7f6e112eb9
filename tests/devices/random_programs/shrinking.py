"""Makes a program smaller that devices disagree on, as long as they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import GristmillError
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_program
from gristmill.ir.op import Op
from gristmill.ir.program import Program, Value
from gristmill.ir.types import StateType
from gristmill.passes.dead_code import DeadCode
from gristmill.runtime.session import Session
from tests.devices.random_programs.growing import Example


def shrunk(example: Example, disagrees: Callable[[Example], bool]) -> Example:
    """A program of which no output, op or call can be left out any more."""
    smaller: Example | None = example
    while smaller is not None:
        example = smaller
        size = _size(example)
        smaller = next((found for found in _smaller(example) if _size(found) < size and disagrees(found)), None)
    return example


def _size(example: Example) -> tuple[int, int, int]:
    main = example.program.main
    return len(main.body), len(main.outputs), len(example.calls)


def _smaller(example: Example) -> Iterator[Example]:
    if len(example.calls) > 1:
        for call in example.calls:
            yield replace(example, calls=[call])
        for k in range(len(example.calls)):
            yield replace(example, calls=example.calls[:k] + example.calls[k + 1 :])
    outputs = example.program.main.outputs
    if len(outputs) > 1:
        for k in range(len(outputs)):
            yield _with_outputs(example, outputs[k : k + 1])
        for k in range(len(outputs)):
            yield _with_outputs(example, outputs[:k] + outputs[k + 1 :])
    for op in example.program.main.body:
        if not isinstance(op, const) and not any(value in outputs for value in op.results):
            yield _with_outputs(example, op.results)
    yield from _with_inputs_for_ops(example)


def _with_outputs(example: Example, values: Iterable[Value]) -> Example:
    program = clone_program(example.program)
    twins = dict(zip(example.program.main.values(), program.main.values(), strict=True))
    program.main.body.outputs = [twins[value] for value in values]
    return _tidied(example, program, example.calls)


def _with_inputs_for_ops(example: Example) -> Iterator[Example]:
    """Each op's results given as inputs instead, with what the reference device makes of them."""
    seen: list[dict[str, np.ndarray]] = []
    session = Session(example.program.main, ReferenceDevice())
    state = session.make_state() if any(isinstance(v.type, StateType) for v in example.program.main.inputs) else None
    for inputs in example.calls:
        found: dict[str, np.ndarray] = {}

        def observe(op: Op, results: list[np.ndarray], found: dict[str, np.ndarray] = found) -> None:
            found.update(zip((v.name for v in op.results), results, strict=True))

        try:
            session.run(inputs, state, observe)
        except GristmillError:
            return
        seen.append(
            {name: np.array(array) for name, array in found.items() if isinstance(array, np.ndarray | np.generic)}
        )
    for place, op in enumerate(example.program.main.body):
        names = [value.name for value in op.results]
        if isinstance(op, const) or any(name not in found for name in names for found in seen):
            continue
        program = clone_program(example.program)
        twin = list(program.main.body)[place]
        for value in twin.results:
            value.replace_uses(program.main.body.add_argument(f"{value.name}_given", value.type))
        twin.erase()
        calls = [
            {**inputs, **{f"{name}_given": found[name] for name in names}}
            for inputs, found in zip(example.calls, seen, strict=True)
        ]
        try:
            yield _tidied(example, program, calls)
        except GristmillError:
            continue


def _tidied(example: Example, program: Program, calls: list[dict[str, np.ndarray]]) -> Example:
    """Without what nobody uses."""
    DeadCode().run_on(program.main)
    body = program.main.body
    unused = {value.name for value in body.arguments if not value.uses}
    body.arguments[:] = [v for v in body.arguments if v.name not in unused]
    return replace(
        example, program=program, calls=[{n: a for n, a in inputs.items() if n not in unused} for inputs in calls]
    )
