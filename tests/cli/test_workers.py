"""Many workers on a terminal and in a log, under a clock that tests set."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from robustbench_ens.cli.console import LINE_INTERVAL_S
from robustbench_ens.cli.workers import MOST_LINES, View, drawn, log_line, shown, totals
from robustbench_ens.errors import Failure
from robustbench_ens.workflow.status import Message, Status
from robustbench_ens.workflow.watch import SILENT_S, Watch

HOSTILE = "[red]:boom:\x1b[2J\u202e\ud800\n\rx"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def log() -> Console:
    """A console whose output is no terminal."""
    return Console(file=io.StringIO(), width=80)


def terminal(width: int = 80, height: int = 50) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system=None,
        _environ={"TERM": "xterm"},
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def busy(clock: Clock, workers: int, name: str = "gpu-{}:4000") -> Watch:
    """Workers of whom each has done one piece in 30 s, and a quarter of the next in 15 s."""
    pieces = [f"attack cifar10/dverge-3/s0 under cifar10/blackbox: part {index}" for index in range(4 * workers)]
    watch = Watch([(piece, 30.0) for piece in pieces], clock)
    for index in range(workers):
        watch.began(pieces[index], name.format(index))
    clock.now += 30
    for index in range(workers):
        watch.ended(pieces[index])
        watch.receive(Status(name.format(index), pieces[workers + index], 0, 200, "image"))
    clock.now += 15
    for index in range(workers):
        status = Status(name.format(index), pieces[workers + index], 50, 200, "image", "loss 0.125", 50 / 15)
        watch.receive(status)
    return watch


def lines_of(watch: Watch, width: int, most: int = MOST_LINES) -> list[str]:
    console = terminal(width)
    console.print(drawn(watch.snapshot(), width, most))
    return [line.rstrip() for line in written(console).splitlines()]


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("workers", [2, 16, 64])
def test_a_bar_for_all_and_a_line_for_each_worker(clock: Clock, workers: int, width: int) -> None:
    lines = lines_of(busy(clock, workers), width)
    assert len(lines) == 1 + min(workers, MOST_LINES) + (workers > MOST_LINES)
    assert all(len(line) <= width for line in lines)
    assert re.search(rf" {workers}/{4 * workers} pieces, [\d.]+/min, about 99 s left$", lines[0])
    assert lines[1].startswith("gpu-0:4000 ")
    assert "25%  3.33 images/s  attack cifar10/dverge" in lines[1]
    assert ("loss 0.125" in lines[1]) == (width == 140)
    assert re.search(r"part \d+", lines[1])
    if workers > MOST_LINES:
        assert lines[-1] == "and 48 more"


@pytest.mark.parametrize("width", [20, 40])
def test_narrow_terminals_break_no_line(clock: Clock, width: int) -> None:
    lines = lines_of(busy(clock, 2), width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)


def test_silent_workers_come_first_and_are_counted_beyond_the_last_line(clock: Clock) -> None:
    watch = busy(clock, 4)
    clock.now += SILENT_S
    watch.receive(watch.snapshot().workers[0].status)
    lines = lines_of(watch, 80, most=2)
    assert lines[1].startswith("gpu-1:4000")
    assert "silent for 60 s" in lines[1]
    assert lines[-1] == "and 2 more, 1 of them silent"


def test_what_went_wrong_has_a_line_of_its_own(clock: Clock) -> None:
    watch = busy(clock, 2)
    piece = watch.snapshot().workers[0].status.piece
    watch.retried(piece, "its node died")
    watch.retried(piece, "its node died")
    watch.failed(Failure("gpu-0", piece, "log.txt", "why"))
    watch.not_tried("attack cifar10/dverge-3/s0 under cifar10/blackbox: part 7")
    assert lines_of(watch, 80)[1] == "1 failed, 1 not tried, 2 retries"


def test_a_terminal_sees_the_view_and_then_the_totals(clock: Clock) -> None:
    console = terminal()
    watch = busy(clock, 2)
    view = View(watch, console, clock)
    view.tick()
    assert "2/8 pieces" in written(console)
    watch.receive(Message("gpu-0:4000", "published weights"))
    view.tick()
    view.close()
    assert "gpu-0:4000: published weights" in written(console)
    assert written(console).rstrip().endswith("8 pieces in 45 s: 2 done, 6 left")


@pytest.mark.parametrize("height", [1, 10, 60])
def test_no_more_workers_than_the_terminal_has_lines(clock: Clock, height: int) -> None:
    console = terminal(height=height)
    view = View(busy(clock, 64), console, clock)
    view.tick()
    view.close()
    assert len(set(re.findall(r"gpu-\d+:", written(console)))) == max(1, min(MOST_LINES, height - 4))


def test_a_log_gets_a_line_a_minute(clock: Clock) -> None:
    console = log()
    watch = busy(clock, 5)
    view = View(watch, console, clock)
    for _ in range(250):
        view.tick()
        clock.now += 0.5
    assert len(written(console).splitlines()) == 250 * 0.5 // LINE_INTERVAL_S
    assert written(console).startswith("1 min 45 s: 5 of 20 pieces, ")


def test_a_line_of_a_log_holds_all_that_matters(clock: Clock) -> None:
    line = log_line(busy(clock, 5).snapshot())
    part = "attack cifar10/dverge-3/s0 under cifar10/blackbox: part"
    assert line == (
        "45 s: 5 of 20 pieces, 6.67/min, about 99 s left, 5 workers; "
        f"gpu-0:4000: {part} 5 (25%); gpu-1:4000: {part} 6 (25%); gpu-2:4000: {part} 7 (25%); and 2 more"
    )


def test_failures_and_retries_are_printed_at_once(clock: Clock) -> None:
    console = log()
    watch = busy(clock, 2)
    view = View(watch, console, clock)
    piece = watch.snapshot().workers[0].status.piece
    watch.retried(piece, "its node died")
    watch.failed(Failure("gpu-0", piece, "logs/7.txt", "out of memory"))
    view.tick()
    assert written(console).splitlines() == [
        f"tries again: {piece}: its node died",
        f"failed: {piece}, on gpu-0: out of memory (log: logs/7.txt)",
    ]


def test_totals_name_what_was_not_done(clock: Clock) -> None:
    watch = Watch([(f"p{index}", None) for index in range(6)], clock)
    watch.began("p0", "a:1")
    clock.now = 7265
    for piece in ("p0", "p1", "p2"):
        watch.ended(piece)
    watch.failed(Failure("a", "p3", "", "why"))
    watch.not_tried("p4")
    watch.retried("p5", "why")
    assert totals(watch.snapshot()) == "6 pieces in 2 h 1 min: 3 done, 1 failed, 1 not tried, 1 retry, 1 left"


@pytest.mark.parametrize("console", [log(), terminal(140)], ids=["log", "terminal"])
def test_no_terminal_obeys_a_name(clock: Clock, console: Console) -> None:
    watch = Watch([(HOSTILE, None), (f"other {HOSTILE}", None)], clock)
    view = View(watch, console, clock)
    watch.receive(Status(HOSTILE, HOSTILE, 1, 2, HOSTILE, HOSTILE, 1.0))
    watch.receive(Message(HOSTILE, HOSTILE))
    watch.retried(f"other {HOSTILE}", HOSTILE)
    watch.failed(Failure(HOSTILE, f"other {HOSTILE}", HOSTILE, HOSTILE))
    clock.now += LINE_INTERVAL_S
    view.tick()
    view.close()
    text = written(console)
    assert "\x1b[2J" not in text
    assert not {"\u202e", "\ud800"} & set(text)
    assert "[red]:boom:\\x1b[2J\\u202e\\ud800 x" in text
    if not console.is_terminal:
        assert all(character.isprintable() or character == "\n" for character in text)
        assert len(text.splitlines()) == 5  # a message, a retry, a failure, the state and the totals


def test_a_dumb_terminal_is_a_log(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}, color_system=None)
    view = View(busy(clock, 2), console, clock)
    view.tick()
    assert written(console) == ""
    clock.now += LINE_INTERVAL_S
    view.tick()
    view.close()
    assert len(written(console).splitlines()) == 2
    assert "\x1b" not in written(console)


def test_the_view_ends_with_its_context_also_at_an_error() -> None:
    console = log()
    watch = Watch([("p0", None)])
    with pytest.raises(ValueError, match="broken"), shown(watch, console):
        watch.ended("p0")
        watch.receive(Message("a:1", "last words"))
        raise ValueError("broken")
    assert written(console).splitlines() == ["a:1: last words", "1 piece in 0 s: 1 done"]


def test_an_empty_plan_prints_nothing() -> None:
    console = log()
    with shown(Watch([]), console):
        pass
    assert written(console) == ""
