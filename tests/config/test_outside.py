"""What a user names is imported from the working directory first, and errors name the file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustbench_ens.config.finding import LOCAL_PREFIX
from robustbench_ens.config.outside import import_object
from robustbench_ens.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, and the modules of before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    before = dict(sys.modules)
    yield tmp_path
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)


def write(path: str, text: str = "") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return Path(path).resolve()


@pytest.mark.parametrize("spec", ["nothing", "os:", ":os", "os:no_such_name", "no_such_module:x", "..x:y", ".:x"])
def test_what_cannot_be_imported(spec: str) -> None:
    with pytest.raises(UserError, match="^here: "):
        import_object(spec, "here")


def test_import_from_the_working_directory() -> None:
    write("own_module_for_a_test.py", "value = 3\n")
    assert import_object("own_module_for_a_test:value", "here") == 3


STANDARD = ["test", "random", "types", "json", "profile", "this", "site", "click", "torch", "sys"]
"""Names of Python's own modules, loaded and not yet loaded, and of other packages."""


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
def test_the_working_directory_comes_first(name: str, form: str) -> None:
    before = sys.modules.get(name)
    write(form.format(name), "import random\nvalue = ('mine', random.__file__)\n")
    for _ in range(2):
        what, file = import_object(f"{name}:value", "here")
        assert what == "mine"
        assert Path(file) != Path.cwd() / form.format("random")
    if before is not None:
        assert importlib.import_module(name) is before


@pytest.mark.parametrize("name", ["test", "random", "json"])
@pytest.mark.parametrize("init", ["__init__.py", "notes.txt"])
def test_so_does_a_package_with_modules_inside(name: str, init: str) -> None:
    before = sys.modules.get(name)
    write(f"{name}/{init}")
    write(f"{name}/layers.py", "value = 'mine'\n")
    write(f"{name}/net.py", "from .layers import value\n")
    for _ in range(2):
        assert import_object(f"{name}.net:value", "here") == "mine"
    assert sys.modules.get(name) is before or before is None


def test_a_package_may_import_itself_by_its_name() -> None:
    """Python's own package of tests is not loaded, and nobody asks for it."""
    sys.modules.pop("test", None)
    write("test/__init__.py")
    write("test/layers.py", "value = 'mine'\n")
    write("test/net.py", "def get():\n    from test.layers import value\n    return value\n")
    assert import_object("test.net:get", "here")() == "mine"


def test_imports_inside_it_are_those_of_python() -> None:
    """Only what the user named is looked for in the working directory first."""
    write("random.py", "value = 'mine'\n")
    write("statistics.py", "raise RuntimeError('not this one')\n")
    write("my.py", "import random, statistics\nvalue = random.random() < 1 and statistics.mean([1, 3])\n")
    sys.modules.pop("statistics", None)
    assert import_object("my:value", "here") == 2
    assert import_object("random:value", "here") == "mine"
    assert importlib.import_module("random").random() < 1


def test_a_folder_without_modules_hides_nothing() -> None:
    """It may hold images."""
    write("json/cat/0.png")
    assert import_object("json:dumps", "here") is importlib.import_module("json").dumps
    write("pictures/cat/0.png")
    with pytest.raises(UserError, match="here: module 'pictures' has no 'net'"):
        import_object("pictures:net", "here")


def test_another_working_directory_is_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        write(f"{folder}/mine_of_a_folder.py", f"value = {folder!r}\n")
        monkeypatch.chdir(tmp_path / folder)
        assert import_object("mine_of_a_folder:value", "here") == folder
        monkeypatch.chdir(tmp_path)


def test_errors_name_the_file() -> None:
    own = write("test.py", "value = 1\n")
    with pytest.raises(UserError) as error:
        import_object("test:net", "here")
    assert str(error.value) == f"here: module 'test' ({own}) has no 'net'"
    with pytest.raises(UserError) as error:
        import_object("json:net", "here")
    assert str(error.value) == f"here: module 'json' ({importlib.import_module('json').__file__}) has no 'net'"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("raise SystemExit(4)\n", "SystemExit: 4"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
        ("def __getattr__(name):\n    raise ImportError('not now')\n", "ImportError: not now"),
    ],
)
@pytest.mark.parametrize("name", ["my_broken", "test", "random"])
def test_so_do_errors_of_the_module_itself(name: str, text: str, says: str) -> None:
    file = write(f"{name}.py", text)
    for _ in range(2):
        with pytest.raises(UserError) as error:
            import_object(f"{name}:net", "here")
        assert str(error.value).startswith(f"here: cannot import '{name}:net' ({file}): {says}")
        assert "\n" not in str(error.value)
    assert LOCAL_PREFIX + name not in sys.modules or "getattr" in text


def test_a_missing_module_inside_a_package_names_the_package() -> None:
    file = write("mine_with_none/__init__.py")
    with pytest.raises(UserError) as error:
        import_object("mine_with_none.net:build", "here")
    assert str(error.value).startswith(
        f"here: cannot import 'mine_with_none.net:build' ({file}): ModuleNotFoundError: "
    )


def test_a_working_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert import_object("json:dumps", "here") is importlib.import_module("json").dumps
    with pytest.raises(UserError, match="here: cannot import 'nowhere_at_all:x': ModuleNotFoundError"):
        import_object("nowhere_at_all:x", "here")
