"""Which protocols, recipes and pairs of them a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.outcomes import find_outcomes
from tests.conftest import BASELINE, WHITEBOX, Rbe


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_several_protocols_against_several_recipes(rbe: Rbe) -> None:
    """Told apart by name, or by what their files say; a pair that does not suit is left out, and told."""
    Path("one.toml").write_text('extends = "digits/whitebox"\nimages = 5\neps = [0.1]\nsteps = 1\nrestarts = 1')
    Path("two.toml").write_text('extends = "digits/distillation"\nimages = 5\neps = [0.1]\nsteps = 1')
    tiny = "steps = 3\nbatch_size = 16\n[network_args]\nwidth = 2"
    Path("pair.toml").write_text(f'extends = "digits/baseline-3"\nsub_models = 2\n{tiny}')
    Path("alone.toml").write_text(f'extends = "digits/single"\n{tiny}')
    names = ("one.toml", "pair.toml", "two.toml", "alone.toml")
    dry = rbe("attack", *names, "--dry-run")
    assert dry.code == 0
    result = rbe("attack", *names)
    assert result.code == 0
    skipped = [line for line in result.out.splitlines() if line.startswith("Skipped: ")]
    assert skipped == ["Skipped: protocol 'two': expected a target of at least 2 sub-models, got 1 in recipe 'alone'"]
    assert skipped[0] in dry.out
    assert sorted(path.parent.name.split("-")[0] for path in find_outcomes([Path("runs/outcomes")])) == [
        "one",
        "one",
        "two",
    ]
    again = rbe("attack", "one.toml", "one.toml", "pair.toml", "pair.toml", "cifar10/baseline-3", "--dry-run")
    assert "0 of 2 steps due" in again.out and "Skipped: protocol 'one': key 'dataset': expected 'cifar10'" in again.out
    turned = rbe("attack", "digits/baseline-3", "digits/whitebox", "--dry-run")
    assert "attack digits/baseline-3#0 under digits/whitebox" in turned.out
    typed = rbe("attack", "one.toml", "attacks/digits/nope.toml", "pair.toml")
    assert typed.code == 2 and "unknown protocol 'attacks/digits/nope.toml'" in typed.err
    both = rbe("attack", "two.toml", "one.toml", "alone.toml", "--dry-run")
    assert both.code == 0 and "Skipped: protocol 'two'" in both.out
    result = rbe("attack", "two.toml", "alone.toml")
    assert result.code == 2
    assert "protocol 'two': expected a target of at least 2 sub-models, got 1 in recipe 'alone'" in result.err


def test_one_recipe_by_two_names_is_shown_once(rbe: Rbe, runs: Path) -> None:
    twin = f"{BASELINE[:-1]},batch_size={load_recipe(BASELINE).settings.batch_size}]"
    result = rbe("attack", WHITEBOX, BASELINE, twin, "--runs", runs)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("\n 1 ") == 1 and "\n 2 " not in result.out


def test_a_recipe_that_no_surrogate_fits_is_skipped(rbe: Rbe) -> None:
    fives = 'digits/blackbox-same-defense[surrogates=[{recipe="digits/{method}-5",seed=1000}]]'
    result = rbe("attack", fives, "digits/dverge-3", "digits/baseline-3", "--dry-run")
    assert result.code == 0
    assert "'digits/{method}-5' for target 'digits/dverge-3#0' of method 'dverge': unknown recipe" in result.out
    assert (result.out[:9], result.out.count("Skipped: ")) == ("Skipped: ", 1)
    assert "of 3 steps due" in result.out
