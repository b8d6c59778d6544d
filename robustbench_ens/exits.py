"""How `rbe` ends: exit codes, one line for what a person can mend, closed pipes, Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

import click

from robustbench_ens.errors import UserError
from robustbench_ens.memory import is_out_of_memory

DONE, MOVED, REFUSED, BROKEN, INTERRUPTED = 0, 1, 2, 70, 130
EXIT_CODES = (
    f"Exit codes: {DONE} done; {MOVED} numbers moved (rbe check alone); {REFUSED} refused, in one line; "
    f"{BROKEN} an error in rbe itself; {INTERRUPTED} interrupted."
)
"""70 is EX_SOFTWARE of sysexits.h, 130 what shells give to a process that SIGINT ended."""

KEPT = "what was finished before is kept, and the same command goes on from there"

_OS_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the limit on a file's size (`ulimit -f`)",
}


def run(command: Callable[[], Any]) -> int:
    """Run ``command`` and return the exit code; the reason for any but 0 and 1 is printed on standard error.

    Where the reader of the output has gone (`rbe check ... | head -1`), the command goes on without printing, so that
    the exit code says what it always says.
    """
    with _forgiving_streams(), _second_interrupt_ends_at_once():
        try:
            code = command()
        except UserError as error:
            return _refuse(str(error))
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return REFUSED
        except click.ClickException as error:
            return _refuse(error.format_message())
        except (KeyboardInterrupt, click.Abort):
            click.echo("rbe: interrupted; the same command goes on from here", err=True)
            return INTERRUPTED
        except OSError as error:
            return _refuse(_os_error(error))
        except Exception as error:
            if is_out_of_memory(error):
                hint = (
                    "use a smaller model, a smaller batch_size in the recipe if it is trained, a smaller --batch-size "
                    "if it is attacked, or --device cpu"
                )
                return _refuse(f"--device: out of memory; {KEPT}; {hint}: {error}")
            traceback.print_exc()
            click.echo("rbe: this is an error in rbe itself; please report it, with the lines above", err=True)
            return BROKEN
        return code if isinstance(code, int) else DONE


def _refuse(line: str) -> int:
    click.echo(f"rbe: error: {' '.join(line.split())}", err=True)
    return REFUSED


def _os_error(error: OSError) -> str:
    """The line for an error of the system: which file, what, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    if isinstance(error, PermissionError):
        return f"{where}permission denied; give this user access to it, or name another place; {KEPT}"
    what = _OS_ERRORS.get(error.errno or 0) or error.strerror or str(error)
    return f"{where}{what}; {KEPT}"


class _Forgiving:
    """A text stream that goes silent once its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``, if there is still a reader."""
        with self._forgiven():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if there is still a reader."""
        with self._forgiven():
            self._stream.flush()

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What is still buffered is flushed later, and must find somewhere to go.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def _forgiving_streams() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and _Forgiving(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def _second_interrupt_ends_at_once() -> Iterator[None]:
    """Let the second Ctrl-C end the process at once, with 130.

    The first waits for the worker threads. A second one must not unwind into the interpreter's end while these are
    inside PyTorch, which then aborts. Nothing is lost: whatever is on disk is there whole.
    """
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or before is not signal.default_int_handler:
        yield
        return
    interrupted = False

    def at_once(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(2, b"rbe: interrupted again; the same command goes on from what was finished\n")
        os._exit(INTERRUPTED)

    def first(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, at_once)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        if not interrupted:  # else the interpreter still has to end, and is to be left alone at that
            signal.signal(signal.SIGINT, before)
