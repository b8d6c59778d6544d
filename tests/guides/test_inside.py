"""Each guide followed inside the project, in a copy of it: the files that it names suffice, and none is needless."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guides.grown import ADDITIONS, INSIDE, grow
from tests.guides.read import MAP, guides
from tests.pages import pages_text
from tests.shared import made_once

GUIDES = guides(MAP.read_text(encoding="utf-8"))

PUBLISHED = {"zoo/README.md"}
"""What `rbe list --publish` writes."""

ENSEMBLES = ("digits/label-smoothing-3", "digits/baseline-3-plain", "digits/dverge-3-eps-0.15")
PROTOCOLS = ("digits/noise", "digits/whitebox-short")

COMMANDS = [
    ["list", "--publish"],
    ["list"],
    [
        "attack",
        *(f"{name}[images=20,eps=[0.2]]" for name in PROTOCOLS),
        *(f"{name}[steps=5]" for name in ENSEMBLES),
    ],
    ["report"],
    ["pin", "baseline.json", "--paired"],
    ["check", "baseline.json"],
]

CONTRACTS = [f"tests/config/test_{name}.py" for name in ("recipes", "protocols", "kinds")]
CONTRACTS += ["tests/training/test_methods.py", "tests/test_power.py::test_every_kind_is_tried"]
CONTRACTS += ["tests/evaluation/test_interrupted.py::test_every_kind_is_here_or_has_a_reason_not_to_be"]
"""Tests that run over every entry of a table."""

ADDED = "label-smoothing or plain or eps-0.15 or noise or whitebox-short"
WHOLE_TABLES = "changed_value or no_two or methods_of_the_table or tried or reason or titles or order_in_tables"
"""What is selected of them: entries that guides add, and what looks at all entries at once."""


@pytest.mark.parametrize("name", ADDITIONS)
def test_a_guide_names_the_files_to_touch_and_no_others(name: str) -> None:
    touched = ADDITIONS[name].paths
    assert [path for path in sorted(touched) if not GUIDES[name].names(path)] == []
    needed = touched | PUBLISHED
    needless = [found.pattern for found in GUIDES[name].files if not any(found.fullmatch(path) for path in needed)]
    assert needless == []


def test_every_file_that_is_added_belongs_to_a_guide() -> None:
    added = {path.relative_to(INSIDE).as_posix() for path in INSIDE.rglob("*.*") if path.suffix in (".py", ".toml")}
    assert added == {path for addition in ADDITIONS.values() for path in addition.files}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "grown", grow)


def python(copy: Path, *arguments: str) -> str:
    """Run Python in the copy, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(copy: Path) -> list[str]:
    """What each of ``COMMANDS`` printed, all of them called in one process."""
    mark = "-- next command --"
    code = (
        "from robustbench_ens.cli import main\n"
        f"for command in {COMMANDS!r}:\n"
        "    try: main(command)\n"
        "    except SystemExit as exit_:\n"
        "        if exit_.code: raise\n"
        f"    print({mark!r}, flush=True)\n"
    )
    return python(copy, "-c", code).split(mark)[:-1]


@pytest.mark.slow
def test_what_guides_add_is_listed_trained_and_attacked(printed: list[str]) -> None:
    _, listed, attacked, *_ = printed
    assert [name for name in (*ENSEMBLES, *PROTOCOLS) if f" {name} " not in listed] == []
    assert [name for name in ENSEMBLES if f"{name}[" not in attacked] == []
    assert "Uniform noise" in attacked


@pytest.mark.slow
def test_what_guides_add_is_reported_and_checked(copy: Path, printed: list[str]) -> None:
    (page,) = (copy / "runs" / "reports").glob("*/report.md")
    text = pages_text(page.parent)
    assert [name for name in (*ENSEMBLES, *PROTOCOLS) if name not in text] == []
    assert "adds uniform noise within eps" in text
    html = pages_text(page.parent, "html")
    assert [name for name in (*ENSEMBLES, *PROTOCOLS) if name not in html] == []
    assert len(printed) == len(COMMANDS)


@pytest.mark.slow
def test_the_table_of_recipes_is_written_by_the_command_that_guides_name(copy: Path, printed: list[str]) -> None:
    table = (copy / "zoo" / "README.md").read_text(encoding="utf-8")
    assert [name for name in ENSEMBLES if f"| `{name}` |" not in table] == []


@pytest.mark.slow
def test_contracts_of_tables_hold_with_what_guides_add(copy: Path, printed: list[str]) -> None:
    own = [path for addition in ADDITIONS.values() for path in addition.files if path.startswith("tests/")]
    selected = ["-m", "not slow", "-k", f"{ADDED} or {WHOLE_TABLES}"]
    out = python(copy, "-m", "pytest", "-p", "no:cacheprovider", *selected, *CONTRACTS)
    found = re.search(r"(\d+) passed", out)
    assert found is not None and int(found[1]) >= len(ADDITIONS)
    assert re.search(r"(\d+) passed", python(copy, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", *own))
