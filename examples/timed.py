"""An executor in one class, which prints the time of each step: rbe train ... --executor examples.timed:Timed."""

import time
from concurrent.futures import Future

from robustbench_ens.workflow.executors.base import Executor, run_now
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.steps import Step


class Timed(Executor):
    """Runs one step at a time and prints how long it took."""

    def __init__(self, place: Workplace, most: int) -> None:
        super().__init__(place, 1)

    def submit(self, step: Step, alone: bool) -> Future[None]:
        """Carry the step out in this thread."""
        started = time.perf_counter()
        future = run_now(step, self.place)
        self.progress.message(f"timed: {step.title}: {time.perf_counter() - started:.1f} s")
        return future
