"""Reading of files and folders that neither blocks on special files nor takes an unreadable folder for an empty one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

from robustbench_ens.errors import UserError

AT_A_TIME = 2**18
"""Bytes read at a time to digest a file."""

SETTLED_AFTER_S = 2.0
"""Seconds after which a further change of a file surely has another time. The coarsest file systems resolve 2 s."""


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading, in binary mode.

    Opening a named pipe, a device or a socket could block for ever, so these are refused.

    Raises:
        UserError: the path is not a regular file, or this user may not read it.
        OSError: the file is missing or cannot be read.
    """
    descriptor = _descriptor(path)
    try:
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _descriptor(path: Path | str) -> int:
    """Return a new descriptor of a regular file, with the errors of :func:`open_regular`."""
    # Without O_NONBLOCK, opening a named pipe blocks until something writes to it.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        # Not an OSError: readers would take the file for a damaged one and advise to delete it.
        raise UserError(f"{path}: permission denied; give this user access to it") from None
    except OSError as error:
        # A socket (on macOS EOPNOTSUPP), or a device that does not exist.
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
            raise _special(path, "a named pipe, device or socket") from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _special(path, "a folder" if stat.S_ISDIR(mode) else "a named pipe, device or socket")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _special(path: Path | str, kind: str) -> UserError:
    return UserError(f"{path}: expected a regular file, got {kind}")


def digest_file(path: Path | str) -> str:
    """Return the SHA-256 of a regular file, as 64 hexadecimal digits.

    The file is read in blocks, so that large ones need not fit in memory.

    Raises:
        UserError, OSError: see :func:`read_bytes`.
    """
    digest = hashlib.sha256()
    # For a small file, `hashlib.file_digest` with a file object takes four times as long as the bare descriptor.
    descriptor = _descriptor(path)
    try:
        while content := os.read(descriptor, AT_A_TIME):
            digest.update(content)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def digest_file_once(path: Path) -> str:
    """Return :func:`digest_file`, cached until the file may have changed.

    A file that changed in the last seconds is read each time (:func:`file_state`).

    Raises:
        UserError, OSError: see :func:`read_bytes`.
    """
    state = file_state(path.stat())
    return digest_file(path) if state is None else _digest_of(path.absolute(), state)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, state: tuple[int, ...]) -> str:
    return digest_file(path)


def file_state(found: os.stat_result) -> tuple[int, ...] | None:
    """Return a fingerprint that differs after every change of a file.

    Size and modification time do not suffice, because tools that copy or unpack files set the time freely. The time of
    the last change (``ctime``) cannot be set, but it is coarse.

    Returns:
        the fingerprint, or none if the file changed so recently that a further change could leave the same time.
    """
    if time.time() - found.st_ctime < SETTLED_AFTER_S:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def entries(folder: Path) -> list[Path]:
    """Return the entries of ``folder``, sorted by name. A missing folder has none.

    Raises:
        OSError: the folder cannot be read, so that its content is unknown.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files below ``folder`` whose names end in ``suffix``, sorted, without hidden ones.

    Files in hidden folders count as hidden.

    Raises:
        OSError: a folder cannot be read, so that its content is unknown.
    """

    def refuse(error: OSError) -> NoReturn:
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]  # in place, so that os.walk skips the rest
        found += [Path(place, name) for name in names if name.endswith(suffix) and not name.startswith(".")]
    return sorted(found)


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: the path is not a regular file, or this user may not read it.
        OSError: the file is missing or cannot be read.
    """
    with open_regular(path) as file:
        return file.read()
