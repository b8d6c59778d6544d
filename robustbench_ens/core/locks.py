"""One writer at a time in a folder, and no unfinished files of writers that are dead.

Both rest on ``flock``, which the system releases however a process ends, also on another machine that shares the disk.
A folder is held through its ``.lock``; an unfinished file is held itself, from its making until it has its name.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from robustbench_ens.core.system import fcntl
from robustbench_ens.errors import UserError

LOCK = ".lock"
PREFIX, SUFFIX = ".rbe-", ".part"
"""What names of unfinished files begin and end with."""


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
