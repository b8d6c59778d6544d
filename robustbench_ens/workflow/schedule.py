"""List scheduling: how long a graph of work takes on so many workers, and what bounds that. No torch."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Literal, Protocol

WorkerKind = Literal["cpu", "gpu"]
"""The workers that a node may run on."""


class Linked(Protocol):
    """What has a name, and names what it needs and makes."""

    @property
    def title(self) -> str:
        """The name that people see."""

    @property
    def needs(self) -> frozenset[Hashable]:
        """Names of what earlier pieces may make and this one needs."""

    @property
    def makes(self) -> frozenset[Hashable]:
        """Names of what later pieces may need."""


@dataclass(frozen=True)
class Node:
    """A piece of work as the schedule sees it.

    Attributes:
        key: its name, unique in the graph.
        seconds: that it takes on one worker.
        needs: keys of the nodes that end before it starts.
        kind: of the workers that it runs on.
    """

    key: Hashable
    seconds: float
    needs: frozenset[Hashable] = frozenset()
    kind: WorkerKind = "cpu"


@dataclass(frozen=True)
class Placed:
    """A node with its place in the schedule.

    Attributes:
        node: what runs.
        worker: which of the workers of its kind, from 0.
        start: in seconds from the beginning.
        end: in seconds from the beginning.
    """

    node: Node
    worker: int
    start: float
    end: float


class Graph:
    """Nodes in an order in which each could run.

    Args:
        nodes: each after those that it needs.

    Raises:
        ValueError: a key is there twice, or a node needs one that does not come before it.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self.position: dict[Hashable, int] = {}
        self.followers: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for need in node.needs:
                if need not in self.position:
                    raise ValueError(f"{node.key!r} needs {need!r}, which does not come before it")
                self.followers[self.position[need]].append(index)
            if node.key in self.position:
                raise ValueError(f"{node.key!r} is there twice")
            self.position[node.key] = index

    @cached_property
    def tails(self) -> tuple[float, ...]:
        """Of each node, the seconds of the longest path from its start to the end."""
        tails = [0.0] * len(self.nodes)
        for index in reversed(range(len(self.nodes))):
            after = max((tails[follower] for follower in self.followers[index]), default=0.0)
            tails[index] = self.nodes[index].seconds + after
        return tuple(tails)

    @cached_property
    def critical_path(self) -> tuple[Node, ...]:
        """The longest chain of nodes, each needed by the next; the first in order of several equally long ones."""
        path = []
        choices = list(range(len(self.nodes)))
        while choices:
            index = max(choices, key=lambda choice: (self.tails[choice], -choice))
            path.append(self.nodes[index])
            choices = self.followers[index]
        return tuple(path)

    @property
    def critical_seconds(self) -> float:
        """The length of the critical path: no number of workers is faster."""
        return max(self.tails, default=0.0)

    def work(self, kind: WorkerKind) -> float:
        """Return the seconds of all nodes of a kind."""
        return fsum(node.seconds for node in self.nodes if node.kind == kind)


@dataclass(frozen=True)
class Schedule:
    """When each node runs, and on which worker.

    Attributes:
        graph: what is scheduled.
        workers: of each kind.
        placed: the nodes, by their start.
    """

    graph: Graph
    workers: Mapping[WorkerKind, int]
    placed: tuple[Placed, ...]

    @cached_property
    def makespan(self) -> float:
        """The seconds from the first start to the last end."""
        return max((placed.end for placed in self.placed), default=0.0)

    def least(self, kind: WorkerKind) -> float:
        """Return the seconds that the workers of a kind need if none of them ever waits."""
        work = self.graph.work(kind)
        return work / self.workers[kind] if work else 0.0

    @property
    def lower_bound(self) -> float:
        """The seconds that no schedule on these workers can beat."""
        return max(self.graph.critical_seconds, *(self.least(kind) for kind in self.workers))

    def efficiency(self, kind: WorkerKind = "cpu") -> float:
        """Return the share of the makespan in which a worker of a kind is busy, on average; 1 where nothing is due."""
        return self.least(kind) / self.makespan if self.makespan else 1.0


def schedule(graph: Graph, cpus: int, gpus: int = 0) -> Schedule:
    """Schedule a graph: whenever a worker is free, it takes the ready node with the longest path to the end.

    Of equally long ones it takes the first in order, so that the schedule is the same every time.

    Args:
        graph: what is to be done.
        cpus: workers for nodes of kind ``cpu``.
        gpus: workers for nodes of kind ``gpu``.

    Raises:
        ValueError: there are nodes of a kind without workers.
    """
    workers: dict[WorkerKind, int] = {"cpu": cpus, "gpu": gpus}
    for node in graph.nodes:
        if workers[node.kind] < 1:
            raise ValueError(f"{node.key!r} needs a worker of kind {node.kind!r}, and there are none")
    listing = _Listing(graph, workers)
    listing.run()
    return Schedule(graph, workers, tuple(listing.placed))


class _Listing:
    """The state of list scheduling: which workers are free, which nodes are ready, running and placed."""

    def __init__(self, graph: Graph, workers: Mapping[WorkerKind, int]) -> None:
        self._graph = graph
        self._free = {kind: list(range(count)) for kind, count in workers.items()}
        self._ready: dict[WorkerKind, list[tuple[float, int]]] = {kind: [] for kind in workers}
        self._missing = [len(node.needs) for node in graph.nodes]
        self._running: list[tuple[float, int, int]] = []
        self.placed: list[Placed] = []

    def run(self) -> None:
        """Place all nodes."""
        for index, missing in enumerate(self._missing):
            if not missing:
                self._make_ready(index)
        self._start_ready(0.0)
        while self._running:
            now = self._running[0][0]
            # All that ends at this moment ends before anything starts: the choice is among all that is ready.
            while self._running and self._running[0][0] == now:
                self._end_first()
            self._start_ready(now)

    def _make_ready(self, index: int) -> None:
        heapq.heappush(self._ready[self._graph.nodes[index].kind], (-self._graph.tails[index], index))

    def _start_ready(self, now: float) -> None:
        for kind, queue in self._ready.items():
            while queue and self._free[kind]:
                _, index = heapq.heappop(queue)
                node = self._graph.nodes[index]
                worker = heapq.heappop(self._free[kind])
                self.placed.append(Placed(node, worker, now, now + node.seconds))
                heapq.heappush(self._running, (now + node.seconds, index, worker))

    def _end_first(self) -> None:
        _, ended, worker = heapq.heappop(self._running)
        heapq.heappush(self._free[self._graph.nodes[ended].kind], worker)
        for follower in self._graph.followers[ended]:
            self._missing[follower] -= 1
            if not self._missing[follower]:
                self._make_ready(follower)
