"""The protocols, recipes and targets that the arguments of a command name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from robustbench_ens.config.files import load_content, read_toml
from robustbench_ens.config.listed import listed_recipe
from robustbench_ens.config.lookup import locate, names
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.recipes import Recipe, load_recipe
from robustbench_ens.config.references import split_reference
from robustbench_ens.core.notices import Listener, once, silenced
from robustbench_ens.errors import UserError
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.targets import ExternalModel, IncompatibleTargetError


class References(NamedTuple):
    """The references to protocols and to recipes, each in the order given."""

    protocols: list[str]
    recipes: list[str]


def protocols_and_recipes(references: Sequence[str]) -> References:
    """Return the protocols and the recipes among ``references``."""
    found = References([], [])
    for reference in references:
        found[0 if _is_protocol(split_reference(reference)[0]) else 1].append(reference)
    return found


def _found(kind: str, name: str) -> Path | None:
    try:
        return locate(kind, name).resolve()
    except UserError:
        return None


def _is_protocol(name: str) -> bool:
    """Return whether ``name`` is a protocol's. An unknown one counts as what the most similar name is."""
    recipe = _found("zoo", name)
    protocol = _found("attacks", name)
    if recipe is None and protocol is None:
        if name.startswith(("attacks/", "zoo/")):
            return name.startswith("attacks/")
        near = difflib.get_close_matches(name, [*names("zoo"), *names("attacks")], n=1)
        return bool(near) and near[0] not in names("zoo")
    if recipe is None or protocol is None or recipe != protocol:
        return recipe is None
    try:
        return "kind" in read_toml("attacks", protocol)
    except UserError:
        return False  # loading it as a recipe raises the error that describes the damage


Pair = tuple[Protocol, TrainingRun | ExternalModel]


def all_pairs(plan: Plan, protocols: Sequence[Protocol], recipes: Sequence[str], seeds: Sequence[int]) -> list[Pair]:
    """Return each protocol with each of its :func:`_targets`."""
    say = once(plan.workplace.progress.message)
    return [
        (protocol, target)
        for protocol in protocols
        for target in _targets(plan, protocol.settings.recipes_dataset, recipes, seeds, say)
    ]


def _targets(
    plan: Plan, dataset: str, recipes: Sequence[str], seeds: Sequence[int], say: Listener
) -> list[TrainingRun]:
    """Return the ensembles to attack: those named, or else the dataset's recipes that were trained with these seeds.

    Raises:
        UserError: a recipe is unknown, or none is given and none is trained.
    """
    if recipes:
        return [TrainingRun(load_recipe(reference), seed) for reference in recipes for seed in seeds]
    recipes_here = _recipes_of(plan, dataset, say)
    candidates = [TrainingRun(recipe, seed) for recipe in recipes_here if isinstance(recipe, Recipe) for seed in seeds]
    here = replace(plan.workplace, published=False, here=set())
    trained = [candidate for candidate in candidates if here.library.record(candidate) is not None]
    if not trained:
        there = ", ".join(recipe if isinstance(recipe, str) else recipe.name for recipe in recipes_here)
        raise UserError(
            f"no recipe given, and none for dataset {dataset!r} is trained with seeds {', '.join(map(str, seeds))} in "
            f"{plan.workplace.store.root}; name a recipe, one of {there or 'your own'}"
        )
    return trained


def _recipes_of(plan: Plan, dataset: str, say: Listener) -> list[Recipe | str]:
    """Return the recipes for ``dataset``, built in or in ``zoo/``. Damaged files are skipped with a message.

    A recipe with code from outside is represented by its name if nothing was trained by it, so that its code is not
    imported.
    """
    found: list[Recipe | str] = []
    for name in names("zoo", lambda why: say(f"Skipped: {why}")):
        try:
            with silenced():  # nobody asked for this very file
                if load_content("zoo", name, None).keys.get("dataset") == dataset:
                    found.append(_recipe_or_name(plan, name))
        except UserError as error:
            say(f"Skipped: {error}")
    return found


def _recipe_or_name(plan: Plan, name: str) -> Recipe | str:
    recipe = listed_recipe(name)
    if recipe is None:
        return load_recipe(name) if plan.workplace.store.has_ensemble(name) else name
    return recipe


def add_attacks(plan: Plan, pairs: Sequence[Pair]) -> list[str]:
    """Plan attacks, and return why incompatible pairs were skipped.

    Raises:
        UserError: a target cannot be attacked, or no pair is compatible.
    """
    unsuitable = []
    for protocol, target in pairs:
        try:
            plan.add_attack(protocol, target)
        except IncompatibleTargetError as error:
            unsuitable.append(error)
    if pairs and len(unsuitable) == len(pairs):
        raise unsuitable[0]
    return list(map(str, unsuitable))
