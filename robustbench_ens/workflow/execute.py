"""Carry a plan out: what is due, through an executor, in an order in which each step finds what it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from robustbench_ens.core.locks import HeldError, hold_artefact, remove_leftovers
from robustbench_ens.core.process import full_precision
from robustbench_ens.evaluation.record import parts_folder
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.workflow.executors import DEFAULT_EXECUTOR, executor_class
from robustbench_ens.workflow.lanes import Bounds, Lanes
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.shard_run import run_shard
from robustbench_ens.workflow.shards import Shard
from robustbench_ens.workflow.steps import AttackStep, Step, TrainStep, record_of, runs_alone

MOST_AT_ONCE = 2
"""Steps that run at a time. Each has several threads of its own."""


def run(
    plan: Plan,
    finished: Callable[[Step], None] | None = None,
    executor: str = DEFAULT_EXECUTOR,
    shard: Shard | None = None,
) -> None:
    """Carry out what is due, several steps at a time where they do not disturb each other.

    What runs beside a step changes no bit of what it leaves. Another command on the same run directory shares the work:
    a step that it is at waits here, and what it has finished is not computed again.

    Args:
        plan: made a moment ago.
        finished: called with each step that is done, in this thread.
        executor: a key of :data:`~robustbench_ens.workflow.executors.EXECUTORS`, or ``package.module:Name``.
        shard: carries out only this share of the plan.

    Raises:
        UserError: as the steps do; there is no such executor.
    """
    make = executor_class(executor)
    remove_leftovers(plan.workplace.store.root)
    for left in leftovers(plan):
        _remove(left)
    before = torch.get_num_threads()
    cores = plan.workplace.threads or before
    place = replace(plan.workplace, threads=cores, loaded={})
    try:
        with full_precision(), make(place, min(cores, MOST_AT_ONCE)) as running:

            def carry_out(steps: Sequence[Step]) -> None:
                Lanes(steps, partial(_bounds, place=place), running, finished or (lambda step: None)).run()

            if shard is None:
                carry_out(plan.due)
            else:
                run_shard(plan, shard, running, carry_out)
    finally:
        torch.set_num_threads(before)  # the steps' threads have set a part of it for the whole process


def _bounds(step: Step, place: Workplace) -> Bounds:
    return Bounds(step.needs, step.makes, alone=runs_alone(step, place))


class Leftover(NamedTuple):
    """A file or folder that a killed process left beside a finished artefact."""

    artefact: Path
    path: Path


def leftovers(plan: Plan) -> list[Leftover]:
    """Return what finished steps did not remove because they were killed: the state they would have resumed from."""
    place = plan.workplace
    found = []
    for step in plan.steps:
        if not step.done:
            continue
        # A training that was begun here where published weights serve is not finished: it goes on from there.
        if isinstance(step, TrainStep) and not place.library.is_published(step.ensemble):
            found.append(Leftover(step.artefact(place), step.artefact(place) / RESUME))
        elif isinstance(step, AttackStep) and record_of(place, step.target) is not None:
            found.append(Leftover(step.artefact(place), parts_folder(step.artefact(place))))
    return [left for left in found if left.path.exists()]


def _remove(left: Leftover) -> None:
    """Remove a leftover, unless its artefact is held: then another process is about to do so."""
    try:
        with hold_artefact(left.artefact):
            if left.path.is_dir():
                shutil.rmtree(left.path)
            else:
                left.path.unlink(missing_ok=True)
    except HeldError:
        return
