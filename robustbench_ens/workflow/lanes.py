"""A queue that runs steps in parallel, each when what it needs is done and no other process holds it."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from robustbench_ens.core.locks import POLL_S, HeldError
from robustbench_ens.core.progress import Progress, Task
from robustbench_ens.errors import Failure


class StoppedError(Exception):
    """The request to end a step because another one failed or the user interrupted."""


@dataclass(frozen=True)
class Bounds:
    """The names of what a step needs and makes, which decide the order of steps.

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


class PieceFailedError(Exception):
    """The failure of a piece while others go on.

    Attributes:
        failure: the piece, its node, and the reason.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Runs(Protocol[Contravariant]):
    """The part of an executor that lanes use: ``submit`` and ``stop``."""

    most: int
    progress: Progress

    def submit(self, step: Contravariant, alone: bool) -> Future[None]:
        """Begin a step, and return a future that ends with the step or with its error."""

    def stop(self) -> None:
        """Make running steps end at their next report of progress."""


class _Waiting(Generic[Step]):
    """A step that is not done.

    Attributes:
        rank: of the steps that may start, the one with the lowest rank begins first.
        missing: number of unfinished steps that it waits for.
        followers: steps that wait for it.
        held: the error that named the process holding its artefact, if there was one.
        not_before: time at which it is tried again.
    """

    def __init__(self, step: Step, bounds: Bounds, rank: tuple[float, int]) -> None:
        self.step = step
        self.bounds = bounds
        self.rank = rank
        self.missing = 0
        self.followers: list[_Waiting[Step]] = []
        self.held: HeldError | None = None
        self.not_before = 0.0

    def __lt__(self, other: _Waiting[Step]) -> bool:
        return self.rank < other.rank


def _linked(steps: Sequence[Step], bounds: Callable[[Step], Bounds], first: Sequence[float]) -> list[_Waiting[Step]]:
    """Return the steps with their followers: the later steps that need something they make."""
    linked: list[_Waiting[Step]] = []
    makers: dict[Hashable, list[_Waiting[Step]]] = {}
    for index, step in enumerate(steps):
        one = _Waiting(step, bounds(step), (-first[index] if first else 0.0, index))
        for maker in {id(maker): maker for name in one.bounds.needs for maker in makers.get(name, ())}.values():
            maker.followers.append(one)
            one.missing += 1
        for name in one.bounds.makes:
            makers.setdefault(name, []).append(one)
        linked.append(one)
    return linked


class Lanes(Generic[Step]):
    """A queue of steps, several of which run at a time.

    A step that another process holds is tried again until it is free. Steps that do not need it run meanwhile.

    Args:
        steps: in an order in which each could run.
        bounds: returns the bounds of a step.
        executor: runs the steps.
        finished: called with each finished step, in this thread.
        failed: called with each failure.
        given_up: called with each step that is not tried because it needs one that failed.
        first: urgency of each step; of those that may start, the most urgent one begins; by default the first.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        bounds: Callable[[Step], Bounds],
        executor: Runs[Step],
        finished: Callable[[Step], None],
        failed: Callable[[Failure], None] = lambda failure: None,
        given_up: Callable[[Step], None] = lambda step: None,
        first: Sequence[float] = (),
    ) -> None:
        linked = _linked(steps, bounds, first)
        self._left = len(linked)
        self._ready = [one for one in linked if not one.missing]
        heapq.heapify(self._ready)
        self._held: list[_Waiting[Step]] = []
        self._running: dict[Future[None], _Waiting[Step]] = {}
        self._dropped: set[int] = set()
        self._executor = executor
        self._finished = finished
        self._failed = failed
        self._given_up = given_up
        self._printed: set[str] = set()

    def run(self) -> None:
        """Run all steps.

        After a :class:`PieceFailedError` the steps that need the failed one are given up, and the others go on. After
        any other error the others stop at their next report of progress, and the error is raised.
        """
        try:
            while self._left:
                self._start()
                if not self._running:
                    self._wait_for_others()
                    continue
                done, _ = wait(self._running, POLL_S if self._held else None, FIRST_COMPLETED)
                for future in done:
                    self._end(self._running.pop(future), future)
        except BaseException:
            self._executor.stop()
            raise

    def _start(self) -> None:
        """Begin the most urgent steps that may start now, as many as the executor takes."""
        now = time.monotonic()
        for one in [one for one in self._held if one.not_before <= now]:
            self._held.remove(one)
            heapq.heappush(self._ready, one)
        while self._ready and len(self._running) < self._executor.most:
            alone = self._ready[0].bounds.alone or any(one.bounds.alone for one in self._running.values())
            if alone and self._running:
                return
            one = heapq.heappop(self._ready)
            future = self._executor.submit(one.step, one.bounds.alone or self._executor.most == 1)
            self._running[future] = one

    def _end(self, one: _Waiting[Step], future: Future[None]) -> None:
        """Release the followers of a finished step, or postpone the step if another process holds it."""
        try:
            future.result()
        except HeldError as held:
            one.held = held
            one.not_before = time.monotonic() + POLL_S
            self._held.append(one)
            return
        except PieceFailedError as error:
            self._failed(error.failure)
            self._left -= 1
            self._drop(one)
            return
        self._left -= 1
        self._finished(one.step)
        for follower in one.followers:
            follower.missing -= 1
            if not follower.missing and id(follower) not in self._dropped:
                heapq.heappush(self._ready, follower)

    def _drop(self, failed: _Waiting[Step]) -> None:
        """Give up all steps that need a failed one, directly or through others."""
        reached = list(failed.followers)
        while reached:
            one = reached.pop()
            if id(one) not in self._dropped:
                self._dropped.add(id(one))
                self._left -= 1
                self._given_up(one.step)
                reached += one.followers

    def _wait_for_others(self) -> None:
        """Wait until the next step that another process holds may be tried again."""
        held = self._held[0].held
        assert held is not None
        line = f"{held.what} is in use by process {held.holder}; waiting for it to end"
        if line not in self._printed:
            self._printed.add(line)
            self._executor.progress.message(line)
        time.sleep(max(0.0, min(one.not_before for one in self._held) - time.monotonic()))


def watched(progress: Progress, stop: threading.Event) -> Progress:
    """Return ``progress`` with tasks that end their step when ``stop`` is set."""
    return _Stoppable(progress, stop)


class _Stoppable:
    def __init__(self, progress: Progress, stop: threading.Event) -> None:
        self._progress = progress
        self._stop = stop

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task of the wrapped progress."""
        with self._progress.task(title, total, unit, done) as task:
            yield _StoppableTask(task, self._stop)

    def message(self, text: str) -> None:
        """Print one line."""
        self._progress.message(text)


class _StoppableTask:
    def __init__(self, task: Task, stop: threading.Event) -> None:
        self._task = task
        self._stop = stop

    def advance(self, units: int = 1) -> None:
        """Report progress.

        Raises:
            StoppedError: the step has to end.
        """
        if self._stop.is_set():
            raise StoppedError
        self._task.advance(units)

    def note(self, text: str) -> None:
        """Show a short text."""
        self._task.note(text)
