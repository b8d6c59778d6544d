"""The figures on an ensemble's page: its curves beside the baseline's, and its transferability."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.config.kinds import TRANSFER
from robustbench_ens.core.text import slug
from robustbench_ens.reporting.board import Rate, short_names
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, figure_block
from robustbench_ens.reporting.ensembles.one import One
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.figures.curves import HALF
from robustbench_ens.reporting.figures.transfer_heatmap import panels
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.sections.accuracy import curve_caption
from robustbench_ens.reporting.sections.transfer import heatmaps, transfer_caption

BASELINE = "baseline"
"""The method whose curves are drawn for comparison."""


def curve_blocks(one: One) -> list[Block]:
    """Return a figure for each protocol of its leaderboard row, with the curve of the baseline of its size."""
    collection = one.context.collection
    if one.row is None:
        return []
    attacks = [rate for rate in one.row.attacks.values() if isinstance(rate, Rate)]
    protocols = list(dict.fromkeys(name for rate in attacks for name in rate.protocols))
    rates = collection.accuracies[collection.accuracies["protocol"].isin(protocols)]
    beside = _baseline(one, rates)
    shown = rates[rates["ensemble"].isin({one.label, beside})]
    figures = [_curve(one, protocol, shown[shown["protocol"] == protocol]) for protocol in protocols]
    if not figures:
        return []
    against = f" For comparison: {beside}." if beside not in ("", one.label) else ""
    return [Figures(figures, f"{curve_caption(shown)}{against}")]


def _baseline(one: One, rates: pd.DataFrame) -> str:
    """Return the baseline of its dataset with as many sub-models, or the first, or an empty text if there is none."""
    target = one.target
    found = rates[(rates["method"] == BASELINE) & (rates["dataset"] == target["dataset"])]
    of_its_size = found[found["sub_models"] == target["sub_models"]]
    labels = sorted(of_its_size["ensemble"].unique()) or sorted(found["ensemble"].unique())
    return str(labels[0]) if labels else ""


def _curve(one: One, protocol: str, rows: pd.DataFrame) -> FigureBlock:
    eps = one.row.eps.eps if one.row is not None and one.row.eps is not None else None
    title = one.context.collection.kinds[rows["kind"].iloc[0]].title
    draw = accuracy_curve(rows, one.context.looks, title, eps)
    alt = f"{title} accuracy of {one.label} against eps under {protocol}. The table has the numbers."
    return figure_block(f"{one.slug}-curve-{slug(protocol)}", draw, alt, HALF, facts_of(rows))


def transfer_blocks(one: One) -> list[Block]:
    """Return the heatmaps of its sub-models, one for each eps, under each protocol."""
    collection = one.context.collection
    rates = one.own(collection.transferability)
    kinds = [kind for kind, facts in collection.kinds.items() if facts.yields == TRANSFER]
    names = short_names([one.label])
    blocks: list[Block] = []
    for protocol, rows in rates[rates["kind"].isin(kinds)].groupby("protocol", observed=True):
        found = {eps: panels(own, {one.label: f"eps {eps:g}"}) for eps, own in rows.groupby("eps")}
        shown = [panel for several in found.values() for panel in several]
        if shown:
            name = f"{one.slug}-transfer-{slug(protocol)}"
            blocks.append(Figures([heatmaps(name, shown, rows, str(protocol))], transfer_caption(rows, names)))
    return blocks
