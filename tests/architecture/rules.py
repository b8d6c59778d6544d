"""What no module of the package may do, found in its source. Each rule returns the lines that break it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Breach(NamedTuple):
    """A line that breaks a rule."""

    line: int
    code: str


Rule = Callable[[ast.Module], list[Breach]]

SEEDING = (
    "torch.manual_seed",
    "torch.random.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.seed",
    "torch.default_generator.manual_seed",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
)
"""Calls that seed a generator that everything in the process draws from."""

WRITERS = ("write_text", "write_bytes", "savefig", "save", "save_file", "savez", "savez_compressed", "write_table")
"""Functions and methods that write a file, by their last name."""

FRAMES = ("to_csv", "to_parquet", "to_json", "to_excel", "to_pickle", "to_feather", "to_hdf")
"""Methods of frames that write a file if they are given a path, and otherwise return what it would hold."""


def _breach(node: ast.AST) -> Breach:
    line = getattr(node, "lineno", 0)
    return Breach(line, ast.unparse(node).splitlines()[0])


def _called(node: ast.AST) -> str:
    """The dotted name that a node calls, or nothing."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _within(tree: ast.Module, manager: str) -> set[ast.AST]:
    """The nodes in the body of a ``with`` statement on a call of ``manager``, by its last name."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            names = [_called(item.context_expr).rpartition(".")[2] for item in node.items]
            if manager in names:
                found.update(inner for statement in node.body for inner in ast.walk(statement))
    return found


def seeds_globally(tree: ast.Module) -> list[Breach]:
    """Find what seeds a global generator and does not restore it: outside ``with torch.random.fork_rng(...)``."""
    restored = _within(tree, "fork_rng")
    return [_breach(node) for node in ast.walk(tree) if _called(node) in SEEDING and node not in restored]


def steps_an_optimiser(tree: ast.Module) -> list[Breach]:
    """Find what makes an optimiser, or steps anything that is not the class itself."""
    return [
        _breach(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute | ast.Import | ast.ImportFrom) and "torch.optim" in ast.unparse(node))
        or (_called(node).endswith(".step") and _called(node) != "self.step")
        or (isinstance(node, ast.ImportFrom) and ast.unparse(node).startswith("from torch import") and _optim(node))
    ]


def _optim(node: ast.ImportFrom) -> bool:
    return any(alias.name == "optim" for alias in node.names)


def asserts_on_input(tree: ast.Module) -> list[Breach]:
    """Find assertions other than those that tell type checkers that a value is not None, or of a class."""
    return [_breach(node) for node in ast.walk(tree) if isinstance(node, ast.Assert) and not _narrows(node.test)]


def _narrows(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp):
        return all(_narrows(value) for value in test.values)
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and ast.unparse(test.comparators[0]) == "None"
    return _called(test) == "isinstance"


def swallows_everything(tree: ast.Module) -> list[Breach]:
    """Find bare ``except``, and ``except BaseException`` that never raises: Ctrl-C would be lost."""
    return [
        _breach(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ("BaseException" in ast.unparse(node.type) and not _raises(node)))
    ]


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def loads_partly(tree: ast.Module) -> list[Breach]:
    """Find ``load_state_dict`` that would leave out what does not fit."""
    return [
        _breach(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node).endswith("load_state_dict") and not _strictly(node)
    ]


def _strictly(call: ast.Call) -> bool:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "strict"] + call.args[1:2]
    return all(isinstance(value, ast.Constant) and value.value is True for value in given)


def writes_files(tree: ast.Module) -> list[Breach]:
    """Find what writes a file outside ``with atomic_path(...)``. Buffers of ``io.BytesIO`` are no files."""
    safe = _within(tree, "atomic_path")
    buffers = set(_buffers(tree))
    return [_breach(node) for node in ast.walk(tree) if node not in safe and _writes(node, buffers)]


def _writes(node: ast.AST, buffers: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    path, _, name = _called(node).rpartition(".")
    if name == "open":
        return _opens_for_writing(node, path)
    if name in FRAMES:
        return bool(node.args) and ast.unparse(node.args[0]) not in buffers
    # `write_text` alone is the store's own, which writes through `atomic_path`; `self.save` is a method of the module.
    on_a_path = name in WRITERS and (path not in ("", "self") or name == "save_file")
    return on_a_path and not (node.args and ast.unparse(node.args[0]) in buffers)


def _opens_for_writing(call: ast.Call, path: str) -> bool:
    """Whether ``open``, ``path.open`` or ``os.open`` opens what it could write to."""
    if path == "os":
        return any(flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"))
    position = 1 if path in ("", "io") else 0
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[position : position + 1]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set(text) & set("wax+") and set(text) <= set("rwabtx+") for text in texts)


def _buffers(tree: ast.Module) -> Iterator[str]:
    """The names that some function gives to a buffer in memory."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _called(node.value) in ("io.BytesIO", "io.StringIO", "BytesIO", "StringIO"):
            yield from (ast.unparse(target) for target in node.targets)


def imports_by_name(tree: ast.Module) -> list[Breach]:
    """Find what imports or runs code whose name is not written out where it is imported."""
    named = ("import_module", "__import__", "exec_module", "spec_from_file_location", "run_path", "run_module")
    return [
        _breach(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            _called(node) in ("exec", "eval")
            or (_called(node).rpartition(".")[2] in named and not isinstance(node.args[0], ast.Constant))
        )
    ]
