"""Steps carried out at the same time, each as soon as what it needs is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from robustbench_ens.core.progress import Progress, Task


class StoppedError(Exception):
    """Another step failed, or the user interrupted: this one ends too."""


@dataclass(frozen=True)
class Bounds:
    """What a step waits for, and what waits for it.

    Attributes:
        needs: names of things that earlier steps may make.
        makes: names of things that later steps may need.
        alone: whether nothing may run beside it.
    """

    needs: frozenset[Hashable]
    makes: frozenset[Hashable]
    alone: bool = False


Step = TypeVar("Step")


class Lanes(Generic[Step]):
    """A queue of steps of which several run at a time.

    Args:
        steps: in an order in which each could run.
        bounds: of a step.
        do: carries a step out, maybe in another thread.
        finished: called with each finished step, in this thread.
        most: how many steps may run at a time; with 1 they run in order, in this thread.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        bounds: Callable[[Step], Bounds],
        do: Callable[[Step], None],
        finished: Callable[[Step], None],
        most: int,
    ) -> None:
        self._waiting = [(step, bounds(step)) for step in steps]
        self._running: dict[Future[None], tuple[Step, Bounds]] = {}
        self._do, self._finished, self._most = do, finished, most
        self._stop = threading.Event()

    def run(self) -> None:
        """Carry all steps out. If one fails, the others stop at the next sign of progress, and its error is raised."""
        with ThreadPoolExecutor(self._most) as threads:
            try:
                while self._waiting or self._running:
                    if self._waiting and not self._running and (self._waiting[0][1].alone or self._most == 1):
                        step, _ = self._waiting.pop(0)
                        self._do(step)
                        self._finished(step)
                        continue
                    ready = self._ready()
                    self._waiting = [one for one in self._waiting if not any(one is started for started in ready)]
                    for started in ready:
                        # In this thread's context: what may not be imported here may not be there either.
                        future = threads.submit(copy_context().run, self._do, started[0])
                        self._running[future] = started
                    done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                    for future in done:
                        step, _ = self._running.pop(future)
                        future.result()
                        self._finished(step)
            except BaseException:
                self._stop.set()
                raise

    def _ready(self) -> list[tuple[Step, Bounds]]:
        """The next steps that may start now: no earlier step that is unfinished makes what they need."""
        unfinished = [bounds for _, bounds in self._running.values()]
        ready: list[tuple[Step, Bounds]] = []
        for waiting in self._waiting:
            _, bounds = waiting
            if bounds.alone or len(self._running) + len(ready) == self._most:
                break
            if not any(bounds.needs & earlier.makes for earlier in unfinished):
                ready.append(waiting)
            unfinished.append(bounds)
        return ready

    def watched(self, progress: Progress) -> Progress:
        """``progress``, whose tasks end a step when it is to stop."""
        return _Stoppable(progress, self._stop)


class _Stoppable:
    def __init__(self, progress: Progress, stop: threading.Event) -> None:
        self._progress, self._stop = progress, stop

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """A task of the other progress."""
        with self._progress.task(title, total, unit, done) as task:
            yield _StoppableTask(task, self._stop)

    def message(self, text: str) -> None:
        """Print one line."""
        self._progress.message(text)


class _StoppableTask:
    def __init__(self, task: Task, stop: threading.Event) -> None:
        self._task, self._stop = task, stop

    def advance(self, units: int = 1) -> None:
        """Report progress.

        Raises:
            StoppedError: the step is to end here.
        """
        if self._stop.is_set():
            raise StoppedError
        self._task.advance(units)

    def note(self, text: str) -> None:
        """Show a short text."""
        self._task.note(text)
