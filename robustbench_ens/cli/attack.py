"""`rbe attack`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import (
    Where,
    batch_size_option,
    compute_options,
    dry_option,
    executor_options,
    seeds_option,
    set_option,
    shard_option,
)
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.crew import Crew
from robustbench_ens.workflow.shards import Shard

if TYPE_CHECKING:
    from robustbench_ens.workflow.selection import References


@click.command()
@click.argument("names", nargs=-1, metavar="[PROTOCOL]... [RECIPE]...")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="PROTOCOL",
    help="Run this protocol; all arguments are then recipes. Repeatable.",
)
@seeds_option
@set_option
@dry_option
@executor_options
@shard_option
@click.option(
    "--model",
    metavar="PACKAGE.MODULE:NAME",
    help="Attack this nn.Module, or the one that NAME() returns, instead of recipes.",
)
@batch_size_option
@compute_options
def attack(
    where: Where,
    names: tuple[str, ...],
    protocols: tuple[str, ...],
    seeds: list[int],
    sets: tuple[str, ...],
    dry_run: bool,
    crew: Crew,
    shard: Shard | None,
    model: str | None,
    batch_size: int | None,
) -> None:
    """Run protocols against ensembles.

    Each protocol is run against each recipe; incompatible pairs are skipped with a message. Without recipes, the
    ensembles of zoo/ that were trained here are attacked. Ensembles that are missing are trained first.
    """
    from robustbench_ens.cli import plans
    from robustbench_ens.config.protocols import load_protocol
    from robustbench_ens.config.references import parse_overrides
    from robustbench_ens.models.external import blamed
    from robustbench_ens.workflow.external import external_models
    from robustbench_ens.workflow.plan import Plan
    from robustbench_ens.workflow.selection import add_attacks, all_pairs

    place = where.workplace(batch_size=batch_size, crew=crew)
    named = _named(protocols, names)
    if model is not None:
        _check_alone(named.recipes, seeds)
    elif shard is not None and not named.recipes:
        raise UserError("--shard: expected recipes, got none; name them, so that every shard has the same ones")
    overrides = parse_overrides(list(sets))
    # Weights of published ensembles are used, so that attacking them needs no training.
    plan = Plan(place, published=True)
    loaded = [load_protocol(reference, overrides) for reference in named.protocols]
    pairs = all_pairs(plan, loaded, named.recipes, seeds) if model is None else external_models(place, loaded, model)
    plans.report_skipped(add_attacks(plan, pairs))
    with nullcontext() if model is None else blamed(f"--model {model}"):
        plans.carry_out(plan, dry_run, executor=crew.executor, shard=shard)
    if dry_run:
        return
    if shard is not None:
        plans.shard_summary(plan, shard)
    else:
        plans.print_results(plan)


def _named(protocols: Sequence[str], names: Sequence[str]) -> References:
    """Return which references are protocols and which recipes.

    Args:
        protocols: the values of ``--protocol``.
        names: recipes beside ``--protocol``, otherwise protocols too.

    Raises:
        UserError: there is no protocol, or one is given beside ``--protocol``.
    """
    from robustbench_ens.workflow.selection import References, protocols_and_recipes

    if protocols:
        if others := protocols_and_recipes(names).protocols:
            raise UserError(
                f"--protocol: expected recipes beside it, got the protocol {others[0]!r}; write --protocol {others[0]}"
            )
        return References(list(protocols), list(names))
    if not names:
        raise UserError("expected a protocol, got none; name one, such as digits/whitebox; `rbe list` shows all")
    found = protocols_and_recipes(names)
    # If no reference is a known protocol, the first should have been one, and its error is the helpful one.
    return found if found.protocols else References(list(names[:1]), list(names[1:]))


def _check_alone(recipes: Sequence[str], seeds: Sequence[int]) -> None:
    """Check that neither recipes nor seeds are given beside ``--model``."""
    if recipes:
        raise UserError(f"--model: expected no recipe beside it, got {', '.join(recipes)}; attack them one by one")
    if list(seeds) != [0]:
        raise UserError("--seeds: expected none beside --model, whose weights are what they are")
