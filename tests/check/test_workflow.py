"""The workflow on GitHub: that what it runs exists, and that it keeps what it should. There is no YAML parser here."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

import click
import pytest

from robustbench_ens.check import SUFFIXES
from robustbench_ens.cli.app import rbe

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
pytestmark = pytest.mark.skipif(not WORKFLOW.exists(), reason="only a checkout has the workflow")


def _values(key: str) -> list[str]:
    """The values of ``key``, of which each lies on one line."""
    return re.findall(rf"^ *(?:- )?{key}: *(\S.*)$", WORKFLOW.read_text(), re.MULTILINE)


def _lines(program: str) -> list[list[str]]:
    """Arguments of each run of ``program``."""
    words = [shlex.split(line) for line in _values("run")]
    return [line[1:] for line in words if line[0] == program]


def test_indentation_is_by_two_blanks_and_no_tab() -> None:
    """What a parser would refuse first: tabs, odd indentation, a key without a blank after its colon."""
    for line in WORKFLOW.read_text().splitlines():
        assert "\t" not in line
        assert (len(line) - len(line.lstrip())) % 2 == 0
        assert not line.strip() or re.match(r" *(#|- |[\w-]+:( |$))", line), line


def test_every_run_is_known() -> None:
    programs = {shlex.split(line)[0] for line in _values("run")}
    assert programs == {"make", "eval", "cat", ".venv/bin/rbe"}
    assert WORKFLOW.read_text().count("run:") == len(_values("run"))


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = [target for line in _lines("make") for target in line]
    assert sorted(wanted) == ["axe", "lint", "published", "quickstart", "test"]
    assert targets >= set(wanted)


def test_rbe_takes_the_check() -> None:
    (line,) = _lines(".venv/bin/rbe")
    command = rbe.get_command(click.Context(rbe), line[0])
    assert command is not None
    with click.Context(command) as context:
        command.parse_args(context, line[1:])
        baseline, outputs = context.params["baseline"], context.params["outputs"]
    assert (ROOT / baseline).is_file()
    assert {SUFFIXES[output.suffix] for output in outputs} == {"junit", "json", "markdown"}


def test_what_the_check_writes_is_uploaded_and_summarised_also_when_it_fails() -> None:
    text = WORKFLOW.read_text()
    assert _values("path") == ["runs/reports/", "runs/check/"]
    assert 'cat runs/check/check.md >> "$GITHUB_STEP_SUMMARY"' in text
    assert all(word.startswith("runs/check/") for word in _lines(".venv/bin/rbe")[0][3::2])
    steps = text[text.index("rbe check") :]
    assert steps.count("if: ${{ !cancelled() }}") == 2 + steps.count("upload-artifact@")


def test_actions_are_pinned_to_a_version() -> None:
    for action in _values("uses"):
        assert re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", action), action


def test_tests_run_on_every_python_that_is_supported_and_the_rest_on_one_of_them() -> None:
    """The matrix, the range and the classifiers of setup.cfg, and the Makefile's check say the same."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lowest, beyond = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", config["options"]["python_requires"]).groups()
    minors = [str(minor) for minor in range(int(lowest), int(beyond))]
    classifiers = config["metadata"]["classifiers"].split("\n")
    assert [
        line.removeprefix("Programming Language :: Python :: 3.") for line in classifiers if ":: 3." in line
    ] == minors
    (matrix,) = _values("python")
    assert json.loads(matrix) == [f"3.{minor}" for minor in minors]
    versions = set(_values("python-version")) - {"${{ matrix.python }}"}
    assert versions <= {f'"3.{minor}"' for minor in minors}
    assert f"(3, {lowest}) <= sys.version_info < (3, {beyond})" in (ROOT / "Makefile").read_text()
    text = WORKFLOW.read_text()
    job = text[text.index("  test:") : text.index("  check:")]
    assert "matrix.python" in job and "make test" in job


def test_the_readme_names_the_same_pythons() -> None:
    (matrix,) = _values("python")
    first, *_, last = json.loads(matrix)
    assert f"Python {first} to {last}" in (ROOT / "README.md").read_text()


def test_torch_is_for_the_cpu() -> None:
    assert all(system.startswith("ubuntu-") for system in _values("runs-on"))
    (install,) = _values("INSTALL_TORCH")
    assert install.endswith("install torch torchvision --index-url https://download.pytorch.org/whl/cpu")
