"""Steps carried out at the same time, each as soon as what it needs is done and no other process works on it."""

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
    """The things that a step waits for, and those that wait for it.

    Attributes:
        needs: names of things that earlier steps may make.
        makes: names of things that later steps may need.
        alone: whether nothing may run beside it.
    """

    needs: frozenset[Hashable]
    makes: frozenset[Hashable]
    alone: bool = False

    def needs_any(self, others: Sequence[Bounds]) -> bool:
        """Return whether one of ``others`` may make what this step needs."""
        return any(self.needs & other.makes for other in others)


Step = TypeVar("Step")
Contravariant = TypeVar("Contravariant", contravariant=True)


class Runs(Protocol[Contravariant]):
    """An executor as lanes see it; its one verb is ``submit``."""

    most: int
    progress: Progress

    def submit(self, step: Contravariant, alone: bool) -> Future[None]:
        """Begin a step; the future ends with it, or with its error."""

    def stop(self) -> None:
        """Have the steps under way end at their next sign of progress."""


class _Waiting(Generic[Step]):
    """A step that is not done, and until when to leave it to the process that is at it."""

    def __init__(self, step: Step, bounds: Bounds) -> None:
        self.step = step
        self.bounds = bounds
        self.held: HeldError | None = None
        self.not_before = 0.0

    def put_off(self, held: HeldError) -> None:
        """Leave the step to its holder for a moment."""
        self.held = held
        self.not_before = time.monotonic() + POLL_S


class Lanes(Generic[Step]):
    """A queue of steps of which several run at a time.

    A step that another process holds is put off, and tried again until it is free. Those behind it that do not need it
    run meanwhile.

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
        self._waiting = [_Waiting(step, bounds(step)) for step in steps]
        self._running: dict[Future[None], _Waiting[Step]] = {}
        self._executor = executor
        self._finished = finished
        self._said: set[str] = set()

    def run(self) -> None:
        """Carry all steps out. If one fails, the others stop at the next sign of progress, and its error is raised."""
        try:
            while self._waiting:
                for one in self._ready():
                    future = self._executor.submit(one.step, one.bounds.alone or self._executor.most == 1)
                    self._running[future] = one
                if not self._running:
                    self._wait_for_others()
                    continue
                some_held = any(one.held for one in self._waiting)
                done, _ = wait(self._running, POLL_S if some_held else None, FIRST_COMPLETED)
                for future in done:
                    self._end(self._running.pop(future), future)
        except BaseException:
            self._executor.stop()
            raise

    def _end(self, one: _Waiting[Step], future: Future[None]) -> None:
        """Take a step from the queue once it is done, or put it off if another process holds it."""
        try:
            future.result()
        except HeldError as held:
            one.put_off(held)
            return
        self._waiting.remove(one)
        self._finished(one.step)

    def _wait_for_others(self) -> None:
        """Wait until the next step that another process holds may be tried again."""
        put_off = [one for one in self._waiting if one.held is not None]
        held = put_off[0].held
        assert held is not None
        line = f"{held.what} is in use by process {held.holder}; waiting for it to end"
        if line not in self._said:
            self._said.add(line)
            self._executor.progress.message(line)
        time.sleep(max(0.0, min(one.not_before for one in put_off) - time.monotonic()))

    def _ready(self) -> list[_Waiting[Step]]:
        """Return the next steps that may start now: no earlier step that is unfinished makes what they need."""
        running = list(self._running.values())
        unfinished = [one.bounds for one in running]
        elsewhere: list[Bounds] = []
        ready: list[_Waiting[Step]] = []
        now = time.monotonic()
        for one in self._waiting:
            if one in running:
                continue
            if len(running) + len(ready) == self._executor.most:
                break
            # A step that another process holds, and those that need it, keep nobody behind them.
            if one.not_before > now or one.bounds.needs_any(elsewhere):
                elsewhere.append(one.bounds)
                continue
            if one.bounds.alone:
                return ready or ([] if running else [one])
            if not one.bounds.needs_any(unfinished):
                ready.append(one)
            unfinished.append(one.bounds)
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
