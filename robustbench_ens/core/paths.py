"""Paths that users give, with ``~``, and paths made of names that were read, which stay inside their folder."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from robustbench_ens.errors import UserError

LONGEST = 255
"""Bytes of a file's or folder's name, on every file system that we know of."""


def expanded(path: str | os.PathLike[str], where: str) -> Path:
    """Return ``path`` with the home folder in place of a leading ``~`` or ``~user``.

    Args:
        path: as a user gave it.
        where: what errors name: the option, key or argument.

    Raises:
        UserError: there is no such user, or nobody knows the home folder of this one.
    """
    text = os.fspath(path)
    found = os.path.expanduser(text)
    if found == text and text.startswith("~"):
        user = text.partition("/")[0]
        raise UserError(
            f"{where}: expected a path, got {text!r}, and there is no home folder for {user!r}; "
            f"give the path in full, or as ./{text} where it begins with that character"
        )
    return Path(found)


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
