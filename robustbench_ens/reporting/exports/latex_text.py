"""Conversion of any text to LaTeX in ASCII, for which pdfLaTeX needs no package and no encoding."""

from __future__ import annotations

import re
import unicodedata

from robustbench_ens.core.text import NBSP, printable

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\ttfamily\char34}",
    "[": "{[}",  # at the start of a row, a bracket or a star would become an argument of the row above
    "]": "{]}",
    "*": "{*}",
    NBSP: "~",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "⚠": r"$^{!}$",
    "‡": r"$^{\ddagger}$",
    "✗": r"$\times$",
    "\N{REPLACEMENT CHARACTER}": "{[}?{]}",
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING CEDILLA}": "c ",
}
_JOINED = {"--", "''", "``", ",,", "?`", "!`"}
"""Pairs that fonts combine into one sign."""
_BREAK = r"\allowbreak{}"
_BREAKS_AFTER = "/_=:@+#]"
"""Characters after which names may break. LaTeX breaks at hyphens anyway."""
_BREAKS_BEFORE_WORDS = ".,"  # but not within numbers
_LONG_WORD = 12
"""Words longer than this number of characters may break."""
_LONGEST_RUN = 20
"""The most characters without a place to break, since columns of tables are hardly wider."""

COMMENT = re.compile(r"[^ -~]")


def latex(value: object) -> str:
    """Return ``value`` as one line of LaTeX, with places to break in long words.

    A character that fonts may lack is replaced by its number, such as ``[U+6570]``.
    """
    return " ".join(_word(word) for word in printable(value).split(" "))


def _word(word: str) -> str:
    parts = []
    run = 0
    for before, character, after in zip([" ", *word], [*word], [*word[1:], " "], strict=False):
        parts.append("{}" if before + character in _JOINED else "")
        parts.append(_character(character))
        run = 0 if character == "-" else run + 1
        breaks = character in _BREAKS_AFTER or (character in _BREAKS_BEFORE_WORDS and not after.isdigit())
        if after != " " and len(word) > _LONG_WORD and (breaks or run >= _LONGEST_RUN):
            parts.append(_BREAK)
            run = 0
    return "".join(parts)


def comment(value: object) -> str:
    """Return ``value`` as a one-line comment."""
    return "% " + COMMENT.sub("?", printable(value))


def _character(character: str) -> str:
    known = _COMMANDS.get(character)
    if known is not None:
        return known
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    base = parts[0]
    if len(parts) == 2 and parts[1] in _ACCENTS and base.isascii() and base.isalpha():
        return rf"\{_ACCENTS[parts[1]]}{{{_dotless(base)}}}"
    return f"{{[}}U+{ord(character):04X}{{]}}"


def _dotless(base: str) -> str:
    return {"i": r"\i", "j": r"\j"}.get(base, base)
