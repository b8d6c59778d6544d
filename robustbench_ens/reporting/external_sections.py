"""Report sections from outside: a user's code that a command names and that a report includes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustbench_ens.config.outside import import_object
from robustbench_ens.core.limits import shown
from robustbench_ens.core.text import slug
from robustbench_ens.errors import UserError
from robustbench_ens.reporting.context import Context, MakeSections
from robustbench_ens.reporting.document import Bullets, FigureBlock, Figures, Listing, Page, Paragraph, Section, Table
from robustbench_ens.reporting.figure_names import figures_of
from robustbench_ens.reporting.scene import Scene

_FUNCTION = "a function (context) -> list[Section]; see examples/tradeoff.py"


@dataclass(frozen=True)
class ExternalSection:
    """A function from outside the project that makes sections, with the name that it was imported by."""

    spec: str
    make: MakeSections

    def sections(self, context: Context) -> list[Section]:
        """Return the sections that the function makes from ``context``.

        Raises:
            UserError: the function raises an exception, or does not return a list of sections that a page can show.
        """
        where = _where(self.spec)
        try:
            made: object = self.make(context)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # code from outside can raise anything
            text = " ".join(str(error).split())
            raise UserError(f"{where}: expected sections, got {type(error).__name__}: {text}") from None
        if not isinstance(made, list):
            raise UserError(f"{where}: expected {_FUNCTION}, got one that returns {_type(made)}")
        for section in made:
            for fault in _faults(section):
                raise UserError(f"{where}: {fault}")
        return made


def import_section(spec: str) -> ExternalSection:
    """Import the function of sections that is named as ``package.module:Name``.

    Raises:
        UserError: the name does not exist or is not callable.
    """
    make = import_object(spec, _where(spec))
    if not callable(make):
        raise UserError(f"{_where(spec)}: expected {_FUNCTION}, got {_type(make)}")
    return ExternalSection(spec, make)


def check_names(own: Sequence[Section], report: Sequence[Page]) -> None:
    """Check that no section repeats an anchor, and no figure a name, of the other sections or of the report.

    Args:
        own: sections from outside.
        report: the pages of the report without them. Each page of an ensemble uses the same anchors.

    Raises:
        UserError: an anchor or a name is repeated.
    """
    figures = [figure for page in report for section in page.sections for figure in figures_of(section)]
    alone = [page for page in report if not page.path.startswith("ensembles/")]
    added = [section.anchor for section in own]
    drawn = [figure.name for section in own for figure in figures_of(section)]
    for what, names, others in (
        ("anchor of a section", added, {section.anchor for page in alone for section in page.sections}),
        ("name of a figure", drawn, {figure.name for figure in figures}),
    ):
        twice = next((name for name in names if name in others or names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"--section: {what}: expected a unique one, got {twice!r} twice; rename it")


def _where(spec: str) -> str:
    return f"--section {spec}"


def _type(thing: object) -> str:
    return f"a {type(thing).__name__}"


def _faults(section: object) -> Iterator[str]:
    """Yield a sentence for each reason why a section cannot be shown."""
    if not isinstance(section, Section):
        yield f"expected a list of sections, got one of {_type(section)}"
        return
    yield from _text("title of a section", section.title)
    yield from _name("anchor of a section", section.anchor)
    if not isinstance(section.blocks, list):
        yield f"blocks of a section: expected a list, got {_type(section.blocks)}"
        return
    for block in section.blocks:
        yield from _block_faults(block)


def _block_faults(block: object) -> Iterator[str]:
    """Yield a sentence for each reason why a block cannot be shown."""
    match block:
        case Paragraph(text=text) | Listing(text=text):
            yield from _text("text of a block", text)
        case Bullets(items=items):
            yield from (fault for item in items for fault in _text("item of a list", item))
        case Table(frame=frame, caption=caption, facts=facts):
            yield from _text("caption of a table", caption)
            yield from _cells(frame, str(caption))
            yield from _facts(facts)
        case Figures(figures=figures, caption=caption):
            yield from _text("caption of figures", caption)
            yield from (fault for figure in figures for fault in _figure_faults(figure))
        case _:
            known = ", ".join(kind.__name__ for kind in (Paragraph, Bullets, Table, Figures, Listing))
            yield f"blocks of a section: expected {known}, got {_type(block)}"


def _figure_faults(figure: object) -> Iterator[str]:
    if not isinstance(figure, FigureBlock):
        yield f"figures: expected a FigureBlock, got {_type(figure)}"
        return
    yield from _name("name of a figure", figure.name)
    yield from _text("alt of a figure", figure.alt)
    if not isinstance(figure.drawing, Scene) and not hasattr(figure.drawing, "savefig"):
        yield f"drawing of figure {figure.name!r}: expected a Scene or a matplotlib figure, got {_type(figure.drawing)}"
    yield from _facts(figure.facts)


def _cells(frame: object, caption: str) -> Iterator[str]:
    if not isinstance(frame, pd.DataFrame):
        yield f"frame of table {caption!r}: expected a data frame, got {_type(frame)}"
        return
    cells = [*frame.columns, *frame.to_numpy(dtype=object).ravel()]
    wrong = next((cell for cell in cells if not isinstance(cell, str)), None)
    if wrong is not None:
        yield f"frame of table {caption!r}: expected text in every cell and heading, got {_type(wrong)}"


def _facts(facts: Any) -> Iterator[str]:
    texts = isinstance(facts, dict) and all(isinstance(values, list | tuple) for values in facts.values())
    if not texts or any(not isinstance(value, str) for values in facts.values() for value in values):
        yield f"facts: expected a dict of lists of text, as facts_of returns it, got {shown(facts)}"


def _text(what: str, text: object) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"{what}: expected text, got {_type(text)}"


def _name(what: str, name: object) -> Iterator[str]:
    """Yield a sentence if a name cannot be part of paths and links."""
    if not isinstance(name, str) or slug(name) != name:
        yield f"{what}: expected at most 48 of a-z, 0-9 and -, as slug returns it, got {shown(name)}"
