"""The base class of executors."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import ClassVar, Self

from robustbench_ens.core.locks import HeldError
from robustbench_ens.core.process import full_precision
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.lanes import watched
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.watch import Watch


def run_step(step: Piece, place: Workplace) -> None:
    """Carry one step out here: what every executor does in the end."""
    with full_precision():
        try:
            step.run(place)
        except HeldError:
            raise
        except (OSError, UserError):
            if not _done_by_another(step, place):
                raise


def _done_by_another(step: Piece, place: Workplace) -> bool:
    """Return whether a step that failed is done all the same.

    On a disk without locks, another process may finish it and remove its parts while they are read here.
    """
    try:
        return step.is_done(place)
    except (OSError, UserError):
        return False


class Executor:
    """Runs steps.

    Attributes:
        spreads: whether it takes pieces, in processes of their own, of which one may fail while others go on.
        place: where steps are carried out; its progress ends a step once :meth:`stop` was called.
        most: steps to run at a time.
        progress: is told how far the work is.
        watch: of an executor that spreads: its workers report to it.
    """

    spreads: ClassVar[bool] = False

    def __init__(self, place: Workplace, most: int) -> None:
        self._stop = threading.Event()
        self.place = replace(place, progress=watched(place.progress, self._stop))
        self.most = most
        self.progress = place.progress
        self.watch = Watch([])

    def submit(self, step: Piece, alone: bool) -> Future[None]:
        """Begin a step.

        Args:
            step: finds what it needs.
            alone: whether no other step runs meanwhile.

        Returns:
            a future that ends with the step, or with its error.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Have the steps under way end at their next sign of progress."""
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way."""


def run_now(step: Piece, place: Workplace) -> Future[None]:
    """Carry a step out in this thread, and return a future that has ended. An interruption is raised at once."""
    future: Future[None] = Future()
    try:
        run_step(step, place)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(None)
    return future
