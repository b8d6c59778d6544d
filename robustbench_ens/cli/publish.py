"""`rbe publish`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import Where, place_options, seed_option
from robustbench_ens.errors import UserError

if TYPE_CHECKING:
    from robustbench_ens.config.recipes import Recipe
    from robustbench_ens.workflow.plan import Workplace


@click.command()
@click.argument("recipes", nargs=-1, required=True)
@seed_option
@place_options
def publish(where: Where, recipes: tuple[str, ...], seed: int) -> None:
    """Publish the weights of trained ensembles.

    They go into zoo/weights/, with model cards of what their outcomes say. `rbe list --publish` writes the table of
    recipes, `rbe report --publish NAME` a report.
    """
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.weights.published import check_publishable, hold_zoo

    place = where.workplace()
    zoo = Path("zoo")
    loaded = [load_recipe(reference) for reference in recipes]
    for recipe in loaded:
        check_publishable(recipe, zoo)
    with place.store.lock_if_there(), hold_zoo(zoo):
        _publish_all(place, loaded, seed, zoo)


def _publish_all(place: Workplace, recipes: Sequence[Recipe], seed: int, zoo: Path) -> None:
    """Publish weights and cards, as they are in the run directory, which is held."""
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.outcomes import find_outcomes, read_evaluations
    from robustbench_ens.reporting.card import model_card
    from robustbench_ens.weights import published
    from robustbench_ens.workflow.plan import Plan
    from robustbench_ens.workflow.targets import Trained

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
        where = published.publish(place.store, recipe, record, zoo, model_card(record, own))
        OUT.print(f"{record.id}: published in {where}; evaluations in its card: {len(own)}", markup=False)
