"""`rbe list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import Where, place_options

if TYPE_CHECKING:
    from robustbench_ens.workflow.place import Workplace


@click.command("list")
@click.option("--publish", is_flag=True, help="Write the recipes and their measured costs into zoo/README.md.")
@place_options
def list_command(where: Where, publish: bool) -> None:
    """List recipes and protocols, trained and evaluated."""
    place = where.workplace()
    if publish:
        from robustbench_ens.workflow.publish import publish_recipes

        publish_recipes(place, Path("zoo"))
    else:
        _show(place)


def _show(place: Workplace) -> None:
    """Print the tables. Code from outside is not imported, so that files that name it show only their names."""
    from robustbench_ens.cli.console import OUT, show, table
    from robustbench_ens.workflow.inventory import PROTOCOL_COLUMNS, RECIPE_COLUMNS, protocols, recipes

    def skipped(why: str) -> None:
        OUT.print(f"Skipped: {why}", markup=False)

    elsewhere = "your own, overrides, earlier versions"
    found = recipes(place, skipped, lambda error: OUT.print(f"Warning: {error}", markup=False))
    show(table("Recipes (rbe train)", (*RECIPE_COLUMNS, "published"), found.rows))
    if found.others:
        show(table(f"Other recipes trained here: {elsewhere}", RECIPE_COLUMNS, found.others))
    found = protocols(place.store, skipped)
    show(table("Protocols (rbe attack)", PROTOCOL_COLUMNS, found.rows))
    if found.others:
        show(table(f"Other protocols evaluated here: {elsewhere}", PROTOCOL_COLUMNS, found.others))
