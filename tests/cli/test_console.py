import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from robustbench_ens.cli import console as module
from robustbench_ens.cli.console import Bars, table
from robustbench_ens.core.progress import Silent


def drawn(content, width=200):
    out = io.StringIO()
    Console(file=out, width=width).print(content)
    return out.getvalue()


def test_a_finished_task_leaves_one_line_with_its_time():
    out = io.StringIO()
    with Bars(Console(file=out)).task("train [x=1]", 10, "step") as task:
        task.advance(10)
        task.note("loss 1.0")
    (line,) = out.getvalue().splitlines()
    assert line.startswith("train [x=1]: done in 0.")


def test_rates_count_only_what_was_done_now(monkeypatch):
    out = io.StringIO()
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Bars(Console(file=out)).task("train", 100, "step", done=90) as task:
        task.advance(10)
        now[0] = 2.0
    assert "5.0 steps/s" in out.getvalue()


def test_without_a_terminal_long_tasks_say_a_line_now_and_then(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.0)
    with Bars(Console(file=out)).task("attack", 4, "image") as task:
        task.advance(1)
    assert out.getvalue().startswith("attack: 1 of 4, ")
    assert " s left" in out.getvalue()


def test_a_terminal_sees_bars():
    out = io.StringIO()
    with Bars(Console(file=out, force_terminal=True, width=120)).task("attack", 4, "image") as task:
        task.advance(4)
    assert "attack" in out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_tasks_in_two_threads_share_the_screen(terminal):
    """A second live display on one terminal is an error of rich's."""
    out, meet = io.StringIO(), threading.Barrier(2, timeout=20)
    bars = Bars(Console(file=out, force_terminal=terminal, width=120))

    def work(name):
        with bars.task(name, 4, "image") as task:
            meet.wait()
            task.advance(4)
            meet.wait()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, ("one", "two")))
    for name in ("one", "two"):
        assert f"{name}: done in " in out.getvalue()
    with bars.task("three", 1, "image") as task:  # the display starts again
        task.advance()
    assert "three: done in " in out.getvalue()


def test_markup_in_cells_is_text():
    assert "[red]x[/red]" in drawn(table("t", ["[bold]"], [["[red]x[/red]"]]))


@pytest.mark.parametrize(("cells", "aligned"), [(["1", "22.5"], "   1"), (["a", "bbbb"], "a")])
def test_numbers_to_the_right_and_words_to_the_left(cells, aligned):
    lines = drawn(table("", ["n"], [[cell] for cell in cells])).splitlines()
    row = next(line for line in lines if line.strip() == cells[0])
    assert row.startswith(" " + aligned) or row.startswith(aligned)
    assert (row.index(cells[0]) > 1) == cells[0].isdigit()


def test_silence():
    with Silent().task("x", 1, "y") as task:
        task.advance()
        task.note("z")
    Silent().message("nothing")
