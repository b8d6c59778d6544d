"""`rbe quickstart`."""

from __future__ import annotations

from functools import partial

import click

from robustbench_ens.cli.options import (
    Where,
    batch_size_option,
    compute_options,
    dry_option,
    executor_options,
    seeds_option,
    shard_option,
)
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.shards import Shard


@click.command()
@seeds_option
@dry_option
@executor_options
@shard_option
@batch_size_option
@compute_options
def quickstart(
    where: Where, seeds: list[int], dry_run: bool, crew: Crew, shard: Shard | None, batch_size: int | None
) -> None:
    """Train, attack and report on 8x8 digits, in minutes.

    It takes some minutes on two cores.
    """
    from robustbench_ens.cli import plans
    from robustbench_ens.cli.report import print_report
    from robustbench_ens.reporting.folder import report_folder
    from robustbench_ens.workflow.quickstart import quickstart_plan

    plan = quickstart_plan(where.workplace(batch_size=batch_size, crew=crew), seeds)
    plans.carry_out(plan, dry_run, partial(plans.print_early, plan), crew.executor, shard)
    if dry_run:
        return
    if shard is not None:
        plans.shard_summary(plan, shard)
    else:
        folder = report_folder(where.store, "quickstart")
        print_report(plans.plan_outcomes(plan), folder, "rbe quickstart")
