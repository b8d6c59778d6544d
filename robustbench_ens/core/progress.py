"""Interfaces by which long-running code reports its progress, and an implementation that shows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known number of units."""

    def advance(self, units: int = 1) -> None:
        """Report that ``units`` more are done."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, such as the current loss."""


class Progress(Protocol):
    """A display of tasks, on the command line as bars with rates and remaining time."""

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task of ``total`` units, ``done`` of which were finished before."""
        yield from ()  # pragma: no cover

    def message(self, text: str) -> None:
        """Show one line."""


class _SilentTask:
    def advance(self, units: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """A display that shows nothing."""

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task that shows nothing."""
        yield _SilentTask()

    def message(self, text: str) -> None:
        """Show nothing."""
