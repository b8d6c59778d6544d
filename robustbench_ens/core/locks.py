"""Locks that admit one writer at a time, and the removal of unfinished files whose writers have died.

The locks are those of ``flock``, which the system releases however a process ends, also on other machines that share
the disk. A disk may lack such locks or keep them for each machine separately. Then nothing is excluded: at worst two
commands compute the same thing, and since every file appears whole or not at all, the result is whole.

A folder that is published into is held through its ``.lock``. The output of a step, an *artefact*, is held through a
lock beside it, which is removed on release. An unfinished file is itself locked until it has its final name.
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
PREFIX = ".rbe-"
"""The start of the names of unfinished files and of locks of artefacts."""

SUFFIX = ".part"
"""The end of the names of unfinished files."""

NODE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""The digits of this machine in the names of its unfinished files. A file that seems free here may be in use elsewhere,
for disks such as Lustre with ``localflock`` keep locks for each machine separately."""

OTHERS_S = 24 * 3600.0
"""Age at which an unfinished file of another machine is a leftover, long enough for clocks that differ."""

POLL_S = 0.2
"""Seconds between two attempts to take a lock."""

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""Errors of file systems that have no locks, such as some network disks."""


class HeldError(UserError):
    """An error because another process holds what is to be written.

    Attributes:
        what: a description of the thing that is held.
        holder: the number of that process, or ``unknown``.
    """

    what = "what is to be written"
    holder = "unknown"


@contextmanager
def hold(folder: Path, what: str = "the folder", otherwise: str = "") -> Iterator[None]:
    """Hold ``folder`` for writing inside this context, after unfinished files of dead writers are removed.

    The system releases the lock however the process ends.

    Args:
        folder: the folder, which is created if it is missing.
        what: the noun for it in errors.
        otherwise: advice besides waiting, for errors.

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
    """Hold the file or folder ``path``, which need not exist, inside this context.

    The lock is ``.rbe-<name>.lock`` beside it, in a folder that is created if necessary. It is removed on release. The
    lock file of a dead holder does not block anything.

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
            # Removed before its release: afterwards it may already be another process's lock. If the removal fails, the
            # next process can take the lock all the same.
            with suppress(OSError):
                lock.unlink()
        finally:
            os.close(descriptor)


@contextmanager
def waiting_for(path: Path, task: Task) -> Iterator[None]:
    """Hold one artefact as :func:`hold_artefact` does, but wait while another process holds it.

    Args:
        path: the artefact.
        task: shows the process that is waited for. It is called at each attempt, so that it can end the wait.
    """
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_artefact(path))
                break
            except HeldError as held:
                task.note(f"waiting for process {held.holder}")
                task.advance(0)  # lets the task end the wait by raising
                time.sleep(POLL_S)
                task.note("")
        yield


def _take(path: Path, what: str, otherwise: str = "") -> int:
    """Lock the file ``path``, which is created if it is missing, and write this process's number into it.

    Returns:
        the descriptor, whose closing releases the lock.

    Raises:
        HeldError: the file is already locked.
        UserError: the path is not a regular file.
    """
    # O_NONBLOCK, because opening a named pipe blocks; O_NOFOLLOW, because a link could lead to any file, which is
    # written below.
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
        os.close(descriptor)  # its holder removed it after we opened and before we locked it, so try again


def _lock(descriptor: int) -> bool:
    """Lock a file without waiting, and return whether this process has it.

    On file systems without locks the answer is yes.
    """
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
    """Create a locked unfinished file in ``folder``, and return its descriptor and path.

    Closing the descriptor releases the lock.
    """
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=f"{PREFIX}{NODE}-", suffix=SUFFIX)
        with suppress(OSError):  # on a file system without locks, where unfinished files never count as leftovers
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, folder / Path(name).name
        os.close(descriptor)  # another process removed it as a leftover before it was locked, so try again


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files and locks of artefacts below ``folder`` that no process holds."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PREFIX) and name.endswith((SUFFIX, LOCK)):
                with suppress(OSError):  # held, another user's, or already removed
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
    """Return whether an unfinished file belongs to another machine and is recent."""
    if not path.name.endswith(SUFFIX) or path.name.startswith(f"{PREFIX}{NODE}-"):
        return False
    return time.time() - os.fstat(descriptor).st_mtime < OTHERS_S


def errno_behind(error: BaseException, path: Path) -> int | None:
    """Return the number of the system's error that kept a library from writing ``path``, or none.

    safetensors raises its own type of error, with the number in its text. PyTorch's error does not state the reason, so
    it is found by writing some more.
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
