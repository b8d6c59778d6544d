"""What documents name exists: files, folders, modules, commands; and the map's picture is the order of imports."""

from __future__ import annotations

import importlib
import re

import pytest

from robustbench_ens.cli.app import COMMANDS
from tests.architecture.graph import ROOT, sources
from tests.architecture.test_imports import FLOORS
from tests.guides.read import MAP

DOCUMENTS = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    *(f"{n}/README.md" for n in ("attacks", "zoo", "tests")),
]
DOCUMENTS += ["reports/README.md", "benchmarks/README.md"]

PLACEHOLDERS = {"reports/NAME/"}
FOLDERS = ("robustbench_ens", "tests", "zoo", "attacks", "reports", "examples", "benchmarks")
"""Folders of the project, whose names begin a path that should exist."""


def named_paths(text: str) -> set[str]:
    """Return the paths in backticks that begin with a folder of the project and stand for one file or folder."""
    quoted = re.findall(r"`([^`\s]+)`", text)
    ours = {path for path in quoted if path.split("/")[0] in FOLDERS and "/" in path}
    return {path for path in ours if not set(path) & set("<>*[]:#$")} - PLACEHOLDERS


def links(text: str) -> set[str]:
    """Return the targets of links that are no addresses, without what follows a #."""
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    return {target for target in targets if target and "://" not in target}


def named_modules(text: str) -> set[str]:
    return set(re.findall(r"`(robustbench_ens(?:\.\w+)+)", text))


def exists(name: str) -> bool:
    """Return whether a module, or an attribute of one, exists."""
    module, _, attribute = name.rpartition(".")
    if name in sources():
        return True
    return bool(module) and exists(module) and hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [path for path in sorted(named_paths(text)) if not (ROOT / path).exists()] == []
    beside = (ROOT / name).parent
    assert [target for target in sorted(links(text)) if not (beside / target).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_module_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [module for module in sorted(named_modules(text)) if not exists(module)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    commands = set(re.findall(r"`rbe ([a-z][a-z-]*)", text)) | set(re.findall(r"^rbe ([a-z-]+)", text, re.MULTILINE))
    assert commands - set(COMMANDS) == set()


def test_links_into_the_map_lead_to_a_heading() -> None:
    headings = re.findall(r"^#+ (.+)$", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    wanted = [re.findall(r"ARCHITECTURE\.md#([\w-]+)", (ROOT / name).read_text(encoding="utf-8")) for name in DOCUMENTS]
    assert {anchor for found in wanted for anchor in found} - anchors == set()


def test_what_does_not_exist_is_found() -> None:
    text = "`robustbench_ens/core/nowhere.py`, `robustbench_ens.core.nowhere`, [x](nowhere.md), `zoo/<dataset>/x.toml`"
    assert named_paths(text) == {"robustbench_ens/core/nowhere.py"}
    assert links(text) == {"nowhere.md"}
    assert [exists(name) for name in named_modules(text)] == [False]
    assert exists("robustbench_ens.config.methods.METHODS")


def test_the_picture_is_the_order_of_imports() -> None:
    picture = re.search(r"```\n(cli .*?)```", MAP.read_text(encoding="utf-8"), re.DOTALL)
    assert picture is not None
    rows = [re.split(r"\s{2,}", line)[:2] for line in picture[1].splitlines()]
    names = {name for floor in FLOORS for name in floor if not name.startswith("__")}
    drawn = [tuple(cell for cell in row if cell in names) for row in rows]
    assert [sorted(row) for row in reversed(drawn)] == [sorted(floor) for floor in FLOORS[:-1]]


def test_the_table_of_packages_has_every_package() -> None:
    table = MAP.read_text(encoding="utf-8").split("## The packages, one by one")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `robustbench_ens\.(\w+)` \|.*\| `([\w/.]+)` \|$", table, re.MULTILINE)
    packages = {name.split(".")[1] for name in sources() if name.count(".") > 1}
    assert {name for name, _ in rows} == packages | {"outcomes"}
    assert all(start.startswith(f"robustbench_ens/{name}") for name, start in rows)
    assert len(MAP.read_text(encoding="utf-8").splitlines()) <= 300
