"""Code from outside is identified by its source, by all it imports, and by the packages it comes from."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from robustbench_ens.config import identity
from robustbench_ens.config.identity import Code, code_of, differences
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.trust import no_outside_code
from robustbench_ens.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, and the modules of before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    identity._installed_names.cache_clear()
    before = dict(sys.modules)
    yield tmp_path
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)
    identity._installed_names.cache_clear()


def write(path: str, text: str = "") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


REACHES: dict[str, tuple[str, str, dict[str, str]]] = {
    "itself": ("mine", "mine.py", {}),
    "import": ("mine", "helper.py", {"mine.py": "import helper\n"}),
    "from import": ("mine", "helper.py", {"mine.py": "from helper import f\n"}),
    "inside a function": ("mine", "helper.py", {"mine.py": "def f():\n    import helper\n"}),
    "through another": ("mine", "deep.py", {"mine.py": "import helper\n", "helper.py": "import deep\n"}),
    "in a circle": ("mine", "helper.py", {"mine.py": "import helper\n", "helper.py": "import mine\n"}),
    "relative": ("pkg.net", "pkg/layers.py", {"pkg/__init__.py": "", "pkg/net.py": "from .layers import L\n"}),
    "relative module": ("pkg.net", "pkg/layers.py", {"pkg/__init__.py": "", "pkg/net.py": "from . import layers\n"}),
    "above": (
        "pkg.sub.net",
        "pkg/layers.py",
        {"pkg/__init__.py": "", "pkg/sub/__init__.py": "", "pkg/sub/net.py": "from ..layers import L\n"},
    ),
    "its package": ("pkg.net", "pkg/__init__.py", {"pkg/net.py": ""}),
    "a package's package": ("mine", "pkg/__init__.py", {"mine.py": "import pkg.a.b\n", "pkg/a/b.py": ""}),
    "a name of a package": ("mine", "pkg/layers.py", {"mine.py": "from pkg import layers\n", "pkg/__init__.py": ""}),
    "what a package re-exports": (
        "mine",
        "pkg/impl.py",
        {"mine.py": "from pkg import Net\n", "pkg/__init__.py": "from .impl import Net\n"},
    ),
    "star": ("mine", "pkg/a.py", {"mine.py": "from pkg import *\n", "pkg/__init__.py": "__all__ = ['a']\n"}),
    "a folder without __init__": ("mine", "pkg/a.py", {"mine.py": "import pkg.a\n"}),
    "by its name as text": ("mine", "helper.py", {"mine.py": "import importlib\nimportlib.import_module('helper')\n"}),
    "where it may be missing": (
        "mine",
        "fast.py",
        {"mine.py": "try:\n    import fast\nexcept ImportError:\n    pass\n"},
    ),
    "a name of Python's own": (
        "test.net",
        "test/layers.py",
        {"test/__init__.py": "", "test/net.py": "import test.layers\n"},
    ),
    "by a name put together": (
        "mine",
        "nets/small.py",
        {"mine.py": "from importlib import import_module\ndef f(name):\n    import_module(f'nets.{name}')\n"},
    ),
    "when it is asked for": (
        "pkg.net",
        "pkg/small.py",
        {
            "pkg/__init__.py": "def __getattr__(name):\n    return import_module('.' + name, __name__)\n",
            "pkg/net.py": "",
        },
    ),
    "compiled": ("mine", f"fast{EXTENSION_SUFFIXES[0]}", {"mine.py": "import fast\n"}),
}


@pytest.mark.parametrize("reach", REACHES)
def test_what_is_imported_counts(reach: str) -> None:
    module, edited, files = REACHES[reach]
    write(edited, "x = 1\n")
    write("unrelated.py", "x = 1\n")
    for path, text in files.items():
        write(path, text + ("x = 1\n" if path == edited else ""))
    before = code_of(module)
    assert code_of(module) == before
    write("unrelated.py", "x = 2\n")
    assert code_of(module) == before
    write(edited, Path(edited).read_text() + "x = 2\n")
    assert differences(before, code_of(module)) == f"source of {edited}"
    assert not set(before["modules"]) & sys.modules.keys() - {"test"}, "finding code imports none"


def test_code_of_this_project_of_python_and_of_its_requirements_counts_for_nothing() -> None:
    assert code_of("robustbench_ens.models.resnet") == {}
    assert code_of("torchvision.models") == {}
    assert code_of("json.decoder") == {}
    write("mine.py", "import os, json.decoder, torch.nn, numpy, robustbench_ens.models.resnet, nowhere_at_all\n")
    assert list(code_of("mine")) == ["modules"]
    assert list(code_of("mine")["modules"]) == ["mine"]


def test_the_requirements_are_those_of_the_project() -> None:
    from configparser import ConfigParser

    setup = ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    names = {line.partition(">")[0] for line in setup["options"]["install_requires"].split()}
    called = {"scikit-learn": "sklearn", "pillow": "PIL", "fonttools": "fontTools"}
    # advertorch and statsmodels were requirements when the zoo's results were made.
    former = {"advertorch", "statsmodels"}
    assert {called.get(name, name) for name in names} | former == identity.FLOOR


def site_packages(folder: Path) -> Path:
    """A place for packages, in place of the real one, which takes long to look through."""
    site = folder / "lib" / "site-packages"
    sys.path[:] = [*(path for path in sys.path if "site-packages" not in path), str(site)]
    return site


def install(folder: Path, version: str, name: str = "Wise-Layers", module: str = "wiselayers") -> None:
    for old in folder.glob("*.dist-info/METADATA"):
        old.unlink()
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    write(str(about / "METADATA"), f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write(str(about / "top_level.txt"), f"{module}\n")
    write(str(folder / module / "__init__.py"), "from .impl import x\nimport elsewhere_unread\n")
    write(str(folder / module / "impl.py"), "x = 1\n")
    identity._installed_names.cache_clear()


def test_an_installed_package_counts_by_its_version(tmp_path: Path) -> None:
    site = site_packages(tmp_path)
    write("mine.py", "import wiselayers\n")
    install(site, "1.2")
    before = code_of("mine")
    assert before["packages"] == {"Wise-Layers": "1.2"}
    assert list(before["modules"]) == ["mine"]
    install(site, "1.3")
    assert differences(before, code_of("mine")) == "version of Wise-Layers 1.2 to 1.3"
    write("mine.py", "")
    assert differences(before, code_of("mine")) == "source of mine.py and version of Wise-Layers 1.2 to none"


def test_the_package_that_a_user_names_counts_by_its_source_too(tmp_path: Path) -> None:
    """One of a user's own is installed again and again under one version."""
    site = site_packages(tmp_path)
    install(site, "1.2")
    before = code_of("wiselayers")
    assert set(before["modules"]) == {"wiselayers", "wiselayers.impl"}
    assert before["packages"] == {"Wise-Layers": "1.2"}
    write(str(site / "wiselayers" / "impl.py"), "x = 2\n")
    assert "impl.py" in differences(before, code_of("wiselayers"))


