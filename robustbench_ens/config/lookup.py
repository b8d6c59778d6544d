"""Finding and naming of recipes and protocols.

Some ship with the project, others lie in ``zoo/`` and ``attacks/`` of the working directory or elsewhere. The name of a
shipped file always means that file, even if the working directory has a file of the same name. Other files are named by
their path or, in ``zoo/`` and ``attacks/``, by a name that no shipped file has. In a checkout of the project both
folders are the same.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_ens.core.files import open_regular
from robustbench_ens.core.limits import LARGEST_TOML, check_content, check_name, shown
from robustbench_ens.core.notices import notice
from robustbench_ens.core.paths import expanded
from robustbench_ens.errors import UserError

PACKAGE_DIR = Path(__file__).parent.parent

WITH_OVERRIDES = re.compile(r"([^\[\]]+)\[(.*)\]", re.DOTALL)
"""A reference with overrides: the name or path, and the text in the brackets."""


class _Kind(NamedTuple):
    """The noun for the files of a folder, and the key that each must have unless it extends another file."""

    noun: str
    needed: str


_KINDS = {"zoo": _Kind("recipe", "dataset"), "attacks": _Kind("protocol", "kind")}

Skipped = Callable[[str], None]
"""A function that is called with one line, the reason why a file is skipped."""


def shipped_folder(kind: str) -> Path:
    """Return the folder of ``kind`` (``zoo`` or ``attacks``) that ships with the project."""
    installed = PACKAGE_DIR / kind if (PACKAGE_DIR / kind).is_dir() else PACKAGE_DIR.parent / kind
    return installed.resolve()


def folders(kind: str) -> list[Path]:
    """Return the folders with TOML files of ``kind``: the shipped one, then that of the working directory."""
    found = {path.resolve(): None for path in (shipped_folder(kind), Path(kind)) if path.is_dir()}
    return list(found)


def shipped_names(kind: str) -> list[str]:
    """Return the names of the shipped files of ``kind``, such as ``digits/baseline-3``."""
    folder = shipped_folder(kind)
    return sorted(_name_in(folder, path) for path in _files(folder, _ignored))


def names(kind: str, skipped: Skipped | None = None) -> list[str]:
    """Return a reference to each file of ``kind`` that ships or lies in the working directory.

    The reference is the name, or the path if a shipped file of other content has the name.

    Args:
        kind: ``zoo`` or ``attacks``.
        skipped: called for each file of the working directory that is neither recipe nor protocol, or is unreadable.
    """
    report = skipped or _ignored
    found = dict.fromkeys(shipped_names(kind))
    for folder in folders(kind):
        if folder == shipped_folder(kind):
            continue
        for path in _files(folder, report):
            there = Path(kind) / path.relative_to(folder)
            try:
                found[_reference(kind, folder, path, there)] = None
            except (UserError, OSError) as error:
                report(str(error))
    return sorted(found)


def _ignored(line: str) -> None:
    """Ignore a line."""


def _files(folder: Path, skipped: Skipped) -> Iterator[Path]:
    """Yield the TOML files below ``folder``, except those in skipped folders."""

    def unreadable(error: OSError) -> None:
        skipped(f"{error.filename}: {error.strerror}")

    for place, inner, files in os.walk(folder, onerror=unreadable):
        inner[:] = [name for name in inner if not _is_skipped(name)]  # in place, so that os.walk skips the rest
        yield from (Path(place, name) for name in files if name.endswith(".toml") and not _is_skipped(name))


def _name_in(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _reference(kind: str, folder: Path, path: Path, there: Path) -> str:
    """Return a reference to the file at ``path`` in ``folder`` of the working directory.

    Raises:
        UserError: the file is not of ``kind``, cannot be read, or has a name that results cannot have.
    """
    content = read_one(there)
    noun, needed = _KINDS[kind]
    if needed not in content and "extends" not in content:
        raise UserError(f"{there}: expected a {noun}, got a file with neither key {needed!r} nor 'extends'")
    if not path.resolve().is_relative_to(folder):
        raise UserError(f"{there}: expected a file inside {kind}/, got a link to one outside; name it by its path")
    return check_file(kind, there)


def _is_skipped(part: str) -> bool:
    """Return whether files and folders of this name are skipped, because they hold weights or are hidden."""
    return part == "weights" or part.startswith(".")


def check_file(kind: str, path: Path) -> str:
    """Return the name of a file, and check that results can be named after it.

    Raises:
        UserError: they cannot, or they would be skipped.
    """
    name = name_of(kind, path)
    check_name(name, str(path))
    for part in name.split("/"):
        if _is_skipped(part):
            raise UserError(
                f"{path}: expected no file or folder in {kind} with the name 'weights' or a leading dot, which lists "
                f"and reports skip, got {part!r}; rename it"
            )
    if WITH_OVERRIDES.fullmatch(name):
        raise UserError(f"{path}: expected a name without overrides in brackets, got {name!r}; rename it")
    return name


def locate(kind: str, name_or_path: str, where: str = "", quiet: bool = False) -> Path:
    """Find a TOML file by path, or by name among the shipped files and then in the working directory.

    If a shipped file and one here have the same name and different content, a notice states which one is used.

    Args:
        kind: ``zoo`` or ``attacks``.
        name_or_path: the requested file.
        where: the prefix of errors.
        quiet: whether to omit notices.

    Raises:
        UserError: there is no such file. The error suggests similar names.
    """
    noun = _KINDS[kind].noun
    report = _ignored if quiet else notice
    name = name_or_path
    by_path = Path(name_or_path).suffix == ".toml"
    if by_path:
        path = expanded(name_or_path, where.removesuffix(": ") or noun)
        if exists(path):
            if shadowed := _shadowed(kind, path):
                report(f"{path}: this file is used, not the shipped {noun} {shadowed!r}, which has other content")
            return path
        name = path.with_suffix("").as_posix().removeprefix(f"{kind}/")
    # The shipped file comes first, so that a name means the same protocol or recipe in every working directory.
    shipped = _find(shipped_folder(kind), name)
    local = _find(Path(kind).resolve(), name)
    if shipped is None:
        if local is None:
            raise _unknown(kind, name_or_path, name, where)
        return local
    if by_path:
        report(f"{name_or_path}: no such file here; the shipped {noun} {name!r} is used")
    elif local is not None and not _same(shipped, local):
        there = f"{kind}/{name}.toml"
        report(
            f"{name!r} is the shipped {noun}, not the file {there} here, which has other content; "
            f"to use the file, give its path, {there}"
        )
    return shipped


def _unknown(kind: str, asked: str, name: str, where: str) -> UserError:
    valid = names(kind)
    close = difflib.get_close_matches(name, valid, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UserError(
        f"{where}unknown {_KINDS[kind].noun} {shown(asked)}: expected a path to a .toml file or a name; {hint}"
        f"valid: {', '.join(valid)}"
    )


def _find(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``folder``, or none if it does not exist or lies outside."""
    candidate = folder / f"{name}.toml"
    return candidate if exists(candidate) and candidate.resolve().is_relative_to(folder) else None


