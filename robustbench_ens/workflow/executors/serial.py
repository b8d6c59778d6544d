"""An executor for debuggers and profilers: one step after the other in the calling thread."""

from __future__ import annotations

from concurrent.futures import Future

from robustbench_ens.workflow.executors.base import Executor, run_now
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace


class Serial(Executor):
    """A runner of one step at a time, in the calling thread."""

    def __init__(self, place: Workplace, most: int) -> None:
        super().__init__(place, 1)

    def submit(self, step: Piece, alone: bool) -> Future[None]:
        """Run the step."""
        return run_now(step, self.place)
