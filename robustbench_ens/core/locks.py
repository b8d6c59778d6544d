"""One writer at a time in a folder, and no unfinished files of writers that are dead.

Both rest on ``flock``, which the system releases however a process ends, also on another machine that shares the disk.
A folder is held through its ``.lock``, an artefact through a file beside it; an unfinished file is held itself, from
its making until it has its name.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from robustbench_ens.core.progress import Task
from robustbench_ens.core.system import fcntl
from robustbench_ens.errors import UserError

LOCK = ".lock"
PREFIX, SUFFIX = ".rbe-", ".part"
"""What names of unfinished files begin and end with."""

POLL_S = 0.2
"""How often an artefact is asked for that is held."""


@contextmanager
def hold(folder: Path, what: str = "the folder", otherwise: str = "") -> Iterator[None]:
    """Hold ``folder`` for writing; the lock goes with the process, however that ends.

    What dead writers left unfinished in it is removed first.

    Args:
        folder: is made if it is not there.
        what: what errors call it.
        otherwise: what else to do than wait.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(f"{folder}: {what} is in use by process {holder}; wait for it to end{otherwise}") from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        remove_leftovers(folder)
        yield


class HeldError(UserError):
    """Another process, or another thread of this one, is making this artefact."""


@contextmanager
def hold_artefact(path: Path) -> Iterator[None]:
    """Hold one artefact, a file or a folder, while it is made; others beside it stay free.

    The lock goes with the process, however that ends. Its file lies beside the artefact and is removed with it. On a
    file system without locks nothing is held: at worst an artefact is made twice.

    Args:
        path: of the artefact, which need not be there.

    Raises:
        HeldError: it is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}{LOCK}")
    descriptor = _locked(lock, path)
    try:
        yield
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


@contextmanager
def waiting_for(path: Path, task: Task) -> Iterator[None]:
    """Hold one artefact, as :func:`hold_artefact`, and wait while it is held.

    Args:
        path: of the artefact.
        task: is told that nothing has advanced, so that it can end the wait.
    """
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_artefact(path))
            except HeldError:
                task.advance(0)
                time.sleep(POLL_S)
            else:
                break
        yield


def _locked(lock: Path, path: Path) -> int | None:
    """Return a descriptor of ``lock`` that holds it, or none where the file system has no locks."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise HeldError(f"{path}: process {holder or 'unknown'} is at it") from None
        except OSError:
            os.close(descriptor)
            lock.unlink(missing_ok=True)
            return None
        # Whoever held it before may have removed the file between opening and locking it.
        if os.fstat(descriptor).st_nlink:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            return descriptor
        os.close(descriptor)


def new_part(folder: Path) -> tuple[int, Path]:
    """Make an unfinished file in ``folder``, held until the descriptor that is returned with its path is closed."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=PREFIX, suffix=SUFFIX)
        with suppress(OSError):  # a file system without locks: such files are never taken for leftovers
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, folder / Path(name).name
        os.close(descriptor)  # removed as a leftover before it was held


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files below ``folder`` that no process holds."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PREFIX) and name.endswith(SUFFIX):
                with suppress(OSError):  # held, of another user, or gone already
                    _remove_if_not_held(Path(place, name))


def _remove_if_not_held(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    finally:
        os.close(descriptor)


def errno_behind(error: BaseException, path: Path) -> int | None:
    """The number of the system's error because of which a library could not write ``path``; none if there is none.

    safetensors raises an error of its own with the number in its text; PyTorch one that does not say why, so that
    writing some more tells.
    """
    if isinstance(error, OSError):
        return error.errno
    if match := re.search(r"\(os error (\d+)\)", str(error)):
        return int(match[1])
    state = os.statvfs(path.parent)
    if os.strerror(errno.ENOSPC) in str(error) or state.f_bavail * state.f_frsize < 4096:
        return errno.ENOSPC
    try:
        with open(path, "ab", buffering=0) as file:
            for _ in range(16):
                file.write(bytes(4096))
    except OSError as found:
        return found.errno
    return None