def exists(path: Path) -> bool:
    """Return whether ``path`` exists. Paths with overlong names do not."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def is_shipped(kind: str, path: Path) -> bool:
    """Return whether ``path`` is a file of ``kind`` that ships with the project."""
    return path.resolve().is_relative_to(shipped_folder(kind))


def _shadowed(kind: str, path: Path) -> str | None:
    """Return the name of the shipped file with the same name as ``path`` but other content, or none."""
    name = _plain_name(kind, path.resolve())
    shipped = _find(shipped_folder(kind), name)
    return None if shipped is None or _same(shipped, path) else name


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths are the same file, or TOML files with the same keys and values."""
    if one.resolve() == other.resolve():
        return True
    try:
        # Compared as text, because 1, 1.0 and true are equal in Python.
        first, second = (json.dumps(read_one(path), sort_keys=True, default=str) for path in (one, other))
    except (UserError, OSError):
        return False
    return first == second


def name_of(kind: str, path: Path) -> str:
    """Return the name of a file, which its results are named after.

    The name is the path inside its ``zoo`` or ``attacks``, or else the bare file name. A file with the name of a
    shipped one and other content is named by its path from ``zoo`` or ``attacks``, as ``zoo/digits/baseline-3.toml``.
    """
    shadowed = _shadowed(kind, path)
    return _plain_name(kind, path.resolve()) if shadowed is None else f"{kind}/{shadowed}.toml"


def _plain_name(kind: str, resolved: Path) -> str:
    stem = resolved.with_suffix("")
    for folder in folders(kind):
        if stem.is_relative_to(folder):
            return stem.relative_to(folder).as_posix()
    if kind in stem.parent.parts:
        last = len(stem.parts) - 1 - stem.parts[::-1].index(kind, 1)
        return "/".join(stem.parts[last + 1 :])
    return stem.name


def read_one(path: Path) -> dict[str, Any]:
    """Read a TOML file without the files that it extends.

    Raises:
        UserError: the path is not a regular file, the file is too large or is not TOML, or its content is invalid
            (:func:`~robustbench_ens.core.limits.check_content`).
    """
    with open_regular(path) as file:
        text = file.read(LARGEST_TOML + 1)
    if len(text) > LARGEST_TOML:
        raise UserError(f"{path}: expected a TOML file of at most {LARGEST_TOML} bytes, got a larger file")
    try:
        content = tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError also for bytes that are not UTF-8 and huge numbers
        raise UserError(f"{path}: expected a TOML file, got a syntax error: {error}") from None
    check_content(content, str(path))
    return content
