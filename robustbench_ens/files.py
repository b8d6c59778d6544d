"""Open files for reading without waiting for anything that is not a file."""

from __future__ import annotations

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from robustbench_ens.errors import UserError


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading, in binary.

    A named pipe, a device or a socket in its place would be waited for, perhaps for ever.

    Raises:
        UserError: there is something else than a regular file.
        OSError: the file is missing or cannot be read.
    """
    # Without O_NONBLOCK, opening a named pipe waits for somebody who writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a named pipe, device or socket"
            raise UserError(f"{path}: expected a regular file, got {kind}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def digest_file(path: Path | str) -> str:
    """Return the SHA-256 of a regular file, as 64 hexadecimal digits; the file is not copied into memory.

    Raises:
        UserError, OSError: see :func:`read_bytes`.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: there is something else than a regular file.
        OSError: the file is missing or cannot be read.
    """
    with open_regular(path) as file:
        return file.read()
