"""What the benchmark of faults takes for a difference between two run directories."""

import shutil
from pathlib import Path

import pytest

from benchmarks.same_runs import compare
from robustbench_ens.outcomes import find_outcomes


def one(runs: Path, pattern: str) -> Path:
    return sorted(runs.glob(pattern))[0]


def swap_outcomes(runs: Path) -> None:
    """Put the outcomes of one attack in the place of another's."""
    first, second, *_ = [path for path in find_outcomes([runs / "outcomes"]) if "blackbox" in str(path)]
    shutil.copy(first, second)


def cut_weights(runs: Path) -> None:
    path = one(runs, "ensembles/**/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])


SPOILED = {
    "other rows": swap_outcomes,
    "missing or too many": lambda runs: find_outcomes([runs / "outcomes"])[0].unlink(),
    "other crafted images": lambda runs: one(runs, "adversarial/**/*.safetensors").unlink(),
    "other weights": lambda runs: one(runs, "ensembles/**/run.json").unlink(),
    "unreadable": cut_weights,
    "left over: ensembles": lambda runs: (one(runs, "ensembles/**/run.json").parent / "resume.pt").touch(),
    "left over: .rbe-x.part": lambda runs: (runs / ".rbe-x.part").touch(),
    "left over: outcomes/digits/.x.parts": lambda runs: (runs / "outcomes/digits/.x.parts").mkdir(),
}


@pytest.mark.parametrize("problem", [None, *SPOILED])
def test_what_differs_is_named(runs: Path, tiny_runs: Path, problem: str | None) -> None:
    if problem is None:
        assert compare(runs, tiny_runs).problems == ()
        return
    SPOILED[problem](runs)
    compared = compare(runs, tiny_runs)
    assert [line for line in compared.problems if line.startswith(problem)]
    assert (compared.moved > 0) == (problem == "other rows")
