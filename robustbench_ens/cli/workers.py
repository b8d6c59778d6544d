"""The view of many workers: a bar and a line for each worker on a terminal, or a line a minute in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robustbench_ens.cli.console import LINE_INTERVAL_S, plain_text
from robustbench_ens.core.text import NBSP, counted, duration, shorten
from robustbench_ens.errors import escaped
from robustbench_ens.workflow.status import Clock
from robustbench_ens.workflow.watch import Doing, Snapshot, Watch

TICK_S = 0.5
MOST_LINES = 16
"""The most workers that a terminal shows."""

MOST_IN_LOG = 3
"""The most workers that a line of a log shows."""

# Widths in characters: of a worker's name, of a piece's title, and of the bar.
MOST_NAME = 24
LEAST_PIECE = 16
LOGGED_PIECE = 60
MOST_BAR = 40

NOTE_FROM = 120
"""The width of a terminal from which notes are shown."""

FRAME = 4
"""The lines of a terminal besides those of workers: the bar, failures, the number of hidden workers, the cursor."""


@contextmanager
def shown(watch: Watch, console: Console) -> Iterator[None]:
    """Show the state of ``watch`` while this context is open, and print the totals at its end."""
    view = View(watch, console)
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK_S):
            with suppress(OSError):  # a full disk, for one; the main thread reports it when it prints
                view.tick()

    thread = threading.Thread(target=tick, name="view of the workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        view.close()


class View:
    """A view on a screen or in a log, to be called from one thread.

    Args:
        watch: the state of all workers.
        console: where to print.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, watch: Watch, console: Console, clock: Clock = time.monotonic) -> None:
        self._watch = watch
        self._console = console
        self._clock = clock
        self._printed = clock()
        redraws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if redraws else None
        if self._live is not None:
            self._live.start()

    def tick(self) -> None:
        """Print new lines, and redraw the view or, in a log, print a line a minute."""
        self._print_lines()
        if self._live is not None:
            most = max(1, min(MOST_LINES, self._console.height - FRAME))
            self._live.update(drawn(self._watch.snapshot(), self._console.width, most), refresh=True)
        elif self._clock() - self._printed >= LINE_INTERVAL_S:
            self._printed = self._clock()
            self._print(log_line(self._watch.snapshot()))

    def close(self) -> None:
        """Remove the live view, and print the totals."""
        self._print_lines()
        if self._live is not None:
            self._live.stop()
        snapshot = self._watch.snapshot()
        if snapshot.total:
            self._print(totals(snapshot))

    def _print_lines(self) -> None:
        for line in self._watch.take_lines():
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(plain_text(" ".join(line.split())), soft_wrap=True)


def log_line(snapshot: Snapshot) -> str:
    """Return the state of all workers in one line."""
    parts = [f"{snapshot.done:,} of {counted(snapshot.total, 'piece')}", *_outlook(snapshot), *_troubles(snapshot)]
    if snapshot.workers:
        parts.append(counted(len(snapshot.workers), "worker"))
    line = f"{_time(snapshot.seconds)}: {', '.join(parts)}"
    doing = [_in_words(one) for one in snapshot.workers[:MOST_IN_LOG]]
    return "; ".join([line, *doing, *_others(snapshot.workers, MOST_IN_LOG)])


def totals(snapshot: Snapshot) -> str:
    """Return the results of all pieces in one line."""
    left = snapshot.total - snapshot.done - len(snapshot.failures) - snapshot.not_tried
    parts = [f"{snapshot.done:,} done", *_troubles(snapshot), *([f"{left:,} left"] if left else [])]
    return f"{counted(snapshot.total, 'piece')} in {_time(snapshot.seconds)}: {', '.join(parts)}"


def drawn(snapshot: Snapshot, width: int, most: int) -> RenderableType:
    """Return the view for a terminal of this width, with at most ``most`` workers."""
    troubles = ", ".join(_troubles(snapshot))
    lines = [Text(troubles, "red" if snapshot.failures else "yellow")] if troubles else []
    others = [Text(line, "dim") for line in _others(snapshot.workers, most)]
    return Group(_bar(snapshot, width), *lines, _table(snapshot.workers[:most], width), *others)


