"""Run one shard of a plan, beside other shards that share nothing but the run directory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.weights.library import Library
from robustbench_ens.weights.record import EnsembleRecord
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.executors.base import Executor
from robustbench_ens.workflow.pieces import CraftPiece, JoinPiece, PartsPiece, Piece, runs_alone
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.shards import Hands, Shard, Share, shares
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.steps import TrainStep

STEPS_OF_AN_EPOCH = 400
"""The steps of an epoch of CIFAR-10 in batches of 128. Only the ratio between trainings of one plan matters."""


class Assignment(NamedTuple):
    """The pieces of a plan and their assignment to shards.

    Attributes:
        pieces: all pieces, in an order in which each finds what it needs.
        shares: positions of the pieces of each shard.
        joins: positions of pieces that belong to no shard.
    """

    pieces: list[Piece]
    shares: list[list[int]]
    joins: list[int]


def assignment(plan: Plan, count: int) -> Assignment:
    """Return the pieces of each of ``count`` shards, which follow from the plan and not from what is done."""
    pieces = pieces_of(plan, everything=True)
    joins = [place for place, piece in enumerate(pieces) if isinstance(piece, JoinPiece) and piece.parts]
    shared: list[list[int]] = [[] for _ in range(count)]
    places = [place for place in range(len(pieces)) if place not in joins]
    for place, share in zip(places, shares([expected_work(pieces[place]) for place in places], count), strict=True):
        shared[share].append(place)
    return Assignment(pieces, shared, joins)


def expected_work(piece: Piece) -> float:
    """Return the work of a piece by its recipe and protocol, in gradients of one image by one sub-model.

    Measured times cannot be used: shards that begin at different times would read different ones and disagree.
    """
    if isinstance(piece, TrainStep):
        settings = piece.ensemble.recipe.settings
        steps = settings.steps or settings.epochs * STEPS_OF_AN_EPOCH
        crafting = getattr(piece.ensemble.recipe.method, "steps", 0)
        return float(steps * settings.batch_size * settings.sub_models * (1 + crafting))
    if isinstance(piece, CraftPiece):
        return piece.gradients * piece.source.sub_models
    if isinstance(piece, PartsPiece):
        return piece.gradients * piece.attack.target.sub_models
    step = piece.attack if isinstance(piece, JoinPiece) else piece
    attempts = evaluation_of(step.protocol.settings).attempts(step.target.sub_models)
    return float(step.protocol.settings.gradients(attempts) * step.target.sub_models)


def expected_seconds(plan: Plan, count: int) -> float | None:
    """Return the expected seconds of the longest of ``count`` shards, or None if a due piece has no expected time.

    In the worst case a shard waits as long as the longest chain of pieces takes, and then runs all its own.
    """
    pieces, shared, _ = assignment(plan, count)
    ends: dict[Hashable, float] = {}
    seconds: list[float] = []
    for piece in pieces:
        takes = 0.0 if piece.done else piece.seconds
        if takes is None:
            return None
        seconds.append(takes)
        end = takes + max((ends.get(name, 0.0) for name in piece.needs), default=0.0)
        ends |= {name: max(end, ends.get(name, 0.0)) for name in piece.makes}
    return max(sum(seconds[place] for place in mine) for mine in shared) + max(ends.values(), default=0.0)


class _Remembering(Library):
    """A library that reads the record of a finished ensemble once, because thousands of pieces ask for it."""

    def __init__(self, place: Workplace) -> None:
        super().__init__(place.store, place.dataset, place.published)
        self.here = place.here
        self._found: dict[tuple[str, int], EnsembleRecord] = {}

    def record(self, ensemble: TrainingRun) -> EnsembleRecord | None:
        """Return the record of the weights that are used, if there are any."""
        key = (ensemble.hash, ensemble.seed)
        if key not in self._found:
            record = super().record(ensemble)
            if record is None:
                return None
            self._found[key] = record
        return self._found[key]


def _remembering(place: Workplace) -> Workplace:
    """Return a copy of ``place`` that is only used to find out what is done."""
    looking = replace(place)
    looking.library = _Remembering(place)
    return looking


def run_shard(plan: Plan, shard: Shard, executor: Executor, run: Callable[[Sequence[Piece]], None]) -> None:
    """Run the pieces of ``shard``, and those that they need if no other process runs them.

    Args:
        plan: the plan, the same for every shard.
        shard: the share to run.
        executor: runs single pieces.
        run: runs several pieces through the same executor.
    """
    place = executor.place

    def attempt(piece: Piece) -> None:
        executor.submit(piece, runs_alone(piece, place) or executor.most == 1).result()

    pieces, shared, joins = assignment(plan, shard.count)
    looking = _remembering(place)
    hands = Hands(lambda piece: piece.is_done(looking), run, attempt, lambda line: place.progress.message(line))
    try:
        Share(pieces, shared[shard.number - 1], joins, hands).carry_out()
    except BaseException:  # an interruption too: otherwise threads would go on until their pieces end
        executor.stop()
        raise
