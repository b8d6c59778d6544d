"""The names of figures and their files. No two different figures of a report share a name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from robustbench_ens.core.text import distinct_names
from robustbench_ens.reporting import svg
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Page, Section


def with_distinct_figure_names(pages: Sequence[Page]) -> list[Page]:
    """Return the pages with a number added to the name of each figure that an earlier, different figure already has.

    Names are made of labels, cut to a length that every file system allows, so two labels can give the same name. The
    same figure on several pages keeps one name and one file.
    """
    figures = [figure for page in pages for section in page.sections for figure in figures_of(section)]
    uses = Counter(figure.name for figure in figures)
    # Drawing a figure for its digest is slow, so only repeated names are compared by it.
    drawn = [(figure.name, _shown(figure) if uses[figure.name] > 1 else "") for figure in figures]
    distinct = list(dict.fromkeys(drawn))
    names = dict(zip(distinct, distinct_names(name for name, _ in distinct), strict=True))
    own = iter([names[key] for key in drawn])
    return [replace(page, sections=[_renamed(section, own) for section in page.sections]) for page in pages]


def figures_of(section: Section) -> list[FigureBlock]:
    """Return the figures of a section, in order."""
    return [figure for block in section.blocks if isinstance(block, Figures) for figure in block.figures]


def _shown(figure: FigureBlock) -> str:
    """Return a digest of a figure's drawings and texts."""
    drawings = [drawing for drawing in (figure.drawing, figure.narrow) if drawing is not None]
    texts = [figure.alt, *(svg.standalone(drawing) for drawing in drawings)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _renamed(section: Section, names: Iterator[str]) -> Section:
    blocks: list[Block] = [
        replace(block, figures=[replace(figure, name=next(names)) for figure in block.figures])
        if isinstance(block, Figures)
        else block
        for block in section.blocks
    ]
    return replace(section, blocks=blocks)
