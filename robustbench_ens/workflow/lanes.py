"""Steps carried out at the same time, each as soon as what it needs is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from robustbench_ens.core.locks import POLL_S, HeldError
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
Contravariant = TypeVar("Contravariant", contravariant=True)


class Runs(Protocol[Contravariant]):
    """What runs steps: an executor, whose one verb is ``submit``."""

    most: int
    progress: Progress

    def submit(self, step: Contravariant, alone: bool) -> Future[None]:
        """Begin a step; the future ends with it, or with its error."""

    def stop(self) -> None:
        """Have the steps under way end at their next sign of progress."""


class Lanes(Generic[Step]):
    """A queue of steps of which several run at a time.

    Args:
        steps: in an order in which each could run.
        bounds: of a step.
        executor: runs the steps.
        finished: called with each finished step, in this thread.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        bounds: Callable[[Step], Bounds],
        executor: Runs[Step],
        finished: Callable[[Step], None],
    ) -> None:
        self._waiting = [(step, bounds(step)) for step in steps]
        self._running: dict[Future[None], tuple[Step, Bounds]] = {}
        self._held: dict[int, HeldError] = {}
        self._executor = executor
        self._finished = finished
        self._said = False

    def run(self) -> None:
        """Carry all steps out. If one fails, the others stop at the next sign of progress, and its error is raised.

        A step that another process is at is tried again, after all others that can run.
        """
        try:
            while self._waiting or self._running:
                ready = self._ready()
                self._waiting = [one for one in self._waiting if not any(one is started for started in ready)]
                for step, bounds in ready:
                    future = self._executor.submit(step, bounds.alone or self._executor.most == 1)
                    self._running[future] = (step, bounds)
                if not self._running:
                    self._wait_for_others()
                    continue
                done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._end(future)
        except BaseException:
            self._executor.stop()
            raise

    def _end(self, future: Future[None]) -> None:
        step, bounds = self._running.pop(future)
        try:
            future.result()
        except HeldError as held:
            self._held[id(step)] = held
            self._waiting.append((step, bounds))
            return
        self._held.clear()  # time has passed, so the others may be done
        self._finished(step)

    def _wait_for_others(self) -> None:
        """Wait a moment where all that could run is held by other processes."""
        if not self._said:
            self._said = True
            self._executor.progress.message(f"{next(iter(self._held.values()))}; waiting for it to end")
        time.sleep(POLL_S)
        self._held.clear()

    def _ready(self) -> list[tuple[Step, Bounds]]:
        """Return the next steps that may start now: no earlier step that is unfinished makes what they need."""
        unfinished = [bounds for _, bounds in self._running.values()]
        ready: list[tuple[Step, Bounds]] = []
        for waiting in self._waiting:
            step, bounds = waiting
            if id(step) in self._held:
                unfinished.append(bounds)
                continue
            busy = len(self._running) + len(ready)
            if bounds.alone:
                if not busy and not any(bounds.needs & earlier.makes for earlier in unfinished):
                    return [waiting]
                break
            if busy == self._executor.most:
                break
            if not any(bounds.needs & earlier.makes for earlier in unfinished):
                ready.append(waiting)
            unfinished.append(bounds)
        return ready


def watched(progress: Progress, stop: threading.Event) -> Progress:
    """Return ``progress``, whose tasks end a step when ``stop`` is set."""
    return _Stoppable(progress, stop)


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
