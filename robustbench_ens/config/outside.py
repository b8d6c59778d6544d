"""The import of objects that users name as ``package.module:Name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from robustbench_ens.config.finding import (
    LOCAL_PREFIX,
    file_of,
    find_module,
    in_working_directory,
    is_namespace,
    is_outside,
    working_directory,
)
from robustbench_ens.config.identity import note
from robustbench_ens.config.trust import check_may_import
from robustbench_ens.errors import UserError


def import_object(spec: str, where: str) -> Any:
    """Import ``package.module:Name``, from the working directory before anywhere else.

    Raises:
        UserError: the text has another form, or there is no such module or name.
    """
    module_name, colon, attribute = spec.partition(":")
    if not colon or not attribute:
        raise UserError(f"{where}: expected package.module:Name, got {spec!r}")
    check_may_import(spec, where)
    try:
        module = _import(module_name) if is_outside(spec) else importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs a user's code, which can raise anything
        raise _failed(spec, where, error) from None
    if is_outside(spec):
        note(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UserError(
            f"{where}: module {module_name!r}{_place(getattr(module, '__spec__', None))} has no {attribute!r}"
        ) from None
    except (Exception, SystemExit) as error:  # a module's own __getattr__ may import more code
        raise _failed(spec, where, error) from None


def _failed(spec: str, where: str, error: BaseException) -> UserError:
    name = spec.partition(":")[0]
    found = None
    while name and found is None:  # if a.b has no c, the error names the file of a.b
        found = find_module(name, here_first=True) if is_outside(spec) else None
        name = name.rpartition(".")[0]
    text = " ".join(str(error).split())
    return UserError(f"{where}: cannot import {spec!r}{_place(found)}: {type(error).__name__}: {text}")


def _place(spec: ModuleSpec | None) -> str:
    file = file_of(spec)
    return f" ({file})" if file else ""


def _import(name: str) -> ModuleType:
    importlib.invalidate_caches()  # the file may have been written a moment ago
    here = working_directory()
    if here is not None and not {"", str(here)} & set(sys.path):
        sys.path.append(str(here))
    top, _, rest = name.partition(".")
    local = in_working_directory(name)
    if local is not None and _finds_it_anyway(top, local):
        local = None
    loaded = top if local is None else _load(top, local)
    return importlib.import_module(f"{loaded}.{rest}" if rest else loaded)


def _finds_it_anyway(top: str, local: ModuleSpec) -> bool:
    """Return whether an ordinary import of ``top`` yields the working directory's module."""
    taken = sys.modules.get(top)
    ordinary = find_module(top) if taken is None else getattr(taken, "__spec__", None)
    if ordinary is None or is_namespace(local):
        # An import joins all folders of that name without __init__.py, and so includes this one.
        return ordinary is not None and is_namespace(ordinary)
    return _same(ordinary, local)


def _load(top: str, local: ModuleSpec) -> str:
    """Load the working directory's module ``top``, and return its name in ``sys.modules``.

    If the process has another module of that name, or may need the one of Python's library, the name gets a prefix.
    Imports in other code thus still find the other module.
    """
    taken = sys.modules.get(top)
    # A package may import itself by its name, whereas a single file need not.
    needs_name = local.submodule_search_locations is not None
    hides = taken is not None or (top in sys.stdlib_module_names and not needs_name)
    name = LOCAL_PREFIX + top if hides else top
    there = sys.modules.get(name)
    if there is not None and _same(there.__spec__, local):
        return name
    # The name may hold a module of an earlier working directory, whose submodules must not be found either.
    for old in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[old]
    spec = _renamed(local, name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return name


def _renamed(spec: ModuleSpec, name: str) -> ModuleSpec:
    if name == spec.name:
        return spec
    if is_namespace(spec):
        renamed = ModuleSpec(name, None, is_package=True)
        renamed.submodule_search_locations = list(spec.submodule_search_locations or ())
        return renamed
    assert spec.origin is not None
    made = importlib.util.spec_from_file_location(
        name, spec.origin, submodule_search_locations=spec.submodule_search_locations
    )
    assert made is not None
    return made


def _same(one: ModuleSpec | None, other: ModuleSpec) -> bool:
    if one is None:
        return False
    if is_namespace(other):
        return set(other.submodule_search_locations or ()) <= set(one.submodule_search_locations or ())
    return one.origin is not None and other.origin is not None and _real(one.origin) == _real(other.origin)


def _real(path: str) -> Path:
    return Path(path).resolve()
