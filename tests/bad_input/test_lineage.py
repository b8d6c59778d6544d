"""Lineage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input.tools import Refused
from tests.conftest import BASELINE, BLACKBOX, DVERGE, Rbe


def test_surrogate_of_the_targets_seed(refused: Refused, tiny_runs: Path) -> None:
    """Whether anything is trained or not."""
    for options in ([], ["--runs", tiny_runs]):
        line = refused("attack", BLACKBOX, BASELINE, "--seeds", 1000, *options)
        assert "expected a hold-out ensemble for target 'digits/baseline-3[" in line
        assert "both descend from digits/baseline-3#1000/0; give the surrogate another seed" in line


def test_surrogate_that_is_the_targets_parent(refused: Refused) -> None:
    for command in ("attack", "plan"):
        line = refused(command, BLACKBOX, DVERGE, "--seeds", 1000)
        assert "both descend from digits/baseline-3#1000/0; give the surrogate another seed" in line
    assert "both descend from" in refused("attack", BLACKBOX, DVERGE, "--seeds", "0,1000", "--dry-run")


def test_surrogate_of_the_targets_seed_with_other_settings(refused: Refused) -> None:
    """The initialisation is shared all the same."""
    assert "both descend from digits/baseline-3#1000/0" in refused(
        "attack", BLACKBOX, "digits/baseline-3", "--seeds", 1000
    )


@pytest.mark.slow
def test_surrogate_with_the_weights_of_an_imported_parent(
    refused: Refused, checkpoint: Path, runs: Path, rbe: Rbe
) -> None:
    rbe("export-checkpoint", BASELINE, "surrogate.pth", "--seed", 1000)
    assert rbe("import-checkpoint", "surrogate.pth", BASELINE, "--seed", 7).code == 0
    assert rbe("train", DVERGE, "--seeds", 7).code == 0
    line = refused("attack", BLACKBOX, DVERGE, "--seeds", 7)
    assert "expected a hold-out ensemble for target" in line and "both descend from imported " in line


def test_surrogate_with_the_targets_weights(refused: Refused, checkpoint: Path, runs: Path, rbe: Rbe) -> None:
    rbe("export-checkpoint", BASELINE, "surrogate.pth", "--seed", 1000)
    assert rbe("import-checkpoint", "surrogate.pth", BASELINE, "--seed", 7).code == 0
    line = refused("attack", BLACKBOX, BASELINE, "--seeds", 7)
    assert "expected a hold-out ensemble for target" in line
    assert "both descend from the same weights" in line
