"""One writer at a time for each thing, and no unfinished files of writers that are dead.

All of it rests on ``flock``, which the system releases however a process ends, also on another machine that shares the
disk. Where a disk has no such locks, or those of each machine apart, nobody is kept out: at worst two commands compute
the same thing, and as every file appears whole or not at all, what they leave is whole.

A folder that is published into is held through its ``.lock``. What a step makes, an *artefact*, is held through a lock
beside it, which is removed on release. An unfinished file is held itself, from its making until it has its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
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
"""What names of unfinished files begin and end with; those of locks of artefacts begin so too."""

NODE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""This machine, in the names of its unfinished files. Another one may write those that seem free here: disks such as
Lustre with ``localflock`` lock for each machine apart."""

OTHERS_S = 24 * 3600.0
"""Age at which an unfinished file of another machine is a leftover, whatever the clocks of both say."""

POLL_S = 0.2
"""Seconds between two looks at what another process holds."""

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""Errors of file systems that have no locks, such as some network disks."""


class HeldError(UserError):
    """Another process holds what is to be written.

    Attributes:
        what: is held, in words.
        holder: the number of that process, or ``unknown``.
    """

    what = "what is to be written"
    holder = "unknown"


@contextmanager
def hold(folder: Path, what: str = "the folder", otherwise: str = "") -> Iterator[None]:
    """Hold ``folder`` for writing; the lock goes with the process, however that ends.

    What dead writers left unfinished in it is removed first.

    Args:
        folder: is made if it is not there.
        what: what errors call it.
        otherwise: what else to do than wait.

    Raises:
        HeldError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _take(folder / LOCK, f"{folder}: {what}", otherwise)
    try:
        remove_leftovers(folder)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_artefact(path: Path) -> Iterator[None]:
    """Hold the file or folder ``path``, whether it is there or not; what it lies in is made.

    The lock is ``.rbe-<name>.lock`` beside it. It is removed on release; one that a dead holder left blocks nobody.

    Raises:
        HeldError: another process, or another thread of this one, holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{PREFIX}{path.name}{LOCK}")
    descriptor = _take(lock, str(path))
    try:
        yield
    finally:
        try:
            with suppress(OSError):  # whoever comes next finds it free all the same
                lock.unlink()
        finally:
            os.close(descriptor)


@contextmanager
def waiting_for(path: Path, task: Task) -> Iterator[None]:
    """Hold one artefact, as :func:`hold_artefact`, and wait while it is held.

    Args:
        path: of the artefact.
        task: shows who is waited for, and is told that nothing has advanced, so that it can end the wait.
    """
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_artefact(path))
                break
            except HeldError as held:
                task.note(f"waits for process {held.holder}")
                task.advance(0)
                time.sleep(POLL_S)
                task.note("")
        yield


def _take(path: Path, what: str, otherwise: str = "") -> int:
    """Lock the file ``path``, which is made if it is not there, and write this process's number into it.

    Returns:
        the descriptor to close for a release.

    Raises:
        HeldError: it is locked already.
        UserError: it is no file.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{path}: expected a file, got a named pipe, device or socket; remove it")
            if not _lock(descriptor):
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                error = HeldError(f"{what} is in use by process {holder}; wait for it to end{otherwise}")
                error.what = what
                error.holder = holder
                raise error
            if _lies_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it between our opening and our locking it


def _lock(descriptor: int) -> bool:
    """Lock a file if nobody else has; return whether it is free for this process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _lies_at(descriptor: int, path: Path) -> bool:
    """Return whether ``path`` is still the name of the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def new_part(folder: Path) -> tuple[int, Path]:
    """Make an unfinished file in ``folder``, held until the descriptor that is returned with its path is closed."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=f"{PREFIX}{NODE}-", suffix=SUFFIX)
        with suppress(OSError):  # a file system without locks: such files are never taken for leftovers
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, folder / Path(name).name
        os.close(descriptor)  # removed as a leftover before it was held


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files and the locks of artefacts below ``folder`` that no process holds."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PREFIX) and name.endswith((SUFFIX, LOCK)):
                with suppress(OSError):  # held, of another user, or gone already
                    _remove_if_not_held(Path(place, name))


def _remove_if_not_held(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and not _may_be_written_elsewhere(descriptor, path):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    finally:
        os.close(descriptor)


def _may_be_written_elsewhere(descriptor: int, path: Path) -> bool:
    """Return whether an unfinished file is another machine's and not old."""
    if not path.name.endswith(SUFFIX) or path.name.startswith(f"{PREFIX}{NODE}-"):
        return False
    return time.time() - os.fstat(descriptor).st_mtime < OTHERS_S


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
