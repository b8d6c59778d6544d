"""The summary: warnings, the leaderboard as a table, changes and findings."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.health import health_warnings, unhealthy
from robustbench_ens.analysis.resolution import resolution_warnings, unequal_tiers
from robustbench_ens.analysis.worst_case import among, as_they_are
from robustbench_ens.config.kinds import Kinds
from robustbench_ens.core.text import listing
from robustbench_ens.reporting.board import chosen_of
from robustbench_ens.reporting.collect import Collection, standard_eps_by_dataset
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Bullets, Paragraph, Section, Table
from robustbench_ens.reporting.findings import RULE, findings, warnings
from robustbench_ens.reporting.tables.leaderboard import leaderboard_of
from robustbench_ens.reporting.tables.summary import summarise

CAPTION = "Accuracy under attacks within eps (l-infinity, pixel scale), over all n test images; best worst case first"
LEGEND = (
    "Worst case: an image counts only if it survives every attempt of every tier that was run ({tiers}). Set by: the "
    "protocol that alone leaves the fewest images right. White-box: on the ensemble's own gradient. Black-box: crafted "
    "on hold-out surrogates. In brackets: the Wilson 95% interval; for several seeds, mean ± standard deviation. "
    "Transfer: the share of attacks on one sub-model that also beat another, as a mean over pairs (bootstrap "
    "interval); lower is better. Cost: training with the ensemble it was started from; a CPU-hour is one thread for "
    "one hour. Neighbours may differ by chance: see “Who beats whom”. ⚠: rests on an unhealthy attack."
)
EVERYTHING = (
    "Every protocol: accuracy at the same eps; the worst case with the protocol that alone leaves the fewest images "
    "right; transferability with the lowest and the highest pair and the images that every sub-model gets right."
)


def overview_sections(context: Context) -> list[Section]:
    """Return the summary with warnings, leaderboard and changes, and the section with the findings."""
    collection = context.collection
    changed = context.changed
    # Warnings come before the numbers that they are about.
    odd = [*health_warnings(collection.health), *other_warnings(collection), *close_ranks(collection)]
    blocks: list[Block] = [Bullets(odd, warning=True)] if odd else []
    blocks += [leaderboard_table(context), Paragraph(LEGEND.format(tiers=_tiers(collection.kinds)))]
    if has_more(collection):
        table = summarise(
            collection.accuracies,
            collection.transferability,
            collection.worst_case,
            unhealthy(collection.health),
            collection.kinds,
        )
        labels = {document["protocol"]["label"] for document in collection.provenance}
        chosen = collection.chosen_here(labels, set(table["Ensemble"]))
        blocks.append(Table(table, EVERYTHING, stacked=True, collapsed=True, chosen=chosen))
    if changed is not None:
        nothing = "Since the last report, nothing changed beyond the 95% intervals."
        since = "Since the last report:" if changed else nothing
        blocks += [Paragraph(since), *([Bullets(list(changed))] if changed else [])]
    found = findings(collection.accuracies, collection.transferability, collection.comparisons, collection.kinds)
    text: list[Block] = [Bullets(found), Paragraph(RULE)] if found else [Paragraph("There is nothing to compare yet.")]
    return [Section("Summary", "summary", blocks), Section("Findings", "findings", text)]


def other_warnings(collection: Collection) -> list[str]:
    """Return the warnings other than those about unhealthy attacks."""
    weak = warnings(collection.accuracies, as_they_are(collection.provenance), collection.kinds)
    return [*weak, *unequal_tiers(_worst(collection))]


def close_ranks(collection: Collection) -> list[str]:
    """Return warnings about neighbours of the leaderboard that too few images or seeds leave tied."""
    return resolution_warnings(_worst(collection), collection.comparisons)


def _worst(collection: Collection) -> pd.DataFrame:
    """Return the worst cases at the standard eps."""
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    return collection.worst_case[collection.worst_case["eps"] == collection.worst_case["dataset"].map(eps)]


def leaderboard_table(context: Context) -> Table:
    """Return the leaderboard. A fact that is the same in all rows moves from its column to the caption."""
    board = leaderboard_of(context.board, context.collection.kinds)
    words = {"eps": "eps {}", "n": "n = {}", "Seeds": "training seeds: {}"}
    common = [name for name in words if board[name].nunique() == 1 and board[name].iloc[0]]
    facts = [words[name].format(board[name].iloc[0]) for name in common]
    caption = f"{CAPTION}. Everywhere {listing(facts)}." if facts else f"{CAPTION}."
    return Table(board.drop(columns=common), caption, stacked=True, chosen=chosen_of(context.board))


def has_more(collection: Collection) -> bool:
    """Return whether the leaderboard lacks numbers.

    It lacks those of kinds without a column, of all but one of several protocols of a kind, and of ensembles that were
    attacked with another aggregation than their own.
    """
    rates = collection.accuracies
    protocols = rates[["dataset", "kind", "protocol"]].drop_duplicates()
    several = protocols.duplicated(["dataset", "kind"]).any()
    with_column = [kind for kind, facts in collection.kinds.items() if facts.leaderboard]
    otherwise = not among(rates, as_they_are(collection.provenance)).all()
    return bool(several or otherwise or not protocols["kind"].isin(with_column).all())


def _tiers(kinds: Kinds) -> str:
    """Return the kinds that count in the worst case, in lower case except for names such as AutoAttack."""
    titles = (facts.title for facts in kinds.values() if facts.tier)
    return ", ".join(title if title[1:] != title[1:].lower() else title.lower() for title in titles)
