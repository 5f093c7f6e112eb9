"""What changed from one program to another: ops added, removed and changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeAlias

from gristmill.analysis.counterparts import counterparts
from gristmill.analysis.report.graph import shown_ops, type_text
from gristmill.ir.builtin import const
from gristmill.ir.constants import same_constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Program, Value
from gristmill.precision.map import name_of

Document: TypeAlias = dict[str, Any]
Pairs: TypeAlias = dict[Op, Op]

_COMPARED = 1 << 20  # elements of a constant that are compared one by one


def diff(old: Program, new: Program) -> Document:
    """Compares two programs, function by function.

    Ops are matched by the names of their results and their type, then by where they stand among ops that are matched:
    what they use, and what uses them.

    Returns:
        ``added``, ``removed`` and ``changed`` as lists of ops, each with ``function``, ``type`` and ``name``; changed
        ones with ``old``, what the op is called in the old program, and ``changes`` in words. ``functions`` and
        ``interface`` hold changes of those in words; ``same`` counts the ops that did not change.
    """
    document: Document = {"added": [], "removed": [], "changed": [], "functions": [], "interface": [], "same": 0}
    names = dict.fromkeys((*old.functions, *new.functions))
    if len(old.functions) == len(new.functions) == 1:  # whatever they are called
        _diff_function(old.main, new.main, document)
        return document
    for name in names:
        mine, theirs = old.functions.get(name), new.functions.get(name)
        if mine is not None and theirs is not None:
            _diff_function(mine, theirs, document)
        else:
            document["functions"].append(f"function '{name}' was {'removed' if theirs is None else 'added'}")
    return document


def _diff_function(old: Function, new: Function, document: Document) -> None:
    before, after = (list(_all_ops(function.body)) for function in (old, new))
    pairs = match(before, after)
    partners = {theirs: mine for mine, theirs in pairs.items()}
    document["interface"] += _interface(old, new)
    for op in before:
        if op not in pairs:
            document["removed"].append(_named(old, op))
    for op in after:
        if op not in partners:
            document["added"].append(_named(new, op))
            continue
        changes = list(_changes(partners[op], op, pairs))
        if changes:
            document["changed"].append(_named(new, op) | {"old": name_of(partners[op]), "changes": changes})
        else:
            document["same"] += 1


def _named(function: Function, op: Op) -> Document:
    types = ", ".join(type_text(value.type) for value in op.results)
    return {"function": function.name, "type": op.op_name, "name": name_of(op), "results": types}


def _all_ops(block: Block) -> Iterator[Op]:
    for op in shown_ops(block):
        yield op
        for nested in op.blocks:
            yield from _all_ops(nested)


def _interface(old: Function, new: Function) -> Iterator[str]:
    for kind in ("inputs", "outputs"):
        before, after = ({value.name: type_text(value.type) for value in getattr(f, kind)} for f in (old, new))
        for name in dict.fromkeys((*before, *after)):
            mine, theirs = before.get(name), after.get(name)
            if mine != theirs:
                yield f"{kind[:-1]} '{name}': {mine or 'not there'} → {theirs or 'not there'}"


# --- matching --------------------------------------------------------------------------------------------------------


def match(old: Iterable[Op], new: Iterable[Op]) -> Pairs:
    """Ops of one program by those of another that stand for the same."""
    before, after = list(old), list(new)
    pairs: Pairs = {}
    taken: set[Op] = set()

    def pair(mine: Op, theirs: Op) -> None:
        if mine not in pairs and theirs not in taken:
            pairs[mine] = theirs
            taken.add(theirs)

    by_name = {name_of(op): op for op in after}
    own = {name_of(op): op for op in before}
    for name, other in counterparts(own, by_name).items():
        if own[name].op_name == by_name[other].op_name:
            pair(own[name], by_name[other])
    for key in (_uses, _users):
        _match_by(before, after, pairs, pair, key)
    for name in own.keys() & by_name.keys():  # another op makes the value now
        pair(own[name], by_name[name])
    return pairs


def _match_by(
    before: list[Op],
    after: list[Op],
    pairs: Pairs,
    pair: Callable[[Op, Op], None],
    key: Callable[[Op, dict[Op, Op] | None], Hashable],
) -> None:
    """Pairs ops whose surroundings are paired and that nothing else could be meant by; each pair may lead to others."""
    while True:
        known, partners = len(pairs), set(pairs.values())
        groups: defaultdict[Hashable, tuple[list[Op], list[Op]]] = defaultdict(lambda: ([], []))
        for op in before:
            if op not in pairs and (found := key(op, pairs)) is not None:
                groups[found][0].append(op)
        for op in after:
            if op not in partners and (found := key(op, None)) is not None:
                groups[found][1].append(op)
        for mine, theirs in groups.values():
            if len(mine) == len(theirs) == 1:
                pair(mine[0], theirs[0])
        if len(pairs) == known:
            return


def _uses(op: Op, pairs: dict[Op, Op] | None) -> Hashable:
    """An op by its type and what it uses, in terms of the new program; ``None`` where that is not known."""
    operands = []
    for slot, index, value in op.uses():
        if value.constant is None:
            maker = _translated(value.producer, pairs)
            if value.producer is not None and maker is None:
                return None
            place = value.producer.results.index(value) if value.producer is not None else value.name
            operands.append((slot, index, maker, place))
    return (op.op_name, tuple(operands)) if operands else None


def _users(op: Op, pairs: dict[Op, Op] | None) -> Hashable:
    """An op by its type and what uses it."""
    users = []
    for value in op.results:
        for use in value.uses:
            if isinstance(use.user, Op):
                user = _translated(use.user, pairs)
                if user is None:
                    return None
                users.append((user, use.slot, use.position))
    return (op.op_name, tuple(sorted(users, key=lambda use: (id(use[0]), str(use[1:]))))) if users else None


def _translated(op: Op | None, pairs: dict[Op, Op] | None) -> Op | None:
    return op if op is None or pairs is None else pairs.get(op)


# --- changes ---------------------------------------------------------------------------------------------------------


def _changes(old: Op, new: Op, pairs: Pairs) -> Iterator[str]:
    """How two ops that stand for the same differ, in words."""
    if old.op_name != new.op_name:
        yield f"op: {old.op_name} → {new.op_name}"
    for mine, theirs in zip(old.results, new.results, strict=False):
        if type_text(mine.type) != type_text(theirs.type):
            yield f"type: {type_text(mine.type)} → {type_text(theirs.type)}"
    for slot in dict.fromkeys((*old.operands, *new.operands)):
        before, after = (_operands(op, slot) for op in (old, new))
        if not before or not after:
            yield f"operand '{slot}' was {'removed' if before else 'added'}"
        elif len(before) != len(after):
            yield f"operand '{slot}': {len(before)} values → {len(after)}"
        else:
            for one, other in zip(before, after, strict=True):
                yield from _operand_changes(slot, one, other, pairs)


def _operands(op: Op, slot: str) -> tuple[Value, ...]:
    found = op.operands.get(slot, ())
    return found if isinstance(found, tuple) else (found,)


def _operand_changes(slot: str, old: Value, new: Value, pairs: Pairs) -> Iterator[str]:
    if (old.constant is None) != (new.constant is None):
        yield f"operand '{slot}' is {'a constant' if new.constant is not None else 'computed'} now"
    elif old.constant is not None and new.constant is not None:
        if type_text(old.type) != type_text(new.type):
            yield f"constant '{slot}': {type_text(old.type)} → {type_text(new.type)}"
        elif _differ(old, new):
            yield f"constant '{slot}' has other contents"
    elif old.producer is not None and not isinstance(old.producer, const) and new.producer is not None:
        if pairs.get(old.producer) is not new.producer:
            yield f"operand '{slot}' comes from {new.producer.title}, and came from {old.producer.title}"
    elif (old.producer is None) != (new.producer is None):
        yield f"operand '{slot}' is '{new.name}' now, and was '{old.name}'"


def _differ(old: Value, new: Value) -> bool:
    assert old.constant is not None
    assert new.constant is not None
    if hasattr(old.constant.payload, "size") and old.constant.data.size > _COMPARED:
        return False  # too large to be worth reading
    return not same_constant(old.constant, new.constant)
