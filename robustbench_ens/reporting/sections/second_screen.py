"""The second screen of the front page: curves, transferability, pairs of ensembles, and variants that decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

import pandas as pd

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.worst_case import among, as_they_are
from robustbench_ens.config.kinds import TRANSFER
from robustbench_ens.core.text import anchor, counted, slug, span
from robustbench_ens.reporting.collect import Collection, standard_eps_by_dataset
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Link, Links, Page, Section, figure_block
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.figures.curves import HALF
from robustbench_ens.reporting.figures.transfer_heatmap import panels
from robustbench_ens.reporting.figures.variants import deciding_variants
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.sections.accuracy import curve_caption
from robustbench_ens.reporting.sections.comparison import in_order, matrix
from robustbench_ens.reporting.sections.ledger import heatmap, ledger_anchors
from robustbench_ens.reporting.sections.transfer import heatmaps, transfer_caption
from robustbench_ens.reporting.tables.summary import strongest

Names = Mapping[str, dict[str, str]]
"""The short name of each ensemble, in the order of the leaderboard, by dataset."""

MOST_PANELS = 4
"""The most curves side by side."""
MOST_ENSEMBLES = 12
"""The most ensembles in curves and heatmaps of the front page."""
MOST_VARIANTS = 40
"""The most variants in the heatmap of the front page. If there are more, it shows only those that decide."""

_THIRD = 383.0  # the width of one of three panels side by side, in pixels


def second_screen(context: Context, details: Sequence[Page], ensembles: Mapping[str, str]) -> list[Section]:
    """Return the sections below the leaderboard.

    Args:
        context: the input of all sections.
        details: the pages with all numbers.
        ensembles: the page of each ensemble that has one.
    """
    names = in_order(context.collection)
    blocks = {
        "Accuracy against eps": _curves(context, names, ensembles),
        "Transferability": _transfer(context.collection, names, ensembles),
        "Who beats whom": _comparison(context.collection, names, ensembles),
        "Which variants decide": _variants(context.collection, names, ensembles),
    }
    links = {
        "Accuracy against eps": [anchor(kind) for kind in context.collection.accuracies["kind"].unique()],
        "Transferability": [anchor(kind) for kind in context.collection.transferability["kind"].unique()],
        "Who beats whom": ["comparison"],
        "Which variants decide": list(ledger_anchors(context.collection).values()),
    }
    return [
        Section(title, f"front-{slug(title)}", [*own, *_links(links[title], details)])
        for title, own in blocks.items()
        if own
    ]


def _links(anchors: Sequence[str], details: Sequence[Page]) -> list[Block]:
    pages = {page.path: page.title for page in details}
    found = [
        Link(f"{pages[path]}: all numbers", path) for path in (f"details/{own}" for own in anchors) if path in pages
    ]
    return [Links(found)] if found else []


def front_protocols(collection: Collection, dataset: str) -> list[str]:
    """Return the protocols whose curves are on the front page, one for each kind of the leaderboard.

    It is the protocol that the leaderboard uses for most ensembles. Protocols with a single eps are used only if there
    are no others.

    Args:
        collection: the input of the report.
        dataset: the dataset of the ensembles.
    """
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability).get(dataset)
    rates = collection.accuracies
    usual = rates[(rates["dataset"] == dataset) & among(rates, as_they_are(collection.provenance))]
    ladders = usual[usual["eps"] > 0].groupby("protocol")["eps"].nunique()
    found = []
    for kind in (name for name, facts in collection.kinds.items() if facts.leaderboard):
        cell = usual[(usual["kind"] == kind) & (usual["eps"] == eps)]
        used = Counter(strongest(own)["protocol"].iloc[0] for _, own in cell.groupby("ensemble", observed=True))
        if used:
            chosen = max(sorted(used), key=lambda name: used[name])
            found.append((ladders[chosen] == 1, -cell.loc[cell["protocol"] == chosen, "accuracy"].mean(), chosen))
    several = [entry for entry in found if not entry[0]]
    return [protocol for *_, protocol in sorted(several or found)][:MOST_PANELS]


def _curves(context: Context, names: Names, pages: Mapping[str, str]) -> list[Block]:
    collection = context.collection
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    blocks: list[Block] = []
    for number, dataset in enumerate(sorted(eps), start=1):
        protocols = front_protocols(collection, dataset)
        width = _THIRD if len(protocols) == 3 else HALF
        rates = collection.accuracies[collection.accuracies["protocol"].isin(protocols)]
        attacked = [label for label in names[dataset] if label in set(rates["ensemble"])]
        rates = rates[rates["ensemble"].isin(attacked[:MOST_ENSEMBLES])]
        figures = []
        for protocol in protocols:
            rows = rates[rates["protocol"] == protocol]
            title = _title(collection, rows)
            draw = accuracy_curve(rows, context.looks, title, eps[dataset], pages)
            alt = f"{title}, {protocol}: accuracy against eps, one line per ensemble."
            name = f"front-curves-{number}-{slug(protocol)}"
            figures.append(figure_block(name, draw, alt, width, facts_of(rows)))
        if figures:
            caption = f"{curve_caption(rates)} Dashed: eps {eps[dataset]:g}.{_rest(len(attacked))}"
            blocks.append(Figures(figures, caption))
    return blocks


def _title(collection: Collection, rows: pd.DataFrame) -> str:
    tries = collection.attempts.loc[collection.attempts["protocol"] == rows["protocol"].iloc[0], "attempts"]
    attempts = counted(int(tries.max()), "attempt") if tries.nunique() == 1 else f"{span(tries)} attempts"
    return f"{collection.kinds[rows['kind'].iloc[0]].title}, {attempts}"


def _transfer(collection: Collection, names: Names, pages: Mapping[str, str]) -> list[Block]:
    rates = collection.transferability
    eps = standard_eps_by_dataset(collection.accuracies, rates)
    blocks: list[Block] = []
    kinds = [kind for kind, facts in collection.kinds.items() if facts.yields == TRANSFER and facts.expected]
    for dataset, own in rates[rates["kind"].isin(kinds)].groupby("dataset", observed=True):
        rows = own[own["eps"] == eps.get(str(dataset))]
        if rows.empty:
            continue
        protocol = rows.groupby("protocol")[["ensemble", "n"]].agg({"ensemble": "nunique", "n": "sum"})
        chosen = str(protocol.sort_values(["ensemble", "n"], kind="stable").index[-1])
        rows = rows[rows["protocol"] == chosen]
        found = panels(rows, names[str(dataset)], pages)
        if found:
            title = f"{chosen} at eps {eps[str(dataset)]:g}"
            figure = heatmaps(f"front-transfer-{slug(chosen)}", found[:MOST_ENSEMBLES], rows, title)
            caption = f"{transfer_caption(rows, names[str(dataset)])}{_rest(len(found))}"
            blocks.append(Figures([figure], caption))
    return blocks


def _rest(ensembles: int) -> str:
    if ensembles <= MOST_ENSEMBLES:
        return ""
    return f" The first {MOST_ENSEMBLES} of {ensembles} ensembles. The page with all numbers has the others."


def _comparison(collection: Collection, names: Names, pages: Mapping[str, str]) -> list[Block]:
    found = collection.comparisons
    return [
        matrix(f"front-comparison-{slug(dataset)}", rows, names[str(dataset)], collection, pages)
        for dataset, rows in found[found["protocol"] == WORST].groupby("dataset", observed=True)
    ]


def _decisive(collection: Collection, dataset: str, protocols: Set[str]) -> str:
    """Return the first of ``protocols`` whose curves are on the front page, or else the first by name."""
    chosen = [protocol for protocol in front_protocols(collection, dataset) if protocol in protocols]
    return chosen[0] if chosen else min(protocols)


def _variants(collection: Collection, names: Names, pages: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = []
    for dataset, own in collection.ledger.groupby("dataset", observed=True):
        protocol = _decisive(collection, str(dataset), set(own["protocol"]))
        rows = own[own["protocol"] == protocol]
        known = set(rows["ensemble"])
        shown = [(label, name) for label, name in names[str(dataset)].items() if label in known]
        deciding = deciding_variants(rows, MOST_VARIANTS)
        # Counted over variants, since ``deciding`` has a row for each ensemble and variant.
        left = rows[["source", "attack", "loss", "restart"]].drop_duplicates().shape[0]
        left -= deciding[["source", "attack", "loss", "restart"]].drop_duplicates().shape[0]
        title = f"{protocol} at eps {rows['eps'].iloc[0]:g}"
        name = f"front-variants-{slug(protocol)}"
        figure = heatmap(name, deciding, dict(shown[:MOST_ENSEMBLES]), title, pages)
        rest = f" {counted(left, 'variant')} that decide for no ensemble are not shown." if left else ""
        blocks.append(Figures([figure], f"{title}, n = {span(rows['n'])}.{rest}{_rest(len(shown))}"))
    return blocks
