"""The never-rules of `ARCHITECTURE.md` about imports; each one finds a planted breach."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection

import pytest

from tests.architecture.graph import ROOT, Import, circles, imports_of, own_imports, room, sources, upward

FLOORS: list[tuple[str, ...]] = [
    ("errors", "version"),
    ("core",),
    ("config",),
    ("outcomes", "data"),
    ("analysis",),
    ("models",),
    ("weights",),
    ("perturb",),
    ("training", "evaluation"),
    ("reporting", "check"),
    ("workflow",),
    ("api",),
    ("cli",),
    ("__init__", "__main__"),
]
"""The packages and modules of the package, from the ground up. Those of one floor do not import each other."""

WITHOUT_TORCH = ("errors", "version", "config", "outcomes", "analysis", "reporting", "check")
ONLY = {
    "analysis": ("errors", "core", "config", "outcomes"),
    "perturb": ("errors", "core", "config", "models"),
    "reporting": ("errors", "core", "config", "outcomes", "analysis", "weights"),
    "check": ("errors", "core", "config", "outcomes", "analysis"),
}
"""Rooms that may import from these alone, of all that lies below them."""

PAPERS = tuple(
    sorted(f"reporting.{path.parent.name}" for path in (ROOT / "robustbench_ens/reporting").glob("*[0-9]/__init__.py"))
)
"""Rooms of papers in reporting: each package that is named after a year."""

OF_FILES = ("io", "os", "pathlib", "shutil", "tempfile", "safetensors")
OWN_OF_FILES = tuple(f"robustbench_ens.core.{name}" for name in ("files", "locks", "paths", "seal", "store"))

MODULES = sources()
IMPORTS = own_imports(MODULES)


def short(name: str) -> str:
    return name.partition(".")[2]


def test_imports_go_down() -> None:
    found = upward(IMPORTS, FLOORS)
    assert [str(one) for one in found] == []


def test_no_modules_import_each_other() -> None:
    assert circles(IMPORTS) == []


@pytest.mark.parametrize("name", ONLY)
def test_a_room_imports_from_these_rooms_alone(name: str) -> None:
    outside = [one for one in IMPORTS if room(one.importer) == name and room(one.imported) not in (name, *ONLY[name])]
    assert [str(one) for one in outside] == []


def test_evaluation_and_training_never_import_each_other() -> None:
    assert [str(one) for one in IMPORTS if between(one, {"training"}, {"evaluation"})] == []
    assert [str(one) for one in IMPORTS if between(one, {"evaluation"}, {"training"})] == []


@pytest.mark.parametrize("paper", PAPERS)
def test_the_room_of_a_paper_is_entered_by_its_door_alone(paper: str) -> None:
    """Nothing outside imports one of its modules; the page imports the package."""
    assert [str(one) for one in IMPORTS if one.imported == f"robustbench_ens.{paper}"], "nobody enters"
    assert [str(one) for one in past_the_door(IMPORTS, f"robustbench_ens.{paper}")] == []


def past_the_door(imports: Collection[Import], package: str) -> list[Import]:
    """The imports of a module inside ``package`` by one that is not."""
    return [one for one in imports if one.imported.startswith(f"{package}.") and not one.importer.startswith(package)]


def test_a_way_past_the_door_is_found() -> None:
    planted = {"pack": "", "pack.room": "import pack.room.a", "pack.room.a": "", "pack.b": "from pack.room import a"}
    assert [one.importer for one in past_the_door(own_imports(planted, "pack"), "pack.room")] == ["pack.b"]


def between(one: Import, importers: Collection[str], imported: Collection[str]) -> bool:
    return room(one.importer) in importers and room(one.imported) in imported


def test_perturb_knows_no_files() -> None:
    every = [
        one for name, text in MODULES.items() if room(name) == "perturb" for one in imports_of(name, text, MODULES)
    ]
    assert every
    assert [str(one) for one in every if is_of_files(one.imported)] == []
    assert not [name for name, text in MODULES.items() if room(name) == "perturb" and "open(" in text]


def is_of_files(name: str) -> bool:
    return name.partition(".")[0] in OF_FILES or name.startswith(OWN_OF_FILES)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_a_room_imports_no_torch(name: str) -> None:
    """In a process of its own, with every module of the room."""
    mine = [module for module in MODULES if room(module) == name]
    assert mine
    assert loaded_torch(mine) == []


def loaded_torch(modules: list[str]) -> list[str]:
    """The modules after whose import torch is loaded, imported one after the other."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: print(name)\n"
    )
    command = [sys.executable, "-c", code, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


PLANTED = {
    "pack": "import pack.low",
    "pack.low": "",
    "pack.low.one": "def late():\n    from pack.high import one",
    "pack.low.two": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.high.one",
    "pack.high.one": "from pack.low import one, two",
    "pack.high.two": "import pack.low.one as other\nfrom pack.low.one import late",
}
PLANTED_FLOORS = [("low",), ("high",), ("__init__",)]


def test_an_import_that_goes_up_is_found() -> None:
    found = upward(own_imports(PLANTED, "pack"), PLANTED_FLOORS)
    assert [str(one) for one in found] == ["pack.low.one:2 imports pack.high.one"]


def test_an_import_of_a_module_s_neighbour_on_the_same_floor_is_found() -> None:
    found = upward(own_imports(PLANTED, "pack"), [("low", "high"), ("__init__",)])
    assert {one.importer for one in found} == {"pack.low.one", "pack.high.one", "pack.high.two"}


def test_a_circle_is_found() -> None:
    assert circles(own_imports(PLANTED, "pack")) == [["pack.high.one", "pack.low.one"]]


def test_a_room_on_no_floor_is_found() -> None:
    with pytest.raises(KeyError, match="high"):
        upward(own_imports(PLANTED, "pack"), [("low",), ("__init__",)])


@pytest.mark.parametrize("code", ["import os.path", "from pathlib import Path", "def f():\n    import shutil"])
def test_an_import_of_files_is_found(code: str) -> None:
    assert [one for one in imports_of("m", code, MODULES) if is_of_files(one.imported)]


def test_an_import_of_the_store_is_found() -> None:
    code = "from robustbench_ens.core import store\nfrom robustbench_ens.core.files import read_bytes"
    assert len([one for one in imports_of("m", code, MODULES) if is_of_files(one.imported)]) == 2


@pytest.mark.slow
def test_torch_is_found_behind_another_import() -> None:
    assert loaded_torch(["json", "robustbench_ens.models.ensemble"]) == ["robustbench_ens.models.ensemble"]
