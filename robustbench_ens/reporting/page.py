"""Rendering: outcomes in, `report.md` with its figures and a self-contained `index.html` out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robustbench_ens.core import text
from robustbench_ens.core.files import entries
from robustbench_ens.core.store import write_json, write_text
from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting import dverge2020, svg
from robustbench_ens.reporting.changes import SUMMARY, changes, last_report, snapshot
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.context import Context, MakeSections, context_of
from robustbench_ens.reporting.document import FigureBlock, Section
from robustbench_ens.reporting.filters import NAMES, filters_of
from robustbench_ens.reporting.own_sections import OwnSection, check_names, figures_of
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

PAPERS: tuple[MakeSections, ...] = (dverge2020.sections,)
"""The papers whose numbers stand beside ours: each is a package of its own, entered through its ``sections``."""

RESULTS: tuple[MakeSections, ...] = (
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
)
HOW_IT_WAS_MADE: tuple[MakeSections, ...] = (
    health_sections,
    budget_sections,
    history_sections,
    runs_sections,
)
"""The sections of a report, in order; a user's own come between the two."""


def render_report(files: Sequence[OutcomeFile], destination: Path, *, title: str, command: str) -> Path:
    """Write a report of ``files`` into the folder ``destination``; see :func:`render`.

    Args:
        files: evaluations, in any order.
        destination, title, command: as of :func:`render`.

    Raises:
        UserError: there are no files, or two of them answer the same question; nothing is written then.
    """
    return render(collect(files), destination, title=title, command=command)


def render(
    collection: Collection, destination: Path, *, title: str, command: str, own: Sequence[OwnSection] = ()
) -> Path:
    """Write a report into the folder ``destination``, over an older one; the same input, the same bytes.

    What changed since the last different report in that folder is said, and is the same when a report is made again.

    Args:
        collection: what it draws from.
        destination: gets `report.md`, `figures/*.svg`, `index.html` and `summary.json`.
        title: heading of the report.
        command: the command line that makes this report again.
        own: sections of the user's own.

    Returns:
        path of `index.html`, which needs no other file.

    Raises:
        UserError: one of ``own`` fails; nothing is written then.
    """
    now = snapshot(collection)
    last = last_report(destination, now)
    report = sections(context_of(collection, None if last is None else changes(last, now)), own)
    facts = {
        "title": title,
        "command": command,
        "sections": report,
        "about": about(collection),
        "filters": filters_of(collection.provenance),
        **_script(),
    }
    figures = [figure for section in report for figure in figures_of(section)]
    pages = {name: environment(name).get_template(f"{name}.j2").render(facts) for name in ("report.md", "index.html")}

    folder = destination / "figures"
    for figure in figures:
        write_text(folder / f"{figure.name}.svg", svg.standalone(figure.svg))
    for name, content in pages.items():
        write_text(destination / name, content)
    write_json(destination / SUMMARY, now | {"previous": last})
    drawn = {folder / f"{figure.name}.svg" for figure in figures}
    for left_over in {path for path in entries(folder) if path.suffix == ".svg"} - drawn:
        left_over.unlink()
    return destination / "index.html"


def sections(context: Context, own: Sequence[OwnSection] = ()) -> list[Section]:
    """Return the report, before it is Markdown or HTML; the user's ``own`` sections come before how it was made.

    Raises:
        UserError: one of ``own`` fails.
    """
    results = [section for make in RESULTS for section in make(context)]
    added = [section for one in own for section in one.sections(context)]
    made = [section for make in HOW_IT_WAS_MADE for section in make(context)]
    report = [*results, *added, *made]
    if own:
        check_names(report)
    return report


def about(collection: Collection) -> str:
    """One line under the title: how much was evaluated, and when."""
    documents = collection.provenance
    ensembles = len({document["target"]["label"] for document in documents})
    protocols = len({document["protocol"]["label"] for document in documents})
    days = sorted({document["finished_at"][:10] for document in documents})
    when = " to ".join(dict.fromkeys([days[0], days[-1]]))
    return f"{text.counted(ensembles, 'ensemble')} under {text.counted(protocols, 'protocol')}, evaluated {when}"


def _inline(figure: FigureBlock) -> Markup:
    return Markup(svg.inline(figure.svg, figure.name))  # matplotlib escapes the text inside


def _script() -> dict[str, str]:
    """The script of the page, and the digest by which its content security policy lets this one run, and no other."""
    script = (package_files("robustbench_ens.reporting") / "templates" / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "script_sha256": digest}


def environment(name: str) -> Environment:
    """Templates with every value escaped: by Jinja in HTML, by the filters ``md`` and ``code`` in Markdown."""
    made = Environment(
        loader=PackageLoader("robustbench_ens.reporting"),
        autoescape=name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.globals |= {"mean_and_std": text.MEAN_AND_STD, "fact_names": NAMES}
    made.filters |= {
        "md": text.markdown,
        "code": text.markdown_code,
        "fence": lambda content: "`" * max(3, text.longest_run(content, "`") + 1),
        "printable": text.printable,
        "lines": text.printable_lines,
        "inline": _inline,
    }
    return made
