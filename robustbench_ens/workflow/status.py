"""Statuses and messages by which a worker reports on its piece, as picklable objects. No torch."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from robustbench_ens.core.progress import Task

POST_INTERVAL_S = 1.0
"""Seconds between two statuses of a worker inside a task."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Status:
    """The progress of one worker with one piece.

    Attributes:
        worker: node and process, such as ``node-a:1234``.
        piece: title of the piece.
        done: number of units that are done.
        total: number of all units; 0 until it is known.
        unit: what is counted, such as ``image``.
        note: a short text, such as the current loss.
        rate: units per second since the task began; None at its beginning.
    """

    worker: str
    piece: str
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""
    rate: float | None = None


@dataclass(frozen=True)
class Message:
    """One line that a worker prints."""

    worker: str
    text: str


Post = Callable[[Status | Message], None]


def worker_name() -> str:
    """Return the name of this worker: the node without its domain, and the process number."""
    return f"{socket.gethostname().partition('.')[0]}:{os.getpid()}"


class Reporter:
    """The progress of one piece, on the worker's side.

    Attributes:
        messages: the lines that were printed.

    Args:
        worker: name of the worker.
        piece: title of the piece.
        post: sends a status or a message to the driver. It must not block for long.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, worker: str, piece: str, post: Post, clock: Clock = time.monotonic) -> None:
        self.messages: list[str] = []
        self._worker = worker
        self._piece = piece
        self._post = post
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before = 0.0

    def begin(self) -> None:
        """Post that the worker has begun the piece, before the number of units is known."""
        self._post(Status(self._worker, self._piece))

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task. Its beginning and end are posted at once."""
        task = _ReportedTask(self, total, unit, done)
        self._report(task, self._clock())
        yield task
        self._report(task, self._clock())

    def message(self, text: str) -> None:
        """Keep one line and post it."""
        self.messages.append(text)
        self._post(Message(self._worker, text))

    def _advance(self, task: _ReportedTask, units: int) -> None:
        with self._lock:
            task.done += units
            now = self._clock()
            if now < self._not_before:
                return
            self._not_before = now + POST_INTERVAL_S  # inside the lock, so that only one of many threads reports
        self._report(task, now)

    def _report(self, task: _ReportedTask, now: float) -> None:
        self._not_before = now + POST_INTERVAL_S
        seconds = now - task.began
        rate = (task.done - task.before) / seconds if seconds > 0 else None
        self._post(Status(self._worker, self._piece, task.done, task.total, task.unit, task.text, rate))


class _ReportedTask:
    def __init__(self, reporter: Reporter, total: int, unit: str, done: int) -> None:
        self._reporter = reporter
        self.total = total
        self.unit = unit
        self.text = ""
        self.before = self.done = done
        self.began = reporter._clock()

    def advance(self, units: int = 1) -> None:
        """Count units, and report if the interval has passed."""
        self._reporter._advance(self, units)

    def note(self, text: str) -> None:
        """Keep a short text for the next report."""
        self.text = text
