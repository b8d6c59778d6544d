"""How long-running code tells how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known number of units."""

    def advance(self, units: int = 1) -> None:
        """Report ``units`` more as done."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, e.g. the current loss."""


class Progress(Protocol):
    """Opens tasks; the command line shows them as bars with rates and remaining time."""

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task of ``total`` units, ``done`` of which were finished before."""
        yield from ()  # pragma: no cover

    def message(self, text: str) -> None:
        """Say one line."""


class _SilentTask:
    def advance(self, units: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """Progress that nobody listens to."""

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """A task that shows nothing."""
        yield _SilentTask()

    def message(self, text: str) -> None:
        """Say nothing."""
