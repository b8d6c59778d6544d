"""Words and numbers as reports print them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import count
from statistics import NormalDist
from typing import TYPE_CHECKING

from robustbench_ens.core.store import short_hash

if TYPE_CHECKING:
    import pandas as pd  # takes half a second to import, and two functions use only methods of its objects

NBSP = "\N{NO-BREAK SPACE}"
MEAN_AND_STD = f"mean{NBSP}±{NBSP}std"
"""The text in place of a seed if a row holds the mean over seeds."""

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]|~#$])")


def anchor(kind: str) -> str:
    """Return an anchor for the section and figures of a kind of protocol, which may be ``package.module:Name``."""
    # 37 characters, a hyphen and the ten digits of the hash make the 48 of a slug.
    return kind if slug(kind) == kind else f"{slug(kind)[:37]}-{short_hash(kind)}"


def counted(number: int, noun: str) -> str:
    """Return a number of things, such as ``1 thread`` or ``1,000 steps``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def percent(rate: float) -> str:
    """Return ``0.5725`` as ``57.2%``."""
    return f"{100 * rate:.1f}%"


def with_brackets(rate: float, low: float, high: float) -> str:
    """Return a rate and its interval, ``57.2% [52.8, 61.5]``, which may break only before the bracket."""
    return f"{percent(rate)} [{100 * low:.1f},{NBSP}{100 * high:.1f}]"


def mean_and_std(values: pd.Series) -> str:
    """Return the mean and standard deviation (n - 1) of rates over seeds, ``57.2% ± 1.3``."""
    return f"{percent(values.mean())}{NBSP}±{NBSP}{100 * values.std(ddof=1):.1f}"


def number_with_interval(value: float, standard_error: float | None) -> str:
    """Return a mean and its normal 95% interval, ``1.726 [1.651, 1.801]``.

    Without a standard error the text is the mean alone.
    """
    if standard_error is None or math.isnan(standard_error):
        return f"{value:.3f}"
    margin = NormalDist().inv_cdf(0.975) * standard_error
    return f"{value:.3f} [{value - margin:.3f},{NBSP}{value + margin:.3f}]"


def number_mean_and_std(values: pd.Series) -> str:
    """Return the mean and standard deviation (n - 1) of numbers other than rates over seeds, ``1.726 ± 0.041``."""
    return f"{values.mean():.3f}{NBSP}±{NBSP}{values.std(ddof=1):.3f}"


def points(difference: float) -> str:
    """Return a difference of rates in percentage points with its sign, ``+3.2``, ``−0.4`` or ``0.0``."""
    text = f"{100 * difference:+.1f}"  # rounded first, so that neither +0.0 nor -0.0 is printed
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """Return ``0.0215`` as ``0.021``, and anything below 0.001 as ``< 0.001``."""
    return "< 0.001".replace(" ", NBSP) if p < 0.001 else f"{p:.3f}"


def span(numbers: Iterable[int]) -> str:
    """Return the lowest and the highest number, ``500`` or ``100 to 500``, or an empty text without numbers."""
    known = sorted(set(numbers))
    return " to ".join(str(number) for number in dict.fromkeys(known[:1] + known[-1:]))


def listing(items: Sequence[str]) -> str:
    """Join ``items`` as ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else ""


def duration(seconds: float | None) -> str:
    """Return a wall time in the largest fitting unit, ``12.3 s``, ``4 min 10 s`` or ``2 h 5 min``."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def printable(value: object) -> str:
    """Return ``value`` on one line.

    Control and direction-changing characters become U+FFFD, and line breaks become blanks.
    """
    text = str(value)
    if text.replace(NBSP, "").isprintable():  # the fast path for nearly all cells of tables
        return text
    joined = " ".join(text.splitlines())
    return "".join(c if c.isprintable() or c == NBSP else "\N{REPLACEMENT CHARACTER}" for c in joined)


def printable_lines(value: str) -> str:
    """Return ``value`` with its line breaks, each line made :func:`printable`."""
    return "\n".join(printable(line) for line in value.splitlines())


def shorten(value: object, length: int = 36) -> str:
    """Return at most ``length`` printable characters, without the middle of a long name, whose ends distinguish it."""
    text = printable(value)
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return text[: length - 1 - tail] + "…" + text[-tail:]


def slug(value: object) -> str:
    """Return a name that is safe in any path, URL and attribute: at most 48 of ``a-z 0-9 -``."""
    return re.sub(r"[^a-z0-9]+", "-", str(value).lower()).strip("-")[:48].strip("-") or "unnamed"


def distinct_names(names: Iterable[str], mark: str = "-") -> list[str]:
    """Return ``names`` with a number appended to each repeated one: ``a``, ``a-2``.

    All results are distinct, and a name that occurs once is unchanged.

    Args:
        names: names in order, of which the first of several equal ones is unchanged.
        mark: the text before the number.
    """
    wanted = list(names)
    taken = set(wanted)
    met: set[str] = set()
    found = []
    for name in wanted:
        free = name
        if name in met:
            free = next(one for one in (f"{name}{mark}{number}" for number in count(2)) if one not in taken)
            taken.add(free)
        met.add(name)
        found.append(free)
    return found


def markdown(value: object) -> str:
    """Return ``value`` as one line of Markdown that shows exactly these characters, even inside a table."""
    text = _MARKDOWN_SPECIAL.sub(r"\\\1", printable(value))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_code(value: object) -> str:
    """Return ``value`` as a code span of Markdown, with delimiters longer than any backticks in it."""
    text = printable(value)
    ticks = "`" * (longest_run(text, "`") + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def longest_run(text: str, character: str) -> int:
    """Return the length of the longest run of ``character`` in ``text``."""
    return max((len(run) for run in re.findall(f"{re.escape(character)}+", text)), default=0)
