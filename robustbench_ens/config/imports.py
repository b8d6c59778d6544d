"""Read from a module's text which modules it may import."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator


def imported_by(source: bytes, name: str, is_package: bool) -> frozenset[str]:
    """Return the dotted names that importing the text of module ``name`` may import.

    Every statement counts, at any depth: inside functions, and on either side of an ``if`` or ``try``. Of ``from a
    import b`` both ``a`` and ``a.b`` are returned, for ``b`` may be a module. Names given as text to ``import_module``
    and ``__import__`` count too, and those in ``__all__``, which ``import *`` imports. If such a name is put together
    as the code runs, ``a.*`` is returned: every module of the package that it begins with, or else of the module's own.
    Text that does not parse imports nothing.

    Args:
        source: the content of the file.
        name: of the module, dotted; relative imports start from it.
        is_package: whether the text is that of a package's ``__init__``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the text, which are the user's
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
    """The module that an expression names, or the modules that it may name."""
    while isinstance(name, ast.BinOp) and isinstance(name.left, ast.BinOp):
        name = name.left
    match name:
        case ast.Constant(value=str(text)):
            return _absolute(text, package)
        case (
            ast.JoinedStr(values=[ast.Constant(value=str(text)), *_])
            | ast.BinOp(left=ast.Constant(value=str(text)))
            | ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"))
        ):
            # Of "models.{}" the part before the last dot; of ".{}" the dot, which is the package.
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
    """``name``, whose leading dots are levels of ``package``; empty where there are more than it has."""
    bare = name.lstrip(".")
    up = len(name) - len(bare)
    if up == 0:
        return bare
    parts = package.split(".") if package else []
    if up > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - up + 1], *([bare] if bare else [])])
