"""Tables as LaTeX: numbers, units, signs, groups, and what a page has room for."""

from __future__ import annotations

import pandas as pd
import pytest

from robustbench_ens.core.text import NBSP, mean_and_std, with_brackets
from robustbench_ens.reporting.exports.booktabs import MOST_LINES, LatexTable, table_tex
from robustbench_ens.reporting.exports.table_fit import Column, columns_of, fit, shares

RATE = with_brackets(0.572, 0.528, 0.615)
SEEDS = mean_and_std(pd.Series([0.7, 0.72, 0.74]))


def made(frame: dict[str, list[str]], **facts: object) -> str:
    return table_tex(LatexTable("t", "Caption & more", pd.DataFrame(frame, dtype=str), **facts))


def rows(tex: str) -> list[str]:
    return tex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()


def test_the_unit_stands_in_the_heading_and_intervals_are_commands() -> None:
    tex = made({"Ensemble": ["a", "b", "c"], "Accuracy": [RATE, SEEDS, "not run"]})
    assert r"Accuracy (\%)" in tex and r"\caption{Caption \& more}" in tex and r"\label{tab:t}" in tex
    assert rows(tex) == [r"a & \rbeinterval{57.2}{52.8}{61.5} \\", r"b & \rbestd{72.0}{2.0} \\", r"c & not run \\"]


def test_points_stand_below_each_other() -> None:
    frame = {"E": ["a", "b"], "x": [with_brackets(0.0, 0.0, 0.019), RATE], "y": [SEEDS, SEEDS.replace("2.0", "12.0")]}
    first, second = rows(made(frame))
    assert r"\rbeinterval{0.0}{\phantom{0}0.0}{\phantom{0}1.9}" in first and r"{72.0}{\phantom{0}2.0}" in first
    assert "phantom" not in second


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("\N{MINUS SIGN}0.4 [\N{MINUS SIGN}1.0,\N{NO-BREAK SPACE}+0.2]", r"\rbeinterval{$-$0.4}{$-$1.0}{+0.2}"),
        (f"<{NBSP}0.001", r"\textless{}~0.001"),
        ("1,234", "1,234"),
        ("100 to 500", "100 to 500"),
        (f"57.2%{NBSP}⚠", r"57.2\%\rlap{$^{!}$}"),
    ],
)
def test_numbers(cell: str, expected: str) -> None:
    assert rows(made({"E": ["a", "b"], "x": [cell, "1"]}))[0] == rf"a & {expected} \\"


def test_bold_signs_and_notes() -> None:
    tex = made(
        {"E": ["a", "b"], "x": ["1", "2"]}, bold=frozenset({(0, 1)}), signs={(1, 1): "$^*$"}, notes={"$^*$": "lower."}
    )
    assert rows(tex) == [r"a & {\bfseries 1} \\", r"b & 2\rlap{$^*$} \\"]
    assert r"\par\raggedright $^*$\,lower." in tex


def test_a_group_is_named_once() -> None:
    tex = made({"M": ["a", "a", "b"], "S": ["3", "3", "3"], "x": ["1", "2", "3"]}, group=2)
    assert rows(tex) == [r"a & 3 & 1 \\", r" &  & 2 \\", r"\addlinespace", r"b & 3 & 3 \\"]


def test_wide_tables_span_two_columns_and_then_stack_their_intervals() -> None:
    def with_rates(number: int) -> str:
        return made({"Ensemble": ["digits/dverge-3-of-a-long-name"], **{f"eps {k}": [RATE] for k in range(number)}})

    assert r"\begin{table}" in with_rates(1)
    assert r"\begin{table*}" in with_rates(4) and r"& \rbeinterval" in with_rates(4)
    assert r"& \rbestackedinterval" in with_rates(8)


def test_rows_that_fill_a_page_go_on_in_another_float() -> None:
    tex = made({"E": [f"e{k}" for k in range(2 * MOST_LINES + 1)], "x": ["1"] * (2 * MOST_LINES + 1)})
    assert [tex.count(rf"Part {part} of 3.") for part in (1, 2, 3)] == [1, 1, 1]
    assert tex.count(r"\label{tab:t}") == 1 and r"\label{tab:t-3}" in tex
    assert all(tex.count(f"e{k} &") == 1 for k in range(2 * MOST_LINES + 1))


def test_text_that_wraps_counts_as_several_lines_and_shares_the_width() -> None:
    frame = pd.DataFrame({"short": ["a"] * 30, "long": ["word " * 100] * 30, "middle": ["word " * 10] * 30})
    columns = columns_of(frame)
    short, long, middle = shares(columns, fit(columns))
    assert short < middle < long
    assert table_tex(LatexTable("t", "c", frame)).count(r"\begin{table*}") > 2


@pytest.mark.parametrize(
    ("cells", "numeric", "percent"),
    [
        (["1.0%", "not run"], True, True),
        (["1.0%", "2.0"], True, False),
        (["not run", "not run"], False, False),
        (["3 sub-models of a name that is far longer than numbers are"], False, False),
        ([], False, False),
    ],
)
def test_what_a_column_holds(cells: list[str], numeric: bool, percent: bool) -> None:
    assert (Column("x", cells).numeric, Column("x", cells).percent) == (numeric, percent)
