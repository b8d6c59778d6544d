"""Recipes state on which test images their settings were chosen; outcomes record it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustbench_ens.config.chosen_on import chosen_facts, recorded_chosen_on
from robustbench_ens.config.lookup import names
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.config.schema import ChosenOnFacts, check_facts
from robustbench_ens.errors import UserError


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    return tmp_path / "zoo"


def stated(zoo: Path, text: str, name: str = "x") -> str:
    (zoo / f"{name}.toml").write_text(text)
    return load_recipe(name).settings.settings_chosen_on


def test_what_extends_a_recipe_inherits_it(zoo: Path) -> None:
    assert stated(zoo, 'dataset = "digits"') == "unknown"
    assert stated(zoo, 'dataset = "digits"\nsettings_chosen_on = "selection"', "base") == "selection"
    assert stated(zoo, 'extends = "base"\nepochs = 3') == "selection"
    assert stated(zoo, 'extends = "base"\nsettings_chosen_on = "all"') == "all"
    assert load_recipe("base[epochs=2]").settings.settings_chosen_on == "selection"
    assert load_recipe("base[settings_chosen_on=none]").settings.settings_chosen_on == "none"


def test_settings_on_another_dataset_do_not_inherit_it(zoo: Path) -> None:
    """Results on images of one dataset say nothing of those of another."""
    stated(zoo, 'dataset = "digits"\nsettings_chosen_on = "all"', "base")
    assert stated(zoo, 'extends = "base"\ndataset = "own"') == "unknown"
    assert stated(zoo, 'extends = "base"\ndataset = "digits"') == "all"
    assert stated(zoo, 'extends = "base"\ndataset = "own"\nsettings_chosen_on = "selection"') == "selection"
    assert load_recipe("base[dataset=own]").settings.settings_chosen_on == "unknown"
    assert load_recipe("base[dataset=own,settings_chosen_on=none]").settings.settings_chosen_on == "none"
    child = load_recipe("digits/dverge-3[dataset=own]")
    assert chosen_facts(child) is None


def test_another_value_is_one_line(zoo: Path) -> None:
    with pytest.raises(UserError) as error:
        stated(zoo, 'dataset = "digits"\nsettings_chosen_on = "validation"')
    assert str(error.value).endswith(
        "key 'settings_chosen_on': expected 'all', 'selection', 'none' or 'unknown', got 'validation'"
    )


def test_facts_are_of_the_recipe_and_of_what_it_starts_from(zoo: Path) -> None:
    for name, value in (("clean", "none"), ("half", "selection"), ("seen", "all"), ("silent", "unknown")):
        stated(zoo, f'dataset = "digits"\nsettings_chosen_on = "{value}"', name)
    child = 'dataset = "digits"\nsettings_chosen_on = "selection"\ninit_from = '
    stated(zoo, f'{child}"seen"', "middle")
    found = {}
    for parent in ("clean", "half", "seen", "silent", "middle"):
        stated(zoo, f'{child}"{parent}"')
        found[parent] = chosen_facts(load_recipe("x"))
    assert found == {
        "clean": {"recipe": "selection", "start": "none"},
        "half": {"recipe": "selection", "start": "selection"},
        "seen": {"recipe": "selection", "start": "all"},
        "silent": {"recipe": "selection"},
        "middle": {"recipe": "selection", "start": "all"},
    }
    assert chosen_facts(load_recipe("silent")) is None


def test_sub_models_that_answer_otherwise_keep_what_they_were_chosen_on(zoo: Path) -> None:
    stated(zoo, 'dataset = "digits"\nsettings_chosen_on = "selection"', "base")
    assert stated(zoo, 'members_of = "base"\naggregation = "mean_logits"') == "selection"
    own = 'members_of = "base"\naggregation = "mean_logits"\nsettings_chosen_on = "all"'
    assert stated(zoo, own) == "all"


def test_every_shipped_recipe_of_known_origin_states_it() -> None:
    """Settings on digits and on the short schedule were found by looking at test images; others are of papers."""
    known = {name.split("/")[0] for name in names("zoo") if chosen_facts(load_recipe(name))}
    assert known == {"digits", "cifar10-short", "cifar10-jpeg-short"}
    for name in ("cifar10-short/dverge-3-eps-0.09", "cifar10-jpeg-short/dverge-3-resized", "digits/dverge-3"):
        assert chosen_facts(load_recipe(name)) == {"recipe": "all", "start": "all"}
    for name in ("cifar10-short/fasten-3", "cifar10-jpeg-short/fasten-3"):
        assert chosen_facts(load_recipe(name)) == {"recipe": "selection", "start": "all"}


def target(**changes: Any) -> dict[str, Any]:
    recipe = load_recipe("digits/dverge-3")
    return {"label": recipe.name, "recipe": recipe.name, "recipe_hash": recipe.hash} | changes


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {"recipe": "all", "start": "all"}),
        ({"label": "digits/dverge-3 (data 123)", "reference": "digits/dverge-3"}, {"recipe": "all", "start": "all"}),
        ({"settings_chosen_on": {"recipe": "selection"}}, {"recipe": "selection"}),
        ({"settings_chosen_on": {"recipe": "unknown", "start": "all"}}, {"start": "all"}),
        ({"settings_chosen_on": {"recipe": "of a later version", "more": 1}}, {}),
        ({"recipe_hash": "0123456789"}, {}),
        ({"label": "digits/dverge-3[epochs=2]"}, {}),
        ({"label": "mine", "recipe": "mine"}, {}),
        ({"label": "cifar10/dverge-3", "recipe": "cifar10/dverge-3"}, {}),
    ],
)
def test_what_outcomes_record_or_else_the_shipped_recipe(changes: dict[str, Any], found: dict[str, str]) -> None:
    assert recorded_chosen_on(target(**changes)) == found


def test_a_local_recipe_of_a_shipped_name_is_no_obstacle(zoo: Path) -> None:
    (zoo / "digits").mkdir()
    (zoo / "digits" / "gal-3.toml").write_text('dataset = "digits"\nnetwork = 3')
    recipe = {"label": "digits/gal-3", "recipe": "digits/gal-3", "recipe_hash": "0000000000"}
    assert recorded_chosen_on(recipe) == {}


def test_the_schema_of_what_is_recorded() -> None:
    check_facts(ChosenOnFacts, {"recipe": "all"})
    check_facts(ChosenOnFacts, {"recipe": "of a later version", "start": "all"})
    with pytest.raises(ValueError, match="recipe: Input should be a valid string"):
        check_facts(ChosenOnFacts, {"recipe": 3})
