"""The section on pairs of ensembles: paired tests, with a matrix and a table per protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from robustbench_ens.analysis.compare import ALL_PAIRS_UP_TO, WORST
from robustbench_ens.core.text import slug, span
from robustbench_ens.reporting.board import short_names
from robustbench_ens.reporting.collect import Collection, standard_eps_by_dataset
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.comparison_matrix import comparison_matrix
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.tables.comparison import comparison_table
from robustbench_ens.reporting.tables.summary import together

MEANING = (
    "Do two ensembles differ by more than chance on the images that both were attacked on? McNemar's exact test uses "
    "the images that only one of them gets right. With several seeds, each seed is paired with the same seed, the "
    "largest p-value counts (1 if the seeds disagree about which is better), and Welch's t-test between the accuracies "
    "of the seeds must agree: p is the larger of the two. With one seed, a verdict holds for these weights only. "
    "Holm's correction covers the pairs of one table. A difference is significant if the corrected p is below 0.05. "
    "Otherwise the two are statistically tied. The interval of a difference is a bootstrap over images."
)
_OPEN = 10  # the most pairs in a table that is always shown
_MATRIX = 760.0  # pixels on a wide page


def comparison_sections(context: Context) -> list[Section]:
    """Return the section, or none if no two ensembles share images. The worst case comes first."""
    collection = context.collection
    found = collection.comparisons
    blocks: list[Block] = []
    names = in_order(collection)
    groups = found.assign(last=found["protocol"] != WORST).groupby(["dataset", "last", "protocol"], observed=True)
    for number, ((dataset, _, protocol), rows) in enumerate(groups, start=1):
        blocks.append(matrix(f"comparison-{number}-{slug(protocol)}", rows, names[str(dataset)], collection))
        blocks.append(_table(collection, str(dataset), str(protocol), rows))
    return [Section("Who beats whom", "comparison", [Paragraph(MEANING), *blocks])] if blocks else []


def in_order(collection: Collection) -> dict[str, dict[str, str]]:
    """Return the short name of each ensemble in drawings, in the order of the leaderboard, by dataset."""
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    worst = collection.worst_case[collection.worst_case["eps"] == collection.worst_case["dataset"].map(eps)]
    means = worst.groupby("ensemble")["accuracy"].mean().to_dict()
    found: dict[str, dict[str, str]] = {}
    for dataset, own in together(collection.accuracies, collection.transferability).groupby("dataset", observed=True):
        short = short_names(list(own["ensemble"].unique()))
        place = {label: (-means.get(label, -1.0), label) for label in short}
        found[str(dataset)] = {label: short[label] for label in sorted(short, key=lambda label: place[label])}
    return found


def matrix(
    name: str,
    rows: pd.DataFrame,
    names: Mapping[str, str],
    collection: Collection,
    pages: Mapping[str, str] | None = None,
) -> Figures:
    """Return the matrix of one protocol, with a caption that counts the significant pairs.

    Args:
        name: the name of the figure.
        rows: comparisons under the protocol.
        names: the names of :func:`in_order` for its dataset.
        collection: the input of the report.
        pages: the page of each ensemble that has one.
    """
    compared = {*rows["better"], *rows["worse"]}
    known = {label: short for label, short in names.items() if label in compared}
    shown = dict(list(known.items())[:ALL_PAIRS_UP_TO])
    protocol = str(rows["protocol"].iloc[0])
    where = f"Worst case on {rows['dataset'].iloc[0]}" if protocol == WORST else protocol
    where += f" at eps {rows['eps'].iloc[0]:g}"
    alt = f"{where}: the difference between every two ensembles in percentage points."
    draw = comparison_matrix(rows, shown, where, collection.unhealthy(protocol), pages)
    facts = facts_of(rows[["dataset"]] if protocol == WORST else rows)
    supported = f"{int(rows['supported'].sum())} of {_pairs(len(rows))} differ significantly."
    rest = f" The first {len(shown)} of {len(known)} ensembles." if len(known) > len(shown) else ""
    caption = f"{where}, n = {span(rows['n'])}: {supported}{_not_compared(rows, len(known))}{rest}"
    return Figures([figure_block(name, draw, alt, _MATRIX, facts)], caption)


def _not_compared(rows: pd.DataFrame, ensembles: int) -> str:
    """Return the reason why cells are empty, if any are."""
    chosen = int(rows["left_out"].iloc[0])
    if chosen:
        return f" Empty: not compared because of the number of ensembles ({_pairs(chosen)})."
    missing = math.comb(ensembles, 2) - len(rows)
    return (
        f" Empty: not compared because the two share no seed, images or protocols ({_pairs(missing)})."
        if missing
        else ""
    )


def _table(collection: Collection, dataset: str, protocol: str, rows: pd.DataFrame) -> Table:
    first = protocol == WORST
    name = f"{dataset}, {protocol}" if first else protocol
    supported = int(rows["supported"].sum())
    caption = (
        f"{name} at eps {rows['eps'].iloc[0]:g}: {supported} of {_pairs(len(rows))} differ significantly. Only higher, "
        f"only lower: images that only this one gets right, over all seeds.{_skipped(int(rows['left_out'].iloc[0]))}"
    )
    numeric = ("Only higher", "Only lower", "n", "Seeds", "p", "p (Holm)")
    facts = facts_of(rows[["dataset"]] if first else rows)
    collapsed = not first or len(rows) > _OPEN
    table = comparison_table(rows, collection.unhealthy(protocol))
    return Table(table, caption, numeric=numeric, collapsed=collapsed, facts=facts)


def _skipped(pairs: int) -> str:
    if not pairs:
        return ""
    return (
        f" Not compared: {_pairs(pairs)}. With so many ensembles, only the first with each and neighbours in the order "
        "of their accuracies are compared. Holm's correction counts the others, too."
    )


def _pairs(number: int) -> str:
    return f"{number:,} {'pair' if number == 1 else 'pairs'}"
