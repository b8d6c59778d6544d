"""Figures as SVG text: the same bytes for the same figure, as a file of its own and as part of a page."""

from __future__ import annotations

import io
import re
import warnings

import matplotlib as mpl
from matplotlib.figure import Figure

from robustbench_ens.reporting.style import INK, RC

_IMAGE_ID = re.compile(r'(<image [^>]*) id="[^"]*"')
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')


def to_svg(figure: Figure) -> str:
    """``figure`` as SVG with text as text, a transparent ground, and neither date nor random identifiers."""
    buffer = io.StringIO()
    with mpl.rc_context(RC), warnings.catch_warnings():
        # Text stays text, so the reader's fonts draw it: a glyph that our measuring font lacks is no fault.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = _IMAGE_ID.sub(r"\1", buffer.getvalue())  # made of the pixels, so that equal images would share one
    return text[text.index("<svg") :]


def standalone(svg: str) -> str:
    """A file of its own, on white ground: Markdown viewers may show it on any colour."""
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}><rect width="100%" height="100%" fill="#ffffff"/>{rest}'


def inline(svg: str, prefix: str) -> str:
    """A part of an HTML page: ink follows the page's text colour, identifiers start with ``prefix``.

    The global rule that matplotlib writes into ``<style>`` would style the whole page, and is left out; the page's own
    style sheet has it, for figures only.
    """
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = _REFERENCE.sub(lambda found: f"{found.group(1)}{prefix}-", text)
    return text.replace(INK, "currentColor")
