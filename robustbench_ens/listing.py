"""What there is, for the eye and for others: `rbe list` and `rbe publish`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustbench_ens import catalogue
from robustbench_ens.console import OUT, show, table
from robustbench_ens.errors import MissingDatasetError, UserError
from robustbench_ens.models.published import check_publishable, publish, published
from robustbench_ens.outcomes import check_whole, find_outcomes, read_evaluations, read_provenance
from robustbench_ens.plan import Plan, Workplace
from robustbench_ens.protocols import load_protocol
from robustbench_ens.recipes import Recipe, load_recipe
from robustbench_ens.reporting.card import model_card
from robustbench_ens.settings import names
from robustbench_ens.store import Store
from robustbench_ens.targets import Trained


def publish_weights(place: Workplace, references: Sequence[str], seed: int) -> None:
    """`rbe publish`."""
    zoo, plan = Path("zoo"), Plan(place)
    found = []
    for reference in references:
        recipe = load_recipe(reference)
        check_publishable(recipe, zoo)
        record = plan.record(Trained(recipe, seed))
        if record is None:
            raise UserError(f"{recipe.label} seed {seed}: expected it trained in {place.store.root}; run `rbe train`")
        found.append((recipe, record))
    folder = place.store.root / "outcomes"
    files = read_evaluations(find_outcomes([folder] if folder.exists() else []))
    for recipe, record in found:
        own = [file for file in files if file.provenance["target"]["weights"] == record.weights]
        where = publish(place.store, recipe, record, zoo, model_card(record, own))
        OUT.print(f"{record.id}: published in {where}; evaluations in its card: {len(own)}", markup=False)


def show_list(place: Workplace) -> None:
    """`rbe list`."""
    plan = Plan(place)
    root = place.store.root / "ensembles"
    rows = []
    for name in names("zoo"):
        recipe = load_recipe(name)
        trained = [seed for seed in _seeds(root, recipe) if _is_trained(plan, Trained(recipe, seed))]
        settings = recipe.settings
        facts = (name, settings.dataset, settings.method, settings.sub_models, recipe.hash)
        rows.append((*facts, _seed_list(trained), _seed_list(sorted(published(recipe)))))
    heads = ("recipe", "dataset", "method", "sub-models", "hash", "trained", "published")
    show(table("Recipes (rbe train)", heads, rows))
    evaluated = _evaluated(place.store)
    protocols = []
    for name in names("attacks"):
        protocol = load_protocol(name)
        targets = evaluated.get(protocol.hash, [])
        shown = ", ".join(targets) if targets else "-"
        keys = protocol.settings
        protocols.append((name, keys.dataset, keys.kind, keys.version, protocol.hash, shown))
    columns = ("protocol", "dataset", "kind", "version", "hash", "evaluated")
    show(table("Protocols (rbe attack)", columns, protocols))


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
    plan = Plan(place)
    root = place.store.root / "ensembles"
    found = (
        plan.record(Trained(recipe, seed)) for recipe in map(load_recipe, names("zoo")) for seed in _seeds(root, recipe)
    )
    catalogue.publish(Path("zoo"), [record for record in found if record is not None])


def _seeds(root: Path, recipe: Recipe) -> list[int]:
    folder = root / f"{recipe.name}-{recipe.hash}"
    numbers = (path.name.removeprefix("seed-") for path in folder.glob("seed-*"))
    return sorted(int(number) for number in numbers if number.isdigit())


def _evaluated(store: Store) -> dict[str, list[str]]:
    """Ids of evaluated targets by protocol hash."""
    found: dict[str, list[str]] = {}
    folder = store.root / "outcomes"
    for path in find_outcomes([folder]) if folder.exists() else []:
        provenance = check_whole(path, read_provenance(path))
        found.setdefault(provenance["protocol"]["hash"], []).append(provenance["target"]["id"])
    return found
