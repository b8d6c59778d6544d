"""Read files and folders without waiting for anything that is not a file, or taking the unreadable for empty."""

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
"""Bytes of a file that are read at a time for its digest."""

SETTLED_AFTER_S = 2.0
"""Seconds after which another change of a file has another time. File systems tell times apart by 2 s at worst."""


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading, in binary.

    A named pipe, a device or a socket in its place would be waited for, perhaps for ever.

    Raises:
        UserError: there is something else than a regular file, or this user may not read it.
        OSError: the file is missing or cannot be read.
    """
    descriptor = _descriptor(path)
    try:
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _descriptor(path: Path | str) -> int:
    """Return a new descriptor of a regular file; see :func:`open_regular`."""
    # Without O_NONBLOCK, opening a named pipe waits for somebody who writes to it.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        # No OSError, so that no reader takes the file for a damaged one and advises to delete it.
        raise UserError(f"{path}: permission denied; give this user access to it") from None
    except OSError as error:
        # A socket (on macOS EOPNOTSUPP), or a device that is not there.
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
    """Return the SHA-256 of a regular file, as 64 hexadecimal digits; the file is not copied into memory.

    Raises:
        UserError, OSError: see :func:`read_bytes`.
    """
    digest = hashlib.sha256()
    # Of a small file, `hashlib.file_digest` and a file object take four times as long as the descriptor.
    descriptor = _descriptor(path)
    try:
        while content := os.read(descriptor, AT_A_TIME):
            digest.update(content)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def digest_file_once(path: Path) -> str:
    """Return :func:`digest_file` of a large file that is asked for often; it is read again when it may have changed.

    A file that changed in the last seconds is read each time; see :func:`file_state`.

    Raises:
        UserError, OSError: see :func:`read_bytes`.
    """
    state = file_state(path.stat())
    return digest_file(path) if state is None else _digest_of(path.absolute(), state)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, state: tuple[int, ...]) -> str:
    return digest_file(path)


def file_state(found: os.stat_result) -> tuple[int, ...] | None:
    """Return what is another one after every change of a file.

    Size and modification time are not enough: tools that copy or unpack files set them as they like. Nobody can set
    the time of the last change (``ctime``). It is coarse, though.

    Returns:
        None if the file changed so lately that another change could leave the same time.
    """
    if time.time() - found.st_ctime < SETTLED_AFTER_S:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def entries(folder: Path) -> list[Path]:
    """Return what is in ``folder``, sorted by name; nothing if there is no such folder.

    Raises:
        OSError: the folder cannot be read, and nobody knows what is in it.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files below ``folder`` whose names end in ``suffix``, sorted; none whose path has a hidden part.

    Raises:
        OSError: a folder cannot be read, and nobody knows what is in it.
    """

    def refuse(error: OSError) -> NoReturn:
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if name.endswith(suffix) and not name.startswith(".")]
    return sorted(found)


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: there is something else than a regular file, or this user may not read it.
        OSError: the file is missing or cannot be read.
    """
    with open_regular(path) as file:
        return file.read()
