"""Rendering of outcomes as a folder of pages, each as Markdown and as self-contained HTML."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from posixpath import relpath

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robustbench_ens.core import text
from robustbench_ens.core.files import entries
from robustbench_ens.core.store import write_json, write_text
from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting import svg
from robustbench_ens.reporting.changes import SUMMARY, changes, last_report, snapshot
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import FigureBlock, Page
from robustbench_ens.reporting.exports.options import NOTHING, ExportOptions, exported, write_exports
from robustbench_ens.reporting.external_sections import ExternalSection
from robustbench_ens.reporting.figure_names import figures_of
from robustbench_ens.reporting.filters import NAMES, filters_of
from robustbench_ens.reporting.pages import FRONT, known_pages, pages
from robustbench_ens.reporting.scene import Scene
from robustbench_ens.reporting.table_rows import Rows

LARGE = 800.0
"""Width in pixels above which a drawing is too small to read on a page of medium width, which shows the narrow one."""

MARKDOWN_FRONT = "report"
"""The name of the front page in Markdown, without suffix."""


def render_report(files: Sequence[OutcomeFile], destination: Path, *, title: str, command: str) -> Path:
    """Write a report of ``files`` into the folder ``destination``, as :func:`render` does.

    Args:
        files: evaluations, in any order.
        destination, title, command: see :func:`render`.

    Raises:
        UserError: there are no files, or two of them have the same protocol, ensemble and seed. Nothing is written
            then.
    """
    return render(collect(files), destination, title=title, command=command)


def render(
    collection: Collection,
    destination: Path,
    *,
    title: str,
    command: str,
    own: Sequence[ExternalSection] = (),
    options: ExportOptions = NOTHING,
) -> Path:
    """Write a report into the folder ``destination`` and replace an older one.

    The same input gives the same bytes. The report lists what changed since the last different report in that folder,
    and this list stays the same when the report is made again.

    Args:
        collection: the input of all sections.
        destination: the folder that receives `index.html` and `report.md`, the other pages under `ensembles/` and
            `details/`, `figures/*.svg` and `summary.json`.
        title: heading of the report.
        command: the command line that makes this report again.
        own: sections from outside.
        options: the exports to write in addition to the pages.

    Returns:
        path of `index.html`. No page needs another file.

    Raises:
        UserError: one of ``own`` fails. Nothing is written then.
    """
    # Everything is made before the first file is written: an error leaves the old report as it was.
    now = snapshot(collection)
    last = last_report(destination, now)
    context = context_of(collection, None if last is None else changes(last, now))
    made = pages(context, title, own)
    figures = {figure.name: figure for page in made for section in page.sections for figure in figures_of(section)}
    texts = rendered(made, Facts(title, command, collection))
    exports = exported(options, context, made, title, command)

    wanted = set()
    for figure in figures.values():
        wanted.add(destination / "figures" / f"{figure.name}.svg")
        write_text(destination / "figures" / f"{figure.name}.svg", svg.standalone(figure.drawing))
    for name, content in texts.items():
        wanted.add(destination / name)
        write_text(destination / name, content)
    write_json(destination / SUMMARY, now | {"previous": last})
    remove_others(destination, wanted)
    write_exports(options, exports, destination)
    return destination / f"{FRONT}.html"


@dataclass(frozen=True)
class Facts:
    """The facts that all pages of a report share: its title, the command that makes it again, and its input."""

    title: str
    command: str
    collection: Collection


def rendered(made: Sequence[Page], facts: Facts) -> dict[str, str]:
    """Return the pages as text, in Markdown and in HTML, by the path of their file in the folder of the report."""
    filters = filters_of(facts.collection.provenance)
    ensembles = known_pages(facts.collection, made)
    shared = {
        "report_title": facts.title,
        "command": facts.command,
        "filters": filters,
        **_script(),
    }
    texts = {}
    for suffix in ("md", "html"):
        template = environment(f"page.{suffix}").get_template(f"page.{suffix}.j2")
        for page in made:
            address = partial(relative, page.path, suffix)
            others = {label: address(path) for label, path in ensembles.items() if path != page.path}
            rows = Rows(others, filters if page.filtered else None)
            to_page = {"inline": partial(_inline, address), "address": address, "rows": rows}
            texts[file_of(page.path, suffix)] = template.render(shared | to_page | {"page": page})
    return texts


def file_of(path: str, suffix: str) -> str:
    """Return the file of the page at ``path``, in the folder of the report."""
    return f"{MARKDOWN_FRONT if (path, suffix) == (FRONT, 'md') else path}.{suffix}"


def relative(here: str, suffix: str, path: str) -> str:
    """Return the address of the page or figure at ``path``, relative to the page ``here``."""
    file = path if path.endswith(".svg") else file_of(path, suffix)
    return relpath(file, file_of(here, suffix).rpartition("/")[0] or ".")


def remove_others(destination: Path, wanted: Iterable[Path]) -> None:
    """Remove the figures and pages of the last report that this one no longer has."""
    kept = set(wanted)
    for folder in ("figures", "ensembles", "details"):
        for path in list(entries(destination / folder)):
            if path not in kept and path.suffix in (".svg", ".md", ".html"):
                path.unlink()


def _inline(address: Callable[[str], str], figure: FigureBlock) -> Markup:
    """Return a figure as HTML.

    If it can be laid out for a narrow page, both layouts are included and the style sheet shows one of them.
    """
    wide = svg.inline(figure.drawing, figure.name, address)
    if figure.narrow is None:
        return Markup(wide)  # all text inside is escaped
    narrow = svg.inline(figure.narrow, figure.name, address)
    large = " large" if isinstance(figure.drawing, Scene) and figure.drawing.width > LARGE else ""
    return Markup(f'<div class="wide{large}">{wide}</div><div class="narrow">{narrow}</div>')


def _script() -> Mapping[str, str]:
    """Return the script of the page and its digest, by which the content security policy allows no other script."""
    script = (package_files("robustbench_ens.reporting") / "templates" / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "script_sha256": digest}


def environment(name: str) -> Environment:
    """Return an environment of templates for files called ``name``, in which every value is escaped.

    Jinja escapes in HTML, the filters ``md`` and ``code`` in Markdown.
    """
    made = Environment(
        loader=PackageLoader("robustbench_ens.reporting"),
        autoescape=name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.globals |= {"fact_names": NAMES, "rows": Rows({}, None)}
    made.filters |= {
        "md": text.markdown,
        "code": text.markdown_code,
        "fence": lambda content: "`" * max(3, text.longest_run(content, "`") + 1),
        "printable": text.printable,
        "lines": text.printable_lines,
    }
    return made
