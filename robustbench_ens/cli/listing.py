"""What there is, for the eye and for others: `rbe list` and `rbe publish`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from robustbench_ens.cli import zoo_table as catalogue
from robustbench_ens.cli.console import OUT, show, table
from robustbench_ens.config.lookup import names
from robustbench_ens.config.protocols import Protocol, load_protocol
from robustbench_ens.config.recipes import Recipe, load_recipe
from robustbench_ens.config.trust import OutsideCodeError, no_outside_code
from robustbench_ens.core.files import entries
from robustbench_ens.core.notices import silenced
from robustbench_ens.core.store import Store
from robustbench_ens.errors import MissingDatasetError, UserError
from robustbench_ens.outcomes import check_whole, find_outcomes, read_evaluations, read_provenance
from robustbench_ens.weights.published import check_publishable, hold_zoo, publish, published
from robustbench_ens.weights.record import trained_here
from robustbench_ens.workflow.plan import Plan, Workplace
from robustbench_ens.workflow.targets import Trained


def publish_weights(place: Workplace, references: Sequence[str], seed: int) -> None:
    """`rbe publish`."""
    zoo = Path("zoo")
    recipes = [load_recipe(reference) for reference in references]
    for recipe in recipes:
        check_publishable(recipe, zoo)
    with place.store.lock_if_there(), hold_zoo(zoo):
        _publish_all(place, recipes, seed, zoo)


def _publish_all(place: Workplace, recipes: Sequence[Recipe], seed: int, zoo: Path) -> None:
    """Publish weights and cards, as they are in the run directory, which is held."""
    from robustbench_ens.reporting.card import model_card  # with matplotlib, which `rbe list` does not need

    plan, found = Plan(place), []
    for recipe in recipes:
        record = plan.record(Trained(recipe, seed))
        if record is None:
            raise UserError(f"{recipe.label} seed {seed}: expected it trained in {place.store.root}; run `rbe train`")
        # it may have been trained as recipe[key=value], before the recipe had those values
        found.append((recipe, replace(record, id=f"{recipe.label}#{seed}", label=recipe.label)))
    folder = place.store.root / "outcomes"
    files = read_evaluations(find_outcomes([folder] if folder.exists() else []))
    for recipe, record in found:
        own = [file for file in files if file.provenance["target"]["weights"] == record.weights]
        where = publish(place.store, recipe, record, zoo, model_card(record, own))
        OUT.print(f"{record.id}: published in {where}; evaluations in its card: {len(own)}", markup=False)


def show_list(place: Workplace) -> None:
    """`rbe list`. Of what names code from outside, which is not imported, its name alone is known."""
    plan = Plan(place)
    root = place.store.root / "ensembles"
    rows: list[tuple[object, ...]] = []
    for name, recipe in _each("zoo", catalogue.recipe_of):
        if recipe is None:
            rows.append((name, "?", "code from outside", "?", "not read", "-", "-"))
            continue
        trained = [seed for seed in _seeds(root, recipe) if _is_trained(plan, Trained(recipe, seed))]
        settings = recipe.settings
        facts = (name, settings.dataset, settings.method, settings.sub_models, recipe.hash)
        rows.append((*facts, _seed_list(trained), _seed_list(sorted(published(recipe)))))
    heads = ("recipe", "dataset", "method", "sub-models", "hash", "trained")
    show(table("Recipes (rbe train)", (*heads, "published"), rows))
    if others := _other_recipes(place.store, {str(row[4]) for row in rows}):
        show(table("Other recipes trained here: your own, overrides, earlier versions", heads, others))
    evaluated = _evaluated(place.store)
    protocols: list[tuple[object, ...]] = []
    for name, protocol in _each("attacks", _protocol_of):
        if protocol is None:
            protocols.append((name, "?", "code from outside", "?", "not read", "-"))
            continue
        keys = protocol.settings
        _, targets = evaluated.pop(protocol.hash, ((), ()))
        protocols.append((name, keys.dataset, keys.kind, keys.version, protocol.hash, ", ".join(targets) or "-"))
    columns = ("protocol", "dataset", "kind", "version", "hash", "evaluated")
    show(table("Protocols (rbe attack)", columns, protocols))
    if evaluated:
        rest = [(*facts, ", ".join(targets)) for facts, targets in evaluated.values()]
        show(table("Other protocols evaluated here: your own, overrides, earlier versions", columns, rest))


def _protocol_of(name: str) -> Protocol | None:
    """The protocol ``name``; none if its kind is code from outside, which a list does not import."""
    try:
        with no_outside_code():
            return load_protocol(name)
    except OutsideCodeError:
        return None


Loaded = TypeVar("Loaded")


def _each(kind: str, load: Callable[[str], Loaded]) -> Iterator[tuple[str, Loaded]]:
    """Yield the recipes or protocols with what loads them; a file that is none is skipped with a line."""
    for name in names(kind, _say_skipped):
        try:
            with silenced():  # a file that has the name of a shipped one has a row of its own
                loaded = load(name)
        except UserError as error:
            _say_skipped(str(error))
        else:
            yield name, loaded


def _say_skipped(why: str) -> None:
    OUT.print(f"Skipped: {why}", markup=False)


def _is_trained(plan: Plan, ensemble: Trained) -> bool:
    """Whether it is, from its images as they are, or as far as is known where they are not here."""
    try:
        return plan.record(ensemble) is not None
    except MissingDatasetError:
        return True


def _seed_list(seeds: Sequence[int]) -> str:
    return "seeds " + ", ".join(map(str, seeds)) if seeds else "-"


def publish_list(place: Workplace) -> None:
    """`rbe list --publish`."""
    zoo = Path("zoo")
    catalogue.read_readme(zoo)
    with place.store.lock_if_there(), hold_zoo(zoo):
        plan, root = Plan(place), place.store.root / "ensembles"
        recipes = [recipe for name in names("zoo") if (recipe := catalogue.recipe_of(name)) is not None]
        found = (plan.record(Trained(recipe, seed)) for recipe in recipes for seed in _seeds(root, recipe))
        catalogue.publish(zoo, [record for record in found if record is not None])


def _seeds(root: Path, recipe: Recipe) -> list[int]:
    folder = root / f"{recipe.name}-{recipe.hash}"
    numbers = (path.name.removeprefix("seed-") for path in entries(folder) if path.name.startswith("seed-"))
    return sorted(int(number) for number in numbers if re.fullmatch("[0-9]{1,18}", number))


def _other_recipes(store: Store, shown: set[str]) -> list[tuple[object, ...]]:
    """Rows of what is trained by recipes of other hashes than those ``shown``."""
    seeds: dict[tuple[object, ...], list[int]] = {}
    for record in trained_here(store, lambda error: OUT.print(f"Warning: {error}", markup=False)):
        if record.recipe_hash not in shown:
            facts = (record.label, record.dataset, record.method, record.sub_models, record.recipe_hash)
            seeds.setdefault(facts, []).append(record.seed)
    return [(*facts, _seed_list(sorted(own))) for facts, own in seeds.items()]


def _evaluated(store: Store) -> dict[str, tuple[tuple[object, ...], list[str]]]:
    """Facts of protocols and ids of the targets evaluated under them, by protocol hash."""
    found: dict[str, tuple[tuple[object, ...], list[str]]] = {}
    folder = store.root / "outcomes"
    for path in find_outcomes([folder]) if folder.exists() else []:
        provenance = check_whole(path, read_provenance(path))
        protocol = provenance["protocol"]
        dataset, kind, version = protocol["resolved"]["dataset"], protocol["kind"], protocol["version"]
        facts = (protocol["label"], dataset, kind, version, protocol["hash"])
        found.setdefault(protocol["hash"], (facts, []))[1].append(provenance["target"]["id"])
    return found
