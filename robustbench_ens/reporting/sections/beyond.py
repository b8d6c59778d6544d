"""The section on additional attacks: pairs of suites of variants, and the order in which attacks add images."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustbench_ens.analysis.beyond import PAIR, Beyond
from robustbench_ens.core.text import counted, listing
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Bullets, Section, Table
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.tables.beyond import NUMERIC, beyond_table, variants_table

OPEN_ROWS = 12
"""The number of rows in the table that is always shown."""

CAPTION = (
    "Two protocols against one target, on the images they share. Accuracy: of all n images, those that are right when "
    "clean and under every variant. Only it breaks: images that withstand the other."
)


def beyond_sections(context: Context) -> list[Section]:
    """Return the section, or none if no target was attacked under two suites of variants."""
    found = context.collection.beyond
    pairs = found.pairs
    if pairs.empty:
        return []
    # Pairs of all suites would bury those of the largest ones, so all pairs are shown on demand.
    most = pairs["variants"] == pairs.groupby("dataset")["variants"].transform("max")
    shown = pairs[most].sort_values(["dataset", "only"], ascending=[True, False], kind="stable").head(OPEN_ROWS)
    blocks: list[Block] = [Bullets([sentence(found, names) for names in _pairs_of(shown)])]
    unhealthy = context.collection.unhealthy
    table = beyond_table(shown, unhealthy)
    blocks.append(Table(table, _caption(shown, pairs), numeric=NUMERIC, facts=facts_of(shown)))
    if len(pairs) > len(shown):
        every = f"All {counted(len(pairs), 'pair')} of target and protocols."
        table = beyond_table(pairs, unhealthy)
        blocks.append(Table(table, every, numeric=NUMERIC, collapsed=True, facts=facts_of(pairs)))
    blocks += [_variants(names, own) for names, own in found.variants.groupby(PAIR, observed=True)]
    return [Section("What more attacks break", "beyond", blocks)]


def _variants(names: Any, own: pd.DataFrame) -> Table:
    _, protocol, beyond, eps = names
    caption = (
        f"{protocol} beyond {beyond} at eps {eps:g}: the variants in greedy order. Each is the one that breaks the "
        "most of the images that are left. Adds: images that neither the other protocol nor a variant above breaks."
    )
    table = variants_table(own)
    return Table(table, caption, group="Ensemble", numeric=("Adds", "Left"), collapsed=True, facts=facts_of(own))


def _pairs_of(shown: pd.DataFrame) -> list[tuple[str, str, str, float]]:
    return list(shown[PAIR].drop_duplicates().itertuples(index=False, name=None))


def _caption(shown: pd.DataFrame, pairs: pd.DataFrame) -> str:
    return (
        CAPTION if len(shown) == len(pairs) else f"{CAPTION} {len(shown)} of {len(pairs)} pairs; the others are below."
    )


def sentence(found: Beyond, names: tuple[str, str, str, float]) -> str:
    """Return a sentence on the images that one protocol breaks beyond another over all targets, by attack."""
    wanted = dict(zip(PAIR, names, strict=True))
    _, protocol, beyond, eps = names

    def own(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame[PAIR] == pd.Series(wanted)).all(axis=1)]

    pairs = own(found.pairs)
    attacks = own(found.attacks)
    only = round(pairs["only"].sum(), 1)
    withstood = round(pairs["correct_beyond"].sum(), 1)
    text = (
        f"Of {withstood:,} images of {counted(len(pairs), 'target')} that withstand {beyond} at eps {eps:g}, "
        f"{protocol} breaks {only:,}"
    )
    if attacks.empty:
        return text + "."
    order = [f"{attack} (+{round(adds, 1)})" for attack, adds in zip(attacks["attack"], attacks["adds"], strict=True)]
    return f"{text}; in greedy order, its attacks add {listing(order)}."
