"""Which ensembles differ significantly: paired tests between two at a time, a matrix and a table per protocol."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from robustbench_ens.analysis.compare import ALL_PAIRS_UP_TO, WORST
from robustbench_ens.core.text import slug
from robustbench_ens.reporting.board import short_names
from robustbench_ens.reporting.collect import Collection, headlines
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.comparison_matrix import comparison_matrix
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.tables.comparison import comparison_table
from robustbench_ens.reporting.tables.summary import together

MEANING = (
    "Do two ensembles differ by more than luck, on the images that both were attacked on? McNemar's exact test looks "
    "at the images that only one of them gets right. Over several seeds, seed is paired with seed, the largest p-value "
    "counts (1 where the seeds disagree about who is better), and Welch's t-test between the accuracies of the seeds "
    "must agree: p is the larger of the two. With one seed a verdict is about these weights alone. Holm's correction "
    "runs over the pairs of one table. A difference is significant if the corrected p is below 0.05; otherwise the two "
    "are statistically tied. The interval of a difference is a bootstrap over images."
)
_OPEN = 10  # pairs that a table shows unasked
_MATRIX = 760.0  # pixels on a wide page


def comparison_sections(context: Context) -> list[Section]:
    """Return the section, or none if no two ensembles share images; the worst case comes first."""
    collection = context.collection
    found = collection.comparisons
    blocks: list[Block] = []
    names = in_order(collection)
    groups = found.assign(last=found["protocol"] != WORST).groupby(["dataset", "last", "protocol"], observed=True)
    for number, ((dataset, _, protocol), rows) in enumerate(groups, start=1):
        figure = matrix(f"comparison-{number}-{slug(protocol)}", rows, names[str(dataset)], collection)
        table = _table(collection, str(dataset), str(protocol), rows)
        blocks += [Figures([figure]), table]
    return [Section("Who beats whom", "comparison", [Paragraph(MEANING), *blocks])] if blocks else []


def in_order(collection: Collection) -> dict[str, dict[str, str]]:
    """Return what drawings call each ensemble, in the order of the leaderboard, by dataset."""
    eps = headlines(collection.accuracies, collection.transferability)
    worst = collection.worst_case[collection.worst_case["eps"] == collection.worst_case["dataset"].map(eps)]
    means = worst.groupby("ensemble")["accuracy"].mean().to_dict()
    found: dict[str, dict[str, str]] = {}
    for dataset, own in together(collection.accuracies, collection.transferability).groupby("dataset", observed=True):
        short = short_names(list(own["ensemble"].unique()))
        place = {label: (-means.get(label, -1.0), label) for label in short}
        found[str(dataset)] = {label: short[label] for label in sorted(short, key=lambda label: place[label])}
    return found


def matrix(name: str, rows: pd.DataFrame, names: Mapping[str, str], collection: Collection) -> FigureBlock:
    """Return the matrix of one protocol.

    Args:
        name: of the figure.
        rows: comparisons under the protocol.
        names: see :func:`in_order`, of its dataset.
        collection: of the report.
    """
    compared = {*rows["better"], *rows["worse"]}
    shown = dict([(label, short) for label, short in names.items() if label in compared][:ALL_PAIRS_UP_TO])
    protocol = str(rows["protocol"].iloc[0])
    alt = f"{protocol} at eps {rows['eps'].iloc[0]:g}: the difference between every two ensembles in percentage points."
    draw = comparison_matrix(rows, shown, collection.sick(protocol))
    return figure_block(name, draw, alt, _MATRIX, facts_of(rows[["dataset"]] if protocol == WORST else rows))


def pairs_caption(rows: pd.DataFrame) -> str:
    """Return how many pairs under one protocol differ significantly, and how many were not compared."""
    told = int(rows["supported"].sum())
    return f"{told} of {_pairs(len(rows))} differ significantly.{_left_out(int(rows['left_out'].iloc[0]))}"


def _table(collection: Collection, dataset: str, protocol: str, rows: pd.DataFrame) -> Table:
    first = protocol == WORST
    name = f"{dataset}, {protocol}" if first else protocol
    caption = (
        f"{name} at eps {rows['eps'].iloc[0]:g}: {pairs_caption(rows)} Only higher, only lower: images that only this "
        "one gets right, over all seeds."
    )
    numeric = ("Only higher", "Only lower", "n", "Seeds", "p", "p (Holm)")
    facts = facts_of(rows[["dataset"]] if first else rows)
    collapsed = not first or len(rows) > _OPEN
    table = comparison_table(rows, collection.sick(protocol))
    return Table(table, caption, numeric=numeric, collapsed=collapsed, facts=facts)


def _left_out(pairs: int) -> str:
    if not pairs:
        return ""
    return (
        f" Not compared: {_pairs(pairs)}. Of so many ensembles, only the first with each and neighbours in the order "
        "of their accuracies are compared; Holm's correction counts the others too."
    )


def _pairs(number: int) -> str:
    return f"{number:,} {'pair' if number == 1 else 'pairs'}"
