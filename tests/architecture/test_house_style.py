"""Sizes at which to ask whether two things live in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import robustbench_ens

PACKAGE = Path(robustbench_ens.__file__).parent
MOST_LINES = 375
"""In a file."""
MOST_BODY_LINES = 45
"""In a function, without its signature and docstring."""
MOST_PARAMETERS = 8
"""Of a function, besides ``self``; more of them are a value object."""

LONG_FILES = {"outcomes.py": "the schema: one comment a column, and what reads and writes it"}
MANY_PARAMETERS = {
    "cli/attack.py: attack": "one parameter an option of the command",
    "api.py: evaluate": "the Python API, by keyword and with defaults",
    "evaluation/tables.py: measurement": "one keyword a column of the measurements",
    "evaluation/job.py: rows": "one keyword a column of the outcomes",
    "perturb/gradient.py: ascend": "the symbols of the algorithm, then its hooks",
    "training/trainer.py: __init__": "a run is restored from the same arguments as it began with",
    "training/trainer.py: train": "those of a run, and what watches it",
    "weights/trained.py: save_trained": "one keyword a field of the record",
}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the parameters of a function besides ``self`` and ``cls``."""
    given = function.args
    named = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return sum(name not in ("self", "cls") for name in named)


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function in a module, inner ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def too_large(sources: Mapping[str, str]) -> tuple[set[str], set[str], set[str]]:
    """Return the files, the functions by their bodies, and the functions by their parameters, that exceed a limit."""
    files = {name for name, source in sources.items() if source.count("\n") > MOST_LINES}
    found = [
        (f"{name}: {function.name}", function) for name, source in sources.items() for function in functions(source)
    ]
    bodies = {where for where, function in found if body_lines(function) > MOST_BODY_LINES}
    return files, bodies, {where for where, function in found if parameters(function) > MOST_PARAMETERS}


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def test_no_file_is_long(sources: dict[str, str]) -> None:
    assert too_large(sources)[0] <= LONG_FILES.keys()


def test_no_function_is_long(sources: dict[str, str]) -> None:
    assert too_large(sources)[1] == set()


def test_no_signature_is_long(sources: dict[str, str]) -> None:
    assert too_large(sources)[2] <= MANY_PARAMETERS.keys()


def test_what_is_counted() -> None:
    lines = "\n".join(f"        x = {number}" for number in range(MOST_BODY_LINES + 1))
    names = ", ".join("abcdefghi")
    source = f'class A:\n    def long(self):\n        """Doc."""\n{lines}\n    def wide(self, {names}):\n        pass\n'
    assert too_large({"a.py": source, "b.py": "\n" * 376}) == ({"b.py"}, {"a.py: long"}, {"a.py: wide"})
    shorter = source.replace("        x = 0\n", "").replace("a, b", "a")
    assert too_large({"a.py": shorter, "b.py": "\n" * 375}) == (set(), set(), set())
