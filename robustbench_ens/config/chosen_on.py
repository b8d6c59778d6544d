"""On which test images the settings of an ensemble were chosen: what recipes state and outcomes record."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from robustbench_ens.config.listed import listed_recipe
from robustbench_ens.config.lookup import shipped_names
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.notices import silenced

WORDS = {
    "all": "all test images",
    "selection": "the selection half of the test images",
    "none": "no test images",
}
"""What people see, those on most images first; of others nothing is known."""

RECIPE, START = "recipe", "start"


def chosen_facts(recipe: Recipe) -> dict[str, str] | None:
    """Return on which images settings were chosen: those of the recipe, and those of what it starts from, if known.

    Of several ancestors, the one counts whose settings were chosen on most images.
    """
    ancestors = set()
    parent = recipe.parent
    while parent is not None:
        ancestors.add(parent.settings.settings_chosen_on)
        parent = parent.parent
    start = next((value for value in WORDS if value in ancestors), "unknown")
    found = {RECIPE: recipe.settings.settings_chosen_on, START: start}
    return {what: value for what, value in found.items() if value in WORDS} or None


def recorded_chosen_on(target: Mapping[str, Any]) -> Mapping[str, str]:
    """Return :func:`chosen_facts` of an ensemble, as provenance describes it; empty if nothing is known.

    Outcomes of earlier versions do not record it. If they are of a recipe of this version, that one states it.
    """
    recorded = target.get("settings_chosen_on")
    if recorded is not None:
        return {what: recorded[what] for what in (RECIPE, START) if recorded.get(what) in WORDS}
    if target.get("reference", target["label"]) != target["recipe"]:
        return {}
    return _stated(target["recipe"], target["recipe_hash"])


@cache
def _stated(name: str, recipe_hash: str) -> Mapping[str, str]:
    """Return :func:`chosen_facts` of the shipped recipe ``name``, if it has this hash."""
    if name not in shipped_names("zoo"):
        return {}
    with silenced():  # of files of the working directory that have this name
        recipe = listed_recipe(name)
    return (chosen_facts(recipe) or {}) if recipe is not None and recipe.hash == recipe_hash else {}
