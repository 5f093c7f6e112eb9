"""Minimum cuts of directed networks: the push–relabel method of Goldberg and Tarjan (1988).

Only the first phase runs: it finds the cut, not the flow. Nodes are taken first in, first out; heights begin as exact
distances from the sink and are renewed after as many relabellings as there are nodes; a gap between heights cuts off
all nodes above it (Cherkassky and Goldberg, 1997). Capacities are ints, so results are exact.
"""

from __future__ import annotations

from collections import deque


class MinCut:
    """A network between a source and a sink.

    Args:
        nodes: How many there are besides source and sink; their names are 0, 1, ….
    """

    def __init__(self, nodes: int) -> None:
        self._supply = [0] * nodes  # capacity from the source
        self._demand = [0] * nodes  # capacity to the sink
        self._arcs: list[list[int]] = [[] for _ in range(nodes)]  # arc k and its reverse k ^ 1
        self._head: list[int] = []
        self._capacity: list[int] = []

    def add_node(self) -> int:
        """One more node."""
        self._supply.append(0)
        self._demand.append(0)
        self._arcs.append([])
        return len(self._arcs) - 1

    def from_source(self, node: int, capacity: int) -> None:
        """Costs ``capacity`` if the node is on the sink's side."""
        self._supply[node] += capacity

    def to_sink(self, node: int, capacity: int) -> None:
        """Costs ``capacity`` if the node is on the source's side."""
        self._demand[node] += capacity

    def arc(self, tail: int, head: int, capacity: int) -> None:
        """Costs ``capacity`` if the tail is on the source's side and the head on the sink's."""
        if capacity and tail != head:
            self._arcs[tail].append(len(self._head))
            self._arcs[head].append(len(self._head) + 1)
            self._head += (head, tail)
            self._capacity += (capacity, 0)

    def solve(self) -> tuple[int, list[bool]]:
        """The least total cost, and which nodes are on the source's side in the cheapest cut nearest to the sink."""
        direct = [min(s, d) for s, d in zip(self._supply, self._demand, strict=True)]
        excess = [s - f for s, f in zip(self._supply, direct, strict=True)]
        room = [d - f for d, f in zip(self._demand, direct, strict=True)]
        height = self._distances(room)
        total = sum(direct) + self._push_all(excess, room, height)
        return total, [h > len(height) for h in self._distances(room)]

    def _distances(self, room: list[int]) -> list[int]:
        """Arcs from each node to the sink, where capacity is left; one more than there are nodes if there is no way."""
        far = len(self._arcs) + 1
        height = [far] * len(self._arcs)
        queue = deque(node for node, left in enumerate(room) if left)
        for node in queue:
            height[node] = 1
        head, capacity = self._head, self._capacity
        while queue:
            node = queue.popleft()
            above = height[node] + 1
            for arc in self._arcs[node]:
                other = head[arc]
                if height[other] == far and capacity[arc ^ 1]:
                    height[other] = above
                    queue.append(other)
        return height

    def _push_all(self, excess: list[int], room: list[int], height: list[int]) -> int:
        """Pushes excess to the sink until none of it can get there; returns how much did."""
        far = len(self._arcs) + 1
        arcs, head, capacity = self._arcs, self._head, self._capacity
        levels = [0] * (far + 1)
        for h in height:
            levels[h] += 1
        queue = deque(node for node in range(far - 1) if excess[node] and height[node] < far)
        waiting = [bool(excess[node]) and height[node] < far for node in range(far - 1)]
        arrived = relabelled = 0
        while queue:
            node = queue.popleft()
            waiting[node] = False
            while excess[node] and height[node] < far:
                if room[node]:
                    amount = min(excess[node], room[node])
                    room[node] -= amount
                    excess[node] -= amount
                    arrived += amount
                    continue
                below, lowest = height[node] - 1, far
                for arc in arcs[node]:
                    if capacity[arc]:
                        other = head[arc]
                        if height[other] == below:
                            amount = min(excess[node], capacity[arc])
                            capacity[arc] -= amount
                            capacity[arc ^ 1] += amount
                            excess[node] -= amount
                            excess[other] += amount
                            if not waiting[other]:
                                waiting[other] = True
                                queue.append(other)
                            if not excess[node]:
                                break
                        elif height[other] < lowest:
                            lowest = height[other]
                else:
                    self._relabel(node, min(lowest + 1, far), height, levels)
                    relabelled += 1
            if relabelled > far:  # heights have drifted from the distances that they stand for
                relabelled = 0
                height[:] = self._distances(room)
                levels[:] = [0] * (far + 1)
                for h in height:
                    levels[h] += 1
                queue = deque(node for node in range(far - 1) if excess[node] and height[node] < far)
                waiting[:] = [bool(excess[node]) and height[node] < far for node in range(far - 1)]
        return arrived

    @staticmethod
    def _relabel(node: int, new: int, height: list[int], levels: list[int]) -> None:
        old, far = height[node], len(height) + 1
        levels[old] -= 1
        height[node] = new
        levels[new] += 1
        if not levels[old] and old < far:  # a gap: nothing above it reaches the sink any more
            for other, h in enumerate(height):
                if old < h < far:
                    levels[h] -= 1
                    height[other] = far
                    levels[far] += 1
