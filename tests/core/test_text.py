from __future__ import annotations

import html

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from robustbench_ens.core import text


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "unknown"), (12.34, "12.3 s"), (250, "4 min 10 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds, said):
    assert text.duration(seconds).replace(text.NBSP, " ") == said


def test_rates():
    assert text.with_brackets(0.57, 0.526, 0.613).replace(text.NBSP, " ") == "57.0% [52.6, 61.3]"
    assert text.mean_and_std(pd.Series([0.1, 0.2, 0.3])).replace(text.NBSP, " ") == "20.0% ± 10.0"


@pytest.mark.parametrize(("change", "said"), [(0.032, "+3.2"), (-0.004, "−0.4"), (0, "0.0"), (-0.0001, "0.0")])
def test_points(change, said):
    assert text.points(change) == said


@pytest.mark.parametrize(("p", "said"), [(0.0004, "< 0.001"), (0.0215, "0.021"), (1.0, "1.000")])
def test_p_value(p, said):
    assert text.p_value(p).replace(text.NBSP, " ") == said


@pytest.mark.parametrize(
    ("items", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listing(items, said):
    assert text.listing(items) == said


@pytest.mark.parametrize(
    ("numbers", "said"), [([], ""), ([500], "500"), ([500, 500], "500"), (pd.Series([500, 200, 100]), "100 to 500")]
)
def test_span(numbers, said):
    assert text.span(numbers) == said


@settings(max_examples=40)
@given(st.text())
def test_slug_is_safe_in_paths(name):
    assert text.slug(name)
    assert set(text.slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@settings(max_examples=40)
@given(st.text())
def test_shorten_keeps_both_ends(name):
    short = text.shorten(name, 10)
    assert len(short) <= 10
    assert short.isprintable() or text.NBSP in short
    assert short[:4] == text.printable(name)[:4]


@settings(max_examples=40)
@given(st.text())
def test_markdown_shows_the_characters_and_nothing_else(name):
    shown = MarkdownIt("commonmark").enable("table").renderInline(text.markdown(name).strip())
    assert "<" not in shown
    assert html.unescape(shown) == text.printable(name).strip()


@settings(max_examples=40)
@given(st.text(alphabet="`a |<", min_size=1))
def test_code_span_holds_the_text(content):
    shown = MarkdownIt().renderInline("x " + text.markdown_code(content))
    assert shown.count("<code>") == 1
