"""The folder for a paper: one file per table and figure, and two articles that include all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import FigureBlock, Figures, Page
from robustbench_ens.reporting.exports.booktabs import table_tex
from robustbench_ens.reporting.exports.latex_tables import latex_tables
from robustbench_ens.reporting.exports.latex_text import comment, latex
from robustbench_ens.reporting.heading import about
from robustbench_ens.reporting.pdf import ONE_COLUMN, POINTS, TWO_COLUMNS, figure_pdf
from robustbench_ens.reporting.scene import Scene

FOLDER = "latex"
WIDTHS = {"1col": ONE_COLUMN, "2col": TWO_COLUMNS}
ARTICLES = {"report": "", "report-twocolumn": "twocolumn"}
"""The class option of each article, by name."""

_BETWEEN_FLOATS = 8
"""The number of floats after which all are printed, since LaTeX can hold only a few."""
# Alternative texts refer to the table on the page, which a caption in a paper does not have.
_WHERE_NUMBERS_ARE = re.compile(r"(?:[;,] the|\. The) tables?[^.]*")


@dataclass(frozen=True)
class Placed:
    """A figure of the report, with the caption of its block. ``in_front`` is true on the front page."""

    figure: FigureBlock
    caption: str
    in_front: bool

    @property
    def text(self) -> str:
        """The caption of the figure in a paper."""
        return f"{_WHERE_NUMBERS_ARE.sub('', self.figure.alt)} {self.caption}".strip()


def latex_files(context: Context, pages: Sequence[Page], title: str, command: str) -> dict[str, bytes]:
    """Return the files of the folder by their path in the report.

    Args:
        context: the input of all sections.
        pages: the pages of the report, whose figures are exported.
        title: the heading of the report.
        command: the command line that makes it again.
    """
    tables = latex_tables(context)
    figures = placed_figures(pages)
    head = comment(f"Made by: {command}; overwritten each time, so copy it before you change it")
    files = {f"tables/{table.name}.tex": f"{head}\n{table_tex(table)}".encode() for table in tables}
    for placed in figures:
        files |= {f"figures/{placed.figure.name}-{name}.pdf": pdf for name, pdf in _pdfs(placed.figure).items()}
    shown = [
        *(rf"\input{{tables/{table.name}}}" for table in tables),
        *(_figure(placed) for placed in figures),
    ]
    intro = f"{about(context.collection)}. {INTRO}"
    for name, option in ARTICLES.items():
        files[f"{name}.tex"] = f"{head}\n{article(title, intro, option, shown)}".encode()
    return {f"{FOLDER}/{path}": content for path, content in files.items()}


def _pdfs(figure: FigureBlock) -> dict[str, bytes]:
    """Return the figure for each of ``WIDTHS``. A matplotlib figure has one size, which the article scales."""
    if isinstance(figure.drawing, Scene):
        return {name: figure_pdf(figure, width) for name, width in WIDTHS.items()}
    return dict.fromkeys(WIDTHS, figure_pdf(figure, ONE_COLUMN))


def placed_figures(pages: Iterable[Page]) -> list[Placed]:
    """Return the figures of the pages without repetitions."""
    found: dict[str, Placed] = {}
    for page in pages:
        blocks = [block for section in page.sections for block in section.blocks if isinstance(block, Figures)]
        for block in blocks:
            for figure in block.figures:
                found.setdefault(figure.name, Placed(figure, block.caption, page.path == "index"))
    return list(found.values())


def _figure(placed: Placed) -> str:
    """Return a float with the figure. Figures of the front page take two columns."""
    environment = "figure*" if placed.in_front else "figure"
    column = "2col" if placed.in_front else "1col"
    size = f"width={WIDTHS[column] / POINTS:g}in,height=0.8\\textheight,keepaspectratio"
    return "\n".join(
        [
            rf"\begin{{{environment}}}[tbp]",
            r"\centering",
            rf"\includegraphics[{size}]{{figures/{placed.figure.name}-{column}.pdf}}",
            rf"\caption{{{latex(placed.text)}}}",
            rf"\label{{fig:{placed.figure.name}}}",
            rf"\end{{{environment}}}",
        ]
    )


def article(title: str, intro: str, option: str, shown: Sequence[str]) -> str:
    """Return an article that pdfLaTeX compiles in the folder.

    Args:
        title: the title of the article.
        intro: its text.
        option: the option of its class.
        shown: tables and figures, in order.
    """
    return HEAD % {"option": option, "title": latex(title), "intro": latex(intro)} + "\n".join(_spaced(shown)) + FOOT


def _spaced(shown: Sequence[str]) -> Iterator[str]:
    for number, one in enumerate(shown, start=1):
        yield one
        if number % _BETWEEN_FLOATS == 0:
            yield r"\clearpage"


HEAD = r"""\documentclass[10pt,%(option)s]{article}
\usepackage[letterpaper,textwidth=6.9in,textheight=9.2in,columnsep=0.3in]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{tabularx}
\setlength{\emergencystretch}{3em}
\title{%(title)s}
\author{}
\date{}
\begin{document}
\maketitle
\noindent %(intro)s

"""
INTRO = (
    "Every table is a separate file in tables, for a paper that uses booktabs and tabularx. Every figure is in "
    "figures, for one column (3.3 inches) and for two (6.9 inches)."
)
FOOT = "\n" + r"\end{document}" + "\n"
