"""A protocol on one half of the test images, from the command line, in one process and in two workers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from robustbench_ens.data import load_dataset
from robustbench_ens.data.halves import are_in_half, images_in_half
from robustbench_ens.outcomes import OutcomeFile, find_outcomes, read_outcomes
from tests.conftest import BASELINE, BLACKBOX, WHITEBOX, Rbe

IMAGES = 61
OWN = ["--set", "dataset=own", "--set", "trained_on=digits"]


def of_halves(runs: Path) -> list[OutcomeFile]:
    files = map(read_outcomes, find_outcomes([runs / "outcomes"]))
    return [file for file in files if file.provenance["protocol"]["resolved"].get("test_half", "all") != "all"]


@pytest.mark.slow
def test_both_halves_are_attacked_apart(rbe: Rbe, runs: Path, tmp_path: Path) -> None:
    protocols = [f"{one[:-1]},test_half={half}]" for one in (WHITEBOX, BLACKBOX) for half in ("selection", "report")]
    result = rbe("attack", *protocols, BASELINE, "--runs", runs)
    assert (result.code, result.err) == (0, "")
    files = of_halves(runs)
    assert len(files) == 4
    attacked: dict[str, set[int]] = {"selection": set(), "report": set()}
    for file in files:
        half = file.provenance["protocol"]["resolved"]["test_half"]
        images = file.outcomes["image"].unique().astype(np.int64)
        assert len(images) == 20
        assert are_in_half(torch.tensor(images), half).all()
        attacked[half] |= set(images.tolist())
    assert {half: len(images) for half, images in attacked.items()} == {"selection": 20, "report": 20}
    assert "0 of 6 steps due" in rbe("attack", *protocols, BASELINE, "--runs", runs, "--dry-run").out


@pytest.mark.slow
def test_two_workers_give_the_same_outcomes(rbe: Rbe, runs: Path, tmp_path: Path) -> None:
    protocols = [f"{one[:-1]},test_half=report]" for one in (WHITEBOX, BLACKBOX)]
    spread = Path(shutil.copytree(runs, tmp_path / "spread"))
    assert rbe("attack", *protocols, BASELINE, "--runs", runs).code == 0
    assert rbe("attack", *protocols, BASELINE, "--runs", spread, "--workers", "2").code == 0
    ours, theirs = of_halves(runs), of_halves(spread)
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        pd.testing.assert_frame_equal(one.outcomes, other.outcomes)


@pytest.mark.slow
def test_a_half_of_a_users_dataset(rbe: Rbe, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_dataset("digits")
    x, y = digits.x_test[:IMAGES].numpy(), digits.y_test[:IMAGES].numpy()
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    np.savez(tmp_path / "one.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
    monkeypatch.setenv("RBE_DATA", str(tmp_path))
    there = images_in_half(IMAGES, "report")
    of_report = f"{WHITEBOX[:-1]},test_half=report]".replace("images=20", f"images={len(there)}")
    assert rbe("attack", of_report, BASELINE, "--runs", runs, *OWN).code == 0
    (file,) = of_halves(runs)
    assert sorted(file.outcomes["image"].unique().tolist()) == there.tolist()
    alone = rbe("attack", of_report, BASELINE, "--runs", runs, "--set", "dataset=one", "--set", "trained_on=digits")
    assert (alone.code, len(alone.err.splitlines())) == (2, 1)
    assert "key 'test_half': expected at least 2 test images, two halves, got 1 in 'one'" in alone.err


def test_outcomes_record_where_settings_were_chosen(rbe: Rbe, runs: Path) -> None:
    """The file beside the weights does not: the recipe may state it later."""
    stated = f"{BASELINE[:-1]},settings_chosen_on=selection]"
    protocol = f"{WHITEBOX[:-1]},test_half=report]"
    assert rbe("attack", protocol, stated, "--runs", runs).code == 0
    (file,) = of_halves(runs)
    assert file.provenance["target"]["settings_chosen_on"] == {"recipe": "selection"}
    for path in (runs / "ensembles").rglob("run.json"):
        assert "settings_chosen_on" not in path.read_text()
