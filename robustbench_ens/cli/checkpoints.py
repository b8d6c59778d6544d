"""`rbe import-checkpoint` and `rbe export-checkpoint`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from robustbench_ens.cli.options import FilePath, Where, place_options, seed_option, set_option


@click.command("import-checkpoint")
@click.argument("checkpoint", type=FilePath())
@click.argument("recipe")
@seed_option
@set_option
@place_options
def import_checkpoint(where: Where, checkpoint: Path, recipe: str, seed: int, sets: tuple[str, ...]) -> None:
    """Import weights in the DVERGE authors' format.

    They become the trained ensemble of RECIPE with the seed.
    """
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.config.references import parse_overrides
    from robustbench_ens.weights.imported import import_released

    place = where.workplace()
    loaded = load_recipe(recipe, parse_overrides(list(sets))).trained
    found = import_released(checkpoint, loaded, seed, place.dataset, place.store)
    if found.there_before:
        line = f"{found.record.id}: imported already, these very weights lie in {found.folder}"
    else:
        line = f"{found.record.id}: imported from {checkpoint} into {found.folder}"
    OUT.print(line, markup=False)


@click.command("export-checkpoint")
@click.argument("recipe")
@click.argument("checkpoint", type=FilePath())
@seed_option
@set_option
@place_options
def export_checkpoint(where: Where, recipe: str, checkpoint: Path, seed: int, sets: tuple[str, ...]) -> None:
    """Export an ensemble in the DVERGE authors' format."""
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.config.references import parse_overrides
    from robustbench_ens.weights.released import export_released
    from robustbench_ens.weights.run import TrainingRun

    trained = TrainingRun(load_recipe(recipe, parse_overrides(list(sets))), seed)
    ensemble = replace(where.workplace(), published=True).library.load(trained)
    export_released(checkpoint, ensemble)
    OUT.print(f"{trained.id}: exported to {checkpoint} ({ensemble.origin})", markup=False)
