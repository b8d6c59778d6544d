"""What records keep of a training method, and what is known of records that lack it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustbench_ens.config.method_facts import MethodFacts, method_facts, recorded_facts, shipped_method
from robustbench_ens.config.methods import METHODS, DvergeAdvTSettings, DvergeSettings
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import describe


def record(method: str, **hyperparameters: Any) -> dict[str, Any]:
    return {"method": method, "resolved": {"hyperparameters": hyperparameters}}


def test_a_record_holds_every_hyper_parameter() -> None:
    recipe = load_recipe("digits/dverge-3")
    kept = describe(recipe)["method_facts"]
    assert kept["hyperparameters"].keys() == DvergeSettings.model_fields.keys()
    assert kept["title"] == "DVERGE"
    assert "hyperparameters" not in recipe.resolved or kept["hyperparameters"] != recipe.resolved["hyperparameters"]


@pytest.mark.parametrize("method", METHODS)
def test_a_record_without_facts_is_completed_from_the_table(method: str) -> None:
    assert recorded_facts(record(method)) == method_facts(shipped_method(method)())


def test_recorded_facts_win_over_the_table() -> None:
    given = MethodFacts(title="DVERGE", hyperparameters={"eps": 0.5}, described={"Distillation": "as it was"})
    assert recorded_facts(record("dverge") | {"method_facts": given.model_dump(mode="json")}) == given


def test_what_the_recipe_set_is_described() -> None:
    told = recorded_facts(record("dverge-advt", eps=0.05, layer=7, adversarial={"eps": 4 / 255})).described
    assert told == {
        "Distillation": "eps 0.05, 10 steps of eps/10, layer 7",
        "Adversarial training": "eps 4/255, 10 steps of 2/255",
    }
    assert (
        told
        == DvergeAdvTSettings.model_validate({"eps": 0.05, "layer": 7, "adversarial": {"eps": 4 / 255}}).described()
    )


@pytest.mark.parametrize(("layer", "every"), [("step", 1), ("step", 5)])
def test_how_often_the_layer_changes(layer: str, every: int) -> None:
    told = recorded_facts(record("dverge", layer=layer, layer_steps=every)).described["Distillation"]
    assert told.endswith("another layer every step" if every == 1 else "another layer every 5 steps")


def test_keys_of_other_versions_are_ignored_and_values_of_other_versions_say_nothing() -> None:
    assert recorded_facts(record("advt", later=1)) == recorded_facts(record("advt"))
    assert recorded_facts(record("dverge-advt", adversarial={"later": 1})) == recorded_facts(record("dverge-advt"))
    assert recorded_facts(record("dverge", layer="later")) == MethodFacts()


def test_nothing_is_known_of_a_method_from_outside_without_facts() -> None:
    assert recorded_facts(record("examples.label_noise:label_noise")) == MethodFacts()


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_a_look_of_its_own(name: str) -> None:
    looks = [shipped_method(method).look for method in METHODS]
    assert looks.count(shipped_method(name).look) == 1


OUTSIDE = """
from robustbench_ens.training.method import Method

class Described(Method):
    title = {title!r}
    strength: float = 0.5

    def described(self):
        return {{"Noise": f"strength {{self.strength:g}}"}}
"""
RECIPE = 'method = "mine_described:Described"\ndataset = "digits"\nnetwork = "resnet8"\nsub_models = 1\nepochs = 1\n'


def outside(folder: Path, monkeypatch: pytest.MonkeyPatch, title: Any) -> str:
    (folder / "mine_described.py").write_text(OUTSIDE.format(title=title))
    (folder / "mine.toml").write_text(RECIPE)
    monkeypatch.chdir(folder)
    return "mine.toml"


def test_a_method_from_outside_states_its_own_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = describe(load_recipe(outside(tmp_path, monkeypatch, "Mine")))["method_facts"]
    assert kept == {
        "title": "Mine",
        "paper": None,
        "hyperparameters": {"strength": 0.5},
        "described": {"Noise": "strength 0.5"},
    }


def test_facts_that_cannot_be_recorded_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="facts of mine_described:Described: key 'title'"):
        load_recipe(outside(tmp_path, monkeypatch, "x" * 65))
