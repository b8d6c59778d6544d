"""Paths made of names that were read: they lie inside the folder that they are meant for, whatever the name says."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from robustbench_ens.errors import UserError

LONGEST = 255
"""Bytes of a file's or folder's name, on every file system that we know of."""


def inside(folder: Path, name: str, where: str) -> Path:
    """Return the path of ``name`` in ``folder``.

    Args:
        folder: where it is to lie.
        name: a relative path; each part of it is the name of a visible file or folder.
        where: what errors name: the file and the key that the name was read from, or the option.

    Raises:
        UserError: the path would lie elsewhere or be hidden, or no file can have such a name.
    """
    if why := _refused(name):
        shown = name if len(name) <= LONGEST else f"{name[:40]}..."
        raise UserError(f"{where}: expected a plain name, to make a path in {folder}, got {shown!r}, {why}")
    return folder / name


def _refused(name: str) -> str:
    """Why ``name`` is refused; empty if it is not."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "which has control characters or broken ones"
    if os.path.isabs(name):
        return "an absolute path"
    for part in name.split("/"):
        if not part:
            return "which has an empty part"
        if part.startswith("."):
            return f"whose part {part!r} starts with a dot"
        if len(os.fsencode(part)) > LONGEST:
            return f"which has a part of more than {LONGEST} bytes"
    return ""