def _bar(snapshot: Snapshot, width: int) -> Table:
    words = [f"{snapshot.done:,}/{snapshot.total:,} pieces", *_outlook(snapshot)]
    text = Text(", ".join(words), no_wrap=True, overflow="ellipsis")
    row = Table.grid(padding=(0, 1))
    room = max(4, min(MOST_BAR, width - text.cell_len - 1))
    row.add_row(ProgressBar(total=max(1, snapshot.total), completed=snapshot.done, width=room), text)
    return row


def _table(workers: Sequence[Doing], width: int) -> Table:
    """Return a row for each worker. Titles of pieces get the remaining width."""
    names = [shorten(_plain(one.status.worker), MOST_NAME) for one in workers]
    shares = [_share(one) for one in workers]
    states = [_state(one) for one in workers]
    notes = [shorten(_plain(one.status.note), MOST_NAME) if width >= NOTE_FROM else "" for one in workers]
    taken = sum(2 + max(map(len, column), default=0) for column in (names, shares, states, notes))
    room = max(LEAST_PIECE, width - taken)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, overflow="ellipsis")
    for one, name, share, state, note in zip(workers, names, shares, states, notes, strict=True):
        piece = shorten(_plain(one.status.piece), room)
        table.add_row(
            Text(name), Text(share), Text(state, "yellow" if one.silent_s else ""), Text(piece), Text(note, "dim")
        )
    return table


def _others(workers: Sequence[Doing], most: int) -> list[str]:
    """Return a line for the workers beyond the first ``most``, if there are any."""
    others = workers[most:]
    silent = sum(one.silent_s is not None for one in others)
    return [f"and {len(others):,} more{f', {silent:,} of them silent' if silent else ''}"] if others else []


def _outlook(snapshot: Snapshot) -> list[str]:
    rate = [] if snapshot.per_minute is None else [f"{_number(snapshot.per_minute)}/min"]
    left = [] if snapshot.left_s is None else [f"about {_rounded(snapshot.left_s)} left"]
    return rate + left


def _troubles(snapshot: Snapshot) -> list[str]:
    failed = len(snapshot.failures)
    retries = "" if not snapshot.retries else "1 retry" if snapshot.retries == 1 else f"{snapshot.retries:,} retries"
    counts = [f"{failed:,} failed" if failed else "", f"{snapshot.not_tried:,} not tried" if snapshot.not_tried else ""]
    return [part for part in (*counts, retries) if part]


def _in_words(one: Doing) -> str:
    piece = shorten(_plain(one.status.piece), LOGGED_PIECE)
    state = ", ".join(filter(None, [_share(one), _state(one) if one.silent_s else ""]))
    return f"{_plain(one.status.worker)}: {piece}" + (f" ({state})" if state else "")


def _share(one: Doing) -> str:
    status = one.status
    return f"{min(100, 100 * status.done // status.total)}%" if status.total > 0 else ""


def _state(one: Doing) -> str:
    """Return the worker's speed, or the time for which it has been silent."""
    if one.silent_s is not None:
        return f"silent for {one.silent_s:.0f} s"
    return f"{_number(one.status.rate)} {_plain(one.status.unit)}s/s" if one.status.rate else ""


def _plain(text: str) -> str:
    return escaped(" ".join(text.split()), keep="")


def _number(rate: float) -> str:
    """Return a rate with at least three digits."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _rounded(seconds: float) -> str:
    """Return an estimated time, in whole minutes from two minutes on."""
    return _time(60 * round(seconds / 60)).removesuffix(" 0 s") if seconds >= 120 else f"{seconds:.0f} s"


def _time(seconds: float) -> str:
    """Return a time in whole seconds."""
    whole = f"{seconds:.0f} s" if seconds < 59.5 else duration(seconds)
    return whole.replace(NBSP, " ")
