"""Run the due steps of a plan through an executor, in an order in which each step finds what it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from robustbench_ens.core.locks import HeldError, hold_artefact, remove_leftovers
from robustbench_ens.core.process import full_precision
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.record import parts_folder
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.executors import DEFAULT_EXECUTOR, executor_class
from robustbench_ens.workflow.executors.base import Executor
from robustbench_ens.workflow.executors.processes import usable_cores
from robustbench_ens.workflow.forecast import graph_of
from robustbench_ens.workflow.lanes import Bounds, Lanes
from robustbench_ens.workflow.pieces import Piece, runs_alone, step_of
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.shard_run import run_shard
from robustbench_ens.workflow.shards import Shard
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.steps import AttackStep, Step, TrainStep, record_of
from robustbench_ens.workflow.watch import Watch

Watching = Callable[[Watch], AbstractContextManager[object]]

MOST_AT_ONCE = 2
"""The most steps that run at a time. Each has several threads of its own."""


def run(
    plan: Plan,
    finished: Callable[[Step], None] | None = None,
    executor: str = DEFAULT_EXECUTOR,
    shard: Shard | None = None,
    watching: Watching = nullcontext,
) -> None:
    """Run the due steps, several at a time if they do not disturb each other.

    Results are the same bit by bit whatever runs beside a step. Another command on the same run directory shares the
    work: a step that it is running waits here, and what it has finished is not computed again.

    Args:
        plan: a plan that was made a moment ago.
        finished: called with each finished step, in this thread.
        executor: a key of :data:`~robustbench_ens.workflow.executors.EXECUTORS`, or ``package.module:Name``.
        shard: the share of the plan to run; None is all of it.
        watching: a context in which the progress of several workers is shown.

    Raises:
        UserError: a step raised it, or there is no such executor.
        FailedPiecesError: pieces failed with several workers. All others are done.
    """
    make = _executor(executor, plan.workplace.crew)
    _clean(plan.workplace, [step for step in plan.steps if step.done])
    report = partial(_report, finished or (lambda step: None))
    if make.spreads:
        if shard is not None:
            asked = _asked(executor, plan.workplace)
            raise UserError(
                f"--shard: expected one process, of --executor local or serial, got {asked}; "
                "leave --workers out, and give every shard a command of its own"
            )
        _spread(plan, make, report, watching)
        return
    before = torch.get_num_threads()
    cores = plan.workplace.threads or before
    place = replace(plan.workplace, threads=cores, loaded={})
    most = plan.workplace.crew.workers or min(cores, MOST_AT_ONCE)
    try:
        with full_precision(), make(place, most) as running:

            def carry_out(pieces: Sequence[Piece]) -> None:
                Lanes(pieces, partial(_bounds, place=place), running, report).run()

            if shard is None:
                carry_out(plan.due)
            else:
                run_shard(plan, shard, running, carry_out)
    finally:
        torch.set_num_threads(before)  # steps share the cores by setting the number of threads of the whole process


def _asked(executor: str, place: Workplace) -> str:
    workers = place.crew.workers
    return f"--executor {executor}" + ("" if workers is None else f" --workers {workers}")


def _spread(plan: Plan, make: type[Executor], finished: Callable[[Piece], None], watching: Watching) -> None:
    """Run the pieces of due steps in several processes. A failed piece stops only those that need it.

    Raises:
        FailedPiecesError: pieces have failed.
    """
    place = replace(plan.workplace, loaded={})
    pieces = pieces_of(plan)
    watch = Watch([(piece.title, piece.seconds) for piece in pieces])
    done: list[Step] = []

    def ended(piece: Piece) -> None:
        watch.ended(piece.title)
        finished(piece)
        step = step_of(piece)
        if step is not None:
            done.append(step)

    graph = graph_of(pieces, [piece.seconds or 0.0 for piece in pieces], ["cpu"] * len(pieces))
    with make(place, _workers(place)) as running:
        running.watch = watch
        lanes = Lanes(
            pieces,
            lambda piece: Bounds(piece.needs, piece.makes),
            running,
            ended,
            failed=watch.failed,
            given_up=lambda piece: watch.not_tried(piece.title),
            first=graph.tails,  # the longest chain of work begins first
        )
        with watching(watch):
            lanes.run()
    _clean(place, done)  # workers may have been killed, and what they left was finished by others
    watch.raise_if_failed()


def _executor(name: str, crew: Crew) -> type[Executor]:
    """Return the class of the executor. Several workers on this machine are processes.

    Raises:
        UserError: there is no such executor, or it does not take the options that were given.
    """
    make = executor_class("processes" if name == DEFAULT_EXECUTOR and crew.workers is not None else name)
    if name == "serial" and crew.workers not in (None, 1):
        raise UserError(f"--workers: expected 1 with --executor serial, got {crew.workers}")
    for option, value in (("--ray-address", crew.address), ("--gpus-per-task", crew.gpus_per_task)):
        if value is not None and name != "ray":
            raise UserError(f"{option}: expected --executor ray beside it, got --executor {name}")
    return make


def _workers(place: Workplace) -> int:
    """Return the number of workers: the one asked for, or as many as the cores of this machine have room for."""
    return place.crew.workers or max(1, usable_cores() // (place.threads or 1))


def _report(finished: Callable[[Step], None], piece: Piece) -> None:
    """Call ``finished`` with the step that ends with this piece, if one does."""
    step = step_of(piece)
    if step is not None:
        finished(step)


def _bounds(piece: Piece, place: Workplace) -> Bounds:
    return Bounds(piece.needs, piece.makes, alone=runs_alone(piece, place))


class Leftover(NamedTuple):
    """A file or folder that a killed process left beside a finished artefact."""

    artefact: Path
    path: Path


def leftovers(plan: Plan) -> list[Leftover]:
    """Return the resume states that finished steps did not remove because they were killed."""
    return _left_by(plan.workplace, [step for step in plan.steps if step.done])


def _left_by(place: Workplace, finished: Sequence[Step]) -> list[Leftover]:
    found = []
    for step in finished:
        # A training that was begun here where published weights serve is not finished: it goes on from there.
        if isinstance(step, TrainStep) and not place.library.is_published(step.ensemble):
            found.append(Leftover(step.artefact(place), step.artefact(place) / RESUME))
        elif isinstance(step, AttackStep) and record_of(place, step.target) is not None:
            found.append(Leftover(step.artefact(place), parts_folder(step.artefact(place))))
    return [left for left in found if left.path.exists()]


def _clean(place: Workplace, finished: Sequence[Step]) -> None:
    """Remove what killed processes left: unfinished files, and the resume states of ``finished`` steps."""
    remove_leftovers(place.store.root)
    for left in _left_by(place, finished):
        _remove(left)


def _remove(left: Leftover) -> None:
    """Remove a leftover, unless its artefact is held: then another process is about to remove it."""
    try:
        with hold_artefact(left.artefact):
            if left.path.is_dir():
                shutil.rmtree(left.path)
            else:
                left.path.unlink(missing_ok=True)
    except HeldError:
        return
