"""Progress bars and tables on the terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from robustbench_ens.core.progress import Task
from robustbench_ens.errors import escaped


class _Console(Console):
    """A console that prints text without markup and control characters."""

    def print(self, *objects: Any, **style: Any) -> None:
        """Print texts, each on one line, and tables."""
        shown = (escaped(item, keep="") if isinstance(item, str) else item for item in objects)
        plain: dict[str, Any] = {"markup": False, "emoji": False}
        super().print(*shown, **(plain | style))

    def out(self, *objects: Any, **style: Any) -> None:
        """Print texts with their line breaks."""
        text = " ".join(escaped(str(item)) for item in objects)
        whole: dict[str, Any] = {"no_wrap": True, "overflow": "ignore", "crop": False}
        super().print(Text(text), **(whole | style))


OUT = _Console(highlight=False, soft_wrap=True)
WHOLE = 20
"""The longest cell that is never folded, in characters."""

UNFOLDED = 10_000
"""The width of tables in a file or pipe, so that no cell is folded."""


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Return the units per second since the start."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['unit']}s/s" if speed else "")


LINE_INTERVAL_S = 60.0


class _Bar:
    """The bar of a task, or a line a minute if the output is not a terminal."""

    def __init__(self, progress: RichProgress, task: TaskID, done: int) -> None:
        self._progress = progress
        self._task = task
        self._began = self._printed = time.monotonic()
        self._done_before = done

    @property
    def seconds(self) -> float:
        """The seconds since the task was opened."""
        return time.monotonic() - self._began

    def state(self) -> tuple[RichTask, float]:
        """Return the task and its units per second so far."""
        (task,) = [task for task in self._progress.tasks if task.id == self._task]
        return task, (task.completed - self._done_before) / max(self.seconds, 1e-9)

    def advance(self, units: int = 1) -> None:
        self._progress.advance(self._task, units)
        if self._progress.disable and time.monotonic() - self._printed >= LINE_INTERVAL_S:
            self._printed = time.monotonic()
            task, rate = self.state()
            left = (task.total or 0) - task.completed
            self._progress.console.print(
                f"{task.description}: {task.completed:.0f} of {task.total:.0f}, {rate:.1f} {task.fields['unit']}s/s, "
                f"about {left / max(rate, 1e-9):.0f} s left",
                markup=False,
                emoji=False,
            )

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=escaped(text, keep=""))


class Bars:
    """Progress bars with rates and remaining time, or plain lines if the output is not a terminal.

    Tasks may be open in several threads. Their bars share one display, because a terminal can show only one.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._shown: RichProgress | None = None

    def _open(self, **task: Any) -> tuple[RichProgress, TaskID]:
        """Add a bar to the display, and start the display with the first."""
        with self._lock:
            if self._shown is None:
                columns = (
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=24),
                    MofNCompleteColumn(),
                    _Rate(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[note]}", markup=False),
                )
                plain = not self._console.is_terminal
                self._shown = RichProgress(*columns, console=self._console, transient=True, disable=plain)
                self._shown.start()
            return self._shown, self._shown.add_task(**task)

    def _close(self, task: TaskID) -> None:
        """Remove a bar, and the display with the last."""
        with self._lock:
            assert self._shown is not None
            self._shown.remove_task(task)
            if not self._shown.tasks:
                self._shown.stop()
                self._shown = None

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Show a bar for one piece of work, and a line when it is done."""
        title = escaped(title, keep="")
        progress, task = self._open(description=title, total=total, completed=done, unit=unit, note="")
        try:
            bar = _Bar(progress, task, done)
            yield bar
            _, rate = bar.state()
        finally:
            self._close(task)
        speed = f", {rate:.1f} {unit}s/s" if bar.seconds >= 0.5 else ""
        self._console.print(f"{title}: done in {bar.seconds:.1f} s{speed}", markup=False, emoji=False)

    def message(self, text: str) -> None:
        """Print one line."""
        self._console.print(escaped(text, keep=""), markup=False, emoji=False)


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ("", "-", "?")


def plain_text(content: str, style: str = "") -> Text:
    """Return a text in which markup and names of emoji are not interpreted."""
    return Text(escaped(content, keep=""), style=style)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table with numbers aligned right. If space is short, long cells fold and short ones do not."""
    cells = [[escaped(str(value), keep="") for value in row] for row in rows]
    drawn = Table(
        title=plain_text(title, "table.title") if title else None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for index, column in enumerate(columns):
        widest = max((len(row[index]) for row in cells), default=0)
        justify: Literal["left", "right"] = "right" if all(_is_number(row[index]) for row in cells) else "left"
        drawn.add_column(plain_text(column), justify=justify, overflow="fold", no_wrap=widest <= WHOLE)
    for row in cells:
        drawn.add_row(*map(plain_text, row))
    return drawn


def show(drawn: Table) -> None:
    """Print a table, folded to the width of a terminal, or unfolded to a file or pipe."""
    console = OUT if OUT.is_terminal else Console(highlight=False, width=UNFOLDED)
    console.print(drawn)
