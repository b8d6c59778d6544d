"""Steps in processes of their own, on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType

from robustbench_ens.core.progress import Silent, Task
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.executors.base import Executor, run_step
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.steps import Step


class Processes(Executor):
    """Runs several steps in processes, which share nothing but the run directory."""

    def __init__(self, place: Workplace, most: int) -> None:
        super().__init__(place, most)
        self._pool = ProcessPoolExecutor(most, multiprocessing.get_context("spawn"))

    def submit(self, step: Step, alone: bool) -> Future[None]:
        """Send the step to a process; what it has to say is printed when it ends."""
        try:
            content = pickle.dumps(step)
        except Exception as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"--executor processes: expected a step that can be sent to another process, got {step.title!r} "
                f"({text[:160]}); use --executor local"
            ) from None
        # A step alone has all cores: their number decides bits where operations are computed on several.
        cores = self.place.threads or 1
        place = replace(self.place, threads=cores if alone else max(1, cores // self.most))
        future: Future[None] = Future()
        self._pool.submit(_run, content, place, os.getcwd()).add_done_callback(
            lambda ended: self._pass_on(step, ended, future)
        )
        return future

    def _pass_on(self, step: Step, ended: Future[list[str]], future: Future[None]) -> None:
        error = ended.exception()
        if error is None:
            for line in ended.result():
                self.progress.message(line)
            future.set_result(None)
        elif isinstance(error, BrokenProcessPool):
            future.set_exception(
                UserError(f"{step.title}: its process ended at once, as if it had been killed; run the command again")
            )
        else:
            future.set_exception(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the processes, or end them at an error: the steps resume where they were."""
        if error is not None:
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)


class _Kept(Silent):
    """Progress that keeps its messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task that shows nothing."""
        with super().task(title, total, unit, done) as task:
            yield task

    def message(self, text: str) -> None:
        """Keep one line."""
        self.lines.append(text)


def _run(content: bytes, place: Workplace, folder: str) -> list[str]:
    """Carry a step out in this process, and return the lines that it printed."""
    os.chdir(folder)
    kept = _Kept()
    step: Step = pickle.loads(content)
    run_step(step, replace(place, progress=kept))
    return kept.lines
