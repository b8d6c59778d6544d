"""`rbe publish`."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_ens.cli.options import Where, place_options, seed_option


@click.command()
@click.argument("recipes", nargs=-1, required=True)
@seed_option
@place_options
def publish(where: Where, recipes: tuple[str, ...], seed: int) -> None:
    """Publish the weights of trained ensembles.

    They go into zoo/weights/, with model cards of what their outcomes say. `rbe list --publish` writes the table of
    recipes, `rbe report --publish NAME` a report.
    """
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.workflow.publish import publish_weights

    for done in publish_weights(where.workplace(), list(map(load_recipe, recipes)), seed, Path("zoo")):
        line = f"{done.record.id}: published in {done.folder}; evaluations in its card: {done.evaluations}"
        OUT.print(line, markup=False)
