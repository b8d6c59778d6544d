"""The pages of a report: the front page, a page per ensemble, and a page per topic with all of its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from robustbench_ens.core.text import distinct_names, slug
from robustbench_ens.reporting import dverge2020, fasten2023
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context, MakeSections
from robustbench_ens.reporting.document import Page
from robustbench_ens.reporting.ensembles import ensemble_pages
from robustbench_ens.reporting.external_sections import ExternalSection, check_names
from robustbench_ens.reporting.figure_names import with_distinct_figure_names
from robustbench_ens.reporting.front import front_sections
from robustbench_ens.reporting.heading import about
from robustbench_ens.reporting.sections.accuracy import accuracy_sections, every_variant_sections
from robustbench_ens.reporting.sections.beyond import beyond_sections
from robustbench_ens.reporting.sections.budget import budget_sections
from robustbench_ens.reporting.sections.comparison import comparison_sections
from robustbench_ens.reporting.sections.gallery import gallery_sections
from robustbench_ens.reporting.sections.health import health_sections
from robustbench_ens.reporting.sections.history import history_sections
from robustbench_ens.reporting.sections.ledger import ledger_sections
from robustbench_ens.reporting.sections.other_images import other_images_sections
from robustbench_ens.reporting.sections.other_kinds import other_kinds_sections
from robustbench_ens.reporting.sections.overview import overview_sections
from robustbench_ens.reporting.sections.regions import regions_sections
from robustbench_ens.reporting.sections.runs import runs_sections
from robustbench_ens.reporting.sections.transfer import transfer_sections

PAPERS: tuple[MakeSections, ...] = (dverge2020.sections, fasten2023.sections)
"""The papers whose numbers are shown beside ours. Each is a package, entered through its ``sections``."""

TOPICS: tuple[MakeSections, ...] = (
    overview_sections,
    comparison_sections,
    every_variant_sections,
    ledger_sections,
    beyond_sections,
    accuracy_sections,
    other_images_sections,
    transfer_sections,
    other_kinds_sections,
    regions_sections,
    gallery_sections,
    *PAPERS,
    health_sections,
    budget_sections,
    history_sections,
    runs_sections,
)
"""The functions that make the sections with all numbers, in order. Each section becomes a page under ``details/``."""

FRONT = "index"


def pages(context: Context, title: str, own: Sequence[ExternalSection] = ()) -> list[Page]:
    """Return the pages of a report, before they are Markdown or HTML. The front page comes first.

    Args:
        context: the input of all sections.
        title: the heading of the report.
        own: sections from outside, which go to the front page.

    Raises:
        UserError: one of ``own`` fails.
    """
    paths = ensemble_paths(document["target"]["label"] for document in context.collection.provenance)
    topics = [section for make in TOPICS for section in make(context)]
    details = [
        Page(f"details/{section.anchor}", section.title, sections=[section], filtered=True) for section in topics
    ]
    first = Page(FRONT, title, about(context.collection), front_sections(context, details, paths))
    front, *others = with_distinct_figure_names([first, *ensemble_pages(context, paths), *details])
    # Sections from outside are made last: their names are checked against those of the whole report.
    added = [section for one in own for section in one.sections(context)]
    check_names(added, [front, *others])
    return [replace(front, sections=[*front.sections, *added]), *others]


def ensemble_paths(labels: Iterable[str]) -> dict[str, str]:
    """Return the path of each ensemble's page. Ensembles whose names give the same path are numbered."""
    known = sorted(set(labels))
    return dict(zip(known, distinct_names(f"ensembles/{slug(label)}" for label in known), strict=True))


def known_pages(collection: Collection, made: Iterable[Page]) -> Mapping[str, str]:
    """Return the path of the page of each ensemble that has one in ``made``."""
    paths = ensemble_paths(document["target"]["label"] for document in collection.provenance)
    there = {page.path for page in made}
    return {label: path for label, path in paths.items() if path in there}
