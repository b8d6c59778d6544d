"""`rbe plan --slurm` and `--shard`: what is refused, and that the script's command is the one that was planned."""

import shlex
import sys
from pathlib import Path

import pytest

from robustbench_ens.cli.slurm import _ranges
from tests.conftest import BASELINE, WHITEBOX, Rbe


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "quickstart"),
        ([BASELINE], "train"),
        ([WHITEBOX, BASELINE], "attack"),
        (["--seeds", "0,1,2,7", WHITEBOX, BASELINE], "attack"),
    ],
)
def test_the_command_of_each_job(rbe: Rbe, tmp_path: Path, arguments: list[str], command: str) -> None:
    result = rbe("plan", "--slurm", "--workers", "3", "--runs", str(tmp_path / "its runs"), *arguments)
    assert (result.code, result.err) == (0, "")
    names = [one for one in arguments if one in (WHITEBOX, BASELINE)]
    words = shlex.split(result.out.splitlines()[-1])
    seeds = "0-2,7" if "--seeds" in arguments else "0"
    options = ["--seeds", seeds, "--runs", str(tmp_path / "its runs"), "--device", "cpu", "--threads", "1"]
    shard = ["--shard", "$SLURM_ARRAY_TASK_ID/3"]
    assert words == ["exec", sys.executable, "-m", "robustbench_ens", command, *options, *shard] + (
        ["--", *names] if names else []
    )
    assert f"cd -- {Path.cwd()}" in result.out.splitlines()


def test_a_plan_without_a_script_says_nothing_else_on_standard_output(rbe: Rbe, tmp_path: Path) -> None:
    """What an incompatible pair says goes to standard error."""
    result = rbe("plan", "--slurm", "--workers", "3", "--runs", str(tmp_path), WHITEBOX, BASELINE, "cifar10/baseline-3")
    assert result.code == 0
    assert result.out.startswith("#!/usr/bin/env bash\n")
    assert "Skipped" not in result.out and "Skipped: " in result.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["plan", "--slurm", BASELINE], "--slurm: expected --workers beside it, got none; add --workers N"),
        (["plan", "--slurm", "--workers", "0", BASELINE], "'--workers': 0 is not in the range"),
        (["attack", "--shard", "1/2", WHITEBOX], "--shard: expected recipes, got none; name them, so that every shard"),
        (["attack", "--shard", "3/2", WHITEBOX, BASELINE], "--shard: expected I/N with I from 1 to N"),
        (["train", "--shard", "", BASELINE], "--shard: expected I/N with I from 1 to N"),
        (["quickstart", "--shard", "1"], "--shard: expected I/N with I from 1 to N"),
    ],
)
def test_what_is_refused(rbe: Rbe, tmp_path: Path, arguments: list[str], line: str) -> None:
    result = rbe(*arguments[:1], "--runs", str(tmp_path), *arguments[1:])
    assert result.code == 2 and not result.out
    assert line in result.err and len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_shares_of_a_dry_run(rbe: Rbe, tmp_path: Path) -> None:
    lines = [
        rbe("attack", "--dry-run", "--shard", f"{number}/2", "--runs", str(tmp_path), WHITEBOX, BASELINE).out
        for number in (1, 2)
    ]
    assert all("Shard" in line and " of 2 pieces." in line for line in lines)
    assert sum(f"train {BASELINE}#0" in line for line in lines) == 1


def test_seeds_as_options_take_them() -> None:
    assert _ranges([0]) == "0"
    assert _ranges([3, 0, 1, 2, 9, 10]) == "3,0-2,9-10"
