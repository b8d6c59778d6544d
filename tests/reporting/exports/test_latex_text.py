"""Text as LaTeX."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ens.reporting.exports.latex_text import comment, latex
from tests.reporting.conftest import HOSTILE

COMMAND = re.compile(r"\\(?:[a-zA-Z]+|.)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\", r"\textbackslash{}"),
        ("& % $ # _ { }", r"\& \% \$ \# \_ \{ \}"),
        ("~ ^", r"\textasciitilde{} \textasciicircum{}"),
        ("< > |", r"\textless{} \textgreater{} \textbar{}"),
        ('"', r"{\ttfamily\char34}"),
        ("71.7%\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.1", r"71.7\%~$\pm$~1.1"),
        ("× · − ≥ – …", r"$\times$ $\cdot$ $-$ $\geq$ -- \ldots{}"),
        ("⚠", "$^{!}$"),
        ("[x] * y", "{[}x{]} {*} y"),
        ("é ü ç î Å", r"\'{e} \"{u} \c {c} \^{\i} {[}U+00C5{]}"),
        ("数", "{[}U+6570{]}"),
        ("a--b ''c'' ?`", "a-{}-b '{}'c'{}' ?{}`"),
        ("two\nlines\x1b", "two lines{[}?{]}"),
    ],
)
def test_each_sign_is_shown(text: str, expected: str) -> None:
    assert latex(text).replace(r"\allowbreak{}", "") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digits/dverge-3", "digits/|dverge-3"),
        ("digits/adp-3", "digits/adp-3"),
        ("short_folder/name[x=0.25,y=a.b]", r"short\_|folder/|name{[}x=|0.25,|y=|a.|b{]}"),
        ("2,000 steps at 0.25, then", "2,000 steps at 0.25, then"),
        ("x" * 45, "x" * 20 + "|" + "x" * 20 + "|" + "x" * 5),
        ("-3 /etc", "-3 /etc"),
        ("short words only", "short words only"),
    ],
)
def test_long_names_can_break_and_numbers_cannot(text: str, expected: str) -> None:
    assert latex(text).replace(r"\allowbreak{}", "|") == expected


@settings(max_examples=50)
@given(st.text() | st.just(HOSTILE))
def test_nothing_escapes(text: str) -> None:
    made = latex(text)
    assert made.isascii() and made.isprintable()
    bare = COMMAND.sub("", made).replace("$^{!}$", "")
    assert bare.count("{") == bare.count("}")
    assert not set(re.sub(r"\$-?\$", "", bare)) & set("$%&#_^\\")
    assert comment(text).isascii() and "\n" not in comment(text)
