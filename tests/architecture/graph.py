"""Which module of the package imports which, read from the source: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "robustbench_ens"


class Import(NamedTuple):
    """One module that another one imports, and the line that does so."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def sources(root: Path = ROOT, package: str = PACKAGE) -> dict[str, str]:
    """Return the source of every module of a package below ``root``, by the module's full name."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports_of(module: str, source: str, known: Collection[str]) -> list[Import]:
    """Return what ``source`` imports when it runs, inside functions too; not what only type checkers import.

    Args:
        module: its full name.
        source: its text.
        known: full names of our own modules, which tell a module from a name in it: ``from a import b`` imports
            ``a.b`` if that is a module, and otherwise ``a``.
    """
    found = []
    for node in _running(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(module, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{module}:{node.lineno}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.append(Import(module, full if full in known else node.module, node.lineno))
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below ``node``, without the bodies of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _running(other)
            continue
        yield child
        yield from _running(child)


def own_imports(modules: Mapping[str, str], package: str = PACKAGE) -> list[Import]:
    """Return every import of one of ``modules`` by another one."""
    every = [found for name, source in modules.items() for found in imports_of(name, source, modules)]
    return [one for one in every if one.imported.partition(".")[0] == package and one.imported != one.importer]


def room(module: str) -> str:
    """Return the part of the package that a module lies in: ``core`` of ``robustbench_ens.core.store``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def upward(imports: Collection[Import], floors: list[tuple[str, ...]]) -> list[Import]:
    """Return the imports between rooms that do not go from a higher floor to a lower one.

    Args:
        imports: of the package's own modules.
        floors: the rooms of each floor, from the ground up.

    Raises:
        KeyError: a room is on no floor.
    """
    height = {name: floor for floor, names in enumerate(floors) for name in names}
    between = [one for one in imports if room(one.importer) != room(one.imported)]
    return [one for one in between if height[room(one.importer)] <= height[room(one.imported)]]


def circles(imports: Collection[Import]) -> list[list[str]]:
    """Return the groups of modules of which each imports each other one, over however many others."""
    reached = {name: _reached(name, imports) for name in sorted({one.importer for one in imports})}
    groups = {tuple(n for n in seen if name in reached.get(n, ())) for name, seen in reached.items() if name in seen}
    return [sorted(group) for group in sorted(groups)]


def _reached(start: str, imports: Collection[Import]) -> list[str]:
    """The modules that ``start`` imports, over however many others, in order of name."""
    direct: dict[str, set[str]] = {}
    for one in imports:
        direct.setdefault(one.importer, set()).add(one.imported)
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in direct.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return sorted(found)
