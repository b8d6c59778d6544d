"""What is installed is what is in the repository: code, recipes, protocols, templates; no tests."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from robustbench_ens.config.lookup import names

ROOT = Path(__file__).parent.parent
DATA = {"zoo": "zoo", "attacks": "attacks", "reference": "reports/reference"}
"""Folders by the package that they are only once installed."""


def test_the_list_of_packages_is_complete() -> None:
    """Every folder with an ``__init__.py``, and the packages of data that exist only once installed."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["options"]["packages"].split()
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "robustbench_ens").rglob("__init__.py")]
    assert sorted(listed) == sorted([".".join(f.parts) for f in folders] + [f"robustbench_ens.{name}" for name in DATA])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy of what it is made of."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("robustbench_ens", "tests", *DATA.values()):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", built, source)
    (found,) = built.glob("*.whl")
    return found


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_what_it_should(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in DATA.items():
        suffix = "csv" if package == "reference" else "toml"
        paths = [*(ROOT / folder).rglob(f"*.{suffix}"), *filter(Path.is_file, (ROOT / folder / "weights").rglob("*"))]
        files = {f"robustbench_ens/{package}/{path.relative_to(ROOT / folder).as_posix()}" for path in paths}
        assert files
        assert {name for name in held if name.startswith(f"robustbench_ens/{package}/")} == files
    code = {p.relative_to(ROOT).as_posix() for p in (ROOT / "robustbench_ens").rglob("*") if p.suffix in (".py", ".j2")}
    assert "robustbench_ens/reporting/templates/page.md.j2" in code
    assert code <= held
    assert "robustbench_ens/py.typed" in held
    assert not [name for name in held if "test" in name.lower()]
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} == {"robustbench_ens"}


@pytest.mark.slow
def test_the_wheel_lists_recipes_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", installed, wheel)
    assert (installed / "bin" / "rbe").exists()
    environment = os.environ | {"PYTHONPATH": str(installed), "HOME": str(tmp_path)}
    environment.pop("RBE_RUNS", None)
    where = "import robustbench_ens; print(robustbench_ens.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(installed))
    # matplotlib takes a second, and with a new home prints that it caches the fonts.
    code = (
        "import sys\nfrom robustbench_ens.cli import main\n"
        "try: main(['list'])\nfinally: assert 'matplotlib' not in sys.modules"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*names("zoo"), *names("attacks")):
        assert f" {name} " in done.stdout
    assert not list(empty.iterdir())


MAKEFILE = ROOT / "Makefile"


@pytest.mark.skipif(not MAKEFILE.exists() or not shutil.which("make"), reason="needs a checkout and make")
@pytest.mark.parametrize(
    ("version", "goes_on"),
    [((3, 10, 13), False), ((3, 11, 0), True), ((3, 14, 2), True), ((3, 15, 0), False), ((2, 7, 18), False)],
)
def test_make_takes_the_pythons_that_are_supported(version: tuple[int, ...], goes_on: bool, tmp_path: Path) -> None:
    """A stand-in for each, which gives its version and refuses to make an environment."""
    python, text = tmp_path / "python", ".".join(map(str, version))
    python.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"if sys.argv[1] == '--version': print('Python {text}')\n"
        f"elif sys.argv[1] == '-c': sys.version_info = {version}; exec(sys.argv[2])\n"
        "else: sys.exit('it goes on')\n"
    )
    python.chmod(0o755)
    command = ["make", "-f", MAKEFILE, "test-fast", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    line = f"PYTHON: expected Python 3.11 to 3.14, got Python {text}; name one: make PYTHON=python3.14 test-fast"
    assert (done.stderr.splitlines()[0] == line) is not goes_on
    assert ("it goes on" in done.stderr) is goes_on
