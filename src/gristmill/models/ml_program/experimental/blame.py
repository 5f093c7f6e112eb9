"""Finding the nodes of a graph that fail although all that they depend on passes.

The graph is walked from its outputs towards its inputs, only through nodes that fail or of which nothing is known: what
a node that passes depends on is of no interest.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

Node = TypeVar("Node", bound=Hashable)


class Verdict(enum.Enum):
    """What became of a node."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    UNKNOWN = "unknown"


class Search(Generic[Node]):
    """One search.

    Args:
        outputs: Where to begin.
        dependencies: What a node depends on directly.
        skipped: Nodes that are looked through: their verdict is ``UNKNOWN``.
    """

    def __init__(
        self,
        outputs: Iterable[Node],
        dependencies: Callable[[Node], Iterable[Node]],
        skipped: Callable[[Node], bool] = lambda node: False,
    ) -> None:
        self._outputs = list(dict.fromkeys(outputs))
        self._dependencies, self._skipped = dependencies, skipped
        self.verdicts: dict[Node, Verdict] = {}

    async def run(
        self, judge: Callable[[list[Node]], Awaitable[Mapping[Node, Verdict]]], batch: int | None = None
    ) -> list[Node]:
        """Searches until all nodes that matter are judged.

        Args:
            judge: Gives a verdict for each node of a list.
            batch: About how many nodes are judged at once; all that could matter when left out.

        Returns:
            The nodes that are to blame, those nearest to the outputs first.
        """
        while wanted := self._wanted(batch):
            found = await judge(wanted)
            self.verdicts.update({node: found.get(node, Verdict.UNKNOWN) for node in wanted})
        return [node for node in self._walk() if self._is_source(node)]

    def _verdict(self, node: Node) -> Verdict | None:
        return self.verdicts.get(node) or (Verdict.UNKNOWN if self._skipped(node) else None)

    def _walk(self) -> Iterator[Node]:
        """The nodes that matter so far, breadth first."""
        yield from _reachable(
            self._outputs,
            lambda node: () if self._verdict(node) in (None, Verdict.PASS) else self._dependencies(node),
        )

    def _wanted(self, batch: int | None) -> list[Node]:
        """Nodes that matter and are not judged yet, and what they depend on until the batch is full."""
        wanted = [node for node in self._walk() if self._verdict(node) is None]
        if not wanted:
            return []
        for node in _reachable(wanted, self._dependencies):
            if batch is not None and len(wanted) >= batch:
                break
            if self._verdict(node) is None:
                wanted.append(node)
        return list(dict.fromkeys(wanted))

    def _is_source(self, node: Node) -> bool:
        """Whether a node fails, and nothing that it depends on does, seen through what is unknown."""
        if self._verdict(node) is not Verdict.FAIL:
            return False
        behind = _reachable(
            self._dependencies(node),
            lambda other: self._dependencies(other) if self._verdict(other) is Verdict.UNKNOWN else (),
        )
        return all(self._verdict(other) is not Verdict.FAIL for other in behind)


def _reachable(start: Iterable[Node], further: Callable[[Node], Iterable[Node]]) -> Iterator[Node]:
    """Nodes from ``start`` on, each once, breadth first."""
    level = list(dict.fromkeys(start))
    seen = set(level)
    while level:
        following: list[Node] = []
        for node in level:
            yield node
            for other in further(node):
                if other not in seen:
                    seen.add(other)
                    following.append(other)
        level = following
