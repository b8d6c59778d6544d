"""`rbe plan`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import Where, plan_options, seeds_option
from robustbench_ens.errors import UserError

if TYPE_CHECKING:
    from robustbench_ens.workflow.place import Workplace
    from robustbench_ens.workflow.plan import Plan

MOST_WORKERS = 10_000


@click.command()
@click.argument("names", nargs=-1, metavar="[PROTOCOL]... [RECIPE]...")
@seeds_option
@click.option("--workers", type=click.IntRange(1, MOST_WORKERS), help="Also forecast the time on this many workers.")
@click.option("--gpus", type=click.IntRange(0, MOST_WORKERS), help="With --workers: number of GPUs to compute on.")
@click.option("--slurm", is_flag=True, help="With --workers: print a Slurm job array that runs the plan.")
@plan_options
def plan(
    where: Where, names: tuple[str, ...], seeds: list[int], workers: int | None, gpus: int | None, slurm: bool
) -> None:
    """Show what would run, in which order, and how long.

    Each protocol is planned against each recipe; without protocols the recipes are trained; without names it is the
    quickstart's plan. Planning a recipe imports the code that it names as package.module:name.
    """
    from robustbench_ens.cli.plans import show_plan
    from robustbench_ens.cli.slurm import messages_aside, print_script
    from robustbench_ens.workflow.forecast import plan_forecast
    from robustbench_ens.workflow.quickstart import quickstart_plan

    for name, given in (("--gpus", gpus is not None), ("--slurm", slurm)):
        if given and workers is None:
            raise UserError(f"{name}: expected --workers beside it, got none; add --workers N")
    if workers is not None:
        where = replace(where, threads=where.threads or 1)
    place = where.workplace()
    if gpus:
        place.device = "cuda"  # nothing is computed, so that this machine need not have one
    with messages_aside() if slurm else nullcontext():
        made = _plan(place, names, seeds) if names else quickstart_plan(place, seeds)
    if slurm:
        print_script(made, where, names, seeds, workers or 1, gpus or None)
        return
    show_plan(made)
    if workers is not None:
        from robustbench_ens.cli.forecasts import print_forecast

        print_forecast(plan_forecast(made, workers, gpus or 0))


def _plan(place: Workplace, references: Sequence[str], seeds: Sequence[int]) -> Plan:
    """Plan each protocol against each recipe, or without protocols the training of each recipe."""
    from robustbench_ens.cli.plans import report_skipped
    from robustbench_ens.config.protocols import load_protocol
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.weights.run import TrainingRun
    from robustbench_ens.workflow.plan import Plan
    from robustbench_ens.workflow.selection import add_attacks, all_pairs, protocols_and_recipes

    protocols, recipes = protocols_and_recipes(references)
    plan = Plan(place, published=True)
    if not protocols:
        plan.train([TrainingRun(recipe, seed) for recipe in map(load_recipe, recipes) for seed in seeds])
    loaded = [load_protocol(reference) for reference in protocols]
    report_skipped(add_attacks(plan, all_pairs(plan, loaded, recipes, seeds)))
    return plan
