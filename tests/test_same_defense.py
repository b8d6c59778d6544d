"""Surrogates that are trained with the target's own method: ``recipe = "digits/{method}-3"``."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_ens.config.lookup import names
from robustbench_ens.config.protocols import Surrogate, load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.targets import surrogates

DIGITS, CIFAR10 = "digits/blackbox-same-defense", "cifar10/blackbox-same-defense"


def trained(reference: str, seed: int = 0) -> TrainingRun:
    return TrainingRun(load_recipe(reference), seed)


def titles(tmp_path: Path, protocol: str, *targets: TrainingRun) -> list[str]:
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", Silent()))
    for target in targets:
        plan.add_attack(load_protocol(protocol), target)
    return [step.title for step in plan.steps]


def test_each_target_has_surrogates_of_its_own_method(tmp_path: Path) -> None:
    """Those of DVERGE descend from a baseline of their own seed."""
    assert titles(tmp_path, DIGITS, trained("digits/dverge-3"), trained("digits/adp-3")) == [
        "train digits/baseline-3#0",
        "train digits/dverge-3#0",
        "train digits/baseline-3#1000",
        "train digits/dverge-3#1000",
        "attack digits/dverge-3#0 under digits/blackbox-same-defense",
        "train digits/adp-3#0",
        "train digits/adp-3#1000",
        "attack digits/adp-3#0 under digits/blackbox-same-defense",
    ]


@pytest.mark.parametrize("name", [name for name in names("zoo") if name.startswith("cifar10/")])
def test_every_cifar10_recipe_has_surrogates_of_3_5_and_8_sub_models(name: str) -> None:
    target = trained(name)
    found = [source.recipe for source in surrogates(load_protocol(CIFAR10), target)]
    assert [recipe.settings.sub_models for recipe in found] == [3, 5, 8]
    assert {recipe.settings.method for recipe in found} == {target.recipe.settings.method}


def test_a_method_without_such_a_recipe_is_named(tmp_path: Path) -> None:
    target = trained("digits/dverge-3")
    protocol = 'digits/blackbox-same-defense[surrogates=[{recipe="digits/{method}-5",seed=1000}]]'
    with pytest.raises(UserError) as error:
        titles(tmp_path, protocol, target)
    assert (
        "key 'surrogates': 'digits/{method}-5' for target 'digits/dverge-3#0' of method 'dverge': unknown recipe "
        in str(error.value)
    )
    assert "'digits/dverge-5': expected a path to a .toml file or a name; did you mean" in str(error.value)


def test_hold_out_is_by_lineage(tmp_path: Path) -> None:
    for name in ("digits/dverge-3", "digits/baseline-3"):
        with pytest.raises(
            UserError, match="both descend from digits/baseline-3#1000/0; give the surrogate another seed"
        ):
            titles(tmp_path, DIGITS, trained(name, 1000))


def test_overrides_stay_behind_the_name() -> None:
    surrogate = Surrogate(recipe="digits/{method}-3[network_args={width=4}]", seed=1)
    assert surrogate.recipe_for("gal") == "digits/gal-3[network_args={width=4}]"
    assert Surrogate(recipe="digits/gal-3", seed=1).recipe_for("adp") == "digits/gal-3"


def test_overrides_are_those_of_the_surrogate() -> None:
    reference = 'digits/blackbox-same-defense[surrogates=[{recipe="digits/{method}-3[network_args.width=4]",seed=1}]]'
    protocol = load_protocol(reference)
    assert load_protocol(protocol.label).hash == protocol.hash
    (source,) = surrogates(protocol, trained("digits/dverge-3"))
    assert source.id == "digits/dverge-3[network_args.width=4]#1"


@pytest.mark.parametrize("recipe", ["digits/{methods}-3", "digits/{method}-{n}", "digits/{}-3", "{method", "a}"])
def test_no_other_placeholder(recipe: str) -> None:
    with pytest.raises(UserError) as error:
        load_protocol("digits/blackbox", {"surrogates": [{"recipe": recipe, "seed": 1}]})
    assert (
        f"key 'surrogates.0.recipe': expected the name of a recipe, with no placeholder but {{method}}, got {recipe!r}"
    ) in str(error.value)
