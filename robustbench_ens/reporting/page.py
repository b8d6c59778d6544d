"""Rendering: outcomes in, `report.md` with its figures and a self-contained `index.html` out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting import svg, text
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.document import Beside, FigureBlock, Figures, Section
from robustbench_ens.reporting.sections.accuracy import accuracy_section
from robustbench_ens.reporting.sections.history import history_section
from robustbench_ens.reporting.sections.overview import overview
from robustbench_ens.reporting.sections.runs import runs_section
from robustbench_ens.reporting.sections.transfer import transfer_section
from robustbench_ens.reporting.style import looks
from robustbench_ens.store import write_text


def render_report(files: Sequence[OutcomeFile], destination: Path, *, title: str, command: str) -> Path:
    """Write a report of ``files`` into the folder ``destination``, over an older one; the same input, the same bytes.

    Args:
        files: evaluations, in any order.
        destination: gets `report.md`, `figures/*.svg` and `index.html`.
        title: heading of the report.
        command: the command line that makes this report again.

    Returns:
        path of `index.html`, which needs no other file.

    Raises:
        UserError: there are no files, or two of them answer the same question; nothing is written then.
    """
    collection = collect(files)
    report = sections(collection)
    facts = {"title": title, "command": command, "sections": report, "about": about(collection)}
    figures = [figure for section in report for figure in _figures(section)]
    pages = {name: _environment(name).get_template(f"{name}.j2").render(facts) for name in ("report.md", "index.html")}

    folder = destination / "figures"
    for figure in figures:
        write_text(folder / f"{figure.name}.svg", svg.standalone(figure.svg))
    for name, content in pages.items():
        write_text(destination / name, content)
    for left_over in set(folder.glob("*.svg")) - {folder / f"{figure.name}.svg" for figure in figures}:
        left_over.unlink()
    return destination / "index.html"


def sections(collection: Collection) -> list[Section]:
    """The report, before it is Markdown or HTML."""
    targets = [document["target"] for document in collection.provenance]
    style = looks({target["label"]: target["method"] for target in targets})
    return [
        *overview(collection),
        accuracy_section(collection, "blackbox", style),
        accuracy_section(collection, "whitebox", style),
        transfer_section(collection),
        history_section(collection, style),
        runs_section(collection),
    ]


def about(collection: Collection) -> str:
    """One line under the title: how much was evaluated, and when."""
    documents = collection.provenance
    ensembles = len({document["target"]["label"] for document in documents})
    protocols = len({document["protocol"]["label"] for document in documents})
    days = sorted({document["finished_at"][:10] for document in documents})
    when = " to ".join(dict.fromkeys([days[0], days[-1]]))
    return f"{_count(ensembles, 'ensemble')} under {_count(protocols, 'protocol')}, evaluated {when}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _figures(section: Section) -> list[FigureBlock]:
    blocks = [block.figures if isinstance(block, Beside) else block for block in section.blocks]
    return [figure for block in blocks if isinstance(block, Figures) for figure in block.figures]


def _inline(figure: FigureBlock) -> Markup:
    return Markup(svg.inline(figure.svg, figure.name))  # matplotlib escapes the text inside


def _environment(name: str) -> Environment:
    """Templates with every value escaped: by Jinja in HTML, by the filters ``md`` and ``code`` in Markdown."""
    environment = Environment(
        loader=PackageLoader("robustbench_ens.reporting"),
        autoescape=name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["mean_and_std"] = text.MEAN_AND_STD
    environment.filters |= {
        "md": text.markdown,
        "code": text.markdown_code,
        "fence": lambda content: "`" * max(3, text.longest_run(content, "`") + 1),
        "printable": text.printable,
        "lines": text.printable_lines,
        "inline": _inline,
    }
    return environment
