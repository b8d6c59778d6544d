"""Forecasts of the time that pieces take on several workers, by list scheduling of expected times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Literal, TypeVar

from robustbench_ens.data.names import BUILTIN_IMAGES
from robustbench_ens.workflow.pieces import step_of
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.schedule import Graph, Linked, Node, Schedule, WorkerKind, schedule
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.timings import Origin, Timing

AnyPiece = TypeVar("AnyPiece", bound=Linked)


@dataclass(frozen=True)
class Forecast:
    """The forecast for a list of pieces.

    Attributes:
        schedule: the pieces on the workers. The key of a node is the position of its piece.
        titles: titles of the pieces.
        origins: number of times by their origin.
        unknown: titles of pieces without a time, which count as 0 seconds.
        stands_in: whether the times are of another kind of device.
    """

    schedule: Schedule
    titles: tuple[str, ...]
    origins: Mapping[Origin, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    stands_in: bool = False

    @property
    def critical_path(self) -> list[tuple[str, float]]:
        """The titles and seconds of the longest chain of pieces."""
        path = self.schedule.graph.critical_path
        return [(self.titles[_index(node)], node.seconds) for node in path]

    @property
    def binds(self) -> Literal["critical path"] | WorkerKind:
        """The bound on the wall time: the longest chain, or the kind of workers with the most work."""
        path = self.schedule.graph.critical_seconds
        kinds: list[WorkerKind] = ["cpu", "gpu"]
        busiest = max(kinds, key=self.schedule.least)
        return busiest if self.schedule.least(busiest) > path else "critical path"


def _index(node: Node) -> int:
    assert isinstance(node.key, int)
    return node.key


def graph_of(pieces: Sequence[Linked], seconds: Sequence[float], kinds: Sequence[WorkerKind]) -> Graph:
    """Return the graph of pieces, in which each needs every earlier one that makes what it needs.

    Args:
        pieces: in an order in which each could run.
        seconds: time of each.
        kinds: kind of worker that each runs on.
    """
    makers: dict[Hashable, list[int]] = {}
    nodes = []
    for index, (piece, takes, kind) in enumerate(zip(pieces, seconds, kinds, strict=True)):
        needs = frozenset(maker for name in piece.needs for maker in makers.get(name, ()))
        nodes.append(Node(index, takes, needs, kind))
        for name in piece.makes:
            makers.setdefault(name, []).append(index)
    return Graph(nodes)


def forecast(
    pieces: Sequence[AnyPiece],
    timing_of: Callable[[AnyPiece], Timing | None],
    kind_of: Callable[[AnyPiece], WorkerKind],
    workers: Mapping[WorkerKind, int],
) -> Forecast:
    """Schedule pieces on workers by their expected times.

    Args:
        pieces: in an order in which each could run.
        timing_of: returns a piece's time, or None if it is unknown.
        kind_of: returns the kind of worker that a piece runs on.
        workers: number of workers of each kind.
    """
    timings = [timing_of(piece) for piece in pieces]
    seconds = [timing.seconds if timing else 0.0 for timing in timings]
    made = schedule(graph_of(pieces, seconds, [kind_of(piece) for piece in pieces]), workers["cpu"], workers["gpu"])
    return Forecast(
        made,
        tuple(piece.title for piece in pieces),
        Counter(timing.origin for timing in timings if timing),
        tuple(piece.title for piece, timing in zip(pieces, timings, strict=True) if timing is None),
    )


def plan_forecast(plan: Plan, workers: int, gpus: int = 0) -> Forecast:
    """Return the forecast for the due pieces of a plan, without the start-up time of commands and workers.

    Args:
        plan: a plan that was made a moment ago.
        workers: number of workers; each runs a piece at a time.
        gpus: number of GPUs, one per worker; 0 computes on CPU cores alone.

    Raises:
        UserError: a dataset that is not built in is missing.
    """
    kind: WorkerKind = "gpu" if gpus else "cpu"
    counts: dict[WorkerKind, int] = {"cpu": workers, "gpu": min(workers, gpus)}
    found = forecast(pieces_of(plan), lambda piece: piece.timing, lambda piece: kind, counts)
    return replace(found, stands_in=plan.timings.stands_in)


def step_timings(plan: Plan) -> list[Timing | None]:
    """Return the expected time of each step of a plan: measured before, or estimated from its pieces.

    No dataset is loaded for it, so attacks on datasets that are not built in have no time until one was measured.
    """
    found = [step.timing for step in plan.steps]
    if not all(step.images[0] in BUILTIN_IMAGES for step in plan.due if step.timing is None):
        return found
    pieces: list[Timing | None] = []
    of_steps: dict[int, Timing | None] = {}
    for piece in pieces_of(plan) if None in found else ():
        pieces.append(piece.timing)
        step = step_of(piece)
        if step is not None:
            of_steps[id(step)] = _together(pieces)
            pieces = []
    return [timing or of_steps.get(id(step)) for step, timing in zip(plan.steps, found, strict=True)]


def _together(timings: Sequence[Timing | None]) -> Timing | None:
    known = [timing.seconds for timing in timings if timing is not None]
    return Timing(fsum(known), "estimated") if len(known) == len(timings) else None
