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
    """Run one step in this thread. Every executor ends up here."""
    with full_precision():
        try:
            step.run(place)
        except HeldError:
            raise
        except (OSError, UserError):
            if not _done_by_another(step, place):
                raise


def _done_by_another(step: Piece, place: Workplace) -> bool:
    """Return whether another process finished the step that failed here.

    On a disk without locks, the other process may remove the parts of the step while they are read here.
    """
    try:
        return step.is_done(place)
    except (OSError, UserError):
        return False


class Executor:
    """A runner of steps.

    Attributes:
        spreads: whether it takes pieces in processes of their own, one of which may fail while others go on.
        place: the place of the steps. Its progress ends a step once :meth:`stop` was called.
        most: number of steps to run at a time.
        progress: receives the progress of the work.
        watch: receives the reports of workers, if the executor spreads.
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
            step: a step whose needs are met.
            alone: whether no other step may run meanwhile.

        Returns:
            a future that ends with the step, or with its error.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Make running steps end at their next report of progress."""
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for running steps."""


def run_now(step: Piece, place: Workplace) -> Future[None]:
    """Run a step in this thread, and return a future that has ended. An interruption is raised at once."""
    future: Future[None] = Future()
    try:
        run_step(step, place)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(None)
    return future
