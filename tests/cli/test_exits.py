"""What `rbe` ends with, in processes of its own where that matters."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shlex
import signal
import subprocess
import sys

import click
import pytest
from rich.console import Console

from robustbench_ens.cli import console, exits
from robustbench_ens.core.notices import notice
from robustbench_ens.errors import FailedPiecesError, Failure, UserError
from tests.conftest import Rbe

RBE = (sys.executable, "-m", "robustbench_ens")


def raises(error: BaseException) -> int:
    def command() -> None:
        raise error

    return exits.run(command)


def test_what_a_person_can_mend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for error, line in (
        (UserError("a:\n b"), "a: b"),
        (OSError(errno.ENOSPC, "No space", "x"), f"x: the disk is full; {exits.KEPT}"),
        (OSError(errno.EDQUOT, "Quota", "x"), f"x: the disk quota is used up; {exits.KEPT}"),
        (
            OSError(errno.EFBIG, "Big", "x"),
            f"x: the file would be larger than the limit on a file's size (`ulimit -f`); {exits.KEPT}",
        ),
        (
            PermissionError(errno.EACCES, "No", "x"),
            f"x: permission denied; give this user access to it, or name another place; {exits.KEPT}",
        ),
        (OSError("codec failed"), f"codec failed; {exits.KEPT}"),
        (
            MemoryError("1 TB"),
            f"--device: out of memory; {exits.KEPT}; use a smaller model, a smaller batch_size in the recipe if it is "
            "trained, a smaller --batch-size if it is attacked, or --device cpu: 1 TB",
        ),
    ):
        assert raises(error) == 2
        assert capsys.readouterr().err == f"rbe: error: {line}\n"


def test_a_mistake_of_the_program_is_neither_a_refusal_nor_a_number_that_moved(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error in (ValueError("x"), AssertionError("x"), RuntimeError("x"), RecursionError("x")):
        assert raises(error) == 70
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("Traceback")
        assert lines[-1] == "rbe: this is an error in rbe itself; please report it, with the lines above"


@pytest.mark.parametrize(
    ("not_tried", "heading"),
    [
        (0, "2 pieces failed; all others are done, and the same command goes on from there"),
        (
            3,
            "2 pieces failed, and 3 that need a failed one were not tried; all others are done, and the same command "
            "goes on from there",
        ),
    ],
)
def test_failed_pieces_are_a_line_each_and_exit_code_1(
    not_tried: int, heading: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = [Failure("node-a", "train x", "logs/1.txt", "out of\nmemory"), Failure("b\x1b[2J", "train y", "", "why")]
    assert raises(FailedPiecesError(failures, not_tried)) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"rbe: error: {heading}",
        "  train x, on node-a: out of memory (log: logs/1.txt)",
        "  train y, on b\\x1b[2J: why",
    ]


def test_the_error_of_failed_pieces_pickles() -> None:
    error = FailedPiecesError([Failure("node-a", "train x", "", "why")], 2)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_help_says_what_the_codes_mean(rbe: Rbe) -> None:
    shown = " ".join(rbe("--help").out.split())
    assert exits.EXIT_CODES in shown
    for code in (0, 1, 2, 70, 130):
        assert f" {code} " in exits.EXIT_CODES


def without_reader(code: str) -> tuple[int, str]:
    """Exit code and standard error of Python code whose standard output has nobody who reads it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize("code", [0, 1, 2])
def test_without_a_reader_the_code_is_the_same(code: int) -> None:
    command = f"""
import sys
from robustbench_ens.cli import console, exits
import click
def command():
    console.OUT.print("a " * 100_000)
    console.show(console.table("t", ("a",), [("b",)] * 100))
    click.echo("c")
    print("d")
    return {code}
sys.exit(exits.run(command))
"""
    assert without_reader(command) == (code, "")


def test_nor_where_errors_have_no_reader() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*RBE, "nonsense"], stdout=writing, stderr=writing, check=False, timeout=60)
    os.close(writing)
    assert done.returncode == 2


INTERRUPTED = """
import signal, sys, threading, time
from robustbench_ens.cli import exits
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("unwinding", flush=True)
        time.sleep({unwinds})
threading.Thread(target=time.sleep, args=({works},)).start()
sys.exit(exits.run(command))
"""


