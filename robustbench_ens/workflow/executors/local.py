"""The default executor: steps in threads of this process."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType

from robustbench_ens.workflow.executors.base import Executor, run_now, run_step
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace


class Local(Executor):
    """A runner of several steps in threads. Steps that must run alone run in the calling thread."""

    def __init__(self, place: Workplace, most: int) -> None:
        super().__init__(place, most)
        self._threads = ThreadPoolExecutor(most)

    def submit(self, step: Piece, alone: bool) -> Future[None]:
        """Begin the step."""
        if alone:
            return run_now(step, self.place)
        # In this thread's context, so that a ban on code from outside holds in the new thread too.
        return self._threads.submit(copy_context().run, run_step, step, self.place)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the threads."""
        self._threads.shutdown(cancel_futures=True)
