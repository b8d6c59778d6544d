"""Commands load no more than they need: torch takes seconds to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_ens.cli.app import rbe
from tests.conftest import BASELINE
from tests.fake_outcomes import write_fake_outcomes

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "torchvision", "numpy", "pandas", "pyarrow", "scipy", "statsmodels", "sklearn", "matplotlib"]
CODE = """
import sys
from robustbench_ens.cli.app import rbe
for command in sys.argv[2:]:
    try:
        rbe(command.split("|"))
    except SystemExit as end:
        if end.code:
            raise
    loaded = [name for name in sys.argv[1].split() if name in sys.modules]
    assert not loaded, f"{command}: {loaded}"
"""


def run_without(heavy: list[str], *commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands, their arguments joined by ``|``, one after the other; fail after the first that loads any."""
    command = [sys.executable, "-c", CODE, " ".join(heavy), *commands]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def test_helps_and_cards_without_numbers_load_nothing_heavy(tmp_path: Path) -> None:
    card = f"show|cifar10/gal-3|--runs|{tmp_path}"
    done = run_without(HEAVY, "--version", "--help", *(f"{name}|--help" for name in sorted(rbe.commands)), card)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == 1 + len(rbe.commands)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of outcomes."""
    root = tmp_path_factory.mktemp("light")
    write_fake_outcomes(root, images=20)
    return root / "outcomes"


def test_pins_checks_and_reports_load_no_torch(outcomes: Path, tiny_runs: Path, tmp_path: Path) -> None:
    runs = f"--runs|{tmp_path}"
    pin = tmp_path / "pin.json"
    done = run_without(
        ["torch", "torchvision"],
        f"pin|{pin}|{outcomes}|--paired|{runs}",
        f"check|{pin}|{outcomes}|{runs}",
        f"report|{outcomes}|{runs}",
        f"show|{BASELINE}|--runs|{tiny_runs}",
    )
    assert done.returncode == 0, done.stderr
    assert "pinned" in done.stdout
    assert "0 of" in done.stdout


def test_lists_load_neither_torch_nor_tables_of_statistics(tiny_runs: Path, tmp_path: Path) -> None:
    """Of a run directory with trained and evaluated ensembles, and of one that is not there."""
    heavy = ["torch", "torchvision", "scipy", "statsmodels", "sklearn", "matplotlib"]
    done = run_without(
        heavy, f"list|--runs|{tiny_runs}", f"list|--runs|{tmp_path / 'none'}", f"show|cifar10/gal-3|--runs|{tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert "seeds 0" in done.stdout


def test_a_command_that_loads_what_it_must_not_is_found() -> None:
    done = run_without(["click"], "--help")
    assert done.returncode != 0
    assert "AssertionError: --help: ['click']" in done.stderr
