"""List scheduling of a graph of work on several workers, with lower bounds of its time. No torch."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Literal, Protocol

WorkerKind = Literal["cpu", "gpu"]
"""The kind of worker that a node runs on."""


class Linked(Protocol):
    """A piece of work with a title, the names of what it needs, and the names of what it makes."""

    @property
    def title(self) -> str:
        """The name that is displayed."""

    @property
    def needs(self) -> frozenset[Hashable]:
        """The names of what this piece needs from earlier ones."""

    @property
    def makes(self) -> frozenset[Hashable]:
        """The names of what later pieces may need."""


@dataclass(frozen=True)
class Node:
    """A piece of work as the schedule sees it.

    Attributes:
        key: name, unique in the graph.
        seconds: time on one worker.
        needs: keys of the nodes that end before it starts.
        kind: kind of worker that it runs on.
    """

    key: Hashable
    seconds: float
    needs: frozenset[Hashable] = frozenset()
    kind: WorkerKind = "cpu"


@dataclass(frozen=True)
class Placed:
    """A node with its place in the schedule.

    Attributes:
        node: the node.
        worker: number of the worker among those of its kind, from 0.
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
        ValueError: two nodes have one key, or a node needs one that does not come before it.
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
        """The seconds of the longest path from the start of each node to the end."""
        tails = [0.0] * len(self.nodes)
        for index in reversed(range(len(self.nodes))):
            after = max((tails[follower] for follower in self.followers[index]), default=0.0)
            tails[index] = self.nodes[index].seconds + after
        return tuple(tails)

    @cached_property
    def critical_path(self) -> tuple[Node, ...]:
        """The longest chain of nodes, each needed by the next. Of equally long ones it is the first in order."""
        path = []
        choices = list(range(len(self.nodes)))
        while choices:
            index = max(choices, key=lambda choice: (self.tails[choice], -choice))
            path.append(self.nodes[index])
            choices = self.followers[index]
        return tuple(path)

    @property
    def critical_seconds(self) -> float:
        """The seconds of the critical path. No number of workers is faster."""
        return max(self.tails, default=0.0)

    def work(self, kind: WorkerKind) -> float:
        """Return the seconds of all nodes of a kind."""
        return fsum(node.seconds for node in self.nodes if node.kind == kind)


@dataclass(frozen=True)
class Schedule:
    """The start, end and worker of every node of a graph.

    Attributes:
        graph: the scheduled graph.
        workers: number of workers of each kind.
        placed: the nodes, in order of their starts.
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
        """Return the average share of the makespan in which workers of a kind are busy, or 1 if nothing is due."""
        return self.least(kind) / self.makespan if self.makespan else 1.0


def schedule(graph: Graph, cpus: int, gpus: int = 0) -> Schedule:
    """Schedule a graph by its critical path: a free worker takes the ready node with the longest path to the end.

    Ties go to the first in order, so that the schedule is deterministic.

    Args:
        graph: the work to schedule.
        cpus: number of workers for nodes of kind ``cpu``.
        gpus: number of workers for nodes of kind ``gpu``.

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
    """The state of list scheduling: free workers, and the nodes that are ready, running or placed."""

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
            # Nodes that end together must all end before one starts, so that the choice is among all that are ready.
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
