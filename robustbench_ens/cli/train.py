"""`rbe train`."""

from __future__ import annotations

import click

from robustbench_ens.cli.options import (
    Where,
    compute_options,
    dry_option,
    executor_options,
    seeds_option,
    set_option,
    shard_option,
)
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.shards import Shard


@click.command()
@click.argument("recipes", nargs=-1, required=True)
@seeds_option
@set_option
@dry_option
@executor_options
@shard_option
@click.option("--tensorboard", is_flag=True, help="Also write the history for TensorBoard (optional extra).")
@compute_options
def train(
    where: Where,
    recipes: tuple[str, ...],
    seeds: list[int],
    sets: tuple[str, ...],
    dry_run: bool,
    crew: Crew,
    shard: Shard | None,
    tensorboard: bool,
) -> None:
    """Train ensembles.

    Ensembles that they start from are trained first, unless they are published. Finished ensembles are skipped;
    unfinished ones resume.
    """
    from robustbench_ens.cli.plans import carry_out, shard_summary, training_summary
    from robustbench_ens.config.recipes import load_recipe
    from robustbench_ens.config.references import parse_overrides
    from robustbench_ens.weights.run import TrainingRun
    from robustbench_ens.workflow.plan import Plan

    plan = Plan(where.workplace(tensorboard=tensorboard, crew=crew), published=True)
    overrides = parse_overrides(list(sets))
    loaded = [load_recipe(reference, overrides) for reference in recipes]
    plan.train([TrainingRun(recipe, seed) for recipe in loaded for seed in seeds])
    carry_out(plan, dry_run, executor=crew.executor, shard=shard)
    if not dry_run:
        training_summary(plan, plan.steps)
    if shard is not None and not dry_run:
        shard_summary(plan, shard)
