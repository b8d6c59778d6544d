"""Carry out one shard of a plan, beside other shards that share nothing but the run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.workflow.executors.base import Executor
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.shards import Hands, Shard, Share, shares
from robustbench_ens.workflow.steps import Step, TrainStep, runs_alone

STEPS_OF_AN_EPOCH = 400
"""As many as CIFAR-10 takes in batches of 128. Only how trainings of one plan compare matters."""


class Assignment(NamedTuple):
    """The pieces of a plan, and which of them fall to one shard.

    Attributes:
        pieces: all of them, in an order in which each finds what it needs.
        mine: places of this shard's pieces.
        joins: places of those that fall to no shard.
    """

    pieces: list[Step]
    mine: list[int]
    joins: list[int]


def assignment(plan: Plan, shard: Shard) -> Assignment:
    """Return what falls to ``shard``; it follows from the plan, whatever is done already."""
    pieces = plan.steps
    joins: list[int] = []
    places = [place for place in range(len(pieces)) if place not in joins]
    shared = shares([expected_work(pieces[place]) for place in places], shard.count)
    mine = [place for place, share in zip(places, shared, strict=True) if share == shard.number - 1]
    return Assignment(pieces, mine, joins)


def expected_work(step: Step) -> float:
    """Return how much work a step is, in gradients of one image by one sub-model, as recipe and protocol say.

    Measured times would not do: they differ between shards that begin while others finish.
    """
    if isinstance(step, TrainStep):
        settings = step.ensemble.recipe.settings
        steps = settings.steps or settings.epochs * STEPS_OF_AN_EPOCH
        crafting = getattr(step.ensemble.recipe.method, "steps", 0)
        return float(steps * settings.batch_size * settings.sub_models * (1 + crafting))
    attempts = evaluation_of(step.protocol.settings).attempts(step.target.sub_models)
    return float(step.protocol.settings.gradients(attempts) * step.target.sub_models)


def run_shard(plan: Plan, shard: Shard, executor: Executor, run: Callable[[Sequence[Step]], None]) -> None:
    """Carry out what falls to ``shard``, with what it needs that nobody is at.

    Args:
        plan: the same one for every shard.
        shard: which share of it.
        executor: tries single pieces.
        run: carries out several through the same executor.
    """
    place = executor.place

    def attempt(step: Step) -> None:
        executor.submit(step, runs_alone(step, place) or executor.most == 1).result()

    pieces, mine, joins = assignment(plan, shard)
    hands = Hands(lambda step: step.is_done(place), run, attempt, lambda line: place.progress.message(line))
    try:
        Share(pieces, mine, joins, hands).carry_out()
    except BaseException:
        executor.stop()
        raise
