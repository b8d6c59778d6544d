"""Finding the files of modules without importing any."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from pkgutil import iter_modules

OWN = __name__.partition(".")[0]
"""This project's package."""

LOCAL_PREFIX = "_working_directory_"
"""The prefix of a working directory's module in ``sys.modules`` if another module already has its name."""

_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)
_STDLIB = tuple(dict.fromkeys(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")))
_INSTALLED = ("site-packages", "dist-packages")


def is_outside(name: str) -> bool:
    """Return whether a module, or an object named as ``package.module:Name``, is from outside this project."""
    return name.partition(":")[0].partition(".")[0] != OWN


def working_directory() -> Path | None:
    """Return the working directory, or none if it was removed."""
    with suppress(OSError):
        return Path.cwd()
    return None


def in_folder(name: str, folder: Path | str | None) -> ModuleSpec | None:
    """Find the module ``name`` in ``folder`` itself."""
    # A new finder each time: Python's cached ones may miss a file that was written a moment ago.
    return FileFinder(str(folder), *_LOADERS).find_spec(name) if folder is not None and name else None


def in_working_directory(name: str) -> ModuleSpec | None:
    """Find the top-level module of ``name`` in the working directory.

    A folder without ``__init__.py`` counts only if it holds the next part of ``name``, since it may hold images or
    anything else.
    """
    top, _, rest = name.partition(".")
    found = in_folder(top, working_directory())
    if found is None or not is_namespace(found):
        return found
    inner = rest.partition(".")[0]
    inside = [in_folder(f"{top}.{inner}", folder) for folder in found.submodule_search_locations or ()]
    return found if inner and any(inside) else None


def is_namespace(spec: ModuleSpec) -> bool:
    """Return whether ``spec`` belongs to a folder without ``__init__.py``."""
    return spec.submodule_search_locations is not None and spec.origin is None


def find_module(name: str, here_first: bool = False) -> ModuleSpec | None:
    """Find the module ``name`` as an import would, without importing it or its packages.

    Args:
        name: the dotted name.
        here_first: whether its top-level module is looked for in the working directory first.
    """
    top = name.partition(".")[0]
    spec = in_working_directory(name) if here_first else None
    # Last, because `import_object` appends the working directory to the path if it is missing there.
    spec = spec or _ask(top, None) or in_folder(top, working_directory())
    full = top
    for part in name.split(".")[1:]:
        if spec is None or spec.submodule_search_locations is None:
            return None
        full = f"{full}.{part}"
        spec = _ask(full, list(spec.submodule_search_locations))
    return spec


def _ask(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        with suppress(Exception):  # finders of other packages may raise anything
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec
    return None


def modules_in(package: str, here_first: bool = False) -> list[str]:
    """Return the dotted names of the modules directly in ``package``, without importing any."""
    spec = find_module(package, here_first)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [f"{package}.{found.name}" for found in iter_modules(folders)]


def file_of(spec: ModuleSpec | None) -> Path | None:
    """Return the file that a module is loaded from, or none for built-in modules and folders without a file."""
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None


def is_standard(spec: ModuleSpec) -> bool:
    """Return whether a module belongs to Python's standard library."""
    file = file_of(spec)
    if file is None:
        return not is_namespace(spec)
    return not is_installed(spec) and any(file.resolve().is_relative_to(folder) for folder in _STDLIB)


def is_installed(spec: ModuleSpec) -> bool:
    """Return whether a module lies in a folder of installed packages, unlike one in an editable installation."""
    file = file_of(spec)
    return file is not None and any(part in _INSTALLED for part in file.parts)
