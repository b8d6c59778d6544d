"""The modules that a module may import, as read from its text."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator


def imported_by(source: bytes, name: str, is_package: bool) -> frozenset[str]:
    """Return the dotted names of all modules that the text of module ``name`` may import.

    Every statement counts at any depth, inside functions and in all branches of ``if`` and ``try``. ``from a import b``
    yields both ``a`` and ``a.b``, because ``b`` may be a module. Texts passed to ``import_module`` and ``__import__``
    count, as do the names in a package's ``__all__``, which ``import *`` imports. A name that is computed at run time
    yields ``a.*``, which stands for every module of the package that the name begins with or else of the module's own
    package. Text that does not parse imports nothing.

    Args:
        source: the content of the file.
        name: the dotted name of the module, from which relative imports start.
        is_package: whether the text is a package's ``__init__``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in a user's text
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    package = name if is_package else name.rpartition(".")[0]
    found = {named for node in ast.walk(tree) for named in _named(node, package)}
    if is_package:
        found |= {f"{name}.{item}" for node in ast.walk(tree) for item in _exported(node)}
    return frozenset(found - {""})


def _named(node: ast.AST, package: str) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = _absolute("." * level + (module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in names if base and alias.name != "*")
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[argument, *_]):
            if called in ("import_module", "__import__"):
                yield _computed(argument, package)


def _computed(name: ast.expr, package: str) -> str:
    """Return the module that an expression names, or ``a.*`` for those that it may name."""
    while isinstance(name, ast.BinOp) and isinstance(name.left, ast.BinOp):  # a chain of + nests to the left
        name = name.left
    match name:
        case ast.Constant(value=str(text)):
            return _absolute(text, package)
        case (
            ast.JoinedStr(values=[ast.Constant(value=str(text)), *_])
            | ast.BinOp(left=ast.Constant(value=str(text)))
            | ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"))
        ):
            # "models.{}" begins with the package before the last dot, ".{}" with the module's own package.
            before = text.partition("{")[0].partition("%")[0]
            start = before.rpartition(".")[0] if before.strip(".") else before
        case _:
            start = ""
    within = _absolute(start, package) if start else package
    return f"{within}.*" if within else ""


def _exported(node: ast.AST) -> Iterator[str]:
    match node:
        case (
            ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=items) | ast.Tuple(elts=items))
            | ast.AugAssign(target=ast.Name(id="__all__"), value=ast.List(elts=items) | ast.Tuple(elts=items))
            | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.List(elts=items) | ast.Tuple(elts=items))
        ):
            yield from (item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str))


def _absolute(name: str, package: str) -> str:
    """Return ``name`` with its leading dots resolved in ``package``, or an empty text if there are too many dots."""
    bare = name.lstrip(".")
    up = len(name) - len(bare)
    if up == 0:
        return bare
    parts = package.split(".") if package else []
    if up > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - up + 1], *([bare] if bare else [])])
