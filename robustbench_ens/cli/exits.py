"""The ends of `rbe`: exit codes, one-line errors, closed pipes and Ctrl-C."""

from __future__ import annotations

import codecs
import errno
import io
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

from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.core.notices import notices_to, once
from robustbench_ens.errors import FailedPiecesError, UserError, escaped

DONE = 0
MOVED = 1
FAILED = 1
REFUSED = 2
BROKEN = 70
INTERRUPTED = 130
EXIT_CODES = (
    f"Exit codes: {DONE} done; {MOVED} numbers moved (rbe check), or some pieces failed (several workers); {REFUSED} "
    f"refused, in one line; {BROKEN} an error in rbe itself; {INTERRUPTED} interrupted."
)
"""The codes as help shows them. 70 is EX_SOFTWARE of sysexits.h, and 130 that of shells for a SIGINT."""

KEPT = "what was finished before is kept, and the same command goes on from there"

_OS_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the limit on a file's size (`ulimit -f`)",
}


def run(command: Callable[[], Any]) -> int:
    """Run ``command``, and return the exit code. The reason for any but 0 and 1 is printed on standard error.

    If the reader of the output has gone (`rbe check ... | head -1`), the command goes on without printing, so that the
    exit code keeps its meaning.
    """
    # The order of handlers matters: several of these errors are subclasses of those caught later.
    with _forgiving_streams(), notices_to(once(_note)), _second_interrupt_ends_at_once():
        try:
            code = command()
        except UserError as error:
            return _refuse(str(error))
        except FailedPiecesError as error:
            _say(f"rbe: error: {error}")
            return FAILED
        except click.exceptions.NoArgsIsHelpError as error:
            _say(error.format_message())
            return REFUSED
        except click.ClickException as error:
            return _refuse(error.format_message())
        except (KeyboardInterrupt, click.Abort):
            _say("rbe: interrupted; the same command goes on from here")
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
            _say(escaped(traceback.format_exc().rstrip()))
            _say("rbe: this is an error in rbe itself; please report it, with the lines above")
            return BROKEN
        return code if isinstance(code, int) else DONE


def _say(text: str) -> None:
    """Print on standard error, without click, which writes UTF-8 even if the encoding is ASCII."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def _refuse(line: str) -> int:
    _say(f"rbe: error: {_one_line(line)}")
    return REFUSED


def _note(line: str) -> None:
    _say(f"rbe: note: {_one_line(line)}")


def _one_line(text: str) -> str:
    return escaped(" ".join(text.split()), keep="")


def _os_error(error: OSError) -> str:
    """Return the line for an error of the system: the file, the problem, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    if isinstance(error, PermissionError):
        return f"{where}permission denied; give this user access to it, or name another place; {KEPT}"
    what = _OS_ERRORS.get(error.errno or 0) or error.strerror or str(error)
    return f"{where}{what}; {KEPT}"


class _Forgiving:
    """A text stream that drops its output once its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text`` if there is still a reader."""
        with self._forgiven():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if there is still a reader."""
        with self._forgiven():
            self._stream.flush()

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Buffered text is flushed later, and needs an open descriptor.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


ANY_ENCODING = "robustbench_ens.any-encoding"
"""The name of the error handler that replaces characters that an encoding lacks."""

_INSTEAD = {
    "\N{NO-BREAK SPACE}": " ",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{WARNING SIGN}": "!",
    "\N{RIGHTWARDS ARROW}": "->",
}


def _in_any_encoding(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(c) or c.encode("unicode_escape").decode("ascii") for c in lacking), error.end


codecs.register_error(ANY_ENCODING, _in_any_encoding)


@contextmanager
def _writes_anything(stream: TextIO | None) -> Iterator[None]:
    """Let ``stream`` accept every character inside this context, whatever its encoding."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=ANY_ENCODING)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # it flushes first, which may fail, and is repeated when Python ends
            stream.reconfigure(errors=before)


@contextmanager
def _forgiving_streams() -> Iterator[None]:
    _open_closed_streams()
    before = (sys.stdout, sys.stderr)
    with _writes_anything(sys.stdout), _writes_anything(sys.stderr):
        sys.stdout, sys.stderr = (stream and _Forgiving(stream) for stream in before)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    if stream is not None:
                        stream.flush()
            sys.stdout, sys.stderr = before


def _open_closed_streams() -> None:
    """Open closed standard streams (`rbe ... >&-`) on the null device, before a file gets their number."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is this one


@contextmanager
def _second_interrupt_ends_at_once() -> Iterator[None]:
    """Make a second Ctrl-C end the process at once, with 130.

    The first waits for the worker threads. A second one must not end the interpreter while threads are inside PyTorch,
    which then aborts. Nothing is lost, because every file on disk is complete.
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
        if not interrupted:  # otherwise the handler must stay until the interpreter has ended
            signal.signal(signal.SIGINT, before)
