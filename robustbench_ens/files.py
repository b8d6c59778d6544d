"""Read files and folders without waiting for anything that is not a file, or taking the unreadable for empty."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

from robustbench_ens.errors import UserError


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading, in binary.

    A named pipe, a device or a socket in its place would be waited for, perhaps for ever.

    Raises:
        UserError: there is something else than a regular file, or this user may not read it.
        OSError: the file is missing or cannot be read.
    """
    # Without O_NONBLOCK, opening a named pipe waits for somebody who writes to it.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        # No OSError, so that no reader takes the file for a damaged one and advises to delete it.
        raise UserError(f"{path}: permission denied; give this user access to it") from None
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, or a device that is not there
            raise _special(path, "a named pipe, device or socket") from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _special(path, "a folder" if stat.S_ISDIR(mode) else "a named pipe, device or socket")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _special(path: Path | str, kind: str) -> UserError:
    return UserError(f"{path}: expected a regular file, got {kind}")


def digest_file(path: Path | str) -> str:
    """Return the SHA-256 of a regular file, as 64 hexadecimal digits; the file is not copied into memory.

    Raises:
        UserError, OSError: see :func:`read_bytes`.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
