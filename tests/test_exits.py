"""What `rbe` ends with, in processes of its own where that matters."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from robustbench_ens import exits
from robustbench_ens.errors import UserError
from tests.conftest import Rbe

RBE = (sys.executable, "-m", "robustbench_ens.cli")


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
from robustbench_ens import console, exits
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
from robustbench_ens import exits
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
