"""The front page: who wins, whether that is significant, and whether the attacks were healthy, before any table."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Link, Links, Page, Section
from robustbench_ens.reporting.sections.overview import leaderboard_table


def front_sections(context: Context, details: Sequence[Page]) -> list[Section]:
    """Return the sections of the front page.

    Args:
        context: what the report is made of.
        details: the pages with all numbers, which the front page links to.
    """
    links = Links([Link(page.title, page.path) for page in details])
    return [
        Section("Leaderboard", "leaderboard", [leaderboard_table(context.collection)]),
        Section("All numbers", "all-numbers", [links]),
    ]