def test_modules_that_no_import_names_take_part_where_they_are_loaded(tmp_path: Path) -> None:
    """Those of the classes of a model that was put together elsewhere."""
    sys.path.append(str(tmp_path / "far"))
    write("far/layers.py", "import within\n")
    write("far/within.py", "x = 1\n")
    write("mine.py", "x = 1\n")
    before = code_of("mine", ["layers", "torch.nn.modules.linear", "__main__", "builtins"])
    assert list(before["modules"]) == ["layers", "mine", "within"]
    write("far/within.py", "x = 2\n")
    assert differences(before, code_of("mine", ["layers"])) == "source of far/within.py"


PRINTS = """
import json, sys
sys.path.append(".")
for name in sys.argv[2:]:
    __import__(name)
from robustbench_ens.config.identity import code_of
print(json.dumps(code_of(sys.argv[1])))
"""


def test_every_process_finds_the_same_whatever_it_has_loaded(tmp_path: Path) -> None:
    write("pkg/__init__.py", "")
    write("pkg/net.py", "import random\nfrom . import layers\ndef f():\n    import helper\n")
    write("pkg/layers.py", "")
    write("helper.py", "from pkg import net\n")

    def found(*loaded: str) -> Code:
        command = [sys.executable, "-c", PRINTS, "pkg.net", *loaded]
        return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    assert found() == found("helper", "pkg.layers") == code_of("pkg.net")


def test_what_runs_is_what_was_imported(tmp_path: Path) -> None:
    """An edit counts from the next import, or reload: until then the old code runs."""
    write("mine_run.py", "import mine_helper\nvalue = 1\n")
    write("mine_helper.py", "value = 1\n")
    assert import_object("mine_run:value", "here") == 1
    before = code_of("mine_run")
    write("mine_helper.py", "value = 12\n")
    assert code_of("mine_run") == before
    importlib.reload(sys.modules["mine_helper"])
    assert differences(before, code_of("mine_run")) == "source of mine_helper.py"
    write("mine_run.py", "value = 1\n")
    assert list(code_of("mine_run")["modules"]) == ["mine_helper", "mine_run"]
    del sys.modules["mine_run"]
    assert import_object("mine_run:value", "here") == 1
    assert list(code_of("mine_run")["modules"]) == ["mine_run"]


@pytest.mark.parametrize("name", ["mine", "random"])
def test_code_is_identified_where_it_may_not_be_imported(name: str) -> None:
    write(f"{name}.py", "import helper\nopen('it-ran', 'w')\n")
    write("helper.py", "open('it-ran', 'w')\n")
    with no_outside_code():
        assert list(code_of(name)["modules"]) == sorted(["helper", name])
        with pytest.raises(UserError, match="expected code of robustbench_ens itself"):
            import_object(f"{name}:x", "here")
    assert not Path("it-ran").exists()


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({}, {}, ""),
        ({"modules": {"a": "1"}}, {"modules": {"a": "1"}}, ""),
        ({"modules": {"a": "1"}}, {"modules": {"a": "2", "b": "1"}}, "source of module a"),
        ({"modules": {"a": "1"}}, {}, "source of module a"),
        (
            {"modules": dict.fromkeys("abcde", "1")},
            {"modules": dict.fromkeys("abcde", "2")},
            "source of module a, module b, module c and 2 more",
        ),
        ({"modules": {"a\x1b[2J": "1"}}, {}, "source of module 'a\\x1b[2J'"),
        ({"packages": {"p": "1"}}, {"packages": {"q": "2"}}, "version of p 1 to none, q none to 2"),
    ],
)
def test_differences_are_named(before: Code, now: Code, says: str) -> None:
    assert differences(before, now) == says
