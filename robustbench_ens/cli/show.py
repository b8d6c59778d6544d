"""`rbe show`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from robustbench_ens.cli.options import Where, place_options, seeds_option, set_option


@click.command()
@click.argument("recipe")
@seeds_option
@set_option
@place_options
def show(where: Where, recipe: str, seeds: list[int], sets: tuple[str, ...]) -> None:
    """Show how an ensemble is made and its numbers.

    The numbers are those of the outcomes in the run directory, or else in the published reports of a checkout.
    Showing a recipe imports the code that it names as package.module:name.
    """
    from robustbench_ens.cli import ensemble_card as card
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.config.references import parse_overrides

    loaded = load_recipe(recipe, parse_overrides(list(sets)))
    weights = card.find_weights(where.store, loaded, seeds)
    _print(card.title(loaded), card.recipe_rows(loaded))
    for one in weights:
        _print(f"Seed {one.seed}", one.rows)
    for source, rows in card.numbers(where.store, loaded, weights):
        _print(f"Outcomes in {source}", rows)
    given = [recipe, *(word for text in sets for word in ("--set", text))]
    _print("Commands", [("", line) for line in card.commands(loaded, given, seeds)])


def _print(heading: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print a heading and, below it, the non-empty rows in two columns."""
    from robustbench_ens.cli.console import OUT

    known = [(what, text) for what, text in rows if text]
    size = max((len(what) for what, _ in known), default=0)
    OUT.print(heading)
    for what, text in known:
        OUT.print(f"  {what:<{size}}  {text}" if size else f"  {text}")
