"""The fonts of drawings in PDF: the characters of DejaVu Sans that drawings use, as a TrueType font to embed."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_ens.core.text import printable

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

USUAL = frozenset(map(chr, range(32, 127))) | frozenset("\N{NO-BREAK SPACE}±·×–—…−→≤≥✓✗⚠≥“”\N{REPLACEMENT CHARACTER}")
"""Characters that every subset has, so that most figures share one font."""

FILES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}
"""The files of the font; the keys state whether it is bold."""


@dataclass(frozen=True)
class Font:
    """A font with a subset of its characters.

    Attributes:
        name: the name, with a tag for the subset.
        content: the TrueType file.
        glyphs: the number of each character's glyph.
        widths: the advance of each glyph, by number, in thousandths of the size.
        box, ascent, descent, cap_height: measures of the font in the same unit.
    """

    name: str
    content: bytes
    glyphs: dict[str, int]
    widths: list[int]
    box: tuple[int, ...]
    ascent: int
    descent: int
    cap_height: int

    def numbers(self, text: str) -> list[int]:
        """Return the glyphs of one line of text. The replacement character stands for characters that are missing."""
        missing = self.glyphs["\N{REPLACEMENT CHARACTER}"]
        return [self.glyphs.get(character, missing) for character in printable(text)]

    def width(self, text: str) -> float:
        """Return the width of one line of text at size 1."""
        return sum(self.widths[number] for number in self.numbers(text)) / 1000

    @cached_property
    def characters(self) -> dict[int, str]:
        """The character of each glyph, by number."""
        return {number: character for character, number in sorted(self.glyphs.items(), reverse=True)}


@cache
def font(bold: bool, others: frozenset[str] = frozenset()) -> Font:
    """Return the font with the ``USUAL`` characters and with those of ``others`` that DejaVu Sans has."""
    from fontTools import subset

    logging.getLogger("fontTools").setLevel(logging.ERROR)
    options = subset.Options(layout_features=[], hinting=False, notdef_outline=True, drop_tables=_DROPPED)
    made = subset.load_font(_path(bold), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[ord(character) for character in USUAL | others])
    subsetter.subset(made)
    buffer = io.BytesIO()
    made["head"].modified = made["head"].created  # the time of day would change the bytes
    made.recalcTimestamp = False
    made.save(buffer)
    found = _described(made, buffer.getvalue(), bold)
    made.close()
    return found


_DROPPED = ["FFTM", "GPOS", "GSUB", "GDEF", "kern", "name", "post", "gasp", "OS/2", "DSIG"]


def _path(bold: bool) -> str:
    import matplotlib as mpl

    return str(Path(mpl.get_data_path()) / "fonts" / "ttf" / FILES[bold])


def _described(made: TTFont, content: bytes, bold: bool) -> Font:
    tables: Any = made
    scale = 1000 / tables["head"].unitsPerEm
    order = tables.getGlyphOrder()
    places = {name: number for number, name in enumerate(order)}
    head = tables["head"]
    across = tables["hhea"]
    digest = hashlib.sha256(content).digest()
    tag = "".join(chr(ord("A") + byte % 26) for byte in digest[:6])
    return Font(
        name=f"{tag}+{FILES[bold].removesuffix('.ttf')}",
        content=content,
        glyphs={chr(code): places[name] for code, name in tables.getBestCmap().items()},
        widths=[round(scale * tables["hmtx"][name][0]) for name in order],
        box=tuple(round(scale * value) for value in (head.xMin, head.yMin, head.xMax, head.yMax)),
        ascent=round(scale * across.ascent),
        descent=round(scale * across.descent),
        cap_height=729,
    )
