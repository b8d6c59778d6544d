"""The identity of code from outside the project: its source, the source of its imports, and versions of packages.

Neither weights identify a model nor names a training method, because their code may have been edited. Modules are found
through the imports in their text rather than among the loaded ones, so that every process finds the same.
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

from robustbench_ens.config.finding import (
    LOCAL_PREFIX,
    file_of,
    find_module,
    is_installed,
    is_outside,
    is_standard,
    modules_in,
    working_directory,
)
from robustbench_ens.config.imports import imported_by
from robustbench_ens.core.files import read_bytes
from robustbench_ens.core.limits import shown
from robustbench_ens.errors import UserError

Code = dict[str, dict[str, str]]
"""Two tables as records hold them in JSON: ``modules``, the SHA-256 of each file by module, and ``packages``, the
version of each distribution."""

FLOOR = frozenset(
    {
        *("PIL", "advertorch", "click", "fontTools", "jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "pydantic"),
        *("rich", "safetensors", "scipy", "seaborn", "sklearn", "statsmodels", "torch", "torchvision"),
    }
)
"""Packages whose versions are not part of an identity, because this project itself depends on them.

Their versions change numbers only by rounding, so that results of the zoo and of code from outside stay valid across
them. Provenance records the versions that computed a result.
"""

MOST_SHOWN = 3
"""The most names that a message lists."""


class _Source(NamedTuple):
    """The source of a module: the digest of its file, and the modules that its text may import."""

    digest: str
    imports: frozenset[str]


_running: dict[str, tuple[ModuleSpec, _Source]] = {}
"""By module: the source at the time when the module was first seen loaded, which is the source that runs."""


def code_of(module: str, others: Iterable[str] = ()) -> Code:
    """Return the identity of a module from outside and of every local module that it imports, at any depth.

    Args:
        module: the dotted name, which is looked for in the working directory first. The module and its package are read
            even if they are installed.
        others: further loaded modules that take part, such as those of a model's classes. Installed ones count by
            version.

    Returns:
        the identity, without tables if the code is of this project or of ``FLOOR`` alone.
    """
    top = module.partition(".")[0]
    found: dict[str, _Source] = {}
    packages: set[str] = set()
    queue = deque([module, *sorted({name.removeprefix(LOCAL_PREFIX) for name in others})])
    seen: set[str] = set()
    while queue:
        name = queue.popleft()
        if name in seen or not name:
            continue
        seen.add(name)
        queue.append(name.rpartition(".")[0])  # importing a.b also runs the code of a
        source = _read(name, top, packages)
        if source is not None:
            found[name] = source
            queue.extend(sorted(source.imports))
            queue.extend(_all_of(source.imports, top))
    modules = {name: found[name].digest for name in sorted(found)}
    versions = _versions(packages)
    return {key: table for key, table in (("modules", modules), ("packages", versions)) if table}


def code_of_library(top: str) -> Code:
    """Return the identity of an attack library: its version, or its files if it is importable but not installed.

    Returns:
        the identity, without tables if the library is in ``FLOOR`` or missing.
    """
    spec = find_module(top)
    if top in FLOOR or spec is None:
        return {}
    if is_installed(spec) and _distributions(top):
        return {"packages": _versions([top])}
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = {file.relative_to(folder.parent): file for folder in folders for file in folder.rglob("*.py")}
    return {"modules": {str(name): hashlib.sha256(read_bytes(files[name])).hexdigest() for name in sorted(files)}}


def merged(one: Code, other: Code) -> Code:
    """Return the joint identity of two pieces of code."""
    return {key: one.get(key, {}) | other.get(key, {}) for key in sorted(one.keys() | other.keys())}


def note(module: str) -> None:
    """Remember the source of a module that has just been imported, since later edits do not change the running code."""
    code_of(module)


def _read(name: str, top: str, packages: set[str]) -> _Source | None:
    """Return the source of ``name`` if it is local, and add its package to ``packages`` if it is installed."""
    own_top = name.partition(".")[0]
    if not is_outside(name) or own_top in FLOOR or own_top == "__main__":
        return None
    here_first = own_top == top
    if not here_first and own_top in packages:
        return None
    spec = find_module(name, here_first) or _loaded(name)
    if spec is None or is_standard(spec):
        return None
    if is_installed(spec) and _distributions(own_top):
        packages.add(own_top)
        if not here_first:
            return None
    return _source(name, spec)


def _all_of(imports: Iterable[str], top: str) -> list[str]:
    """Return the local modules that names such as ``package.*`` stand for."""
    packages = sorted(name.removesuffix(".*") for name in imports if name.endswith(".*"))
    return [module for package in packages for module in modules_in(package, package.partition(".")[0] == top)]


def _loaded(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return spec if isinstance(spec, ModuleSpec) else None


def _source(name: str, spec: ModuleSpec) -> _Source | None:
    file = file_of(spec)
    if file is None:
        return None
    running = next((one for key in (LOCAL_PREFIX + name, name) if (one := _loaded(key)) and file_of(one) == file), None)
    # A reload or a new import has another spec, so the source is read again.
    if running is not None and name in _running and _running[name][0] is running:
        return _running[name][1]
    try:
        content = read_bytes(file)
    except (OSError, UserError):
        content = _from_archive(spec)
    is_text = file.suffix not in (".so", ".pyd", ".pyc")
    is_package = spec.submodule_search_locations is not None
    imports = imported_by(content, name, is_package) if is_text else frozenset[str]()
    source = _Source(hashlib.sha256(content).hexdigest(), imports)
    if running is not None:
        _running[name] = running, source
    return source


def _from_archive(spec: ModuleSpec) -> bytes:
    """Return the bytes of a module that lies in a zip file."""
    try:
        return bytes(spec.loader.get_data(spec.origin))  # type: ignore[union-attr]
    except (AttributeError, OSError):
        return b""


@cache
def _installed_names() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _distributions(top: str) -> list[str]:
    # After an interrupted uninstallation a distribution has no name.
    return sorted({name for name in _installed_names().get(top, []) if name})


def _versions(packages: Iterable[str]) -> dict[str, str]:
    names = {distribution for top in packages for distribution in _distributions(top)}
    return {name: _version(name) for name in sorted(names)}


def _version(distribution: str) -> str:
    found = (one.version for one in metadata.distributions(name=distribution))
    return next((version for version in found if version), "unknown")


def differences(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> str:
    """Return a short description of what differs between two results of :func:`code_of`, empty if they are equal."""
    old = before.get("modules", {})
    new = now.get("modules", {})
    changed = [name for name in old.keys() & new.keys() if old[name] != new[name]]
    # Added or removed modules are named only if no text changed: otherwise the changed text is why they differ.
    moved = [] if changed else list(old.keys() ^ new.keys())
    parts = [f"source of {_listed(map(_file_name, sorted(changed or moved)))}"] if changed or moved else []
    old = before.get("packages", {})
    new = now.get("packages", {})
    versions = [
        _printable(f"{name} {old.get(name, 'none')} to {new.get(name, 'none')}")
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if versions:
        parts.append(f"version of {_listed(versions)}")
    return " and ".join(parts)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - MOST_SHOWN} more" if len(every) > MOST_SHOWN else ""
    return ", ".join(every[:MOST_SHOWN]) + more


def _file_name(module: str) -> str:
    """Return the file of a module, relative to the working directory if possible, or its name if it has no file now."""
    file = file_of(find_module(module, here_first=True) or _loaded(module))
    if file is None:
        return f"module {_printable(module)}"
    here = working_directory()
    return str(file.relative_to(here)) if here is not None and file.is_relative_to(here) else str(file)


def _printable(text: str) -> str:
    """Return ``text`` safe to print, because a forged file may contain control characters."""
    return text if text.isprintable() else shown(text)