@pytest.mark.parametrize("moment", ["while the first unwinds", "while the interpreter ends"])
def test_the_second_ctrl_c_ends_at_once(moment: str) -> None:
    code = INTERRUPTED.format(unwinds=60 if "unwinds" in moment else 0, works=60)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "unwinding\n"
            if "interpreter" in moment:
                assert process.stderr.readline() == "rbe: interrupted; the same command goes on from here\n"
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert process.returncode == 130
    assert err == "rbe: interrupted again; the same command goes on from what was finished\n"


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert exits.run(lambda: None) == 0
    assert signal.getsignal(signal.SIGINT) is before
    streams = sys.stdout, sys.stderr
    assert exits.run(lambda: 1) == 1
    assert (sys.stdout, sys.stderr) == streams


ENCODINGS = ("ascii", "latin-1", "cp1252", "utf-8", "utf-16")
TEXT = "2.0\N{NO-BREAK SPACE}s ± 1 − … \N{GREEK SMALL LETTER ALPHA} \N{CJK UNIFIED IDEOGRAPH-4E2D} \udcff"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_an_encoding_lacks_is_written_otherwise(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in written.items():
        monkeypatch.setattr(sys, name, stream)

    def command() -> None:
        print(TEXT)
        console.OUT.print(TEXT)
        console.OUT.out(TEXT)
        console.show(console.table("Title ±", ("±",), [(TEXT,)]))
        raise UserError(TEXT)

    assert exits.run(command) == 2
    for stream in written.values():
        assert stream.errors == "strict"
        stream.flush()
        text = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
        plain = encoding == "ascii"
        assert ("2.0 s +- 1 - ..." in text) == plain
        assert "\\udcff" in text
        assert ("\\u4e2d" in text) != encoding.startswith("utf")


HOSTILE = "a\x1b]0;title\x07\x1b[2J\r\x08\x9b31m\u202eb\N{LINE SEPARATOR}c[red]d[/red]:smile:"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\r\x08\x9b31m\u202eb\u2028c[red]d[/red]:smile:"


def test_no_character_that_a_terminal_would_obey_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it stands in: a message, a table, a task, an error, an error of the program."""

    def command() -> None:
        bars = console.Bars(console.OUT)
        console.OUT.print(HOSTILE)
        console.OUT.out(HOSTILE)
        console.show(console.table(HOSTILE, (HOSTILE,), [(HOSTILE,)]))
        bars.message(HOSTILE)
        with bars.task(HOSTILE, 1, "step") as task:
            task.note(HOSTILE)
        notice(HOSTILE)
        raise ValueError(HOSTILE)

    assert exits.run(command) == 70
    captured = capsys.readouterr()
    for text in captured:
        assert set("\x1b\x07\r\x08\x9b\u202e\N{LINE SEPARATOR}").isdisjoint(text)
    assert captured.out.count(SHOWN) == 7
    one_line = SHOWN.replace(r"\r", " ").replace(r"\u2028", " ")
    assert f"rbe: note: {one_line}\n" in captured.err
    assert f"ValueError: {SHOWN}\n" in captured.err
    for error in (UserError(HOSTILE), click.ClickException(HOSTILE), OSError(5, HOSTILE, HOSTILE)):
        assert raises(error) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert set("\x1b\x07\r\x08\x9b\u202e\N{LINE SEPARATOR}").isdisjoint(err)


def test_bars_obey_nothing_either() -> None:
    out = io.StringIO()
    with console.Bars(Console(file=out, force_terminal=True, width=120)).task(HOSTILE, 1, "step") as task:
        task.note(HOSTILE)
    assert "\x1b]0;" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert "\\x1b]0;title" in out.getvalue()


def test_notices_are_one_line_each_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        console.OUT.out("lines\n  of their own")
        for text in ("one\n line", "two", "one\n line"):
            notice(text)

    assert exits.run(command) == 0
    captured = capsys.readouterr()
    assert captured.err == "rbe: note: one line\nrbe: note: two\n"
    assert captured.out == "lines\n  of their own\n"
    with pytest.warns(UserWarning, match="one"):
        notice("one")


CLOSED = """
import os, sys, tempfile
from robustbench_ens.cli import console, exits
def command():
    with tempfile.TemporaryFile() as file:
        assert file.fileno() > 2, file.fileno()
        console.OUT.print("a")
        console.show(console.table("t", ("a",), [("b",)]))
        os.write(1, b"c")
        assert file.seek(0, 2) == 0
    return {code}
sys.exit(exits.run(command))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("code", [0, 1])
def test_closed_streams_change_nothing(closed: str, code: int) -> None:
    command = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(CLOSED.format(code=code))} {closed}"
    done = subprocess.run(["sh", "-c", command], check=False, timeout=60)
    assert done.returncode == code
