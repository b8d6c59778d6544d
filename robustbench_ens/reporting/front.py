"""The front page: the best ensemble, its significance and the health of the attacks, before any table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby

from robustbench_ens.core.text import slug
from robustbench_ens.reporting.badges import badges
from robustbench_ens.reporting.board import BoardRow, chosen_of
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Lead, Link, Links, Page, Section, figure_block
from robustbench_ens.reporting.figures.leaderboard import MOST_ROWS, leaderboard_figure
from robustbench_ens.reporting.scene import Scene
from robustbench_ens.reporting.sections.overview import close_ranks, other_warnings
from robustbench_ens.reporting.sections.second_screen import second_screen
from robustbench_ens.reporting.verdict import verdict

WIDTH = 1190.0
"""Width in pixels of the text on a page of 1280."""


def front_sections(context: Context, details: Sequence[Page], ensembles: Mapping[str, str]) -> list[Section]:
    """Return the sections of the front page.

    Args:
        context: the input of all sections.
        details: the pages with all numbers, which the front page links to.
        ensembles: the page of each ensemble that has one.
    """
    rows = context.board
    collection = context.collection
    top: list[Block] = [
        Lead(verdict(rows, collection.comparisons, collection.accuracies)),
        badges(collection, rows, other_warnings(collection), close_ranks(collection), context.changed),
    ]
    links = Links([Link(page.title, page.path) for page in details])
    return [
        Section("", "verdict", top),
        Section("Leaderboard", "leaderboard", leaderboard_blocks(context, rows, ensembles)),
        *second_screen(context, details, ensembles),
        *_ensembles(rows, ensembles),
        Section("All numbers", "all-numbers", [links]),
    ]


def _ensembles(rows: Sequence[BoardRow], pages: Mapping[str, str]) -> list[Section]:
    """Return links to the pages of all ensembles, in the order of the leaderboard."""
    names = [*(row.ensemble for row in rows), *pages]
    links = [Link(name, pages[name]) for name in dict.fromkeys(names) if name in pages]
    return [Section("Ensembles", "ensembles", [Links(links)])] if links else []


def leaderboard_blocks(context: Context, rows: Sequence[BoardRow], ensembles: Mapping[str, str]) -> list[Block]:
    """Return a picture for each dataset, the one with most ensembles first, and a link to the table of all."""
    by_dataset = [list(own) for _, own in groupby(rows, key=lambda row: row.dataset)]
    blocks: list[Block] = []
    for own in sorted(by_dataset, key=lambda own: (-len(own), own[0].dataset)):
        draw = partial(_draw, own, context, ensembles)
        dataset = own[0].dataset
        where = f"{dataset}, eps {own[0].eps.eps:g}" if own[0].eps else f"{dataset}, not attacked"
        alt = f"Leaderboard of {where}: {own[0].ensemble} is first. The table has the numbers."
        caption = f"{where}, n = {own[0].n}." if len(by_dataset) > 1 else ""  # the heading states it for one dataset
        if len(own) > MOST_ROWS:
            caption = f"{caption} The first {MOST_ROWS} of {len(own)} ensembles. The table has all of them.".strip()
        caption = " ".join([*([caption] if caption else []), *([note] if (note := chosen_of(own).note) else [])])
        blocks.append(Figures([figure_block(f"leaderboard-{slug(dataset)}", draw, alt, WIDTH, {})], caption))
    blocks.append(Links([Link("Table of all numbers", "details/summary")]))
    return blocks


def _draw(rows: Sequence[BoardRow], context: Context, ensembles: Mapping[str, str], width: float) -> Scene:
    return leaderboard_figure(rows, context.looks, ensembles, width=width)
