"""What pieces will take on so many workers: from expected times, by list scheduling."""

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
    """What pieces will take.

    Attributes:
        schedule: the pieces on the workers; a node's key is the piece's place among them.
        titles: of the pieces.
        origins: how many times come from where.
        unknown: titles of pieces without a time, which count as nothing.
        stands_in: whether the times are of another kind of device.
    """

    schedule: Schedule
    titles: tuple[str, ...]
    origins: Mapping[Origin, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    stands_in: bool = False

    @property
    def critical_path(self) -> list[tuple[str, float]]:
        """Titles and seconds of the longest chain of pieces."""
        path = self.schedule.graph.critical_path
        return [(self.titles[_index(node)], node.seconds) for node in path]

    @property
    def binds(self) -> Literal["critical path"] | WorkerKind:
        """What keeps the wall time from being shorter: the longest chain, or the kind of workers with most to do."""
        path = self.schedule.graph.critical_seconds
        kinds: list[WorkerKind] = ["cpu", "gpu"]
        busiest = max(kinds, key=self.schedule.least)
        return busiest if self.schedule.least(busiest) > path else "critical path"


def _index(node: Node) -> int:
    assert isinstance(node.key, int)
    return node.key


def graph_of(pieces: Sequence[Linked], seconds: Sequence[float], kinds: Sequence[WorkerKind]) -> Graph:
    """Return the graph of pieces: each needs every earlier one that makes what it needs.

    Args:
        pieces: in an order in which each could run.
        seconds: of each.
        kinds: of the worker that each runs on.
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
        timing_of: returns a piece's time; None if none is known.
        kind_of: returns the kind of worker that a piece runs on.
        workers: how many there are of each kind.
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
    """Return what the due pieces of a plan will take, without the seconds in which commands and workers start.

    Args:
        plan: made a moment ago.
        workers: that carry out a piece at a time.
        gpus: of which each worker needs one; none computes on cores alone.

    Raises:
        UserError: a dataset that is not built in is missing.
    """
    kind: WorkerKind = "gpu" if gpus else "cpu"
    counts: dict[WorkerKind, int] = {"cpu": workers, "gpu": min(workers, gpus)}
    found = forecast(pieces_of(plan), lambda piece: piece.timing, lambda piece: kind, counts)
    return replace(found, stands_in=plan.timings.stands_in)


def step_timings(plan: Plan) -> list[Timing | None]:
    """Return what each step of a plan is expected to take: as it took before, or what its pieces are estimated to take.

    Nothing is loaded for it: of datasets that are not built in, attacks that were never timed stay without a time.
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
