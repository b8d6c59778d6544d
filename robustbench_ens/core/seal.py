"""The digest that every artefact carries: written last, verified before anything in the file is believed.

One rule for all kinds of files. Somewhere in the file stands the ASCII text ``robustbench_ens-sha256:`` and 64
hexadecimal digits. They are the SHA-256 of the file's bytes with these 64 digits replaced by zeros. Where the text
stands is what the format has for such notes:

==============================  =======================================================
JSON                            the top-level key ``digest``
Parquet                         the key ``digest`` in the footer's metadata
safetensors                     the key ``digest`` in ``__metadata__``
NumPy's ``.npz``, PyTorch's     the comment of the zip archive
CSV                             a first line that begins with ``#``
==============================  =======================================================

A file of an earlier version has no such place. It is read, and marked: *no digest*. A file that has the place but not
the text is damaged, and so is one whose version says that it has a digest. Whoever wants to forge a file can also give
it a digest: this is against damage, and what is read is checked by itself.
"""

from __future__ import annotations

import hashlib
import re
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path

from robustbench_ens.core.files import open_regular

KEY = "digest"
"""What the digest is called in formats that have names for such notes."""

MARK = "robustbench_ens-sha256:"
PLACEHOLDER = MARK + 64 * "0"
"""What a writer puts in the place; :func:`seal` puts the digits in."""

_MARK = MARK.encode()
_DIGITS = re.compile(rb"[0-9a-f]{64}")
_ZEROS = 64 * b"0"
_END_OF_ZIP = b"PK\x05\x06"
_LENGTH_OF_END = 22  # bytes of the last record of a zip archive, without its comment


class DamagedError(ValueError):
    """A file that is not what was written; the text is the reason, in a few words."""


def _place(content: bytes | mmap) -> int | None:
    """Where the digits stand; none where there is no mark."""
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
    """Put the digits of its digest into the file at ``path``; only these 64 bytes change.

    Raises:
        ValueError: there is not exactly one place.
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
        due: whether a file of this version has a digest.

    Returns:
        whether it has one: false for files of earlier versions.

    Raises:
        DamagedError: the content is not what the digest stands for, or a digest that is due is missing.
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
    """:func:`verify` of the file at ``path``, which is not copied into memory.

    Raises:
        DamagedError: see :func:`verify`.
        UserError: there is something else than a regular file.
        OSError, ValueError: the file is missing, cannot be read or is empty.
    """
    with open_regular(path) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return verify(content, due=due)


def add_to_zip(path: Path) -> None:
    """Add the place for the digest to the zip archive at ``path``, which has no comment yet."""
    with open(path, "r+b") as file:
        file.seek(-_LENGTH_OF_END, 2)
        end = file.read()
        assert has_no_comment(end)
        file.seek(-2, 2)
        file.write(struct.pack("<H", len(PLACEHOLDER)) + PLACEHOLDER.encode())


def has_no_comment(content: bytes) -> bool:
    """Whether ``content`` ends as a zip archive without a comment does: it has no place for a digest."""
    return content[-_LENGTH_OF_END:][:4] == _END_OF_ZIP and content[-2:] == b"\0\0"
