"""The digest in every artefact, which is written last and verified before the content of the file is used.

One rule holds for all formats. The file contains the ASCII text ``robustbench_ens-sha256:`` and 64 hexadecimal digits,
which are the SHA-256 of the file's bytes with these 64 digits replaced by zeros. The place of the text depends on the
format:

==============================  =======================================================
JSON                            the top-level key ``digest``
Parquet                         the key ``digest`` in the footer's metadata
safetensors                     the key ``digest`` in ``__metadata__``
NumPy's ``.npz``, PyTorch's     the comment of the zip archive
CSV                             a first line that begins with ``#``
==============================  =======================================================

Files of earlier versions have no such place. They are read and marked *no digest*. A file that has the place without
the text is damaged, and so is a file without a digest whose version always has one. The digest guards against damage,
not forgery, so the content is still checked when it is read.
"""

from __future__ import annotations

import hashlib
import re
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path

from robustbench_ens.core.files import open_regular

KEY = "digest"
"""The name of the digest in formats with named metadata."""

MARK = "robustbench_ens-sha256:"
PLACEHOLDER = MARK + 64 * "0"
"""The text that a writer puts in the place. :func:`seal` replaces its zeros by the digits."""

_MARK = MARK.encode()
_DIGITS = re.compile(rb"[0-9a-f]{64}")
_ZEROS = 64 * b"0"
_END_OF_ZIP = b"PK\x05\x06"
_LENGTH_OF_END = 22  # bytes of the last record of a zip archive, without its comment


class DamagedError(ValueError):
    """An error for a file that differs from what was written, with the reason as its text."""


def _place(content: bytes | mmap) -> int | None:
    """Return the offset of the digits, or none if the file has no mark."""
    at = content.find(_MARK)
    if at < 0:
        return None
    at += len(_MARK)
    if content.find(_MARK, at) >= 0:
        raise DamagedError("it has more than one digest")
    if not _DIGITS.fullmatch(content[at : at + 64]):
        raise DamagedError("its digest is damaged")
    return at


def _digest(content: bytes | mmap, at: int) -> bytes:
    digest = hashlib.sha256()
    with memoryview(content) as view:
        digest.update(view[:at])
        digest.update(_ZEROS)
        digest.update(view[at + 64 :])
    return digest.hexdigest().encode()


def seal(path: Path) -> None:
    """Write the digits of its digest into the file at ``path``. Only these 64 bytes change.

    Raises:
        ValueError: the file does not have exactly one place for a digest.
    """
    with open(path, "r+b") as file:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            at = _place(content)
            if at is None:
                raise ValueError("expected one place for the digest, got none")
            digits = _digest(content, at)
        file.seek(at)
        file.write(digits)


def verify(content: bytes | mmap, *, due: bool = False) -> bool:
    """Check the digest of a file's bytes.

    Args:
        content: the whole file.
        due: whether files of this version always have a digest.

    Returns:
        whether the file has a digest, which files of earlier versions lack.

    Raises:
        DamagedError: the content does not match the digest, or a digest that is due is missing.
    """
    at = _place(content)
    if at is None:
        if due:
            raise DamagedError("its digest is missing")
        return False
    if content[at : at + 64] != _digest(content, at):
        raise DamagedError("its content does not match its digest")
    return True


def verify_file(path: Path, *, due: bool = False) -> bool:
    """Check the digest of the file at ``path``, which is not copied into memory, as :func:`verify` does.

    Raises:
        DamagedError: see :func:`verify`.
        UserError: the path is not a regular file.
        OSError, ValueError: the file is missing, cannot be read or is empty.
    """
    with open_regular(path) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return verify(content, due=due)


def add_to_zip(path: Path) -> None:
    """Add the place for the digest to the zip archive at ``path``, which must not have a comment yet."""
    with open(path, "r+b") as file:
        file.seek(-_LENGTH_OF_END, 2)
        end = file.read()
        assert has_no_comment(end)
        file.seek(-2, 2)
        file.write(struct.pack("<H", len(PLACEHOLDER)) + PLACEHOLDER.encode())


def has_no_comment(content: bytes) -> bool:
    """Return whether ``content`` ends like a zip archive without a comment, and thus without a place for a digest."""
    return content[-_LENGTH_OF_END:][:4] == _END_OF_ZIP and content[-2:] == b"\0\0"
