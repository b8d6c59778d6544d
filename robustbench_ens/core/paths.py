"""Paths given by users, with ``~``, and paths built from names that were read, which stay inside their folder."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from robustbench_ens.errors import UserError

LONGEST = 255
"""The most bytes of the name of a file or folder on common file systems."""


def expanded(path: str | os.PathLike[str], where: str) -> Path:
    """Return ``path`` with a leading ``~`` or ``~user`` replaced by the home folder.

    Args:
        path: the path as a user gave it.
        where: the option, key or argument that errors name.

    Raises:
        UserError: there is no such user, or the home folder is unknown.
    """
    text = os.fspath(path)
    found = os.path.expanduser(text)
    if found == text and text.startswith("~"):
        user = text.partition("/")[0]
        raise UserError(
            f"{where}: expected a path, got {text!r}, and there is no home folder for {user!r}; "
            f"give the path in full, or as ./{text} if its name begins with ~"
        )
    return Path(found)


def inside(folder: Path, name: str, where: str) -> Path:
    """Return the path of ``name`` in ``folder``.

    Args:
        folder: the folder that must contain the path.
        name: a relative path, each part of which is the name of a visible file or folder.
        where: the file and key that the name was read from, or the option, for errors.

    Raises:
        UserError: the path would lie outside or be hidden, or no file can have such a name.
    """
    if why := _fault_of(name):
        shown = name if len(name) <= LONGEST else f"{name[:40]}..."
        raise UserError(f"{where}: expected a plain name, to make a path in {folder}, got {shown!r}, {why}")
    return folder / name


def _fault_of(name: str) -> str:
    """Return the reason why ``name`` is invalid, or an empty text."""
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
