"""Sections on accuracy against eps under the protocols of one kind: curves, tables, or the missing commands."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from robustbench_ens.analysis.health import marked
from robustbench_ens.config.kinds import ACCURACY, Yields
from robustbench_ens.core.text import anchor, slug, span
from robustbench_ens.reporting.collect import Collection, standard_eps_by_dataset
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Listing, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.figures.curves import WIDTH
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.missing import attack_commands
from robustbench_ens.reporting.style import Look
from robustbench_ens.reporting.tables.accuracy import CLEAN, HEADS, NUMBERS, accuracy_by_eps, accuracy_table


def accuracy_section(collection: Collection, kind: str, looks: Mapping[str, Look]) -> Section:
    """Return a section with one figure and its numbers per protocol of ``kind``."""
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    facts = collection.kinds[kind]
    blocks: list[Block] = [Paragraph(facts.meaning or "")]
    rates = collection.accuracies[collection.accuracies["kind"] == kind]
    for number, (protocol, rows) in enumerate(rates.groupby("protocol", observed=True), start=1):
        tries = collection.attempts.loc[collection.attempts["protocol"] == protocol, "attempts"]
        title = f"{facts.title} accuracy, {protocol}"
        marked_eps = eps.get(str(rows["dataset"].iloc[0]))
        figure = figure_block(
            f"{anchor(kind)}-{number}-{slug(protocol)}",
            accuracy_curve(rows, looks, title, marked_eps),
            f"{title}: accuracy against eps, one line per ensemble. The table has the numbers.",
            WIDTH,
            facts_of(rows),
        )
        blocks.append(Figures([figure], curve_caption(rows)))
        blocks.extend(_tables(collection, str(protocol), rows, tries))
    return Section(f"{facts.title} accuracy", anchor(kind), blocks + missing_blocks(collection, kind))


def every_variant_sections(context: Context) -> list[Section]:
    """Return a section for each kind that yields accuracy and runs every variant on every image."""
    return _sections(context, every_variant=True)


def accuracy_sections(context: Context) -> list[Section]:
    """Return a section for each other kind that yields accuracy."""
    return _sections(context, every_variant=False)


def _sections(context: Context, *, every_variant: bool) -> list[Section]:
    collection = context.collection
    own = [kind for kind in shown(collection, ACCURACY) if collection.kinds[kind].every_variant == every_variant]
    return [accuracy_section(collection, kind, context.looks) for kind in own]


def shown(collection: Collection, what: Yields) -> list[str]:
    """Return the kinds that yield ``what`` and have a section: those that are expected or were run."""
    run = {document["protocol"]["kind"] for document in collection.provenance}
    return [
        kind
        for kind, facts in collection.kinds.items()
        if facts.yields == what and facts.meaning is not None and (facts.expected or kind in run)
    ]


def missing_blocks(collection: Collection, kind: str) -> list[Block]:
    """Return the commands for the ensembles without outcomes of ``kind``, or nothing if all have them."""
    commands = attack_commands(collection.provenance, kind)
    if not commands:
        return []
    everyone = all(document["protocol"]["kind"] != kind for document in collection.provenance)
    what = "These outcomes are missing" if everyone else "These outcomes are missing for some ensembles"
    return [Paragraph(f"{what}. To produce them, run:"), Listing("\n".join(commands))]


def curve_caption(rows: pd.DataFrame) -> str:
    """Return the caption that explains the bars and bands of accuracy curves."""
    if rows["seed"].nunique() > 1:
        return (
            "Lines: mean over seeds; bars: standard deviation; bands: from the lowest to the highest end of the seeds’ "
            "Wilson 95% intervals."
        )
    return "Bands: Wilson 95% intervals."


def _tables(collection: Collection, protocol: str, rows: pd.DataFrame, attempts: pd.Series) -> list[Table]:
    """Return the accuracies with one row per ensemble, and on demand seed by seed."""
    unhealthy = collection.unhealthy(protocol)
    facts = facts_of(rows)
    short = accuracy_by_eps(rows)
    # Clean accuracy is never marked: no attack decides it.
    attacked = [column for column in short.columns if column not in (*HEADS, CLEAN)]
    seeds = " or, over several seeds, mean and standard deviation" if rows["seed"].nunique() > 1 else ""
    share = (
        f"{protocol}: share of all n images that are right when clean and survive every one of {span(attempts) or 0} "
        f"attempts (sources × attacks × losses × random starts), by eps, with its Wilson 95% interval{seeds}."
    )
    seed_by_seed = f"{protocol}, seed by seed."
    chosen = collection.chosen_here({protocol}, set(short["Ensemble"]))
    long = marked(accuracy_table(rows), unhealthy, NUMBERS)
    return [
        Table(marked(short, unhealthy, attacked), share, stacked=True, facts=facts, chosen=chosen),
        Table(long, seed_by_seed, group="Ensemble", collapsed=True, facts=facts, chosen=chosen),
    ]
