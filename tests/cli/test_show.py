"""The card of an ensemble: from its recipe alone, with weights, with outcomes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.outcomes import find_outcomes
from tests.conftest import BASELINE, DVERGE, Rbe
from tests.reporting.conftest import HOSTILE

ROOT = Path(__file__).parents[2]


def test_a_recipe_that_is_not_trained(rbe: Rbe, tmp_path: Path) -> None:
    result = rbe("show", "cifar10/dverge-3", "--seeds", "0,3", "--runs", tmp_path)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("cifar10/dverge-3: 3 resnet20 networks trained by DVERGE on cifar10\n")
    assert "dverge (arXiv:2009.14720)" in result.out
    assert "200 epochs in batches of 128 from cifar10/baseline-3, fp32" in result.out
    assert "eps = 0.07, steps = 10" in result.out
    assert "lr 0.1, times 0.1 at 50% and 75%" in result.out
    assert "Seed 0\n  Weights  not yet\nSeed 3\n  Weights  not yet\n" in result.out
    assert "rbe train cifar10/dverge-3 --seeds 0,3\n" in result.out
    assert "rbe attack cifar10/whitebox cifar10/dverge-3 --seeds 0,3\n" in result.out
    assert "Worst case" not in result.out


def test_weights_and_numbers_of_a_run_directory(rbe: Rbe, tiny_runs: Path) -> None:
    out = rbe("show", BASELINE, "--runs", tiny_runs).out
    assert "trained here, " in out and "SHA-256" in out
    assert "Clean accuracy" in out and "Cost" in out
    assert f"Outcomes in {tiny_runs / 'outcomes'}" in out
    assert "20 of digits, eps 0.1, seed 0" in out
    for what in ("Worst case", "White-box", "Black-box", "Clean", "Health"):
        assert f"\n  {what}" in out


def test_published_weights_and_reports(rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    out = rbe("show", "digits/single", "--runs", tmp_path).out
    assert "published, zoo/weights/digits/single/seed-0\n" in out
    assert "Outcomes in reports/digits/outcomes\n" in out
    assert "1 resnet8 network trained" in out


def test_sub_models_of_another_recipe_and_changed_keys(rbe: Rbe, tmp_path: Path) -> None:
    out = rbe("show", "digits/baseline-3", "--set", "aggregation=majority_vote", "--runs", tmp_path).out
    assert "Sub-models of  " in out and "majority_vote" in out
    assert "rbe train digits/baseline-3 --set aggregation=majority_vote\n" in out


def test_numbers_of_other_weights_are_not_shown(rbe: Rbe, runs: Path) -> None:
    files = find_outcomes([runs / "outcomes"])
    mine = [path for path in files if load_recipe(BASELINE).hash in path.name]
    (other,) = set(files) - set(mine)
    for path in mine:
        shutil.copyfile(other, path)
    assert "Worst case" in rbe("show", DVERGE, "--runs", runs).out
    assert "Worst case" not in rbe("show", BASELINE, "--runs", runs).out


@pytest.mark.parametrize("reference", ["digits/dverg-3", HOSTILE, "digits/whitebox", "digits/dverge-3[epochs=no]"])
def test_what_is_no_recipe(rbe: Rbe, tmp_path: Path, reference: str) -> None:
    result = rbe("show", reference, "--runs", tmp_path)
    assert result.code == 2
    assert result.err.startswith("rbe: error: ") and result.err.count("\n") == 1
    assert result.err.rstrip("\n").isprintable()


def test_damaged_weights(rbe: Rbe, runs: Path) -> None:
    for path in (runs / "ensembles").rglob("run.json"):
        path.write_text("{")
    result = rbe("show", BASELINE, "--runs", runs)
    assert result.code == 2 and "damaged file" in result.err
